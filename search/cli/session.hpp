// What evaluate and search share: the options of model, text and device, and the objects made from them.
#pragma once

#include <tbb/global_control.h>

#include <cstdint>
#include <memory>
#include <string>

#include "model/documents.hpp"
#include "model/transformer.hpp"
#include "model/windows.hpp"
#include "search/cli/command.hpp"
#include "search/cli/devices.hpp"
#include "search/device_lanes.hpp"
#include "search/store.hpp"

namespace longrope::cli {

/// --model --text --tokens --windows --protocol --backend --devices --precision --rope-precision --threads --verbose.
/// windows: with --windows and --protocol.
po::options_description session_options(bool windows = true);
/// The same values with another --model.
po::variables_map with_model(const po::variables_map& values, const std::string& directory);

/// Tables that a search scores at a time, at least: strategies propose about as many.
inline constexpr std::int64_t kTablesOfAStep = 8;

/// What a command makes of a session.
struct SessionUse {
  bool text_optional = false;
  bool generation = false;  ///< model::Generator runs, not windows
};

/// Options checked, checkpoint loaded, text tokenised.
class Session {
 public:
  /// longest_window: tokens of the longest window that will be scored; 0: the checkpoint's original length. tables: how
  /// many are scored at a time. Throws
  /// InputError for anything wrong, windows that do not fit the device's memory included; checks all options before it
  /// reads any file.
  Session(const po::variables_map& values, std::int64_t longest_window, std::int64_t tables,
          const SessionUse& use = {});

  const search::DeviceLanes& lanes() const { return *lanes_; }
  const model::Transformer& transformer() const { return lanes_->transformer(); }
  /// Without documents where text is optional and not given; BOS is there all the same.
  const model::Corpus& corpus() const { return corpus_; }
  const model::Protocol& protocol() const { return protocol_; }
  std::int64_t window_count() const { return window_count_; }
  kernels::RotationPrecision rotation_precision() const { return rotation_precision_; }
  const std::string& model_directory() const { return model_directory_; }
  /// "cpu/f32/exact": what decides the bits of a result besides model, text and table.
  std::string numerics() const;
  /// As a store describes it.
  search::StoreModel stored_model() const;

 private:
  void allow_threads(std::int64_t threads);

  std::string model_directory_;
  std::int64_t window_count_ = 0;
  model::Protocol protocol_;
  std::string rotation_precision_name_;
  kernels::RotationPrecision rotation_precision_ = kernels::RotationPrecision::exact;
  std::unique_ptr<tbb::global_control> threads_;
  Devices devices_;
  std::unique_ptr<search::DeviceLanes> lanes_;
  model::Corpus corpus_;
};

/// "2026-01-02T03:04:05Z"
std::string utc_now();

}  // namespace longrope::cli
