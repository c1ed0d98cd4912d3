"""Reads what strategy_bench wrote: runs by problem and strategy."""
from dataclasses import dataclass

import h5py
import numpy as np


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


@dataclass
class Run:
    seed: int
    budget: int
    cost: np.ndarray  # summed up, full evaluations
    best: np.ndarray  # best so far; NaN: none yet
    attributes: dict

    def at(self, cost):
        """Best within `cost`; NaN if nothing yet, None if the run was not given that much."""
        if self.budget < cost and (len(self.cost) == 0 or self.cost[-1] < cost - 1e-9):
            return None
        return self.latest(cost)

    def latest(self, cost):
        """Best within `cost`, or at the end of a shorter run."""
        count = np.searchsorted(self.cost, cost + 1e-9, side="right")
        return self.best[count - 1] if count else float("nan")

    def cost_of(self, target):
        """Cost after which the best is at most `target`; infinite: never."""
        reached = np.flatnonzero(self.best <= target)
        return self.cost[reached[0]] if len(reached) else float("inf")

    def value(self, name):
        return float(self.attributes[name])


def read(files):
    """{problem: {strategy: [Run by seed]}}; a run of a later file takes the place of an earlier one's."""
    problems = {}
    for file in files:
        with h5py.File(file, "r") as store:
            for problem, strategies in store["runs"].items():
                for strategy, seeds in strategies.items():
                    runs = problems.setdefault(problem, {}).setdefault(strategy, {})
                    for seed, group in seeds.items():
                        attributes = {k: (text(v) if isinstance(v, bytes) else v) for k, v in group.attrs.items()}
                        runs[int(seed)] = Run(int(seed), int(attributes["budget"]), group["cost"][:], group["best"][:],
                                              attributes)
    return {p: {s: [runs[k] for k in sorted(runs)] for s, runs in strategies.items()}
            for p, strategies in problems.items()}


def is_analytic(strategies):
    """Whether the optimum is known: then every seed has a problem of its own."""
    return any(np.isfinite(run.value("optimum")) for runs in strategies.values() for run in runs)


def in_order(problems):
    """Models first, then analytic ones by number of factors."""
    return sorted(problems, key=lambda p: (is_analytic(problems[p]), len(p.rsplit("-", 1)[-1]), p.rsplit("-", 1)[-1], p))
