// Dropping a candidate before all its windows are scored: paired differences to an elite on the same windows, with
// windows of one document as one cluster (Miller, arXiv 2411.00640), and a bound that borrows what earlier candidates
// taught about how such differences scatter. No model, no input or output: unit-testable on synthetic numbers.
//
// Of the differences d_j (nats per token, window j) of a candidate to the elite, the first windows are known. The
// question is the sign of the mean over all W windows. With D the token-weighted mean of the known ones, f their share
// of all tokens, c the number of documents among them and u that among the others, all documents taken as independent:
//   SE = (1 - f) s sqrt(1/c + 1/u)      (what is known cannot vary any more: the finite-population correction)
//   s^2 = (d0 s0^2 + (c - 1) s1^2) / (d0 + c - 1)
// and the candidate is dropped when D - t SE > 0, t the 1 - alpha quantile of Student's t with d0 + c - 1 degrees of
// freedom. s1^2 is the sample variance of the documents' differences; s0^2, d0 are an empirical-Bayes prior: the
// moderated t statistic of Smyth (Stat. Appl. Genet. Mol. Biol. 3(1), 2004, sections 3 and 6.2), with s0^2 a power of
// the size of the difference as in its "trend" form (limma).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "model/windows.hpp"
#include "search/candidate.hpp"

namespace longrope::search {

/// How the per-window differences of a complete candidate to the elite scatter, as a function of their mean: s0^2 and
/// d0 above.
class VariancePrior {
 public:
  /// No prior: degrees() is 0.
  VariancePrior() = default;
  /// differences: [n][W], nats per token, of complete candidates, W >= 2. Candidates whose differences are not finite
  /// or do not vary say nothing and are passed over. ln s_i^2 is regressed on ln m_i^2 (m_i the mean difference) with a
  /// slope held within [0, 1], over the range of |m_i| seen; d0 follows from the scatter around the line (Smyth,
  /// eq. for d0), and is at most n.
  static VariancePrior fit(std::span<const std::vector<double>> differences);

  double variance(double size) const;          ///< s0^2 of a mean difference of +-size
  double degrees() const { return degrees_; }  ///< d0
  double slope() const { return slope_; }      ///< of ln s0^2 over ln size^2

 private:
  double intercept_ = 0.0, slope_ = 0.0, degrees_ = 0.0;
  double smallest_ = 0.0, largest_ = 0.0;  ///< |m| seen
};

struct RaceBound {
  double difference = 0.0;      ///< D, nats per token; positive: worse than the elite
  double standard_error = 0.0;  ///< SE; infinite: unknown
  double degrees = 0.0;
  double lower = 0.0;  ///< D - t SE; -infinite: unknown
};

/// The bound after the first `scored` windows. candidate, elite, windows: [W], the windows of one objective;
/// 1 <= scored < W. alpha: one-sided error probability, in (0, 0.5).
RaceBound race_bound(std::span<const WindowScore> candidate, std::span<const WindowScore> elite,
                     std::span<const model::Window> windows, std::size_t scored, const VariancePrior& prior,
                     double alpha);

/// After how many windows candidates are judged: 1, 2, 3, 4, 6, 8, 12, 16, ... below W. Few enough that the error
/// probability can be shared among them.
std::vector<std::size_t> race_rungs(std::size_t windows);

/// One complete candidate that others race against.
struct RaceRival {
  std::vector<WindowScore> windows;   ///< [K W]
  std::vector<VariancePrior> priors;  ///< [K], of differences to it
};

/// A race of a generation: what was known before it, and the rule.
class Race {
 public:
  /// windows: [K W], see objective_windows. elites: the non-dominated complete candidates of earlier generations (one
  /// for one objective); history: all complete candidates of earlier generations, each [K W]. confidence: of never
  /// dropping a candidate that is as good as the elites, over all rungs.
  Race(std::span<const model::Window> windows, std::size_t objectives, double confidence,
       std::span<const std::vector<WindowScore>> elites, std::span<const std::vector<WindowScore>> history);

  const std::vector<std::size_t>& rungs() const { return rungs_; }

  /// Judges a candidate [K W] of which each objective's first `scored` windows are known: the estimates of its
  /// objectives [K] if some elite beats it in all of them with confidence, else none. An estimate is the elite's
  /// perplexity times exp(D).
  std::optional<std::vector<double>> drop(std::span<const WindowScore> candidate, std::size_t scored) const;

 private:
  std::vector<model::Window> windows_;
  std::size_t objectives_;
  double alpha_;  ///< of one rung against one elite
  std::vector<std::size_t> rungs_;
  std::vector<RaceRival> elites_;
};

}  // namespace longrope::search
