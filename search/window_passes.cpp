#include "search/window_passes.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <stdexcept>

namespace longrope::search {
namespace {

/// Its targets, written out.
std::vector<std::int64_t> targets_of(const model::Window& window) {
  if (!window.targets.empty()) return window.targets;
  std::vector<std::int64_t> targets(static_cast<std::size_t>(window.scored_tokens()));
  std::iota(targets.begin(), targets.end(), window.first_scored);
  return targets;
}

/// Whether `window` scores all of its tokens from first_scored on.
bool scores_the_rest(const model::Window& window) { return window.targets.empty(); }

void add_targets(const model::Window& window, model::Window& scored) {
  const std::int64_t first = scores_the_rest(window) ? window.first_scored : window.targets.front();
  if (scores_the_rest(scored) && scored.first_scored <= first) return;
  if (scores_the_rest(window) && (scores_the_rest(scored) || window.first_scored <= scored.targets.front())) {
    scored.first_scored = window.first_scored;
    scored.targets.clear();
    return;
  }
  std::vector<std::int64_t> both;
  const std::vector<std::int64_t> a = targets_of(scored), b = targets_of(window);
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  scored.targets = std::move(both);
}

}  // namespace

std::vector<WindowPass> join_windows(std::span<const model::Window> windows,
                                     std::span<const std::vector<std::int32_t>> tokens) {
  const auto less = [](const std::vector<std::int32_t>* a, const std::vector<std::int32_t>* b) { return *a < *b; };
  std::map<const std::vector<std::int32_t>*, std::size_t, decltype(less)> pass_of(less);
  std::vector<WindowPass> passes;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    const auto [found, fresh] = pass_of.try_emplace(&tokens[w], passes.size());
    if (fresh) {
      passes.push_back({{w}, windows[w]});
    } else {
      passes[found->second].windows.push_back(w);
      add_targets(windows[w], passes[found->second].scored);
    }
  }
  return passes;
}

model::NllSum sum_of_window(const model::Window& window, const model::Window& scored, std::span<const double> nll) {
  if (std::ssize(nll) != scored.scored_tokens()) throw std::logic_error("sum_of_window: sizes do not fit");
  if (scores_the_rest(window)) {  // then they are the last ones
    if (window.scored_tokens() > std::ssize(nll)) throw std::logic_error("sum_of_window: a target is not scored");
    return model::sum_nll(nll.last(static_cast<std::size_t>(window.scored_tokens())));
  }
  std::vector<double> own;
  own.reserve(window.targets.size());
  auto at = scored.targets.begin();
  for (const std::int64_t target : window.targets) {
    std::int64_t index = target - scored.first_scored;
    if (!scores_the_rest(scored)) {
      at = std::lower_bound(at, scored.targets.end(), target);
      index = at != scored.targets.end() && *at == target ? at - scored.targets.begin() : -1;
    }
    if (index < 0 || index >= std::ssize(nll)) throw std::logic_error("sum_of_window: a target is not scored");
    own.push_back(nll[static_cast<std::size_t>(index)]);
  }
  return model::sum_nll(own);
}

}  // namespace longrope::search
