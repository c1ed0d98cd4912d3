#include "search/pareto.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "search/ordering.hpp"

namespace longrope::search {
namespace {

using Points = std::span<const std::vector<double>>;

bool has_nan(std::span<const double> point) {
  return std::any_of(point.begin(), point.end(), [](double x) { return std::isnan(x); });
}

/// Points below `reference` in the first `dims` objectives -> the volume they dominate there.
double volume(std::vector<const double*> points, std::size_t dims, const double* reference) {
  if (points.empty()) return 0.0;
  if (dims == 1) {
    double lowest = reference[0];
    for (const double* point : points) lowest = std::min(lowest, point[0]);
    return reference[0] - lowest;
  }
  const std::size_t last = dims - 1;
  std::sort(points.begin(), points.end(), [&](const double* a, const double* b) {
    if (a[last] != b[last]) return a[last] < b[last];
    return std::lexicographical_compare(a, a + last, b, b + last);
  });
  double sum = 0.0;
  if (dims == 2) {
    double ceiling = reference[0];  // the part of the slices below is covered from here on
    for (const double* point : points) {
      if (!(point[0] < ceiling)) continue;
      sum += (ceiling - point[0]) * (reference[1] - point[1]);
      ceiling = point[0];
    }
    return sum;
  }
  std::vector<const double*> slice;
  for (std::size_t i = 0; i < points.size(); ++i) {
    // In a slice between two values of the last objective count the points up to the lower one; those that another
    // point of the slice weakly dominates add nothing.
    const auto covered = [&](const double* by, const double* point) {
      for (std::size_t k = 0; k < last; ++k) {
        if (!(by[k] <= point[k])) return false;
      }
      return true;
    };
    const bool hidden =
        std::any_of(slice.begin(), slice.end(), [&](const double* member) { return covered(member, points[i]); });
    if (!hidden) {
      std::erase_if(slice, [&](const double* member) { return covered(points[i], member); });
      slice.push_back(points[i]);
    }
    const double height = (i + 1 < points.size() ? points[i + 1][last] : reference[last]) - points[i][last];
    if (height > 0.0) sum += height * volume(slice, last, reference);
  }
  return sum;
}

}  // namespace

bool dominates(std::span<const double> a, std::span<const double> b) {
  if (has_nan(a)) return false;
  if (has_nan(b)) return true;
  bool better = false;
  for (std::size_t k = 0; k < a.size(); ++k) {
    if (a[k] > b[k]) return false;
    better = better || a[k] < b[k];
  }
  return better;
}

std::vector<std::size_t> non_dominated(Points objectives) {
  // In lexicographic order nothing is dominated by what comes after it.
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < objectives.size(); ++i) {
    if (!has_nan(objectives[i])) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return objectives[a] < objectives[b]; });
  std::vector<std::size_t> front;
  for (const std::size_t i : order) {
    const bool beaten = std::any_of(front.begin(), front.end(), [&](std::size_t member) {
      return objectives[member] == objectives[i] || dominates(objectives[member], objectives[i]);
    });
    if (!beaten) front.push_back(i);
  }
  std::sort(front.begin(), front.end(), [&](std::size_t a, std::size_t b) {
    const double x = objectives[a].front(), y = objectives[b].front();
    return x != y ? x < y : a < b;
  });
  return front;
}

std::vector<std::vector<std::size_t>> non_dominated_sort(Points objectives) {
  const std::size_t count = objectives.size();
  std::vector<std::vector<std::size_t>> fronts, beaten_by(count);
  std::vector<std::size_t> above(count, 0);  // how many points dominate this one
  std::vector<std::size_t> front, bad;
  for (std::size_t p = 0; p < count; ++p) {
    if (has_nan(objectives[p])) {
      bad.push_back(p);
      continue;
    }
    for (std::size_t q = 0; q < count; ++q) {
      if (has_nan(objectives[q])) continue;
      if (dominates(objectives[p], objectives[q])) beaten_by[p].push_back(q);
      if (dominates(objectives[q], objectives[p])) ++above[p];
    }
    if (above[p] == 0) front.push_back(p);
  }
  while (!front.empty()) {
    std::vector<std::size_t> next;
    for (const std::size_t p : front) {
      for (const std::size_t q : beaten_by[p]) {
        if (--above[q] == 0) next.push_back(q);
      }
    }
    std::sort(next.begin(), next.end());
    fronts.push_back(std::exchange(front, std::move(next)));
  }
  if (!bad.empty()) fronts.push_back(std::move(bad));
  return fronts;
}

std::vector<double> crowding_distance(Points front) {
  const std::size_t count = front.size();
  std::vector<double> distance(count, 0.0);
  if (count == 0) return distance;
  std::vector<std::size_t> order(count);
  for (std::size_t k = 0; k < front[0].size(); ++k) {
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return less_nan_last(front[a][k], front[b][k]); });
    const double lowest = front[order.front()][k], highest = front[order.back()][k];
    if (!(lowest < highest)) continue;
    distance[order.front()] = distance[order.back()] = std::numeric_limits<double>::infinity();
    for (std::size_t i = 1; i + 1 < count; ++i) {
      const double gap = front[order[i + 1]][k] - front[order[i - 1]][k];
      if (gap > 0.0) distance[order[i]] += gap / (highest - lowest);
    }
  }
  return distance;
}

double hypervolume(Points points, std::span<const double> reference) {
  std::vector<const double*> counted;
  bool infinite = std::any_of(reference.begin(), reference.end(), [](double x) { return std::isinf(x); });
  for (const std::vector<double>& point : points) {
    if (point.size() != reference.size()) throw std::logic_error("hypervolume of points of another size");
    const bool below = std::equal(point.begin(), point.end(), reference.begin(), std::less<>());
    if (!below) continue;
    infinite = infinite || std::any_of(point.begin(), point.end(), [](double x) { return std::isinf(x); });
    counted.push_back(point.data());
  }
  if (counted.empty() || reference.empty()) return 0.0;
  if (infinite) return std::numeric_limits<double>::infinity();
  return volume(std::move(counted), reference.size(), reference.data());
}

std::size_t knee(Points front) {
  const std::size_t objectives = front.empty() ? 0 : front[0].size();
  const auto counts = [](const std::vector<double>& point) {
    return std::all_of(point.begin(), point.end(), [](double x) { return std::isfinite(x) && x > 0.0; });
  };
  std::vector<double> lowest(objectives, std::numeric_limits<double>::infinity());
  std::vector<double> highest(objectives, -std::numeric_limits<double>::infinity());
  for (const std::vector<double>& point : front) {
    if (!counts(point)) continue;
    for (std::size_t k = 0; k < objectives; ++k) {
      lowest[k] = std::min(lowest[k], std::log(point[k]));
      highest[k] = std::max(highest[k], std::log(point[k]));
    }
  }
  std::size_t best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < front.size(); ++i) {
    if (!counts(front[i])) continue;
    double sum = 0.0;  // the distance below the chord is (1 - sum) / sqrt(K)
    for (std::size_t k = 0; k < objectives; ++k) {
      const double extent = highest[k] - lowest[k];
      if (extent > 0.0) sum += (std::log(front[i][k]) - lowest[k]) / extent;
    }
    // A rounding error must not decide between the ends, whose sums are 1.
    if (sum < least - 1e-12) {
      least = sum;
      best = i;
    }
  }
  return best;
}

std::optional<std::size_t> best_within(Points front, std::size_t constrained, double limit) {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < front.size(); ++i) {
    if (has_nan(front[i]) || !(front[i][constrained] <= limit)) continue;
    if (!best || front[i].front() < front[*best].front()) best = i;
  }
  return best;
}

bool ParetoArchive::add(std::size_t id, std::vector<double> objectives) {
  if (has_nan(objectives)) return false;
  for (const Member& member : members_) {
    if (member.objectives == objectives || dominates(member.objectives, objectives)) return false;
  }
  std::erase_if(members_, [&](const Member& member) { return dominates(objectives, member.objectives); });
  const auto place = std::find_if(members_.begin(), members_.end(),
                                  [&](const Member& member) { return objectives < member.objectives; });
  members_.insert(place, Member{id, std::move(objectives)});
  return true;
}

}  // namespace longrope::search
