#include "search/objective_windows.hpp"

#include <iterator>
#include <stdexcept>
#include <utility>

namespace longrope::search {

void ObjectiveWindows::append(ObjectiveWindows more) {
  const auto move_all = [](auto& to, auto& from) {
    to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
  };
  move_all(windows, more.windows);
  move_all(tokens, more.tokens);
  move_all(needle_first, more.needle_first);
}

ObjectiveWindows make_plain_windows(const model::Corpus& corpus, const model::Protocol& protocol, std::int64_t length,
                                    std::int64_t count) {
  ObjectiveWindows made;
  made.windows = model::make_windows(corpus, protocol, length, count);
  for (const model::Window& window : made.windows) made.tokens.push_back(model::window_tokens(corpus, window));
  made.needle_first.assign(made.windows.size(), -1);
  return made;
}

ObjectiveWindows make_objective_windows(const model::Corpus& corpus, const model::Protocol& protocol,
                                        std::span<const Objective> objectives, std::int64_t count,
                                        const NeedleMaker& needle) {
  ObjectiveWindows all;
  for (const Objective& objective : objectives) {
    const bool has_needle = objective.kind == Objective::Kind::needle;
    if (has_needle && !needle) throw std::logic_error("make_objective_windows: no maker for " + objective.to_string());
    ObjectiveWindows own =
        has_needle ? needle(objective.length, count) : make_plain_windows(corpus, protocol, objective.length, count);
    if (std::ssize(own.windows) != count || std::ssize(own.tokens) != count || std::ssize(own.needle_first) != count)
      throw std::logic_error("make_objective_windows: another number of windows for " + objective.to_string());
    all.append(std::move(own));
  }
  return all;
}

}  // namespace longrope::search
