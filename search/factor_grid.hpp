// The factors LongRoPE searches over: 1.00, 1.01, ..., up to 1.25 s (paper arXiv 2402.13753, Table 4).
#pragma once

#include <cstdint>

namespace longrope::search {

/// Value k is the double nearest to the decimal 1 + k/100, so that what is printed is what was searched.
class FactorGrid {
 public:
  /// 1 to at most `upper`. Precondition: 1 <= upper <= 1e9.
  explicit FactorGrid(double upper);

  std::int64_t size() const { return size_; }
  static double value(std::int64_t k) { return static_cast<double>(100 + k) / 100.0; }
  double upper() const { return value(size_ - 1); }

  /// Smallest k with value(k) >= x; may be size().
  std::int64_t first_at_least(double x) const;
  /// Largest k with value(k) <= x; -1 below the grid.
  std::int64_t last_at_most(double x) const;

 private:
  std::int64_t size_ = 0;
};

}  // namespace longrope::search
