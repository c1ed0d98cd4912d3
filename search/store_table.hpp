// The table that a store: spec names: store:FILE[#STAGE[/ID]]. Without an ID, what the stage made its table of: its
// best, or what its `pick` says; the ID "knee" is the knee of its frontier.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
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

/// The tables that a store ends with, /tables/NAME; "": the pair of the last repair where there is one, else the table
/// for the longest context. Throws InputError: unreadable store, another name, no table yet.
StoreTable choose_table(const std::filesystem::path& file, const std::string& name = "");
/// The pair of the last repair; nothing where there is none. Throws InputError: unreadable store.
std::optional<StoreTable> repaired_table(const std::filesystem::path& file);
/// What a repair starts from: of the tables that are no pair, the one for the longest context, the latest in name
/// order. Throws InputError: unreadable store, no such table yet.
StoreTable longest_table(const std::filesystem::path& file);
/// Of such an entry: the table beyond its switch length, and the one up to it (the same where there is no short one).
/// Throws InputError if the model has another rotary_dim.
model::RopeTable long_table(const StoreTable& table, const model::ModelConfig& config);
model::RopeTable short_table(const StoreTable& table, const model::ModelConfig& config);

/// As model::make_rope_table, and "store" too. Throws InputError if the store's model has another rotary_dim.
model::RopeTable resolve_rope_table(const model::RopeSpec& spec, const model::ModelConfig& config, std::int64_t length);

}  // namespace longrope::search
