"""The number of threads changes nothing: `evaluate --json` identical but for elapsed times, search stores bit for bit.

    python3 tests/cli/determinism.py --longrope build/release/longrope
"""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import driver  # noqa: E402
import random_checkpoint as rc  # noqa: E402
import stores  # noqa: E402


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if "elapsed" not in k}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def differences(a, b, where=""):
    if isinstance(a, dict) and isinstance(b, dict):
        return [d for k in sorted(a.keys() | b.keys()) for d in differences(a.get(k), b.get(k), f"{where}/{k}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b)) for d in differences(x, y, f"{where}/{i}")]
    return [] if a == b else [f"{where}: {a!r} against {b!r}"]


def test(program, checks, directory, arguments):
    models = [rc.make_checkpoint(directory / "llama", "llama", seed=5, layers=3),
              rc.make_checkpoint(directory / "qwen3", "qwen3", seed=6, head_dim=32, dtype="BF16"),
              rc.make_checkpoint(directory / "phi3", "phi3", seed=7, hidden=96, heads=4, kv_heads=2, partial=0.75)]
    tokens = rc.write_h5(directory / "tokens.h5", rc.random_documents(9, 320, [3000, 2500]))
    compared = 0
    for model in models:
        for precision in ("f32", "bf16"):
            texts = {}
            for threads in (1, 2, 5):
                # 1021 tokens: more than one chunk, and no multiple of any block
                done = program.run("evaluate", "--model", model, "--tokens", tokens, "--length", "64,1021", "--windows", 3,
                                   "--rope", "none", "--rope", "yarn", "--rope", "dynamic-ntk", "--precision", precision,
                                   "--backend", "cpu", "--threads", threads, "--json")
                if precision == "bf16" and done.returncode == 2 and "bf16" in done.stderr:
                    print(f"skipped: bf16, which this machine refuses: {done.stderr.strip()}")
                    break
                if not checks.equal(done.returncode, 0, f"{model.name} {precision} --threads {threads}: exit code"):
                    print(done.stderr[-1000:])
                    break
                texts[threads] = without_times(json.loads(done.stdout))
            for threads in list(texts)[1:]:
                got = differences(texts[1], texts[threads])
                checks.equal(got, [], f"{model.name} {precision}: --threads {threads} against 1")
                compared += 1
            if texts:
                count = sum(len(r["windows"]) for r in texts[1]["results"])
                checks.equal(count, 18, f"{model.name} {precision}: windows in the compared documents")
    checks.true(compared >= 6, "evaluate documents compared", "at least 6", compared)

    tokens = rc.write_raw(directory / "search.u16", rc.random_documents(10, 320, [2000])[0])
    held_out = rc.write_raw(directory / "held-out.u16", rc.random_documents(12, 320, [2000])[0])
    several = ["--objective", "ppl@256,ppl@64", "--racing", "0.9", "--windows", 5]
    # Random weights tell hardly a table from another: the race drops some of nsga2's, which wander, none of auto's.
    searches = {"paper-ga": ["--windows", 2, "--budget", 130, "--start-tokens", "search"],
                "release-ga": ["--windows", 2, "--budget", 130],
                "auto": ["--windows", 3, "--budget", 25, "--racing", "0.6", "--holdout-tokens", held_out],
                "nsga2": [*several, "--budget", 70, "--factors", "tolerant:0.05"]}
    for strategy, options in searches.items():
        made = {}
        for threads in (1, 2, 5):
            store = directory / f"{strategy}-{threads}.h5"
            program.json("search", "--model", models[0], "--tokens", tokens, "--target-length", 256, "--strategy", strategy,
                         "--seed", 11, "--store", store, "--threads", threads, "--json", *options)
            made[threads] = stores.contents(store)
        rows = stores.rows(directory / f"{strategy}-1.h5")
        least = 25 if strategy == "auto" else 70
        checks.true(rows >= least, f"{strategy}: evaluations in the store", f"at least {least}", rows)
        if strategy == "nsga2":
            dropped = stores.statuses(directory / f"{strategy}-1.h5").count("raced_out")
            checks.true(dropped > 0, f"{strategy}: candidates that the race dropped", "some", dropped)
        for threads in (2, 5):
            checks.equal(stores.differences(made[1], made[threads]), [], f"{strategy}: store of --threads {threads} against 1")


if __name__ == "__main__":
    driver.main(test, __doc__, at_least=20)
