// A search space made from formulas written out here, and an analytic objective over it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "search/candidate.hpp"
#include "search/space.hpp"
#include "search/strategy.hpp"

namespace longrope::search::test {

inline Space make_space(std::int64_t rotary_dim, double scale, std::int64_t original_length = 4096,
                        double theta = 10000.0) {
  Space space;
  space.geometry = {rotary_dim, theta, original_length};
  space.scale = scale;
  const double d = static_cast<double>(rotary_dim), length = static_cast<double>(original_length);
  const auto dim = [&](double r) { return d * std::log(length / (2 * std::numbers::pi * r)) / (2 * std::log(theta)); };
  const double low = std::max(std::floor(dim(32.0)), 0.0);
  double high = std::min(std::ceil(dim(1.0)), d - 1);
  if (high == low) high += 0.001;
  for (std::int64_t i = 0; i < rotary_dim / 2; ++i) {
    const double x = static_cast<double>(i);
    const double ramp = std::clamp((x - low) / (high - low), 0.0, 1.0);
    space.pi_factors.push_back(scale);
    space.ntk_factors.push_back(rotary_dim > 2 ? std::pow(scale, 2 * x / (d - 2)) : 1.0);
    space.yarn_factors.push_back(1.0 / (ramp / scale + (1.0 - ramp)));
  }
  return space;
}

/// Mean squared log distance to a smooth increasing target that is none of the formulas; lowest 1.
inline double bowl(const std::vector<double>& factors, double scale) {
  double sum = 0.0;
  const double n = static_cast<double>(factors.size());
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double x = (static_cast<double>(i) + 0.5) / n;
    const double target = std::pow(1.1 * scale, 1.0 / (1.0 + std::exp(-10.0 * (x - 0.55))));
    const double distance = std::log(factors[i]) - std::log(target);
    sum += distance * distance;
  }
  return 1.0 + sum / n;
}

struct Told {
  std::vector<Candidate> candidates;
  std::vector<Outcome> objectives;
};

/// Objective of a candidate; some are NaN when `bad` is set.
inline double score(const Candidate& candidate, double scale, bool bad) {
  if (bad && candidate.id % 7 == 3) return std::nan("");
  return bowl(candidate.factors, scale);
}

/// One ask and tell; false when the strategy has ended.
inline bool step(Strategy& strategy, Told& told, double scale, std::int64_t limit, bool bad = false,
                 std::int64_t first_id = 3) {
  const auto candidates = strategy.ask(first_id + static_cast<std::int64_t>(told.candidates.size()), limit);
  if (candidates.empty()) return false;
  std::vector<Outcome> objectives;
  for (const Candidate& candidate : candidates) objectives.push_back(score(candidate, scale, bad));
  strategy.tell(candidates, objectives);
  told.candidates.insert(told.candidates.end(), candidates.begin(), candidates.end());
  told.objectives.insert(told.objectives.end(), objectives.begin(), objectives.end());
  return true;
}

inline Told run(Strategy& strategy, double scale, std::int64_t limit = 1 << 20, bool bad = false) {
  Told told;
  while (step(strategy, told, scale, limit, bad)) {
  }
  return told;
}

inline bool same(const Candidate& a, const Candidate& b) {
  return a.id == b.id && a.generation == b.generation && a.origin == b.origin && a.parents[0] == b.parents[0] &&
         a.parents[1] == b.parents[1] && a.factors == b.factors && a.start_tokens == b.start_tokens &&
         a.attention_factor == b.attention_factor;
}

/// what() of the exception of type E that `call` throws; empty: it threw none.
template <typename E, typename Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const E& error) {
    return error.what();
  }
  return {};
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace longrope::search::test
