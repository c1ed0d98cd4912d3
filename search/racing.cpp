#include "search/racing.hpp"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <boost/math/special_functions/digamma.hpp>
#include <boost/math/special_functions/trigamma.hpp>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <stdexcept>

#include "search/objective.hpp"

namespace longrope::search {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// x with trigamma(x) = y > 0, by bisection: trigamma falls from infinity to 0.
double inverse_trigamma(double y) {
  double low = 1e-6, high = 1e6;
  if (y >= boost::math::trigamma(low)) return low;
  if (y <= boost::math::trigamma(high)) return high;
  for (int i = 0; i < 200; ++i) {
    const double middle = std::sqrt(low * high);
    (boost::math::trigamma(middle) > y ? low : high) = middle;
  }
  return std::sqrt(low * high);
}

/// Mean NLL per token of a window minus the other's.
double difference(const WindowScore& a, const WindowScore& b) {
  return (a.nll_nats - b.nll_nats) / static_cast<double>(a.tokens);
}

}  // namespace

VariancePrior VariancePrior::fit(std::span<const std::vector<double>> differences) {
  std::vector<double> log_size, log_variance;  // ln m^2, ln s^2
  double dof = 0.0;
  for (const std::vector<double>& d : differences) {
    if (d.size() < 2) throw std::logic_error("VariancePrior::fit needs two windows");
    const auto n = static_cast<double>(d.size());
    double mean = 0.0, squares = 0.0;
    for (const double x : d) mean += x / n;
    for (const double x : d) squares += (x - mean) * (x - mean);
    const double size = std::log(mean * mean), variance = std::log(squares / (n - 1.0));
    if (!std::isfinite(size) || !std::isfinite(variance)) continue;
    log_size.push_back(size);
    log_variance.push_back(variance);
    dof = n - 1.0;
  }
  VariancePrior prior;
  const auto n = static_cast<double>(log_size.size());
  if (log_size.size() < 2) return prior;

  double x_mean = 0.0, y_mean = 0.0, xx = 0.0, xy = 0.0;
  for (std::size_t i = 0; i < log_size.size(); ++i) {
    x_mean += log_size[i] / n;
    y_mean += log_variance[i] / n;
  }
  for (std::size_t i = 0; i < log_size.size(); ++i) {
    xx += (log_size[i] - x_mean) * (log_size[i] - x_mean);
    xy += (log_size[i] - x_mean) * (log_variance[i] - y_mean);
  }
  prior.slope_ = xx > 0.0 ? std::clamp(xy / xx, 0.0, 1.0) : 0.0;
  double scatter = 0.0;
  for (std::size_t i = 0; i < log_size.size(); ++i) {
    const double residual = log_variance[i] - y_mean - prior.slope_ * (log_size[i] - x_mean);
    scatter += residual * residual / std::max(1.0, n - 2.0);
  }
  // E[ln s^2] = ln s0^2 + digamma(d/2) - ln(d/2) - digamma(d0/2) + ln(d0/2); Var[ln s^2] = trigamma(d/2) +
  // trigamma(d0/2).
  const double excess = scatter - boost::math::trigamma(dof / 2.0);
  double degrees = excess > 0.0 ? 2.0 * inverse_trigamma(excess) : kInfinity;
  // Candidates share the windows, and many share their ancestors: no more degrees than candidates.
  degrees = std::min(degrees, n);
  prior.degrees_ = degrees;
  prior.intercept_ = y_mean - prior.slope_ * x_mean - boost::math::digamma(dof / 2.0) + std::log(dof / 2.0) +
                     boost::math::digamma(degrees / 2.0) - std::log(degrees / 2.0);
  const auto [smallest, largest] = std::minmax_element(log_size.begin(), log_size.end());
  prior.smallest_ = std::exp(*smallest / 2.0);
  prior.largest_ = std::exp(*largest / 2.0);
  return prior;
}

double VariancePrior::variance(double size) const {
  const double known = std::clamp(std::abs(size), smallest_, largest_);
  return std::exp(intercept_ + slope_ * 2.0 * std::log(known));
}

RaceBound race_bound(std::span<const WindowScore> candidate, std::span<const WindowScore> elite,
                     std::span<const model::Window> windows, std::size_t scored, const VariancePrior& prior,
                     double alpha) {
  if (candidate.size() != windows.size() || elite.size() != windows.size() || scored < 1 || scored >= windows.size()) {
    throw std::logic_error("race_bound: sizes do not fit");
  }
  std::set<std::int64_t> documents;
  for (const model::Window& window : windows) documents.insert(window.document);
  const auto cluster_of = [&](std::size_t w) {  // one document only: its windows are the clusters
    return documents.size() > 1 ? windows[w].document : static_cast<std::int64_t>(w);
  };

  struct Cluster {
    double nats = 0.0, tokens = 0.0;
  };
  std::map<std::int64_t, Cluster> known;
  std::set<std::int64_t> others;
  double nats = 0.0, tokens = 0.0, all_tokens = 0.0;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    const auto n = static_cast<double>(elite[w].tokens);
    all_tokens += n;
    if (w >= scored) {
      others.insert(cluster_of(w));
      continue;
    }
    const double d = candidate[w].nll_nats - elite[w].nll_nats;
    Cluster& cluster = known[cluster_of(w)];
    cluster.nats += d;
    cluster.tokens += n;
    nats += d;
    tokens += n;
  }
  RaceBound bound;
  bound.difference = nats / tokens;
  const auto c = static_cast<double>(known.size()), u = static_cast<double>(others.size());
  double own = 0.0;
  for (const auto& [document, cluster] : known) {
    const double residual = cluster.nats / cluster.tokens - bound.difference;
    own += residual * residual;  // (c - 1) s1^2
  }
  bound.degrees = prior.degrees() + c - 1.0;
  if (!(bound.degrees > 0.0)) {
    bound.standard_error = kInfinity;
    bound.lower = -kInfinity;
    return bound;
  }
  const double borrowed = prior.degrees() > 0.0 ? prior.degrees() * prior.variance(bound.difference) : 0.0;
  const double variance = (borrowed + own) / bound.degrees;
  bound.standard_error = (1.0 - tokens / all_tokens) * std::sqrt(variance * (1.0 / c + 1.0 / u));
  const double t = boost::math::quantile(boost::math::complement(boost::math::students_t(bound.degrees), alpha));
  bound.lower = bound.difference - t * bound.standard_error;
  return bound;
}

std::vector<std::size_t> race_rungs(std::size_t windows) {
  std::vector<std::size_t> rungs;
  for (std::size_t base = 1; base < windows; base *= 2) {
    rungs.push_back(base);
    const std::size_t between = base + base / 2;
    if (base >= 2 && between < windows) rungs.push_back(between);
  }
  return rungs;
}

Race::Race(std::span<const model::Window> windows, std::size_t objectives, double confidence,
           std::span<const std::vector<WindowScore>> elites, std::span<const std::vector<WindowScore>> history)
    : windows_(windows.begin(), windows.end()),
      objectives_(objectives),
      alpha_(1.0 - confidence),
      rungs_(race_rungs(windows.size() / objectives)) {
  if (!(confidence > 0.5 && confidence < 1.0)) throw std::logic_error("Race: the confidence must be in (0.5, 1)");
  const auto looks = static_cast<double>(std::max<std::size_t>(1, rungs_.size() * elites.size()));
  alpha_ /= looks;  // Bonferroni: over all rungs and elites
  for (const std::vector<WindowScore>& elite : elites) {
    RaceRival rival{elite, {}};
    for (std::size_t k = 0; k < objectives; ++k) {
      const auto [first, count] = objective_windows(windows.size(), objectives, k);
      std::vector<std::vector<double>> differences;
      for (const std::vector<WindowScore>& other : history) {
        if (count < 2) break;
        std::vector<double>& row = differences.emplace_back();
        for (std::size_t w = first; w < first + count; ++w) row.push_back(difference(other[w], elite[w]));
      }
      rival.priors.push_back(VariancePrior::fit(differences));
    }
    elites_.push_back(std::move(rival));
  }
}

std::optional<std::vector<double>> Race::drop(std::span<const WindowScore> candidate, std::size_t scored) const {
  for (const RaceRival& elite : elites_) {
    const std::vector<double> reached = objective_values(elite.windows, objectives_);
    std::vector<double> estimates;
    for (std::size_t k = 0; k < objectives_; ++k) {
      const auto [first, count] = objective_windows(windows_.size(), objectives_, k);
      const RaceBound bound =
          race_bound(candidate.subspan(first, count), std::span(elite.windows).subspan(first, count),
                     std::span(windows_).subspan(first, count), scored, elite.priors[k], alpha_);
      if (!(bound.lower > 0.0)) break;
      estimates.push_back(reached[k] * std::exp(bound.difference));
    }
    if (estimates.size() == objectives_) return estimates;
  }
  return std::nullopt;
}

}  // namespace longrope::search
