#include "search/strategy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "kernels/error.hpp"
#include "search/auto_strategy.hpp"
#include "search/cma_strategy.hpp"
#include "search/longrope2_ga.hpp"
#include "search/lq_cma_strategy.hpp"
#include "search/nsga2.hpp"
#include "search/paper_ga.hpp"
#include "search/piece_ga.hpp"
#include "search/random_search.hpp"
#include "search/release_ga.hpp"
#include "search/strategy_requirements.hpp"

namespace longrope::search {
namespace {

using Maker = std::unique_ptr<Strategy> (*)(const Space&, const StrategyOptions&);

template <typename T>
std::unique_ptr<Strategy> make(const Space& space, const StrategyOptions& options) {
  return std::make_unique<T>(space, options);
}

std::unique_ptr<Strategy> make_cma(const Space& space, const StrategyOptions& options) {
  return std::make_unique<CmaStrategy>("cma", space, options, 0);
}

std::unique_ptr<Strategy> make_knots(const Space& space, const StrategyOptions& options) {
  return std::make_unique<CmaStrategy>("knots", space, options, 8);
}

struct Entry {
  const char* name;
  Maker maker;
};

constexpr Entry kStrategies[] = {
    {"auto", make<AutoStrategy>},         //
    {"cma", make_cma},                    //
    {"knots", make_knots},                //
    {"lq-cma", make<LqCmaStrategy>},      //
    {"paper-ga", make<PaperGa>},          //
    {"release-ga", make<ReleaseGa>},      //
    {"piece-ga", make<PieceGa>},          //
    {"longrope2-ga", make<LongRope2Ga>},  //
    {"random", make<RandomSearch>},       //
    {"nsga2", make<Nsga2>},               //
};

}  // namespace

std::vector<std::string> strategy_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kStrategies) names.emplace_back(entry.name);
  return names;
}

std::unique_ptr<Strategy> make_strategy(const std::string& name, const Space& space, const StrategyOptions& options) {
  const auto* entry =
      std::find_if(std::begin(kStrategies), std::end(kStrategies), [&](const Entry& e) { return e.name == name; });
  if (entry == std::end(kStrategies)) {
    throw InputError(
        fmt::format("[search] strategy must be one of {} but got '{}'", fmt::join(strategy_names(), ", "), name));
  }
  std::unique_ptr<Strategy> strategy = entry->maker(space, options);  // validates the space
  check_space(name, space);
  return strategy;
}

}  // namespace longrope::search
