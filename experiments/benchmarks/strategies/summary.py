#!/usr/bin/env python3
"""Prints what strategy_bench measured as Markdown: a table a problem, and what the claims come to.

    /usr/bin/python3 experiments/benchmarks/strategies/summary.py FILE.h5...

`auto` is the strategy the claims are about (--of NAME: another), `paper-ga` at 1344 full evaluations what it is held
against. What was not run is called "not run".
"""
import argparse
import math
import statistics

import bench_results

FULL = 1344      # full evaluations of LongRoPE's search
CHECKPOINT = 100  # where the strategy is compared with the others at FULL
MEDIAN_ASKED, WORST_ASKED, GAP_ASKED = 13, 27, 0.10
NOT_RUN = "not run"


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values and not any(math.isnan(v) for v in values) else float("nan")


def number(value, digits=5):
    if value is None:
        return NOT_RUN
    if isinstance(value, str):
        return value
    return "-" if math.isnan(value) else "never" if math.isinf(value) else f"{value:.{digits}g}"


def targets(strategies):
    """{seed: what paper-ga reached with FULL}: of the same seed where each has its own problem, else the median."""
    runs = [run for run in strategies.get("paper-ga", []) if run.at(FULL) is not None]
    if bench_results.is_analytic(strategies):
        return {run.seed: run.at(FULL) for run in runs}
    value = median([run.at(FULL) for run in runs])
    return {run.seed: value for of in strategies.values() for run in of} if runs else {}


def best_ever(strategies, seed):
    """The optimum where it is known, else the best that any run found."""
    runs = [run for of in strategies.values() for run in of]
    if bench_results.is_analytic(strategies):
        return next(run.value("optimum") for run in runs if run.seed == seed)
    finals = [run.best[-1] for run in runs if len(run.best) and not math.isnan(run.best[-1])]
    return min(finals) if finals else float("nan")


def gap(run, value, strategies):
    """Share of the way from YaRN to the best ever that is left."""
    if value is None:
        return None
    low, yarn = best_ever(strategies, run.seed), run.value("yarn")
    return (value - low) / (yarn - low) if yarn > low else float("nan")


def overhead(run):
    """Milliseconds an evaluation, of CPU or else of the clock, and its share of the time; NaN: not measured."""
    own = run.value("overhead_cpu_s")
    own, model = run.value("overhead_wall_s") if math.isnan(own) else own, run.value("model_s") / max(1, int(run.attributes["threads"]))
    if not len(run.cost) or math.isnan(own):
        return float("nan"), float("nan")
    return 1000.0 * own / len(run.cost), own / (own + model) if model > 0 else float("nan")


def columns(strategies):
    """Names of a problem's columns."""
    spread = "spread at the end"
    held_out = [] if bench_results.is_analytic(strategies) else [f"gap left at {CHECKPOINT}", f"held-out at {CHECKPOINT}",
                                                                 "held-out at the end"]
    return ["strategy", "seeds", "budget", "at 13", "at 27", f"at {CHECKPOINT}", f"at {FULL}", spread, *held_out,
            f"cost to reach paper-ga at {FULL}: median, worst", "overhead ms", "share"]


def row(name, runs, strategies, reference):
    analytic = bench_results.is_analytic(strategies)
    digits = 2 if analytic else 5
    values = [number(shown(runs, run_at(cost), strategies), digits) for cost in (13, 27, CHECKPOINT, FULL)]
    ends = [gap(run, run.best[-1], strategies) if analytic else run.best[-1] for run in runs if len(run.best)]
    spread = f"{number(min(ends), digits)} to {number(max(ends), digits)}" if ends else "-"
    held_out = []
    if not analytic:
        gaps = [gap(run, run.at(CHECKPOINT), strategies) for run in runs]
        held_out = [number(median(gaps) if any(g is not None for g in gaps) else None, 2),
                    number(shown(runs, held_out_at_checkpoint, strategies)),
                    number(median([run.value("held_out_final") for run in runs]))]
    costs = [run.cost_of(reference[run.seed]) for run in runs if run.seed in reference]
    reach = f"{number(statistics.median(costs), 4)}, {number(max(costs), 4)}" if costs else NOT_RUN
    milliseconds, share = (median([overhead(run)[k] for run in runs]) for k in (0, 1))
    budgets = "/".join(map(str, sorted({run.budget for run in runs})))
    return [name, str(len(runs)), budgets, *values, spread, *held_out, reach, number(milliseconds, 3),
            number(100 * share, 3) + ("" if math.isnan(share) else " %")]


def run_at(cost):
    return lambda run: run.at(cost)


def held_out_at_checkpoint(run):
    return None if run.at(CHECKPOINT) is None else run.value("held_out_at_100")


def shown(runs, value_of, strategies):
    """Median over runs of a value, as the share of the gap that is left where the optimum is known."""
    values = [value_of(run) for run in runs]
    if bench_results.is_analytic(strategies):
        values = [gap(run, value, strategies) for run, value in zip(runs, values)]
    return median(values) if any(v is not None for v in values) else None


def table(problem, strategies):
    print(f"### {problem}\n")
    if bench_results.is_analytic(strategies):
        print("Share of the way from YaRN (1) to the optimum (0) that is left, median over seeds.\n")
    else:
        some = next(run for of in strategies.values() for run in of)
        formulas = [f"{n} {number(some.value(n))}" for n in ("pi", "ntk", "yarn")]
        outside = [f"{n} {number(some.value('held_out_' + n))}" for n in ("pi", "ntk", "yarn")]
        print(f"Perplexity, median over seeds. Formulas: {', '.join(formulas)}; on held-out text: {', '.join(outside)}.\n")
    names = columns(strategies)
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|")
    reference = targets(strategies)
    for name, runs in sorted(strategies.items(), key=lambda item: (item[0] != "auto", item[0])):
        print("| " + " | ".join(row(name, runs, strategies, reference)) + " |")
    print()


def verdict(holds):
    return "holds" if holds else "does not hold"


def claims(problem, strategies, subject):
    print(f"Claims for `{subject}` on {problem}:\n")
    runs = strategies.get(subject)
    if not runs:
        print(f"- {subject}: {NOT_RUN}\n")
        return
    reference = targets(strategies)
    costs = [run.cost_of(reference[run.seed]) for run in runs if run.seed in reference]
    if costs:
        middle, worst = statistics.median(costs), max(costs)
        holds = middle <= MEDIAN_ASKED and worst <= WORST_ASKED
        print(f"- cost to reach paper-ga at {FULL}: {', '.join(number(c, 4) for c in costs)} by seed; median {number(middle, 4)} "
              f"(asked: {MEDIAN_ASKED}), worst {number(worst, 4)} (asked: {WORST_ASKED}), {len(costs)} seeds: {verdict(holds)}")
    else:
        print(f"- cost to reach paper-ga at {FULL}: {NOT_RUN} (no paper-ga with that budget)")
    print(f"- median at {CHECKPOINT} against medians of all others at {FULL}: {against(strategies, subject, None)}")
    print(f"- the same on held-out text: {against(strategies, subject, 'held_out')}")
    gaps = [gap(run, run.at(CHECKPOINT), strategies) for run in runs]
    if any(g is None for g in gaps):
        print(f"- gap left at {CHECKPOINT}: {NOT_RUN}")
    else:
        print(f"- gap left at {CHECKPOINT}: median {number(median(gaps), 2)}, worst {number(max(gaps), 2)} (asked: {GAP_ASKED}): "
              f"{verdict(median(gaps) <= GAP_ASKED)}")
    milliseconds, shares = zip(*(overhead(run) for run in runs))
    if any(math.isnan(m) for m in milliseconds):
        print("- overhead: not measured")
    else:
        share = "" if any(math.isnan(s) for s in shares) else f", {100 * max(shares):.2g} % of the time (asked: 2)"
        print(f"- overhead, worst seed: {max(milliseconds):.3g} ms an evaluation (asked: 10){share}")
    print()


def against(strategies, subject, kind):
    """Medians of the subject at CHECKPOINT and of each other one at FULL."""
    held_out = kind == "held_out"
    own = shown(strategies[subject], held_out_at_checkpoint if held_out else run_at(CHECKPOINT), strategies)
    if own is None or math.isnan(own):
        return NOT_RUN if own is None else "nothing held out"
    worse, better, missing = [], [], []
    for name, others in sorted(strategies.items()):
        if name == subject:
            continue
        full = [run for run in others if run.at(FULL) is not None]
        if not full:
            missing.append(name)
            continue
        value = shown(full, (lambda run: run.value("held_out_final")) if held_out else run_at(FULL), strategies)
        (better if own < value else worse).append(f"{name} {number(value)}")
    parts = [f"{number(own)}"]
    if better:
        parts.append("better than " + ", ".join(better))
    if worse:
        parts.append("NOT better than " + ", ".join(worse))
    if missing:
        parts.append(f"{NOT_RUN} at {FULL}: " + ", ".join(missing))
    return "; ".join(parts) + (f": {verdict(not worse)}" if better or worse else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--of", default="auto", help="the strategy the claims are about")
    arguments = parser.parse_args()
    problems = bench_results.read(arguments.files)
    for problem in bench_results.in_order(problems):
        table(problem, problems[problem])
        claims(problem, problems[problem], arguments.of)
    setups = sorted({run.attributes["setup"] for s in problems.values() for runs in s.values() for run in runs} - {""})
    if setups:
        print("Peers:\n" + "\n".join(f"- {setup}" for setup in setups))


if __name__ == "__main__":
    main()
