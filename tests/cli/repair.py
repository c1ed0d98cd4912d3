"""`longrope repair` on the store of a search: what it searches, reports and stores, and that export takes both tables from it.

    python3 tests/cli/repair.py --longrope build/release/longrope
"""
import json
import math
import sys
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import driver  # noqa: E402
import random_checkpoint as rc  # noqa: E402
import stores  # noqa: E402


def refused(checks, done, words, what, code=2):
    lines = done.stderr.strip().splitlines()
    checks.equal(done.returncode, code, f"{what}: exit code")
    checks.true(len(lines) == 1 and words in lines[0], f"{what}: one line that says {words!r}", words, done.stderr)


def test(program, checks, directory, arguments):
    model = rc.make_checkpoint(directory / "model", "llama", seed=41, layers=2)
    other = rc.make_checkpoint(directory / "other", "llama", seed=42, layers=2)
    wide = rc.make_checkpoint(directory / "wide", "llama", seed=42, layers=2, hidden=128)
    tokens = rc.write_raw(directory / "tokens.u16", rc.random_documents(43, 320, [3000])[0])
    store = directory / "job.h5"
    common = ["--tokens", tokens, "--windows", 3, "--seed", 5, "--store", store]
    program.json("search", "--model", model, *common, "--target-length", 256, "--strategy", "random", "--budget", 20, "--json")
    before = stores.contents(store)

    repair = ["repair", "--model", other, "--original", model, *common, "--length", "64", "--strategy", "paper-ga", "--budget", 70]
    report = program.json(*repair, "--json")
    after = stores.contents(store)
    changed = [line for line in stores.differences(before, {k: v for k, v in after.items() if k in before})]
    checks.equal(changed, [], "what the search had stored")
    with h5py.File(store, "r") as f:
        stage, table, main = f["stages/repair"], f["tables/repair"], f["tables/main"]
        rows = {name: data[()] for name, data in stage["evaluations"].items()}
        checks.equal(int(stage.attrs["index"]), 1, "index of the stage")
        checks.equal(int(stage.attrs["target_length"]), 64, "target length of the stage")
        # The long table, none under the long attention factor, half of the long one in ln; then the search.
        long_factors, attention = main["long"][()], float(main.attrs["attention_factor"])
        expected = [long_factors, np.ones_like(long_factors), np.sqrt(long_factors)]
        for i, factors in enumerate(expected):
            checks.true(np.array_equal(rows["factors"][i], factors), f"baseline {i}", factors, rows["factors"][i])
        checks.true(np.all(rows["attention_factor"] == attention), "attention factor of all rows", attention, set(rows["attention_factor"]))
        searched = rows["factors"][rows["generation"] >= 0]
        upper = 1.25 * math.sqrt(256 / 64)
        checks.true(searched.min() >= 1 and 1.2 < searched.max() <= upper + 1e-9 and np.all(np.diff(searched, axis=1) >= 0),
                    "searched factors: monotone, 1 to 1.25 sqrt(s)", upper, (searched.min(), searched.max()))
        best = int(np.nanargmin(rows["objectives"][:, 0]))
        checks.true(np.array_equal(table["short"][()], rows["factors"][best]), "short table: the best row", rows["factors"][best], table["short"][()])
        checks.true(np.array_equal(table["long"][()], long_factors), "long table", long_factors, table["long"][()])
        checks.equal(int(table.attrs["target_length"]), 256, "target length of the pair")
        checks.equal(int(table.attrs["switch_length"]), 64, "switch length of the pair")
        checks.equal(report["long"]["ppl@64"], rows["objectives"][0, 0], "long, as said")
        checks.equal(report["repaired"]["ppl@64"], rows["objectives"][best, 0], "repaired, as said")
        short = rows["factors"][best]
    evaluate = ["evaluate", "--tokens", tokens, "--windows", 3, "--length", 64, "--json"]
    original = program.json(*evaluate, "--model", model)["results"][0]["ppl"]
    checks.close(report["original"]["ppl@64"], original, 1e-9, "the original model, on --original")
    for spec, key in ((f"store:{store}", "long"), (f"store:{store}#repair", "repaired")):
        got = program.json(*evaluate, "--model", other, "--rope", spec)["results"][0]["ppl"]
        checks.close(got, report[key]["ppl@64"], 1e-9, f"{key} table evaluated anew")

    exports = {  # options -> the long and the short factors that are written
        "": (long_factors, short),
        f"--short store:{store}#repair": (long_factors, short),
        "--mode static": (long_factors, long_factors),
        "--table main": (long_factors, long_factors),
        "--table repair --short none": (long_factors, np.ones_like(short)),
    }
    for i, (options, expected) in enumerate(exports.items()):
        out = directory / f"exported-{i}"
        done = program.run("export", "--to", "hf", "--model", other, "--store", store, *options.split(), "--out", out)
        checks.equal(done.returncode, 0, f"export {options}: {done.stderr}")
        scaling = json.loads((out / "config.json").read_text())["rope_scaling"]
        checks.equal(scaling["long_factor"], expected[0].tolist(), f"exported long table, {options}")
        checks.equal(scaling["short_factor"], expected[1].tolist(), f"exported short table, {options}")
    export = ["export", "--to", "json", "--model", other, "--out", directory / "no.json"]
    refused(checks, program.run(*export, "--store", store, "--table", "x"), '"x"', "export of an unknown table")
    refused(checks, program.run(*export, "--store", f"{store}#main", "--table", "main"), "--table", "a stage and a table")
    refused(checks, program.run(*export, "--rope", "pi", "--table", "main"), "--table needs --store", "a table without a store")

    refused(checks, program.run(*repair), "exists already", "a second time without --resume")
    checks.equal(program.run(*repair, "--resume").returncode, 0, "--resume of a finished repair")
    checks.equal(stores.differences(after, stores.contents(store)), [], "the store after that")
    refused(checks, program.run(*repair, "--resume", "--max-factor", 2), "max_factor", "--resume with another maximum")
    named = program.run("repair", "--model", other, "--original", model, *common, "--budget", 70, "--name", "short", "--length", "32,64",
                        "--max-factor", 4, "--attention-factor", 1.0, "--pick", "best", "--strategy", "nsga2")
    checks.equal(named.returncode, 0, f"another repair beside it: {named.stderr}")
    checks.true("repaired table" in named.stdout and "ppl@32" in named.stdout, "what it prints", "the table", named.stdout)
    with h5py.File(store, "r") as f:
        checks.equal(sorted(f["tables"]), ["main", "repair", "short"], "tables")
        checks.equal(float(f["tables/short"].attrs["short_attention_factor"]), 1.0, "attention factor of the other short table")
        checks.equal(float(f["tables/short"].attrs["attention_factor"]), attention, "and of its long one")
        checks.true(np.array_equal(f["tables/short/long"][()], long_factors), "its long table", "the search's", "another")

    refused(checks, program.run("repair", "--model", other, *common, "--length", 65), "--length", "a length beyond L0")
    refused(checks, program.run("repair", "--model", other, *common, "--target-length", 64), "--length", "--target-length")
    refused(checks, program.run("repair", "--model", other, *common, "--max-factor", 1), "--max-factor", "a maximum of 1")
    refused(checks, program.run("repair", "--model", other, *common, "--table", "x", "--name", "y"), '"x"', "an unknown table")
    refused(checks, program.run("repair", "--model", wide, *common, "--name", "y"), "factors", "another model")
    refused(checks, program.run("repair", "--model", other, "--tokens", tokens, "--store", directory / "no.h5"), "does not exist", "no store")
    added = [line.split(":")[0].split("@")[0] for line in stores.differences(after, stores.contents(store))]
    others = [name for name in added if not name.startswith(("/stages/short", "/tables/short"))]
    checks.equal(others, [], "what came to the store beside the named repair")


if __name__ == "__main__":
    driver.main(test, __doc__, at_least=40)
