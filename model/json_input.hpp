// JSON from files that may lie. Internal to model/: the only header here that shows nlohmann's types.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longrope::model {

/// Parses one JSON object. `where` begins every message, `first_byte` is where `text` lies in its file.
/// Throws InputError: not UTF-8, a syntax error (with the byte offset), nesting deeper than 64, a key twice in one
/// object, numbers beyond double, or a value that is not an object.
nlohmann::json parse_json_object(std::string_view text, const std::string& where, std::int64_t first_byte = 0);

/// A one-line excerpt of a value, for messages.
std::string excerpt_of(const nlohmann::json& value);

/// Typed and range-checked reads from one JSON object. A key that is null counts as absent. Every error is an
/// InputError
/// "[where: key] must be ... but got ...". Refers to the object: do not let it outlive that.
class JsonObject {
 public:
  JsonObject(const nlohmann::json& object, std::string where);

  const std::string& where() const { return where_; }
  /// Whether the key is there and not null.
  bool has(const std::string& key) const;
  /// Whether the key is there, null or not.
  bool contains(const std::string& key) const;
  /// The raw value. Precondition: has(key).
  const nlohmann::json& value(const std::string& key) const;

  std::optional<std::int64_t> find_integer(const std::string& key, std::int64_t low, std::int64_t high) const;
  std::int64_t integer(const std::string& key, std::int64_t low, std::int64_t high) const;
  /// Finite, > `above`.
  std::optional<double> find_number(const std::string& key, double above) const;
  std::optional<bool> find_boolean(const std::string& key) const;
  std::optional<std::string> find_string(const std::string& key) const;
  /// Exactly `count` finite numbers > 0. Throws if absent.
  std::vector<double> positive_numbers(const std::string& key, std::int64_t count) const;

  /// Throws InputError "[where: key] must be `rule` but got `value`".
  [[noreturn]] void refuse(const std::string& key, const std::string& rule, const std::string& hint = "") const;

 private:
  const nlohmann::json* object_;
  std::string where_;
};

}  // namespace longrope::model
