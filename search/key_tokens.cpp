#include "search/key_tokens.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>

#include "kernels/error.hpp"
#include "model/rope_spec.hpp"
#include "search/nan.hpp"
#include "search/store_table.hpp"

namespace longrope::search {
namespace {

constexpr std::int64_t kLongestContext = 4096;  // LongPPL's, of 32,768
constexpr std::int64_t kShareOfOriginal = 8;
constexpr std::int64_t kShortestContext = 4;  // a step is a quarter of it

/// Part of a window that goes through the model as one sequence, and where the NLL of its last targets belongs.
struct Piece {
  std::size_t window = 0;
  std::int64_t first = 0, length = 0;  ///< tokens of the window
  std::int64_t first_scored = 0;       ///< position in the piece
};

/// Pieces that go together.
struct Pass {
  bool is_long = false;
  std::vector<Piece> pieces;
};

/// Contexts of at most `context` tokens for a window's targets from `first` on: the window's beginning, then one piece
/// for every step.
std::vector<Piece> sliding_pieces(std::size_t w, const model::Window& window, std::int64_t context,
                                  std::int64_t first) {
  std::vector<Piece> pieces;
  if (first < context) pieces.push_back({w, 0, context, first});
  for (std::int64_t begin = context; begin < window.length; begin += KeyTokenOptions::step_of(context)) {
    const std::int64_t end = std::min(begin + KeyTokenOptions::step_of(context), window.length);
    const std::int64_t from = std::max(begin, first);
    if (from < end) pieces.push_back({w, end - context, context, from - (end - context)});
  }
  return pieces;
}

/// Pieces of one length, as many to a pass as go together.
void add_passes(std::vector<Pass>& passes, bool is_long, const std::vector<Piece>& pieces, std::int64_t at_once) {
  for (std::size_t i = 0; i < pieces.size(); i += static_cast<std::size_t>(at_once)) {
    const auto begin = pieces.begin() + static_cast<std::ptrdiff_t>(i);
    const auto left = static_cast<std::int64_t>(pieces.size() - i);
    passes.push_back({is_long, {begin, begin + static_cast<std::ptrdiff_t>(std::min(at_once, left))}});
  }
}

/// A rotation for each lane, made when first asked for.
class LaneRotations {
 public:
  LaneRotations(const DeviceLanes& lanes, model::RopeTable table, std::int64_t tokens,
                kernels::RotationPrecision precision)
      : lanes_(lanes), table_(std::move(table)), tokens_(tokens), precision_(precision), made_(lanes.size()) {}
  const kernels::RotationTable* of(std::size_t lane) {
    const std::lock_guard lock(mutex_);
    if (!made_[lane]) made_[lane] = lanes_.lane(lane).transformer->rotation(table_, precision_, tokens_);
    return made_[lane].get();
  }

 private:
  const DeviceLanes& lanes_;
  model::RopeTable table_;
  std::int64_t tokens_;
  kernels::RotationPrecision precision_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<kernels::RotationTable>> made_;
};

}  // namespace

void KeyTokenOptions::validate() const {
  if (!std::isfinite(lsd_nats)) throw InputError(fmt::format("[--key-lsd] must be a number but got {}", lsd_nats));
  if (!(std::isfinite(lcl_nats) && lcl_nats < 0.0))
    throw InputError(fmt::format("[--key-lcl] must be a number below 0 but got {}", lcl_nats));
  if (context != 0 && context < kShortestContext)
    throw InputError(fmt::format("[--key-context] must be at least {} tokens but got {}", kShortestContext, context));
  if (context != 0 && long_context != 0 && context >= long_context) {
    throw InputError(fmt::format(
        "[--key-context] must be less than the long context of {} tokens but got {} (--key-long: tokens, or window)",
        long_context, context));
  }
  model::RopeSpec::parse(rope);
}

KeyTokenOptions KeyTokenOptions::resolved(std::int64_t original_length) const {
  KeyTokenOptions filled = *this;
  if (filled.context == 0)
    filled.context = std::clamp(original_length / kShareOfOriginal, kShortestContext, kLongestContext);
  if (filled.long_context == 0) filled.long_context = original_length;
  filled.validate();
  return filled;
}

std::string KeyTokenOptions::long_context_text() const {
  return long_context == kWholeWindow ? "window" : std::to_string(long_context);
}

std::vector<std::vector<std::int64_t>> choose_key_tokens(
    const DeviceLanes& lanes, std::span<const model::Window> windows, std::span<const std::vector<std::int32_t>> tokens,
    kernels::RotationPrecision precision, const KeyTokenOptions& options, const std::function<void(double)>& on_pass,
    const std::atomic<bool>* stop) {
  const std::int64_t length = windows.front().length, context = options.context;
  if (length <= context) {
    throw InputError(fmt::format(
        "[key-ppl] windows must be longer than the short context of {} tokens but have {} (lower --key-context, or "
        "score a greater length)",
        context, length));
  }
  const std::int64_t longest = std::min(options.long_context, length);
  const model::ModelConfig& config = lanes.transformer().config();
  LaneRotations long_rotations(lanes, resolve_rope_table(model::RopeSpec::parse(options.rope), config, longest),
                               longest, precision),
      short_rotations(lanes, resolve_rope_table(model::RopeSpec::parse("config"), config, context), context, precision);

  std::vector<Pass> passes;
  std::vector<Piece> long_pieces, short_pieces;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    const std::int64_t first = std::max(windows[w].first_scored, context);
    for (const Piece& piece : sliding_pieces(w, windows[w], longest, first)) long_pieces.push_back(piece);
    for (const Piece& piece : sliding_pieces(w, windows[w], context, first)) short_pieces.push_back(piece);
  }
  const model::Transformer& transformer = lanes.transformer();
  add_passes(passes, true, long_pieces, longest < length ? transformer.sequences_at_once(longest) : 1);
  add_passes(passes, false, short_pieces, transformer.sequences_at_once(context));

  std::vector<std::vector<double>> of_long(windows.size()), of_short(windows.size());  // NLL by position
  for (std::size_t w = 0; w < windows.size(); ++w) {
    of_long[w].assign(static_cast<std::size_t>(length), kNan);
    of_short[w] = of_long[w];
  }
  std::mutex mutex;
  std::string failure;
  double tokens_done = 0.0, tokens_all = 0.0;
  for (const Pass& pass : passes) {
    for (const Piece& piece : pass.pieces) tokens_all += static_cast<double>(piece.length);
  }
  const auto run_pass = [&](std::size_t p, std::size_t lane) {
    const Pass& pass = passes[p];
    std::vector<model::Sequence> sequences;
    for (const Piece& piece : pass.pieces) {
      const auto ids = std::span(tokens[piece.window])
                           .subspan(static_cast<std::size_t>(piece.first), static_cast<std::size_t>(piece.length));
      sequences.push_back({ids, piece.first_scored, (pass.is_long ? long_rotations : short_rotations).of(lane)});
    }
    const std::vector<std::vector<double>> nll = lanes.lane(lane).transformer->token_nll(sequences);
    double done = 0.0;
    for (std::size_t i = 0; i < nll.size(); ++i) {  // each piece has targets of its own
      const Piece& piece = pass.pieces[i];
      std::vector<double>& values = (pass.is_long ? of_long : of_short)[piece.window];
      std::copy(nll[i].begin(), nll[i].end(), values.begin() + piece.first + piece.first_scored);
      done += static_cast<double>(piece.length);
    }
    const std::lock_guard lock(mutex);
    tokens_done += done;
    if (on_pass) on_pass(tokens_done / tokens_all);
  };
  const auto failed = [&](std::size_t, const std::string& reason) {
    const std::lock_guard lock(mutex);
    if (failure.empty()) failure = reason;
  };
  lanes.run(passes.size(), run_pass, failed, stop);
  if (stop != nullptr && stop->load(std::memory_order_relaxed)) throw Interrupted("[key-ppl] stopped by a signal");
  if (!failure.empty()) throw RuntimeError(fmt::format("[key-ppl] key tokens cannot be chosen: {}", failure));

  std::vector<std::vector<std::int64_t>> keys(windows.size());
  for (std::size_t w = 0; w < windows.size(); ++w) {
    for (std::int64_t p = context; p < length; ++p) {
      const auto at = static_cast<std::size_t>(p);
      const double lsd = of_short[w][at] - of_long[w][at], lcl = -of_long[w][at];
      if (lsd > options.lsd_nats && lcl > options.lcl_nats) keys[w].push_back(p);  // NaN: it is none
    }
  }
  return keys;
}

}  // namespace longrope::search
