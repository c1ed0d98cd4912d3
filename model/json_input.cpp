#include "model/json_input.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "kernels/error.hpp"
#include "model/utf8.hpp"

namespace longrope::model {

namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;

}  // namespace

json parse_json_object(std::string_view text, const std::string& where, std::int64_t first_byte) {
  if (const auto bad = first_invalid_utf8(text)) {
    throw InputError(fmt::format("[{}] must be UTF-8 but got byte 0x{:02x} at byte offset {}", where,
                                 static_cast<unsigned char>(text[*bad]), first_byte + static_cast<std::int64_t>(*bad)));
  }
  // nlohmann takes a NUL for the end of the input and would not look behind it.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    throw InputError(fmt::format("[{}] must be JSON but got a NUL at byte offset {}", where,
                                 first_byte + static_cast<std::int64_t>(nul)));
  }
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const json::parser_callback_t check = [&](int depth, json::parse_event_t event, json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
      case json::parse_event_t::array_start:
        if (depth >= kMaxDepth) {
          throw InputError(fmt::format("[{}] must nest at most {} levels but got more", where, kMaxDepth));
        }
        if (event == json::parse_event_t::object_start) keys.emplace_back();
        break;
      case json::parse_event_t::object_end:
        keys.pop_back();
        break;
      case json::parse_event_t::key:
        if (const auto key = parsed.get<std::string>(); !keys.back().insert(key).second) {
          throw InputError(
              fmt::format("[{}] must name each key of an object once but got '{}' twice", where, excerpt(key)));
        }
        break;
      default:
        break;
    }
    return true;
  };
  json result;
  try {
    result = json::parse(text, check);
  } catch (const json::parse_error& error) {
    // nlohmann counts bytes from 1; 0 stands for the end of the input.
    const std::size_t byte = std::min(error.byte == 0 ? text.size() : error.byte - 1, text.size());
    throw InputError(fmt::format("[{}] must be JSON but got a syntax error at byte offset {}, line {}", where,
                                 first_byte + static_cast<std::int64_t>(byte),
                                 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(byte), '\n')));
  } catch (const json::exception& error) {  // a number beyond double
    throw InputError(fmt::format("[{}] must be JSON but got: {}", where, excerpt(error.what(), 200)));
  }
  if (!result.is_object()) {
    throw InputError(fmt::format("[{}] must be a JSON object but got {}", where, excerpt_of(result)));
  }
  return result;
}

std::string excerpt_of(const json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return fmt::format("a list of {}", value.size());
  return excerpt(value.dump(-1, ' ', false, json::error_handler_t::replace));
}

JsonObject::JsonObject(const json& object, std::string where) : object_(&object), where_(std::move(where)) {
  if (!object.is_object()) {
    throw InputError(fmt::format("[{}] must be an object but got {}", where_, excerpt_of(object)));
  }
}

bool JsonObject::has(const std::string& key) const {
  const auto at = object_->find(key);
  return at != object_->end() && !at->is_null();
}

bool JsonObject::contains(const std::string& key) const { return object_->contains(key); }

const json& JsonObject::value(const std::string& key) const { return *object_->find(key); }

void JsonObject::refuse(const std::string& key, const std::string& rule, const std::string& hint) const {
  throw InputError(fmt::format("[{}: {}] must be {} but got {}{}", where_, key, rule,
                               has(key) ? excerpt_of(value(key)) : "nothing", hint.empty() ? "" : " (" + hint + ")"));
}

std::optional<std::int64_t> JsonObject::find_integer(const std::string& key, std::int64_t low,
                                                     std::int64_t high) const {
  if (!has(key)) return std::nullopt;
  const json& number = value(key);
  const auto in_range = [&] {
    if (number.is_number_unsigned()) {
      const auto wide = number.get<std::uint64_t>();
      return wide <= static_cast<std::uint64_t>(INT64_MAX) && static_cast<std::int64_t>(wide) >= low &&
             static_cast<std::int64_t>(wide) <= high;
    }
    return number.is_number_integer() && number.get<std::int64_t>() >= low && number.get<std::int64_t>() <= high;
  };
  if (!in_range()) refuse(key, fmt::format("an integer from {} to {}", low, high));
  return number.get<std::int64_t>();
}

std::int64_t JsonObject::integer(const std::string& key, std::int64_t low, std::int64_t high) const {
  const auto found = find_integer(key, low, high);
  if (!found) refuse(key, fmt::format("an integer from {} to {}", low, high), "the key is required");
  return *found;
}

std::optional<double> JsonObject::find_number(const std::string& key, double above) const {
  if (!has(key)) return std::nullopt;
  const json& number = value(key);
  if (!number.is_number() || !std::isfinite(number.get<double>()) || !(number.get<double>() > above)) {
    refuse(key, fmt::format("a finite number greater than {}", above));
  }
  return number.get<double>();
}

std::optional<bool> JsonObject::find_boolean(const std::string& key) const {
  if (!has(key)) return std::nullopt;
  if (!value(key).is_boolean()) refuse(key, "true or false");
  return value(key).get<bool>();
}

std::optional<std::string> JsonObject::find_string(const std::string& key) const {
  if (!has(key)) return std::nullopt;
  if (!value(key).is_string()) refuse(key, "a string");
  return value(key).get<std::string>();
}

std::vector<double> JsonObject::positive_numbers(const std::string& key, std::int64_t count) const {
  const std::string rule = fmt::format("a list of {} finite numbers greater than 0", count);
  if (!has(key)) refuse(key, rule, "the key is required");
  const json& list = value(key);
  if (!list.is_array() || static_cast<std::int64_t>(list.size()) != count) refuse(key, rule);
  std::vector<double> numbers;
  for (const json& item : list) {
    if (!item.is_number() || !std::isfinite(item.get<double>()) || !(item.get<double>() > 0.0)) {
      throw InputError(fmt::format("[{}: {}[{}]] must be a finite number greater than 0 but got {}", where_, key,
                                   numbers.size(), excerpt_of(item)));
    }
    numbers.push_back(item.get<double>());
  }
  return numbers;
}

}  // namespace longrope::model
