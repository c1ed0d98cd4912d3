// Sets of points with several objectives, all minimised: non-dominated sorting and crowding (K. Deb et al., "A fast and
// elitist multiobjective genetic algorithm: NSGA-II", IEEE Trans. Evol. Comp. 6(2), 2002), hypervolume, and rules that
// pick one point of a front. A point with a NaN objective never enters a front. Nothing depends on anything but the
// points and their order.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace longrope::search {

/// a is nowhere worse than b and somewhere better. False when a has a NaN; true when only b has one.
/// Precondition: equal sizes.
bool dominates(std::span<const double> a, std::span<const double> b);

/// Positions of the points that no other dominates, by first objective, then by position. Of equal points the earliest
/// stands for all. Points with a NaN are left out. objectives: [N][K], K >= 1, the same for all.
std::vector<std::size_t> non_dominated(std::span<const std::vector<double>> objectives);

/// Fast non-dominated sort: fronts of positions, best front first, positions ascending within a front; equal points
/// share a front. Points with a NaN form a front of their own, the last. objectives: [N][K].
std::vector<std::vector<std::size_t>> non_dominated_sort(std::span<const std::vector<double>> objectives);

/// Crowding distance of each point within `front` [M][K]: the sum over the objectives of the distance between its
/// neighbours over the front's extent; infinite at the ends. An objective all points share adds nothing. [M]
std::vector<double> crowding_distance(std::span<const std::vector<double>> front);

/// Volume of the part of objective space that the points dominate and that dominates `reference` [K]; exact for every K
/// (slices along the last objective down to K = 2), quick for K <= 4. Points that are not below the reference in every
/// objective, or have a NaN, add nothing; an infinite reference gives an infinite volume if a point counts.
/// points: [N][K]. Throws std::logic_error for sizes that differ.
double hypervolume(std::span<const std::vector<double>> points, std::span<const double> reference);

/// Position of the knee of a front [M][K]: objectives in logarithms and scaled to [0, 1] over the front, then the point
/// farthest below the chord between the two ends (K > 2: below the plane through the worst of every objective, where
/// the scaled ones sum to 1). The earliest among equals, so the first of a front of two. Points with an objective that
/// is not finite and positive do not count; 0 if none counts. K = 1: the lowest.
std::size_t knee(std::span<const std::vector<double>> front);

/// Position of the point with the lowest first objective among those whose objective `constrained` is <= limit, the
/// earliest among equals; none: no such point. Points with a NaN do not count. front: [M][K], constrained < K.
std::optional<std::size_t> best_within(std::span<const std::vector<double>> front, std::size_t constrained,
                                       double limit);

/// The non-dominated set of points as they come, with the caller's id for each. Later equal points do not enter.
class ParetoArchive {
 public:
  struct Member {
    std::size_t id;
    std::vector<double> objectives;  ///< [K]
  };

  /// True: the point entered, and what it dominates left. False: dominated, equal to a member, or with a NaN.
  bool add(std::size_t id, std::vector<double> objectives);

  /// By objectives, first objective first; no two are equal.
  std::span<const Member> members() const { return members_; }

 private:
  std::vector<Member> members_;
};

}  // namespace longrope::search
