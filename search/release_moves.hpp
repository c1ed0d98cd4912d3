// First individual, mutation and crossover of the search that microsoft/LongRoPE ships on its main branch
// (evolution/search.py, evolution/algorithms/dim_mono.py), to the bit given the same random draws. Factors live in a
// float32 array there: every value written here is rounded to float32, though held as double.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "search/random.hpp"
#include "search/space.hpp"

namespace longrope::search {

inline constexpr double kReleaseStep = 0.01;
inline constexpr double kReleaseProbability = 0.3;
inline constexpr int kReleaseCrossoverTries = 20;
/// The original's mutation loops until it meets a new non-decreasing candidate, possibly for ever. Ours gives up after
/// this many sweeps and returns the last non-decreasing one.
inline constexpr int kReleaseMaxSweeps = 10000;

/// numpy.arange(start, stop, step) without making the array: element k and the length.
struct Arange {
  double start, stop, step;
  std::int64_t size() const;
  double operator[](std::int64_t k) const;
};

/// Everything made so far; membership is numpy.allclose(member, factors) in float32.
class ReleaseHistory {
 public:
  void add(std::span<const double> factors) { members_.emplace_back(factors.begin(), factors.end()); }
  bool contains(std::span<const double> factors) const;

 private:
  std::vector<std::vector<double>> members_;
};

/// numpy.allclose(a, b) of float32 arrays: |a_i - b_i| <= 1e-8 + 1e-5 |b_i| for all i.
bool release_allclose(std::span<const double> a, std::span<const double> b);

/// λ_i = s (1 - mask_i) + mask_i, mask_i = 1 - ramp_i: YaRN's ramp, blended in λ and not in frequency. [d/2]
std::vector<double> release_first_individual(const Space& space);

/// Sweeps over the dimensions, each drawn anew with probability 0.3 between its neighbours, until the result is
/// non-decreasing and not in `history`. Does not add it there.
std::vector<double> release_mutate(std::span<const double> parent, double scale, const ReleaseHistory& history,
                                   RandomStream& random);

/// Copies genes of `worse` into `better` one by one until the result is non-decreasing and not in `history`: usually
/// one gene. Empty: none found, or the parents are alike. Does not add it to `history`.
std::vector<double> release_crossover(std::span<const double> better, std::span<const double> worse,
                                      const ReleaseHistory& history, RandomStream& random);

}  // namespace longrope::search
