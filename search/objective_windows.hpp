// The windows that objectives score, with their tokens and what of them counts.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/documents.hpp"
#include "model/windows.hpp"
#include "search/objective.hpp"

namespace longrope::search {

struct ObjectiveWindows {
  std::vector<model::Window> windows;             ///< [K W], see objective_windows
  std::vector<std::vector<std::int32_t>> tokens;  ///< [K W][length]
  std::vector<std::int64_t> needle_first;         ///< [K W]: where the needle stands; -1: there is none

  void append(ObjectiveWindows more);
};

/// Makes the windows of a needle objective: of this length, so many.
using NeedleMaker = std::function<ObjectiveWindows(std::int64_t length, std::int64_t count)>;

/// `count` windows of plain perplexity. Throws InputError as model::make_windows.
ObjectiveWindows make_plain_windows(const model::Corpus& corpus, const model::Protocol& protocol, std::int64_t length,
                                    std::int64_t count);

/// `count` windows for each objective, one after the other. Those of key-token perplexity are those of perplexity at
/// that length; their targets are for whoever chooses key tokens to set. needle: needed for an objective of this kind,
/// which is never made of anything else. Throws InputError as make_plain_windows and the maker.
ObjectiveWindows make_objective_windows(const model::Corpus& corpus, const model::Protocol& protocol,
                                        std::span<const Objective> objectives, std::int64_t count,
                                        const NeedleMaker& needle);

}  // namespace longrope::search
