#include "kernels/cpu/rotation_table.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "kernels/convert.hpp"
#include "kernels/cpu/aligned.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/parallel.hpp"

namespace longrope::kernels {
namespace {

constexpr std::int64_t kPositionsPerBlock = 256;

void require_finite(const std::vector<double>& frequencies, const char* name) {
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    if (std::isfinite(frequencies[i])) continue;
    throw InputError("[rotation] " + std::string(name) + "[" + std::to_string(i) + "] must be finite but got " +
                     std::to_string(frequencies[i]));
  }
}

void validate(const RotationSpec& spec, std::int64_t tokens) {
  require(tokens >= 0, "rotation", "tokens must not be negative", tokens);
  require(spec.start_tokens >= 0, "rotation", "start_tokens must not be negative", spec.start_tokens);
  require_finite(spec.inv_freq, "inv_freq");
  if (!std::isfinite(spec.attention_factor)) {
    throw InputError("[rotation] attention_factor must be finite but got " + std::to_string(spec.attention_factor));
  }
  if (spec.start_tokens == 0) return;
  require_finite(spec.leading_inv_freq, "leading_inv_freq");
  require(spec.leading_inv_freq.size() == spec.inv_freq.size(), "rotation",
          "leading_inv_freq must have as many elements as inv_freq when start_tokens is not 0",
          static_cast<std::int64_t>(spec.leading_inv_freq.size()));
}

struct Pair {
  float cosine;
  float sine;
};

Pair exact_pair(std::int64_t position, double inv_freq, double factor) {
  const double angle = static_cast<double>(position) * inv_freq;
  return {static_cast<float>(std::cos(angle) * factor), static_cast<float>(std::sin(angle) * factor)};
}

Pair hf_pair(std::int64_t position, double inv_freq, double factor, bool bf16) {
  const float angle = static_cast<float>(position) * static_cast<float>(inv_freq);
  const float scale = static_cast<float>(factor);
  const Pair pair{std::cos(angle) * scale, std::sin(angle) * scale};
  return bf16 ? Pair{round_to_bf16(pair.cosine), round_to_bf16(pair.sine)} : pair;
}

}  // namespace

CpuRotationTable::CpuRotationTable(const RotationSpec& spec, std::int64_t tokens, Precision precision)
    : tokens_(tokens), pairs_(static_cast<std::int64_t>(spec.inv_freq.size())) {
  validate(spec, tokens);
  const std::int64_t bytes = tokens_ * pairs_ * static_cast<std::int64_t>(sizeof(float));
  cosines_ = std::static_pointer_cast<float>(allocate_aligned(bytes));
  sines_ = std::static_pointer_cast<float>(allocate_aligned(bytes));
  parallel_rows(tokens_, kPositionsPerBlock, [&](std::int64_t first, std::int64_t count) {
    for (std::int64_t position = first; position < first + count; ++position) {
      const auto& frequencies = position < spec.start_tokens ? spec.leading_inv_freq : spec.inv_freq;
      for (std::int64_t i = 0; i < pairs_; ++i) {
        const double inv_freq = frequencies[static_cast<std::size_t>(i)];
        const Pair pair = spec.precision == RotationPrecision::exact
                              ? exact_pair(position, inv_freq, spec.attention_factor)
                              : hf_pair(position, inv_freq, spec.attention_factor, precision == Precision::bf16);
        cosines_.get()[position * pairs_ + i] = pair.cosine;
        sines_.get()[position * pairs_ + i] = pair.sine;
      }
    }
  });
}

}  // namespace longrope::kernels
