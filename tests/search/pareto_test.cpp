// Pareto tools against brute force on random sets with duplicates, ties and NaN.
#include "search/pareto.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "search/random.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::search;

namespace {

using Points = std::vector<std::vector<double>>;
constexpr double kInf = std::numeric_limits<double>::infinity();

/// Coordinates 1 to `levels`, so ties and duplicates are common; one in `nan_in` is NaN (0: none).
Points random_points(RandomStream& random, std::size_t count, std::size_t objectives, std::uint64_t levels,
                     std::uint64_t nan_in) {
  Points points(count, std::vector<double>(objectives));
  for (auto& point : points) {
    for (double& x : point) {
      x = 1.0 + static_cast<double>(random.below(levels));
      if (nan_in > 0 && random.below(nan_in) == 0) x = std::nan("");
    }
  }
  return points;
}

bool bad(const std::vector<double>& p) {
  return std::count_if(p.begin(), p.end(), [](double x) { return x != x; }) > 0;
}

bool beats(const std::vector<double>& a, const std::vector<double>& b) {
  std::size_t at_most = 0, below = 0;
  for (std::size_t k = 0; k < a.size(); ++k) at_most += a[k] <= b[k], below += a[k] < b[k];
  return at_most == a.size() && below > 0;
}

/// Volume of integer boxes counted cell by cell: coordinates are integers.
double count_cells(const Points& points, const std::vector<double>& reference) {
  double cells = 0.0;
  std::vector<double> corner(reference.size());
  const std::function<void(std::size_t)> walk = [&](std::size_t k) {
    if (k == reference.size()) {
      for (const auto& p : points) {
        bool covers = true;
        for (std::size_t i = 0; i < p.size(); ++i) covers = covers && p[i] <= corner[i];
        if (covers) {
          cells += 1.0;
          return;
        }
      }
      return;
    }
    for (double x = 0.0; x < reference[k]; x += 1.0) {
      corner[k] = x;
      walk(k + 1);
    }
  };
  walk(0);
  return cells;
}

/// Sum over the subsets, with signs, of the volume that all of a subset dominate.
double inclusion_exclusion(const Points& points, const std::vector<double>& reference) {
  double sum = 0.0;
  for (std::size_t subset = 1; subset < (std::size_t{1} << points.size()); ++subset) {
    double box = 1.0;
    int members = 0;
    for (std::size_t i = 0; i < points.size(); ++i) members += static_cast<int>((subset >> i) & 1);
    for (std::size_t k = 0; k < reference.size(); ++k) {
      double corner = -kInf;
      for (std::size_t i = 0; i < points.size(); ++i) {
        if ((subset >> i) & 1) corner = std::max(corner, points[i][k]);
      }
      box *= std::max(0.0, reference[k] - corner);
    }
    sum += members % 2 == 1 ? box : -box;
  }
  return sum;
}

}  // namespace

TEST_CASE("the non-dominated set, its order and the sort into fronts are those of brute force") {
  RandomStream random(1, 0, 0, 0, Purpose::random);
  for (int round = 0; round < 400; ++round) {
    const std::size_t objectives = 1 + random.below(4), count = random.below(30);
    const Points points = random_points(random, count, objectives, 2 + random.below(20), round % 3 == 0 ? 0 : 9);

    std::vector<std::size_t> expected;
    for (std::size_t i = 0; i < count; ++i) {
      bool in = !bad(points[i]);
      for (std::size_t j = 0; in && j < count; ++j) {
        if (!bad(points[j]) && (beats(points[j], points[i]) || (j < i && points[j] == points[i]))) in = false;
      }
      if (in) expected.push_back(i);
    }
    std::stable_sort(expected.begin(), expected.end(),
                     [&](std::size_t a, std::size_t b) { return points[a][0] < points[b][0]; });
    REQUIRE(non_dominated(points) == expected);

    // A front: what nothing left beats.
    std::vector<std::size_t> left, nans;
    for (std::size_t i = 0; i < count; ++i) (bad(points[i]) ? nans : left).push_back(i);
    const auto fronts = non_dominated_sort(points);
    std::size_t at = 0;
    while (!left.empty()) {
      std::vector<std::size_t> front, rest;
      for (const std::size_t i : left) {
        const bool beaten =
            std::any_of(left.begin(), left.end(), [&](std::size_t j) { return beats(points[j], points[i]); });
        (beaten ? rest : front).push_back(i);
      }
      REQUIRE(at < fronts.size());
      REQUIRE(fronts[at++] == front);
      left = rest;
    }
    if (!nans.empty()) {
      REQUIRE(at < fronts.size());
      REQUIRE(fronts[at++] == nans);
    }
    REQUIRE(at == fronts.size());
  }
}

TEST_CASE("an archive holds the non-dominated set of all that came, in any order of coming") {
  RandomStream random(2, 0, 0, 0, Purpose::random);
  for (int round = 0; round < 200; ++round) {
    const Points points = random_points(random, random.below(40), 1 + random.below(3), 2 + random.below(12), 11);
    ParetoArchive archive;
    for (std::size_t i = 0; i < points.size(); ++i) {
      const auto before = archive.members().size();
      const bool entered = archive.add(i, points[i]);
      if (!entered) REQUIRE(archive.members().size() == before);
      const auto now = non_dominated(std::span(points).first(i + 1));
      std::set<std::size_t> expected(now.begin(), now.end()), held;
      for (const auto& member : archive.members()) {
        held.insert(member.id);
        REQUIRE(member.objectives == points[member.id]);
      }
      REQUIRE(held == expected);
      REQUIRE(entered == held.contains(i));
    }
    for (std::size_t m = 1; m < archive.members().size(); ++m)
      REQUIRE(archive.members()[m - 1].objectives < archive.members()[m].objectives);
  }
}

TEST_CASE("crowding distances, by hand") {
  // f1 0 1 2 6, f2 10 4 3 0: inner ones (2 - 0)/6 + (10 - 3)/10 and (6 - 1)/6 + (4 - 0)/10.
  const Points front{{2, 3}, {0, 10}, {6, 0}, {1, 4}};
  const auto distance = crowding_distance(front);
  CHECK(distance[1] == kInf);
  CHECK(distance[2] == kInf);
  CHECK(std::abs(distance[3] - (2.0 / 6 + 7.0 / 10)) < 1e-15);
  CHECK(std::abs(distance[0] - (5.0 / 6 + 4.0 / 10)) < 1e-15);
  CHECK(crowding_distance(Points{}).empty());
  CHECK(crowding_distance(Points{{1, 1}, {1, 1}, {1, 1}}) == std::vector<double>{0, 0, 0});
  const double nan = std::nan("");
  for (const double d : crowding_distance(Points{{nan, nan}, {nan, 1}, {2, nan}})) CHECK(!std::isnan(d));
}

TEST_CASE("hypervolume: cells counted, and inclusion and exclusion") {
  RandomStream random(3, 0, 0, 0, Purpose::random);
  for (int round = 0; round < 300; ++round) {
    const std::size_t objectives = 1 + static_cast<std::size_t>(round) % 4;
    const Points points = random_points(random, random.below(14), objectives, 8, round % 2 == 0 ? 0 : 15);
    std::vector<double> reference(objectives);
    for (double& r : reference) r = 4.0 + static_cast<double>(random.below(5));  // some points lie beyond it
    REQUIRE(hypervolume(points, reference) == count_cells(points, reference));
  }
  for (int round = 0; round < 40; ++round) {
    const std::size_t objectives = 1 + static_cast<std::size_t>(round) % 5;
    Points points(9, std::vector<double>(objectives));
    for (auto& point : points) {
      for (double& x : point) x = random.uniform() * 1.2;
    }
    const std::vector<double> reference(objectives, 1.0);
    REQUIRE(std::abs(hypervolume(points, reference) - inclusion_exclusion(points, reference)) < 1e-12);
  }
}

TEST_CASE("hypervolume at the edges") {
  CHECK(hypervolume(Points{}, std::vector<double>{1, 1}) == 0.0);
  CHECK(hypervolume(Points{{1, 0}}, std::vector<double>{1, 1}) == 0.0);
  CHECK(hypervolume(Points{{0, 0}}, std::vector<double>{kInf, 1}) == kInf);
  CHECK(hypervolume(Points{{0, 2}}, std::vector<double>{kInf, 1}) == 0.0);
  CHECK(hypervolume(Points{{0, -kInf}}, std::vector<double>{2, 1}) == kInf);
  CHECK(hypervolume(Points{{0, 0}}, std::vector<double>{std::nan(""), 1}) == 0.0);
  CHECK_THROWS_AS(hypervolume(Points{{0, 0, 0}}, std::vector<double>{1, 1}), std::logic_error);
}

TEST_CASE("the knee is the point farthest from the chord, in normalised logarithms") {
  // Scaled logarithms (0, 1) (0.2, 0.5) (0.5, 0.35) (1, 0): the sums are 1, 0.7, 0.85, 1.
  const auto at = [](double x, double y) { return std::vector<double>{std::exp(3 + 2 * x), std::exp(-1 + 0.1 * y)}; };
  CHECK(knee(Points{at(0, 1), at(0.2, 0.5), at(0.5, 0.35), at(1, 0)}) == 1);
  CHECK(knee(Points{at(1, 0), at(0.5, 0.35), at(0.2, 0.75), at(0, 1)}) == 1);
  // Against the distance of a point to the line through both ends.
  RandomStream random(4, 0, 0, 0, Purpose::random);
  for (int round = 0; round < 200; ++round) {
    Points points = random_points(random, 20, 2, 1000, 0);
    Points front;
    for (const std::size_t i : non_dominated(points)) front.push_back(points[i]);
    const double x0 = std::log(front.front()[0]), y0 = std::log(front.front()[1]);
    const double width = std::log(front.back()[0]) - x0, height = y0 - std::log(front.back()[1]);
    std::vector<double> below;
    for (const auto& p : front) {
      if (front.size() == 1) break;
      // Line from (0, 1) to (1, 0): cross product with (1, -1), over its length.
      const double x = (std::log(p[0]) - x0) / width, y = 1 - (y0 - std::log(p[1])) / height;
      below.push_back(-(x * 1.0 + (y - 1.0) * 1.0) / std::sqrt(2.0));
    }
    const std::size_t found = knee(front);
    REQUIRE(found < front.size());
    for (const double other : below) REQUIRE(below[found] >= other - 1e-9);
  }
  CHECK(knee(Points{{3}, {1}, {2}}) == 1);
  CHECK(knee(Points{{1, 2}, {2, 1}}) == 0);
  CHECK(knee(Points{{5, 5}}) == 0);
  CHECK(knee(Points{{std::nan(""), 1}, {0, 9}, {4, 1}}) == 2);
  CHECK(knee(Points{{0, 1}}) == 0);
  CHECK(knee(Points{{1, 9, 9}, {9, 1, 9}, {9, 9, 1}, {3, 3, 3}}) == 3);
}

TEST_CASE("the best first objective whose other one is within a limit") {
  const Points front{{1, 9}, {2, 5}, {3, 4}, {3, 1}, {std::nan(""), 0}};
  CHECK(best_within(front, 1, 9) == 0);
  CHECK(best_within(front, 1, 5) == 1);
  CHECK(best_within(front, 1, 4.5) == 2);
  CHECK(best_within(front, 1, 3) == 3);
  CHECK(!best_within(front, 1, 0.5));
  CHECK(!best_within(front, 1, std::nan("")));
  CHECK(!best_within(Points{}, 1, 1));
}
