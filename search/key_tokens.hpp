// Key tokens: those that the long context helps to predict, and well. LongPPL (arXiv 2410.23771, and find_key_token of
// github.com/PKU-ML/LongPPL): a token is key when its log probability rises by more than 2 nats from a short context to
// the long one (LSD), and is above -2 under the long one (LCL). Chosen once, by the model as it is, within the context
// it was trained on. A choice made under another rope would favour that one, which by the second rule predicts every
// key token well.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "model/windows.hpp"
#include "search/device_lanes.hpp"

namespace longrope::search {

struct KeyTokenOptions {
  static constexpr std::int64_t kWholeWindow = std::numeric_limits<std::int64_t>::max();

  double lsd_nats = 2.0;          ///< key: log p(token | long) - log p(token | short) above this
  double lcl_nats = -2.0;         ///< and log p(token | long) above this
  std::int64_t context = 0;       ///< K, tokens of the short context at most; 0: an eighth of L0, at most 4096
  std::int64_t long_context = 0;  ///< tokens of the long context at most; 0: L0
  std::string rope = "config";    ///< spec under which the model reads the long context, at that length

  /// Throws InputError "[--key-...] ...".
  void validate() const;
  /// With the defaults of the contexts filled in.
  KeyTokenOptions resolved(std::int64_t original_length) const;
  /// "window" or the number.
  std::string long_context_text() const;
  std::int64_t step() const { return step_of(context); }
  static std::int64_t step_of(std::int64_t context_tokens) { return context_tokens / 4; }
};

/// The key tokens among the windows' scored targets: positions [W], ascending, possibly none. windows: of one length,
/// scored from first_scored on; tokens: [W][length]. Short contexts are sequences of K tokens under the checkpoint's
/// own rope, every K/4 tokens, of which the last K/4 are read: a token sees from K - K/4 to K - 1 tokens before it.
/// Long contexts that are limited slide likewise. Tokens before position K see all there is either way and are none.
/// options: resolved. on_pass (may be empty) is called after each forward pass with the share that is done, from any
/// thread. Throws InputError for windows not longer than K; RuntimeError when a forward pass fails; Interrupted when
/// *stop becomes true.
std::vector<std::vector<std::int64_t>> choose_key_tokens(
    const DeviceLanes& lanes, std::span<const model::Window> windows, std::span<const std::vector<std::int32_t>> tokens,
    kernels::RotationPrecision precision, const KeyTokenOptions& options, const std::function<void(double)>& on_pass,
    const std::atomic<bool>* stop);

}  // namespace longrope::search
