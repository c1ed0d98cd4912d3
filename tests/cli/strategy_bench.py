"""strategy_bench: on formulas and on a small model, stopped and continued, and what summary.py and plot.py make of it.

    python3 tests/cli/strategy_bench.py --longrope build/release/longrope --bench build/release/strategy_bench
"""
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
HERE = Path(__file__).resolve().parents[2] / "experiments" / "benchmarks" / "strategies"
sys.path.insert(0, str(HERE))
import bench_results  # noqa: E402
import driver  # noqa: E402
import random_checkpoint as rc  # noqa: E402
import summary  # noqa: E402


def fake(seed, budget, best, cost=None, **attributes):
    names = ["optimum", "pi", "ntk", "yarn", "held_out_pi", "held_out_ntk", "held_out_yarn", "held_out_final", "held_out_at_100",
             "overhead_cpu_s", "overhead_wall_s", "model_s"]
    values = {name: float("nan") for name in names} | {"threads": 1, "setup": "", "budget": budget} | attributes
    best = np.array(best, dtype=float)
    return bench_results.Run(seed, budget, np.arange(1.0, len(best) + 1) if cost is None else np.array(cost), best, values)


def test_summary(checks):
    """The claims' arithmetic on runs made up here."""
    paper = [fake(s, 1344, np.linspace(24.0, end, 1344), yarn=24.5) for s, end in ((1, 23.8), (2, 23.9), (3, 23.6))]
    ours = [fake(1, 150, [24.4, 24.0, 23.8] + [23.5] * 147, yarn=24.5, overhead_cpu_s=0.3, model_s=29.7),
            fake(2, 150, [24.4] * 30 + [23.7] * 120, yarn=24.5, overhead_cpu_s=0.3, model_s=29.7)]
    strategies = {"auto": ours, "paper-ga": paper}
    checks.equal(summary.targets(strategies)[1], 23.8, "target: the median of paper-ga at 1344")
    checks.equal([run.cost_of(23.8) for run in ours], [3.0, 31.0], "costs to reach it")
    checks.equal(ours[0].cost_of(1.0), float("inf"), "cost of what is never reached")
    checks.equal(ours[0].at(1344), None, "a run of 150 says nothing of 1344")
    checks.close(ours[0].at(2), 24.0, 0, "best after 2")
    checks.close(summary.gap(ours[1], 23.7, strategies), 0.2, 1e-12, "gap left: (23.7 - 23.5) / (24.5 - 23.5)")
    milliseconds, share = summary.overhead(ours[0])
    checks.close(milliseconds, 2.0, 1e-9, "overhead, ms an evaluation")
    checks.close(share, 0.01, 1e-9, "overhead, share")
    part = fake(1, 10, [5.0, 4.0, 3.0], cost=[0.25, 1.25, 9.75])
    checks.close(part.at(1.25), 4.0, 0, "shares of evaluations: best after 1.25")
    analytic = {"auto": [fake(s, 150, [1.1] * 150, optimum=1.0, yarn=1.2) for s in (1, 2)],
                "paper-ga": [fake(1, 1344, [1.15] * 1344, optimum=1.0, yarn=1.2), fake(2, 500, [1.0], optimum=1.0, yarn=1.2)]}
    checks.equal(summary.targets(analytic), {1: 1.15}, "analytic targets are of the same seed and of whole budgets")
    checks.close(summary.gap(analytic["auto"][0], 1.1, analytic), 0.5, 1e-12, "gap of an analytic problem")


def test(program, checks, directory, arguments):
    test_summary(checks)
    bench = driver.Program(arguments.bench)
    out = directory / "runs.h5"
    model = rc.make_checkpoint(directory / "model", "llama", seed=5, hidden=32, heads=2, kv_heads=2)
    tokens = rc.write_raw(directory / "tokens.u16", rc.random_documents(9, 320, [600])[0])
    common = ["--problem", "wall-32,model", "--model", model, "--tokens", tokens, "--target-length", "128", "--windows", "2",
              "--strategies", "paper-ga,bobyqa,pagmo-cmaes", "--budget", "30,paper-ga=40", "--threads", "2", "--parallel-runs", "3"]
    done = bench.run(*common, "--seeds", "1", "--out", out)
    if not checks.equal(done.returncode, 0, "exit code"):
        raise driver.Failed(done.stdout + done.stderr)
    done = bench.run(*common, "--seeds", "2", "--out", out)
    checks.equal(done.returncode, 0, "continued with another seed: exit code")
    problems = bench_results.read([out])
    checks.equal(sorted(problems), ["model-128", "wall-32"], "problems")
    for problem, strategies in problems.items():
        checks.equal([(run.seed, len(run.cost)) for run in strategies["paper-ga"]], [(1, 40), (2, 40)], f"{problem}: paper-ga")
        for name, runs in strategies.items():
            for run in runs:
                checks.true(np.all(np.diff(run.best[np.isfinite(run.best)]) <= 0), f"{problem} {name}: best so far", "never rises",
                            run.best)
                checks.true(run.best[-1] <= run.value("yarn") * 1.001, f"{problem} {name}: end", "not worse than YaRN", run.best[-1])

    # The model's values are those of the program.
    ntk = problems["model-128"]["paper-ga"][0].value("ntk")
    document = program.json("evaluate", "--model", model, "--tokens", tokens, "--length", "128", "--windows", "2", "--rope",
                            "ntk", "--json")
    checks.true(np.isfinite(ntk) and abs(np.log(ntk / document["results"][0]["ppl"])) < 0.2, "ntk on the model",
                "near the program's, whose attention factor is 1 and not LongRoPE's", ntk)

    # Through the driver: the same candidates, hence the same best at every cost.
    through = directory / "driver.h5"
    only_model = ["model" if a == "wall-32,model" else a for a in common]
    done = bench.run(*only_model, "--seeds", "1", "--out", through, "--through", "driver")
    if checks.equal(done.returncode, 0, "--through driver: exit code"):
        a, b = bench_results.read([through])["model-128"]["paper-ga"][0], problems["model-128"]["paper-ga"][0]
        checks.true(np.array_equal(a.best, b.best), "best through the driver", "bit for bit that of ask and tell", (a.best, b.best))

    # Racing: for ours, not for the published algorithms.
    raced = directory / "raced.h5"
    ours = ["auto"] if "auto" in bench.run("--help").stdout.split("all, or comma-separated of")[1].split("--seeds")[0] else []
    names = [",".join(["paper-ga", *ours]) if a == "paper-ga,bobyqa,pagmo-cmaes" else a for a in only_model]
    done = bench.run(*names, "--seeds", "1", "--out", raced, "--through", "driver", "--racing", "0.6")
    if checks.equal(done.returncode, 0, "--racing: exit code"):
        runs = {name: of[0] for name, of in bench_results.read([raced])["model-128"].items()}
        checks.equal({name: run.attributes["through"] for name, run in runs.items()},
                     {"paper-ga": "driver", **{name: "driver, racing 0.6" for name in ours}}, "what runs say they are")
        for name, run in runs.items():
            checks.true(run.cost[-1] < {"paper-ga": 40, "auto": 30}[name] + 1, f"{name}: cost", "within the budget", run.cost[-1])

    # Another model under the same name is refused; a deadline ends with code 3 and what is finished is kept.
    other = rc.make_checkpoint(directory / "other" / "model", "llama", seed=6, hidden=32, heads=2, kv_heads=2)
    refused = bench.run(*[other if a is model else a for a in common], "--seeds", "1", "--out", out)
    checks.true(refused.returncode == 2 and "choose another file" in refused.stderr, "another model", "refused", refused)
    late = bench.run("--problem", "wall-64", "--strategies", "bobyqa,pagmo-cmaes,paper-ga", "--budget", "100000", "--seeds", "50",
                     "--max-seconds", "1", "--out", directory / "late.h5")
    checks.equal(late.returncode, 3, "--max-seconds: exit code")

    for script, more in (("summary.py", []), ("plot.py", ["--out", str(directory / "plot.png")])):
        if script == "plot.py" and importlib.util.find_spec("matplotlib") is None:
            print("skipped: plot.py, for which matplotlib is needed")
            continue
        done = subprocess.run([sys.executable, str(HERE / script), str(out), *more], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=300)
        checks.equal(done.returncode, 0, f"{script}: exit code")
        if script == "summary.py":
            checks.true("| paper-ga | 2 | 40 |" in done.stdout and "auto: not run" in done.stdout, "the table",
                        "paper-ga's row, and auto not run", done.stdout + done.stderr)
        else:
            checks.equal((directory / "plot.png").read_bytes()[:8], b"\x89PNG\r\n\x1a\n", "the plot's first bytes")


if __name__ == "__main__":
    driver.main(test, __doc__, at_least=25, options=lambda parser: parser.add_argument("--bench", required=True))
