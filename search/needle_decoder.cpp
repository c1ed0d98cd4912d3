// The runner's decoders: model::Generator on a lane, with the rotations of a table shared by all workers there.
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "model/generator.hpp"
#include "search/needle_runner.hpp"

namespace longrope::search {
namespace {

class GeneratorDecoder : public NeedleDecoder {
 public:
  GeneratorDecoder(const model::Transformer& transformer, std::shared_ptr<const kernels::RotationTable> rotation,
                   std::int64_t capacity_tokens)
      : rotation_(std::move(rotation)), generator_(transformer, *rotation_, capacity_tokens) {}

  std::vector<std::int32_t> generate(std::span<const std::int32_t> prompt, std::int64_t max_new) override {
    return generator_.generate(prompt, max_new, {});
  }
  model::NllSum score(std::span<const std::int32_t> ids, std::int64_t first_scored) override {
    return generator_.score(ids, first_scored);
  }
  bool finite() const override { return generator_.finite(); }
  std::int64_t computed_tokens() const override { return generator_.computed_tokens(); }

 private:
  std::shared_ptr<const kernels::RotationTable> rotation_;  // before what refers to it
  model::Generator generator_;
};

/// Rotations in use; one that nobody uses any more is freed.
class Rotations {
 public:
  Rotations(const DeviceLanes& lanes, std::vector<std::vector<model::RopeTable>> tables,
            std::vector<std::int64_t> lengths, kernels::RotationPrecision precision)
      : lanes_(lanes), tables_(std::move(tables)), lengths_(std::move(lengths)), precision_(precision) {}

  std::unique_ptr<NeedleDecoder> decoder(std::size_t rope, std::int64_t length, std::size_t lane) {
    const model::Transformer& transformer = *lanes_.lane(lane).transformer;
    return std::make_unique<GeneratorDecoder>(transformer, rotation(rope, length, lane), length);
  }

 private:
  std::shared_ptr<const kernels::RotationTable> rotation(std::size_t rope, std::int64_t length, std::size_t lane) {
    const std::lock_guard lock(mutex_);
    std::weak_ptr<const kernels::RotationTable>& known = known_[{rope, length, lane}];
    if (auto held = known.lock()) return held;
    std::size_t l = 0;
    while (lengths_.at(l) != length) ++l;
    std::shared_ptr<const kernels::RotationTable> made =
        lanes_.lane(lane).transformer->rotation(tables_.at(rope).at(l), precision_, length);
    known = made;
    return made;
  }

  const DeviceLanes& lanes_;
  std::vector<std::vector<model::RopeTable>> tables_;
  std::vector<std::int64_t> lengths_;
  kernels::RotationPrecision precision_;
  std::mutex mutex_;
  std::map<std::tuple<std::size_t, std::int64_t, std::size_t>, std::weak_ptr<const kernels::RotationTable>> known_;
};

}  // namespace

MakeDecoder generator_decoders(const DeviceLanes& lanes, std::vector<std::vector<model::RopeTable>> tables,
                               std::vector<std::int64_t> lengths, kernels::RotationPrecision precision) {
  auto rotations = std::make_shared<Rotations>(lanes, std::move(tables), std::move(lengths), precision);
  return [rotations](std::size_t rope, std::int64_t length, std::size_t lane) {
    return rotations->decoder(rope, length, lane);
  };
}

}  // namespace longrope::search
