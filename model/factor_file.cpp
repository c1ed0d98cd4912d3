#include "model/factor_file.hpp"

#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "kernels/error.hpp"

namespace longrope::model {
namespace {

constexpr std::uintmax_t kMaxBytes = 64U << 20U;

std::string read_bytes(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) {
    throw InputError(fmt::format("[{}] must be a readable file of rescale factors", file.string()));
  }
  if (std::filesystem::file_size(file, error) > kMaxBytes) {
    throw InputError(fmt::format("[{}] is too large for a table of rescale factors", file.string()));
  }
  std::ifstream in(file, std::ios::binary);
  std::ostringstream bytes;
  bytes << in.rdbuf();
  if (!in || bytes.str().empty()) throw InputError(fmt::format("[{}] cannot be read, or is empty", file.string()));
  return bytes.str();
}

std::vector<double> parse_csv(const std::string& text, const std::string& where) {
  std::vector<double> factors;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    const auto begin = line.find_first_not_of(" \t\r\xEF\xBB\xBF");
    if (begin == std::string::npos) continue;
    const auto end = line.find_last_not_of(" \t\r,");
    double value = 0.0;
    const char* last = line.data() + end + 1;
    const auto [stop, code] = std::from_chars(line.data() + begin, last, value);
    if (end == std::string::npos || code != std::errc() || stop != last || !std::isfinite(value)) {
      throw InputError(
          fmt::format("[{}:{}] must be one finite factor per line but got \"{}\"", where, number, line.substr(0, 40)));
    }
    factors.push_back(value);
  }
  return factors;
}

std::vector<double> parse_list(const nlohmann::json& list, const std::string& where) {
  std::vector<double> factors;
  for (const nlohmann::json& value : list) {
    if (!value.is_number()) throw InputError(fmt::format("[{}] factors must be numbers", where));
    factors.push_back(value.get<double>());
  }
  return factors;
}

FactorFile parse_object(const nlohmann::json& root, const std::string& where) {
  const nlohmann::json* object = &root;
  for (const char* key : {"best", "rope_parameters", "rope_scaling"}) {
    if (root.contains(key) && root[key].is_object()) {
      object = &root[key];
      break;
    }
  }
  FactorFile result;
  for (const char* key : {"factors", "long_factor"}) {
    if (result.factors.empty() && object->contains(key) && (*object)[key].is_array()) {
      result.factors = parse_list((*object)[key], where);
    }
  }
  if (const auto it = object->find("attention_factor"); it != object->end() && it->is_number()) {
    result.attention_factor = it->get<double>();
  }
  if (const auto it = object->find("start_tokens"); it != object->end() && it->is_number_integer()) {
    result.start_tokens = it->get<std::int64_t>();
  }
  return result;
}

}  // namespace

FactorFile read_factor_file(const std::filesystem::path& file) {
  const std::string text = read_bytes(file);
  const std::string where = file.string();
  FactorFile result;
  const char first = text[std::min(text.find_first_not_of(" \t\r\n"), text.size() - 1)];
  if (first == '[' || first == '{') {
    nlohmann::json::parser_callback_t shallow = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
      if (depth > 32) throw InputError(fmt::format("[{}] JSON is nested too deeply", where));
      return true;
    };
    nlohmann::json root;
    try {
      root = nlohmann::json::parse(text, shallow);
    } catch (const nlohmann::json::exception& error) {
      throw InputError(fmt::format("[{}] must be JSON but {}", where, error.what()));
    }
    if (root.is_array()) {
      result.factors = parse_list(root, where);
    } else {
      result = parse_object(root, where);
    }
  } else {
    result.factors = parse_csv(text, where);
  }
  if (result.factors.empty()) {
    throw InputError(
        fmt::format("[{}] holds no rescale factors (expected one per line, a JSON list, an object with "
                    "\"factors\" or \"long_factor\", or a config.json)",
                    where));
  }
  for (std::size_t i = 0; i < result.factors.size(); ++i) {
    if (!(std::isfinite(result.factors[i]) && result.factors[i] > 0.0)) {
      throw InputError(fmt::format("[{}] factor {} must be finite and > 0 but got {}", where, i, result.factors[i]));
    }
  }
  return result;
}

}  // namespace longrope::model
