// Windows of the same tokens that score different targets (perplexity and key-token perplexity) share a forward pass:
// which windows go together, what their pass scores, and what of it is each window's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "model/transformer.hpp"
#include "model/windows.hpp"

namespace longrope::search {

struct WindowPass {
  std::vector<std::size_t> windows;  ///< which, ascending; at least one
  model::Window scored;              ///< the first of them, with the targets of all
};

/// The windows' passes, in order of their first windows. tokens: [W][length], the windows' own.
std::vector<WindowPass> join_windows(std::span<const model::Window> windows,
                                     std::span<const std::vector<std::int32_t>> tokens);

/// Sum over `window`'s targets. nll: of the targets of `scored`, a window of the same tokens that scores these and
/// maybe more; [scored.scored_tokens()].
model::NllSum sum_of_window(const model::Window& window, const model::Window& scored, std::span<const double> nll);

}  // namespace longrope::search
