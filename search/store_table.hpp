// The table that a store: spec names: store:FILE[#STAGE[/ID]]. Without an ID, the best of the stage; the ID "knee" is
// the knee of its frontier.
#pragma once

#include <cstdint>
#include <string>

#include "model/rope_spec.hpp"
#include "search/store.hpp"

namespace longrope::search {

struct StoredChoice {
  StoreRow row;
  std::int64_t target_length = 0;
  std::int64_t original_length = 0;
};

/// Throws InputError: unreadable store, another stage, an ID that is not there, no finite candidate.
StoredChoice choose_from_store(const std::string& argument);

/// As model::make_rope_table, and "store" too. Throws InputError if the store's model has another rotary_dim.
model::RopeTable resolve_rope_table(const model::RopeSpec& spec, const model::ModelConfig& config, std::int64_t length);

}  // namespace longrope::search
