#!/usr/bin/env python3
"""Plots what strategy_bench measured: best so far against cost, one panel a problem.

    /usr/bin/python3 experiments/benchmarks/strategies/plot.py --out strategies.png FILE.h5...

Line: median over seeds; band: quartiles (--band range: from the best to the worst seed). A line ends where its shortest
run does.
"""
import argparse
import math

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

import bench_results  # noqa: E402

# Dark to light within each family, so that lines differ in print too; the strategy the bench is about is black.
STYLES = {
    "auto": ("#000000", "-"), "paper-ga": ("#d62728", "-"), "release-ga": ("#d62728", "--"), "piece-ga": ("#e377c2", "--"),
    "longrope2-ga": ("#ff7f0e", "-"), "nsga2": ("#ff7f0e", ":"), "random": ("#9e9e9e", ":"), "bobyqa": ("#1f77b4", "-"),
    "pagmo-cmaes": ("#1f77b4", "--"),
}
OTHERS = [("#2ca02c", "-"), ("#2ca02c", "--"), ("#9467bd", "-"), ("#9467bd", "--"), ("#8c564b", "-"), ("#17becf", "-"),
          ("#17becf", "--"), ("#bcbd22", "-")]


def styles(names):
    others = iter(OTHERS * 10)
    return {name: STYLES.get(name) or next(others) for name in names}


def curves(runs, analytic):
    """Costs, and [runs, costs] values: perplexity, or the share of the gap between YaRN and the optimum."""
    end = min(run.cost[-1] for run in runs)
    costs = np.unique(np.concatenate([run.cost[run.cost <= end + 1e-9] for run in runs]))
    values = np.array([[run.latest(cost) for cost in costs] for run in runs])
    if analytic:
        low = np.array([[run.value("optimum")] for run in runs])
        yarn = np.array([[run.value("yarn")] for run in runs])
        values = np.maximum((values - low) / (yarn - low), 1e-9)
    return costs, values


def panel(axes, problem, strategies, style, band):
    analytic = bench_results.is_analytic(strategies)
    seeds, shown = set(), []
    for name in sorted(strategies, key=lambda n: n == "auto"):  # auto on top
        runs = [run for run in strategies[name] if len(run.cost)]
        if not runs:
            continue
        seeds.add(len(runs))
        costs, values = curves(runs, analytic)
        low, high = (values.min(0), values.max(0)) if band == "range" else np.quantile(values, [0.25, 0.75], axis=0)
        colour, line = style[name]
        median = np.median(values, axis=0)
        shown.append(median[costs >= min(5, costs[-1])])
        axes.fill_between(costs, low, high, step="post", color=colour, alpha=0.15, linewidth=0)
        axes.step(costs, median, where="post", color=colour, linestyle=line, linewidth=2.2 if name == "auto" else 1.4)
    axes.set_xscale("log")
    count = "/".join(map(str, sorted(seeds)))
    axes.set_title(f"{problem} ({count} seed{'' if count == '1' else 's'})", fontsize=10)
    axes.grid(True, which="major", alpha=0.3)
    if analytic:
        axes.set_yscale("log")
        axes.set_ylim(1e-4, 2.0)
        axes.set_ylabel("gap left (YaRN 1, optimum 0)", fontsize=8)
        return
    axes.set_ylabel("best perplexity", fontsize=8)
    yarn = next(run.value("yarn") for runs in strategies.values() for run in runs)
    axes.axhline(yarn, color="#555555", linewidth=0.8, linestyle="-.")
    axes.annotate("YaRN", (1, yarn), xytext=(3, 2), textcoords="offset points", fontsize=7, color="#555555")
    finite = np.concatenate([s[np.isfinite(s)] for s in shown] or [np.array([])])
    if len(finite) and finite.min() < yarn:  # what is worse than YaRN is left out of the picture
        axes.set_ylim(yarn - 1.08 * (yarn - finite.min()), yarn + 0.35 * (yarn - finite.min()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--out", required=True, help="PNG to write")
    parser.add_argument("--band", choices=["quartiles", "range"], default="quartiles")
    arguments = parser.parse_args()
    problems = bench_results.read(arguments.files)
    if not problems:
        raise SystemExit("plot.py: the files hold no runs")
    names = sorted({name for strategies in problems.values() for name in strategies}, key=lambda n: (n != "auto", n))
    style = styles(names)
    columns = {4: 2, 9: 5, 10: 5}.get(len(problems), min(4, len(problems)))
    rows = math.ceil(len(problems) / columns)
    figure, grid = plt.subplots(rows, columns, figsize=(4.3 * columns, 3.3 * rows + 0.8), squeeze=False)
    for axes, problem in zip(grid.flat, bench_results.in_order(problems)):
        panel(axes, problem, problems[problem], style, arguments.band)
    for axes in grid.flat[len(problems):]:
        axes.axis("off")
    for axes in grid[-1]:
        axes.set_xlabel("cost (full evaluations)", fontsize=8)
    lines = [plt.Line2D([], [], color=style[n][0], linestyle=style[n][1], linewidth=2.2 if n == "auto" else 1.4) for n in names]
    figure.legend(lines, names, loc="lower center", ncol=min(len(names), 2 + 2 * columns), fontsize=8, frameon=False)
    legend_rows = math.ceil(len(names) / (2 + 2 * columns))
    figure.tight_layout(rect=(0, 0.1 * (legend_rows + 1) / (rows + 0.3) / 3, 1, 1))
    figure.savefig(arguments.out, dpi=130)


if __name__ == "__main__":
    main()
