// What evaluate and search share: the options of model, text and device, and the objects made from them.
#pragma once

#include <tbb/global_control.h>

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/backend.hpp"
#include "model/documents.hpp"
#include "model/transformer.hpp"
#include "model/windows.hpp"
#include "search/cli/command.hpp"

namespace longrope::cli {

/// --model --text --tokens --windows --protocol --backend --precision --rope-precision --threads.
po::options_description session_options();

/// Options checked, checkpoint loaded, text tokenised.
class Session {
 public:
  /// Throws InputError for anything wrong; checks all options before it reads any file.
  explicit Session(const po::variables_map& values);

  const model::Transformer& transformer() const { return *transformer_; }
  const model::Corpus& corpus() const { return corpus_; }
  const model::Protocol& protocol() const { return protocol_; }
  std::int64_t window_count() const { return window_count_; }
  kernels::RotationPrecision rotation_precision() const { return rotation_precision_; }
  const std::string& model_directory() const { return model_directory_; }
  /// "cpu/f32/exact": what decides the bits of a result besides model, text and table.
  std::string numerics() const;

 private:
  std::string model_directory_;
  std::int64_t window_count_ = 0;
  model::Protocol protocol_;
  std::string precision_name_, rotation_precision_name_;
  kernels::RotationPrecision rotation_precision_ = kernels::RotationPrecision::exact;
  std::unique_ptr<tbb::global_control> threads_;
  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<model::Transformer> transformer_;
  model::Corpus corpus_;
};

}  // namespace longrope::cli
