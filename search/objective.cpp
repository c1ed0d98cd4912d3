#include "search/objective.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <stdexcept>

#include "kernels/error.hpp"

namespace longrope::search {
namespace {

struct KindName {
  Objective::Kind kind;
  const char *name, *label, *key;
};
constexpr KindName kKinds[] = {{Objective::Kind::perplexity, "ppl", "PPL", "ppl"},
                               {Objective::Kind::key_perplexity, "key-ppl", "key PPL", "key_ppl"},
                               {Objective::Kind::needle, "needle", "needle PPL", "needle_ppl"}};

const KindName& names_of(Objective::Kind kind) {
  return *std::find_if(std::begin(kKinds), std::end(kKinds), [&](const KindName& k) { return k.kind == kind; });
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, comma - begin));
    begin = comma + 1;
  }
  return parts;
}

}  // namespace

std::string Objective::to_string() const { return fmt::format("{}@{}", names_of(kind).name, length); }

const char* Objective::label() const { return names_of(kind).label; }

const char* Objective::key() const { return names_of(kind).key; }

Objective Objective::parse(const std::string& text, std::int64_t target_length) {
  const std::size_t at = text.find('@');
  const std::string name = text.substr(0, at);
  const auto* found =
      std::find_if(std::begin(kKinds), std::end(kKinds), [&](const KindName& k) { return name == k.name; });
  if (found == std::end(kKinds)) {
    std::vector<std::string> names;
    for (const KindName& k : kKinds) names.push_back(fmt::format("{}@LENGTH", k.name));
    throw InputError(fmt::format("[--objective] must be one of {} but got \"{}\"", fmt::join(names, ", "), text));
  }
  Objective objective{found->kind, target_length};
  if (at == std::string::npos) return objective;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data() + at + 1, end, objective.length);
  if (code != std::errc() || stop != end || objective.length < 2 || objective.length > target_length) {
    throw InputError(fmt::format("[--objective] the length of {} must be from 2 to the target length {} but got \"{}\"",
                                 name, target_length, text.substr(at + 1)));
  }
  return objective;
}

std::vector<Objective> parse_objectives(const std::string& text, std::int64_t target_length) {
  std::vector<Objective> objectives;
  for (const std::string& part : split(text)) {
    const Objective objective = Objective::parse(part, target_length);
    if (std::find(objectives.begin(), objectives.end(), objective) != objectives.end()) {
      throw InputError(
          fmt::format("[--objective] must name each objective once but got {} twice", objective.to_string()));
    }
    objectives.push_back(objective);
  }
  return objectives;
}

std::string to_string(std::span<const Objective> objectives) {
  std::string text;
  for (const Objective& objective : objectives) text += (text.empty() ? "" : ",") + objective.to_string();
  return text;
}

std::size_t count_objectives(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), ',')) + 1;
}

WindowRange objective_windows(std::size_t windows, std::size_t objectives, std::size_t k) {
  if (objectives == 0 || windows % objectives != 0 || k >= objectives)
    throw std::logic_error("objective_windows: the windows are not the same number for each objective");
  return {k * (windows / objectives), windows / objectives};
}

double token_weighted_perplexity(std::span<const WindowScore> scores) {
  double nll_nats = 0.0;
  std::int64_t tokens = 0;
  for (const WindowScore& score : scores) {
    nll_nats += score.nll_nats;
    tokens += score.tokens;
  }
  return std::exp(nll_nats / static_cast<double>(tokens));
}

std::vector<double> objective_values(std::span<const WindowScore> scores, std::size_t objectives) {
  std::vector<double> values;
  for (std::size_t k = 0; k < objectives; ++k) {
    const WindowRange range = objective_windows(scores.size(), objectives, k);
    values.push_back(token_weighted_perplexity(scores.subspan(range.first, range.count)));
  }
  return values;
}

}  // namespace longrope::search
