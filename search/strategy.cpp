#include "search/strategy.hpp"

#include <fmt/format.h>

#include "kernels/error.hpp"
#include "search/auto_strategy.hpp"
#include "search/cma_strategy.hpp"
#include "search/lq_cma_strategy.hpp"
#include "search/paper_ga.hpp"
#include "search/release_ga.hpp"

namespace longrope::search {

std::vector<std::string> strategy_names() { return {"auto", "cma", "knots", "lq-cma", "paper-ga", "release-ga"}; }

std::unique_ptr<Strategy> make_strategy(const std::string& name, const Space& space, const StrategyOptions& options) {
  if (name == "auto") return std::make_unique<AutoStrategy>(space, options);
  if (name == "cma") return std::make_unique<CmaStrategy>(name, space, options, 0);
  if (name == "knots") return std::make_unique<CmaStrategy>(name, space, options, 8);
  if (name == "lq-cma") return std::make_unique<LqCmaStrategy>(space, options);
  if (name == "paper-ga") return std::make_unique<PaperGa>(space, options);
  if (name == "release-ga") return std::make_unique<ReleaseGa>(space, options);
  throw InputError(
      fmt::format("[search] strategy must be one of {} but got '{}'", fmt::join(strategy_names(), ", "), name));
}

}  // namespace longrope::search
