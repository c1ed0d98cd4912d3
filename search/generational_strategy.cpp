#include "search/generational_strategy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "kernels/error.hpp"
#include "search/ordering.hpp"

namespace longrope::search {
namespace {

std::uint64_t fnv1a(std::uint64_t digest, std::uint64_t word) {
  for (int byte = 0; byte < 8; ++byte) {
    digest ^= (word >> (8 * byte)) & 0xff;
    digest *= 1099511628211u;
  }
  return digest;
}

}  // namespace

GenerationalStrategy::GenerationalStrategy(Space space, StrategyOptions options)
    : space_(std::move(space)), options_(options) {
  space_.validate();
  if (options_.stage >= 65536)
    throw InputError(fmt::format("[search] the stage index must be below 65536 but is {}", options_.stage));
}

std::int64_t GenerationalStrategy::most_candidates() const {
  return std::clamp<std::int64_t>(options_.budget, 1, std::int64_t{1} << 32) * kCandidatesPerBudget;
}

RandomStream GenerationalStrategy::stream(std::int32_t generation, std::size_t candidate, Purpose purpose) const {
  // Generation -1 is that of the baselines, hence the + 1.
  return {options_.seed, options_.stage, static_cast<std::uint32_t>(generation + 1),
          static_cast<std::uint32_t>(candidate), purpose};
}

std::vector<Candidate> GenerationalStrategy::ask(std::int64_t first_id, std::int64_t limit) {
  if (asked_ != 0) throw std::logic_error("Strategy::ask before the candidates of the last ask were told");
  if (limit < 1) throw std::logic_error("Strategy::ask for no candidates");
  if (pending_.empty()) pending_ = propose(generation_, told_);

  const std::size_t count = std::min(pending_.size() - done_, static_cast<std::size_t>(limit));
  std::vector<Candidate> candidates(count);
  for (std::size_t i = 0; i < count; ++i) {
    const Proposal& proposal = pending_[done_ + i];
    Candidate& candidate = candidates[i];
    candidate.id = first_id + static_cast<std::int64_t>(i);
    candidate.generation = generation_;
    candidate.origin = proposal.origin;
    for (int p = 0; p < 2; ++p) {
      const std::int64_t position = proposal.parents[p];
      if (position < 0) continue;
      const auto told = static_cast<std::int64_t>(told_.size());
      candidate.parents[p] =
          position < told ? told_[static_cast<std::size_t>(position)].id : first_id + (position - told);
    }
    candidate.factors = space_.absolute(proposal.factors);
    candidate.start_tokens = proposal.start_tokens;
    candidate.attention_factor = proposal.attention_factor > 0.0 ? proposal.attention_factor : space_.attention_factor;
  }
  asked_ = count;
  asked_first_id_ = first_id;
  return candidates;
}

void GenerationalStrategy::remember(const Candidate& candidate, const Outcome& outcome) {
  Individual individual{
      candidate.id,     space_.relative(candidate.factors), candidate.start_tokens, candidate.attention_factor, 0.0, {},
      outcome.raced_out};
  digest_ = fnv1a(digest_, static_cast<std::uint64_t>(candidate.id));
  for (const double factor : candidate.factors) digest_ = fnv1a(digest_, std::bit_cast<std::uint64_t>(factor));
  digest_ = fnv1a(digest_, static_cast<std::uint64_t>(candidate.start_tokens));
  digest_ = fnv1a(digest_, std::bit_cast<std::uint64_t>(candidate.attention_factor));
  for (const double objective : outcome.objectives) {
    // One NaN is as good as another; a store gives back the payload it was given, but need not.
    const double value = std::isnan(objective) ? std::numeric_limits<double>::quiet_NaN() : objective;
    digest_ = fnv1a(digest_, std::bit_cast<std::uint64_t>(value));
    individual.objectives.push_back(value);
  }
  digest_ = fnv1a(digest_, outcome.raced_out ? 1 : 0);
  individual.objective = individual.objectives.front();
  told_.push_back(std::move(individual));
}

void GenerationalStrategy::tell(std::span<const Candidate> candidates, std::span<const Outcome> outcomes) {
  if (candidates.size() != asked_ || outcomes.size() != asked_) {
    throw std::logic_error(fmt::format("Strategy::tell of {} candidates and {} objectives after an ask of {}",
                                       candidates.size(), outcomes.size(), asked_));
  }
  for (std::size_t i = 0; i < asked_; ++i) {
    if (candidates[i].id != asked_first_id_ + static_cast<std::int64_t>(i) ||
        candidates[i].factors != space_.absolute(pending_[done_ + i].factors)) {
      throw std::logic_error("Strategy::tell of other candidates than those asked");
    }
  }
  for (const Outcome& outcome : outcomes) {
    if (outcome.objectives.size() != options_.objectives) {
      throw std::logic_error(fmt::format("Strategy::tell of {} objectives to a strategy of {}",
                                         outcome.objectives.size(), options_.objectives));
    }
  }
  for (std::size_t i = 0; i < asked_; ++i) remember(candidates[i], outcomes[i]);
  done_ += asked_;
  asked_ = 0;
  if (done_ == pending_.size() && !pending_.empty()) {
    ++generation_;
    done_ = 0;
    pending_.clear();
  }
}

std::string GenerationalStrategy::save() const {
  if (asked_ != 0) throw std::logic_error("Strategy::save before the candidates of the last ask were told");
  const nlohmann::json state = {{"strategy", name()},        {"version", 1},
                                {"generation", generation_}, {"done", done_},
                                {"told", told_.size()},      {"digest", fmt::format("{:016x}", digest_)}};
  return state.dump();
}

void GenerationalStrategy::load(const std::string& text, std::span<const Candidate> candidates,
                                std::span<const Outcome> outcomes) {
  if (!told_.empty() || !pending_.empty()) throw std::logic_error("Strategy::load on a strategy that was used");
  const auto damaged = [](const std::string& what) {
    return InputError("[search] the strategy's state is damaged: " + what);
  };

  std::int64_t generation = 0, done = 0, told = 0;
  std::string digest;
  try {
    const nlohmann::json state = nlohmann::json::parse(text);
    const std::string strategy = state.at("strategy").get<std::string>();
    if (strategy != name())
      throw InputError(fmt::format("[search] the state is of strategy '{}' but this is {}", strategy, name()));
    if (state.at("version").get<std::int64_t>() != 1)
      throw InputError("[search] the state is of another version of " + name());
    generation = state.at("generation").get<std::int64_t>();
    done = state.at("done").get<std::int64_t>();
    told = state.at("told").get<std::int64_t>();
    digest = state.at("digest").get<std::string>();
  } catch (const nlohmann::json::exception& error) {
    throw damaged(error.what());
  }
  if (std::cmp_not_equal(candidates.size(), told) || outcomes.size() != candidates.size()) {
    throw damaged(fmt::format("it speaks of {} candidates but {} with {} outcomes are there", told, candidates.size(),
                              outcomes.size()));
  }
  if (!(0 <= generation && generation <= told && 0 <= done && done <= told) ||
      told - done != told_before(static_cast<std::int32_t>(generation))) {
    throw damaged("its counters contradict each other");
  }

  const std::size_t before = candidates.size() - static_cast<std::size_t>(done);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (std::cmp_not_equal(candidates[i].factors.size(), space_.geometry.pairs()))
      throw damaged("a candidate has another size");
    if (i == before && done > 0) pending_ = propose(static_cast<std::int32_t>(generation), told_);
    remember(candidates[i], outcomes[i]);
  }
  if (digest != fmt::format("{:016x}", digest_))
    throw damaged("its digest is not that of the candidates and objectives told");
  if (done > 0 && std::cmp_greater_equal(done, pending_.size())) throw damaged("its counters contradict each other");
  generation_ = static_cast<std::int32_t>(generation);
  done_ = static_cast<std::size_t>(done);
}

std::vector<std::size_t> best_individuals(std::span<const Individual> told, std::size_t count) {
  std::vector<std::size_t> order(told.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return less_nan_last(told[a].objective, told[b].objective); });
  order.resize(std::min(count, order.size()));
  return order;
}

bool is_non_decreasing(std::span<const double> factors) {
  for (std::size_t i = 0; i + 1 < factors.size(); ++i) {
    if (!(factors[i] <= factors[i + 1])) return false;
  }
  return true;
}

}  // namespace longrope::search
