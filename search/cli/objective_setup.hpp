// From options and a session to the windows of objectives: text, needles in haystacks, key tokens. What search and
// evaluate share.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "model/needle_text.hpp"
#include "search/cli/command.hpp"
#include "search/cli/session.hpp"
#include "search/key_tokens.hpp"
#include "search/objective_windows.hpp"
#include "search/store.hpp"

namespace longrope::cli {

/// --key-lsd --key-lcl --key-context --key-long --key-rope.
po::options_description key_token_options();

/// Everything that objectives need besides text.
struct ObjectiveArguments {
  model::NeedleOptions needle;
  search::KeyTokenOptions key_tokens;
};

/// Throws InputError naming the option, also for one of a kind that is not among the objectives: it would do nothing.
ObjectiveArguments parse_objective_arguments(const po::variables_map& values,
                                             std::span<const search::Objective> objectives);

/// Needles of this seed are hidden whatever --seed says: the windows do not depend on it, as those of text do not.
inline constexpr std::uint64_t kNeedleSeed = 42;
/// Trials of held-out windows begin here.
inline constexpr std::int64_t kHoldoutTrial = std::int64_t{1} << 30;

/// `count` windows for each objective, over `corpus`; key tokens are not chosen yet. keys: of needles that are taken;
/// gets these. Throws InputError for windows that cannot be, a missing tokenizer included.
search::ObjectiveWindows make_windows(const Session& session, const model::Corpus& corpus,
                                      std::span<const search::Objective> objectives, std::int64_t count,
                                      const ObjectiveArguments& arguments, std::int64_t first_trial,
                                      std::set<std::string>& keys);

/// How the key tokens of these windows are chosen, and of what, as JSON: the same text, the same key tokens.
std::string key_token_settings(const Session& session, std::span<const search::Objective> objectives,
                               const ObjectiveArguments& arguments, const search::ObjectiveWindows& windows);

/// Chooses the key tokens of the windows of key-ppl objectives, says on stderr how many there are, and makes them the
/// windows' targets. `stored` ones that were chosen in the same way from the same windows are taken instead. Nothing
/// without such an objective. Throws InputError when a window has none.
search::StoreKeyTokens mark_key_tokens(const Session& session, std::span<const search::Objective> objectives,
                                       const ObjectiveArguments& arguments, search::ObjectiveWindows& windows,
                                       const search::StoreKeyTokens& stored);

/// Count, share and settings of each key-ppl objective, {"key-ppl@N": {"tokens", "scored", "share"}}; null: there is
/// none.
nlohmann::ordered_json key_tokens_json(const search::StoreKeyTokens& key_tokens,
                                       std::span<const search::Objective> objectives);

}  // namespace longrope::cli
