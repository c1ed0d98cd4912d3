"""What a search says and stores beyond its best table, recomputed here from the store: races (by the rule written anew in
experiments/benchmarks/strategies/racing.py), cost, frontier and hypervolume, picks, the verdict on held-out text, base tables,
patience; and stores from before there were several objectives.

    python3 tests/cli/search_results.py --longrope build/release/longrope
"""
import json
import math
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import driver  # noqa: E402
import random_checkpoint as rc  # noqa: E402
import stores  # noqa: E402

RACING = ROOT / "experiments" / "benchmarks" / "strategies" / "racing.py"


def evaluations(store):
    with h5py.File(store, "r") as f:
        return {name: data[()] for name, data in stores.stage(f)["evaluations"].items()}


def window_flops(model, length):
    """Multiplications and additions of a window of `length` tokens, BOS included, all scored (protocol window)."""
    c = json.loads((model / "config.json").read_text())
    h, n = c["hidden_size"], length - 1
    head = c.get("head_dim") or h // c["num_attention_heads"]
    q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    weights = h * q + 2 * h * kv + q * h + 3 * h * c["intermediate_size"]
    return c["num_hidden_layers"] * (2 * weights * n + 4 * q * n * (n + 1) / 2) + 2 * h * c["vocab_size"] * n


def races(program, checks, model, tokens, directory):
    for confidence, windows in ((0.6, 5), (0.9, 10)):
        store = directory / f"race-{windows}.h5"
        answer = program.json("search", "--model", model, "--tokens", tokens, "--target-length", 256, "--windows", windows, "--strategy",
                              "paper-ga", "--budget", 100, "--racing", confidence, "--store", store, "--json")
        done = subprocess.run([sys.executable, RACING, store, "--check"], capture_output=True, text=True, check=False)
        checks.equal(done.returncode, 0, f"{windows} windows at {confidence}: the race by the rule written anew: {done.stdout}{done.stderr}")
        rows = evaluations(store)
        dropped = int((rows["status"] == 1).sum())
        checks.true(dropped > 0, f"{windows} windows: dropped", "some", dropped)
        checks.equal(answer["racing"]["dropped"], dropped, f"{windows} windows: dropped, as said")
        known = np.isfinite(rows["nll_nats"]).sum(1)
        checks.true(np.allclose(rows["cost"], known / windows, atol=1e-12), f"{windows} windows: cost of each row", "its share of windows",
                    rows["cost"][:8])
        spent = rows["cost"][rows["generation"] >= 0].sum()
        checks.true(99 < spent <= 100 + 1e-9, f"{windows} windows: cost of the strategy", "the budget, 100", spent)
        checks.close(answer["strategy_cost_full_evaluations"], spent, 1e-9, f"{windows} windows: cost of the strategy, as said")
        checks.close(answer["racing"]["cost_saved"], (rows["generation"] >= 0).sum() - spent, 1e-9, f"{windows} windows: cost saved")
        complete = np.where(rows["status"] == 0, rows["objectives"][:, 0], np.inf)
        checks.equal(answer["best"]["id"], int(complete.argmin()), f"{windows} windows: the best is complete")


def frontiers(program, checks, model, tokens, directory):
    store = directory / "frontier.h5"
    lengths, windows = (256, 64), 3
    answer = program.json("search", "--model", model, "--tokens", tokens, "--target-length", 256, "--windows", windows, "--strategy",
                          "nsga2", "--budget", 96, "--objective", "ppl@256,ppl@64", "--store", store, "--json")
    rows = evaluations(store)
    nll, counts = rows["nll_nats"], rows["tokens"]
    ppl = np.stack([np.exp(nll[:, k * windows:(k + 1) * windows].sum(1) / counts[:, k * windows:(k + 1) * windows].sum(1))
                    for k in range(2)], 1)
    checks.true(np.allclose(ppl, rows["objectives"], rtol=1e-12), "objectives of each row", "exp of the mean NLL of its own windows",
                np.abs(ppl - rows["objectives"]).max())
    with h5py.File(store, "r") as f:
        checks.equal(f["corpus/windows/length"][()].tolist(), [n for n in lengths for _ in range(windows)], "lengths of the windows")
        stage = stores.stage(f)
        last = stage["frontier/generation_row"][()] == len(stage["generations/generation"]) - 1
        stored = dict(zip(stage["frontier/id"][last].tolist(), map(tuple, stage["frontier/objectives"][last])))
        volume = stage["generations/hypervolume"][-1]
    candidates = [i for i in range(len(ppl)) if i != 3]  # 3: none, a yardstick
    front = [i for i in candidates if not any((ppl[j] <= ppl[i]).all() and ((ppl[j] < ppl[i]).any() or j < i)
                                              for j in candidates if j != i)]
    checks.equal(sorted(stored), front, "ids of the last frontier")
    checks.equal(sorted(p["id"] for p in answer["frontier"]), front, "ids of the frontier, as said")
    points = sorted(map(tuple, np.log(ppl[front])))
    reference = np.log(ppl[:3]).max(0)
    area, y = 0.0, reference[1]
    for x1, y1 in points:
        if x1 < reference[0] and y1 < y:
            area += (reference[0] - x1) * (y - y1)
            y = y1
    checks.close(volume, area, 1e-12, "hypervolume of the last frontier")

    def pick(rule):
        return program.json("inspect", "--store", store, "--pick", rule, "--json")["stages"][0]["picked"]["id"]
    checks.equal(pick("best"), answer["best"]["id"], "--pick best")
    for rule, percent in (("short:3%", 3.0), ("ppl@64<=3%", 3.0), ("short:1000%", 1000.0)):
        allowed = [i for i in front if ppl[i, 1] <= ppl[3, 1] * (1 + percent / 100)]
        if allowed:
            checks.equal(pick(rule), min(allowed, key=lambda i: ppl[i, 0]), f"--pick {rule}")
    scaled = (np.log(ppl[front]) - np.log(ppl[front]).min(0)) / np.maximum(np.ptp(np.log(ppl[front]), axis=0), 1e-300)
    knee = front[int(scaled.sum(1).argmin())]
    checks.equal(pick("knee"), knee, "--pick knee")
    found = program.json("evaluate", "--model", model, "--tokens", tokens, "--length", 256, "--windows", windows, "--rope",
                         f"store:{store}#main/knee", "--json")
    checks.close(found["results"][0]["ppl"], ppl[knee, 0], 1e-9 * ppl[knee, 0], "store:FILE#main/knee evaluated")
    flops = [window_flops(model, n) for n in lengths]
    raced = directory / "raced-frontier.h5"
    program.json("search", "--model", model, "--tokens", tokens, "--target-length", 256, "--windows", windows, "--strategy", "nsga2",
                 "--budget", 70, "--objective", "ppl@256,ppl@64", "--racing", "0.6", "--store", raced, "--json")
    rows = evaluations(raced)
    known = np.isfinite(rows["nll_nats"])
    shares = np.repeat(flops, windows) / (windows * sum(flops))
    checks.true(np.allclose(rows["cost"], known @ shares, atol=1e-12), "cost of each row of two objectives", "its windows' share of FLOPs",
                np.abs(rows["cost"] - known @ shares).max())


def holdout(program, checks, model, tokens, held_out, directory):
    store = directory / "holdout.h5"
    answer = program.json("search", "--model", model, "--tokens", tokens, "--target-length", 256, "--windows", 3, "--strategy", "random",
                          "--budget", 40, "--holdout-tokens", held_out, "--holdout-windows", 6, "--store", store, "--json")
    report = answer["holdout"]
    names = [r["name"] for r in report["results"]]
    checks.equal(names, ["best", "runner_up", "pi", "ntk", "yarn"], "rows of the holdout")
    with h5py.File(store, "r") as f:
        nll, counts = f["holdout/evaluations/nll_nats"][()], f["holdout/evaluations/tokens"][()]
        documents, ids = f["holdout/windows/document"][()], f["holdout/evaluations/id"][()]
        verdict = f["holdout"].attrs["verdict"]
    verdict = verdict.decode() if isinstance(verdict, bytes) else verdict
    checks.equal(verdict, report["verdict"], "the verdict in the store")
    ppl = np.exp(nll.sum(1) / counts.sum(1))
    direct = program.json("evaluate", "--model", model, "--tokens", held_out, "--length", 256, "--windows", 6, "--json",
                          *[x for i in ids[:2] for x in ("--rope", f"store:{store}#main/{i}")], "--rope", "pi", "--rope", "ntk", "--rope",
                          "yarn")
    for name, value, result in zip(names, ppl, direct["results"]):
        checks.close(value, result["ppl"], 1e-9 * value, f"holdout PPL of {name} against evaluate")
    for key, other in (("difference_to_baseline", 2 + int(ppl[2:].argmin())), ("difference_to_runner_up", 1)):
        d, n = nll[0] - nll[other], counts[0]
        mean = d.sum() / n.sum()
        labels = sorted(set(documents))
        residual = [(d[documents == k] - mean * n[documents == k]).sum() for k in labels]
        error = math.sqrt(len(labels) / (len(labels) - 1) * sum(r * r for r in residual)) / n.sum()
        checks.equal(report[key]["to"], names[other], f"{key}: to")
        checks.equal(report[key]["clusters"], len(labels), f"{key}: clusters")
        checks.close(report[key]["nats_per_token"], mean, 1e-12, f"{key}: nats per token")
        checks.close(report[key]["standard_error"], error, 1e-12, f"{key}: standard error")
        # 95% quantiles of Student's t, two-sided, for 1, 2 and 3 degrees of freedom (any table)
        t = {2: 12.7062, 3: 4.30265, 4: 3.18245}[len(labels)]
        checks.equal(report[key]["significant"], bool(abs(mean) > t * error), f"{key}: significant")
    checks.true(("significant" in verdict or "worse" in verdict) and "own windows" in verdict, "the verdict in words", "a sentence", verdict)
    shown = program.json("inspect", "--store", store, "--json")["stages"][0]["holdout"]
    checks.equal(shown["verdict"], verdict, "inspect --json: the verdict")


def bases_and_patience(program, checks, model, tokens, directory):
    first = directory / "first.h5"
    common = ["search", "--model", model, "--tokens", tokens, "--windows", 2, "--json"]
    program.json(*common, "--target-length", 128, "--strategy", "paper-ga", "--budget", 70, "--store", first)
    second = directory / "second.h5"
    program.json(*common, "--target-length", 256, "--strategy", "paper-ga", "--budget", 70, "--base", f"store:{first}", "--store", second)
    rows, base = evaluations(second), None
    with h5py.File(second, "r") as f:
        base = stores.stage(f)["base_factors"][()]
        name = stores.stage(f).attrs["base"]
    best = program.json("inspect", "--store", first, "--json")["stages"][0]["best"]["factors"]
    checks.equal(base.tolist(), best, "base factors: the best of the first store")
    checks.equal(name.decode() if isinstance(name, bytes) else name, f"store:{first}", "base in the store")
    relative = rows["factors"][rows["generation"] >= 0] / base
    checks.true(relative.min() > 1 - 1e-9 and relative.max() < 1.25 * 256 / 128 + 1e-9, "factors relative to the base",
                "1 to 1.25 * (256 / 128)", (relative.min(), relative.max()))
    again = program.json(*common, "--target-length", 256, "--strategy", "paper-ga", "--budget", 90, "--base", f"store:{first}", "--store",
                         second, "--resume")
    checks.equal(again["evaluations"], 90, "a search with a base, resumed")

    store = directory / "patience.h5"
    options = [*common, "--target-length", 256, "--strategy", "release-ga", "--budget", 1344, "--patience", 60, "--store", store]
    answer = program.json(*options)
    checks.equal(answer["stop_reason"], "patience", "why a search that does not move ends")
    with h5py.File(store, "r") as f:
        reason = stores.stage(f).attrs["stop_reason"]
    checks.equal(reason.decode() if isinstance(reason, bytes) else reason, "patience", "stop_reason in the store")
    before = stores.contents(store)
    program.json(*options, "--resume")
    checks.equal(stores.differences(before, stores.contents(store)), [], "a store out of patience after --resume")


def old_stores(program, checks, model, tokens, directory):
    """A store without what came later is read and continued to the same rows."""
    new, old = directory / "new.h5", directory / "old.h5"
    common = ["search", "--model", model, "--tokens", tokens, "--windows", 2, "--target-length", 256, "--strategy", "paper-ga", "--json"]
    for store in (new, old):
        program.json(*common, "--budget", 80, "--store", store)
    with h5py.File(old, "r+") as f:
        stage = stores.stage(f)
        del stage["generations/hypervolume"], stage["frontier/generation_row"], stage.attrs["stop_reason"]
    a, b = (program.json("inspect", "--store", store, "--json")["stages"][0] for store in (new, old))
    checks.equal(b["best"], a["best"], "best of an old store")
    checks.equal([p["id"] for p in b["frontier"]], [a["best"]["id"]], "frontier of an old store")
    for store in (new, old):
        program.json(*common, "--budget", 120, "--store", store, "--resume")
    a, b = evaluations(new), evaluations(old)
    same = all(np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f") for name in a if name != "elapsed_s")
    checks.true(same, "rows of an old store that was continued", "those of a new one", "others")


def test(program, checks, directory, arguments):
    model = rc.make_checkpoint(directory / "model", "llama", seed=31, layers=2)
    tokens = rc.write_h5(directory / "tokens.h5", rc.random_documents(32, 320, [1500, 1400, 1300]))
    held_out = rc.write_h5(directory / "held-out.h5", rc.random_documents(33, 320, [1500, 1400, 1300, 1200]))
    races(program, checks, model, tokens, directory)
    frontiers(program, checks, model, tokens, directory)
    holdout(program, checks, model, tokens, held_out, directory)
    bases_and_patience(program, checks, model, tokens, directory)
    old_stores(program, checks, model, tokens, directory)


if __name__ == "__main__":
    driver.main(test, __doc__, at_least=40)
