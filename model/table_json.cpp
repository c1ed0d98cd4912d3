#include "model/table_json.hpp"

#include "model/json_input.hpp"

namespace longrope::model {
namespace {

using Json = nlohmann::ordered_json;

void put(Json& object, const RopeTable& table) {
  object["factors"] = table.factors;
  object["inv_freq"] = table.inv_freq;
  object["attention_factor"] = table.attention_factor;
  object["start_tokens"] = table.start_tokens;
}

RopeTable get(const JsonObject& object, const RopeGeometry& geometry) {
  const auto attention_factor = object.find_number("attention_factor", 0.0);
  if (!attention_factor) object.refuse("attention_factor", "a number greater than 0");
  return RopeTable::from_factors(geometry, object.positive_numbers("factors", geometry.pairs()), *attention_factor,
                                 object.integer("start_tokens", 0, kMaxContextTokens));
}

}  // namespace

std::string table_json(const ExportTables& tables, const ModelConfig& config, const std::string& name) {
  Json root;
  root["format"] = "longrope-table-1";
  root["model"] = {{"name", name}, {"architecture", config.architecture}, {"config_sha256", config.sha256}};
  root["rotary_dim"] = config.rope.rotary_dim;
  root["rope_theta"] = config.rope.theta;
  root["original_length"] = config.rope.original_length;
  root["target_length"] = tables.target_length;
  root["mode"] = tables.switches ? "switch" : "static";
  put(root, tables.long_table);
  if (tables.switches) put(root["short"], tables.short_table);
  return root.dump(1) + "\n";
}

ExportTables read_table_json(const std::string& text, const std::string& where, const ModelConfig& config) {
  const nlohmann::json parsed = parse_json_object(text, where);
  const JsonObject root(parsed, where);
  ExportTables tables;
  tables.target_length = root.integer("target_length", 1, kMaxContextTokens);
  tables.long_table = get(root, config.rope);
  tables.short_table = tables.long_table;
  tables.switches = root.has("short");
  if (tables.switches) tables.short_table = get(JsonObject(root.value("short"), where + ": short"), config.rope);
  return tables;
}

}  // namespace longrope::model
