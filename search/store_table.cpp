#include "search/store_table.hpp"

#include <fmt/core.h>

#include <charconv>
#include <utility>

#include "kernels/error.hpp"
#include "search/frontier_pick.hpp"
#include "search/stage_record.hpp"

namespace longrope::search {

namespace {

/// The row that a finished stage made its table of; null: the stage goes on, or has none.
const StoreRow* row_of_table(const std::string& file, const StoreContents& contents) {
  if (contents.header.stage.status != "done") return nullptr;
  for (const StoreTable& table : read_store_tables(file)) {
    if (table.name != contents.header.stage.name) continue;
    for (const StoreRow& row : contents.rows) {
      const Candidate& candidate = row.candidate;
      if (is_contender(row) && candidate.factors == table.short_factors &&
          candidate.attention_factor == table.short_attention_factor &&
          candidate.start_tokens == table.short_start_tokens) {
        return &row;
      }
    }
  }
  return nullptr;
}

}  // namespace

StoredChoice choose_from_store(const std::string& argument) {
  const std::size_t hash = argument.rfind('#');
  const std::string file = argument.substr(0, hash);
  const std::string selector = hash == std::string::npos ? "" : argument.substr(hash + 1);
  const std::size_t slash = selector.find('/');
  const std::string stage = selector.substr(0, slash);
  const StoreContents contents = read_store(file, stage);
  const StoreRow* chosen = nullptr;
  if (slash != std::string::npos && selector.substr(slash + 1) == "knee") {
    chosen = &contents.rows[static_cast<std::size_t>(pick_from_frontier(contents, "knee"))];
  } else if (slash != std::string::npos) {
    std::int64_t id = -1;
    const std::string text = selector.substr(slash + 1);
    const auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (code != std::errc() || stop != text.data() + text.size() || id < 0 ||
        id >= static_cast<std::int64_t>(contents.rows.size())) {
      throw InputError(fmt::format("[store] {} has the ids 0 to {} but got \"{}\"", file,
                                   static_cast<std::int64_t>(contents.rows.size()) - 1, text));
    }
    chosen = &contents.rows[static_cast<std::size_t>(id)];
  } else if (chosen = row_of_table(file, contents); chosen == nullptr) {
    for (const StoreRow& row : contents.rows) {
      if (!is_contender(row)) continue;
      if (chosen == nullptr || row.result.first() < chosen->result.first()) chosen = &row;
    }
    if (chosen == nullptr) {
      throw InputError(fmt::format("[store] {} holds no evaluated table yet (wait for its first generation)", file));
    }
  }
  return {*chosen, contents.header.stage.target_length, contents.header.model.original_length};
}

std::optional<StoreTable> repaired_table(const std::filesystem::path& file) {
  std::optional<StoreTable> pair;
  for (const StoreTable& table : read_store_tables(file)) {
    if (table.has_short() && (!pair || table.target_length >= pair->target_length)) pair = table;
  }
  return pair;
}

StoreTable longest_table(const std::filesystem::path& file) {
  const std::vector<StoreTable> tables = read_store_tables(file);
  const StoreTable* chosen = nullptr;
  for (const StoreTable& table : tables) {
    if (!table.has_short() && (chosen == nullptr || table.target_length >= chosen->target_length)) chosen = &table;
  }
  if (chosen == nullptr)
    throw InputError(fmt::format("[store] {} holds no table yet (a search writes it when it ends)", file.string()));
  return *chosen;
}

StoreTable choose_table(const std::filesystem::path& file, const std::string& name) {
  if (name.empty()) {
    const std::optional<StoreTable> pair = repaired_table(file);
    return pair ? *pair : longest_table(file);
  }
  std::string names;
  for (const StoreTable& table : read_store_tables(file)) {
    if (table.name == name) return table;
    names += fmt::format("{}\"{}\"", names.empty() ? "" : ", ", table.name);
  }
  throw InputError(
      fmt::format("[store] {} has the tables {} but got \"{}\"", file.string(), names.empty() ? "none" : names, name));
}

namespace {

model::RopeTable table_of(const StoreTable& table, const std::vector<double>& factors, double attention_factor,
                          std::int64_t start_tokens, const model::ModelConfig& config) {
  if (std::cmp_not_equal(factors.size(), config.rope.pairs())) {
    throw InputError(fmt::format("[store] the table \"{}\" has {} factors but this model needs {}", table.name,
                                 factors.size(), config.rope.pairs()));
  }
  return model::RopeTable::from_factors(config.rope, factors, attention_factor, start_tokens);
}

}  // namespace

model::RopeTable long_table(const StoreTable& table, const model::ModelConfig& config) {
  return table_of(table, table.long_factors, table.attention_factor, table.start_tokens, config);
}

model::RopeTable short_table(const StoreTable& table, const model::ModelConfig& config) {
  return table_of(table, table.short_factors, table.short_attention_factor, table.short_start_tokens, config);
}

model::RopeTable resolve_rope_table(const model::RopeSpec& spec, const model::ModelConfig& config,
                                    std::int64_t length) {
  if (spec.method != "store") return model::make_rope_table(spec, config, length);
  Candidate candidate = choose_from_store(spec.argument).row.candidate;
  if (static_cast<std::int64_t>(candidate.factors.size()) != config.rope.pairs()) {
    throw InputError(fmt::format("[--rope {}] the store's tables have {} factors but this model needs {}", spec.text,
                                 candidate.factors.size(), config.rope.pairs()));
  }
  if (const auto it = spec.options.find("attention_factor"); it != spec.options.end())
    candidate.attention_factor = it->second;
  if (const auto it = spec.options.find("start_tokens"); it != spec.options.end()) {
    candidate.start_tokens = static_cast<std::int32_t>(it->second);
  }
  return model::RopeTable::from_factors(config.rope, candidate.factors, candidate.attention_factor,
                                        candidate.start_tokens);
}

}  // namespace longrope::search
