"""The published LongRoPE tables (shared/tables, the one that is not monotone included) load as longrope:FILE on a checkpoint with
head_dim 128 and score as the oracle says. Skipped (77) without shared/.

    python3 tests/cli/published_tables.py --longrope build/release/longrope --shared ../shared
"""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import driver  # noqa: E402
import oracle  # noqa: E402
import random_checkpoint as rc  # noqa: E402


def test(program, checks, directory, arguments):
    tables = sorted((arguments.shared / "tables").glob("*.csv"))
    if not tables:
        raise driver.Skip(f"no tables in {arguments.shared}")
    checks.true(len(tables) >= 5, "tables found", "at least 5", len(tables))
    model = rc.make_checkpoint(directory / "model", "llama", seed=80, hidden=64, heads=2, kv_heads=1, head_dim=128, layers=2)
    checkpoint = oracle.Checkpoint(model)
    documents = rc.random_documents(81, 320, [1100])
    tokens = rc.write_raw(directory / "tokens.u16", documents[0])
    length, count = 512, 2
    files, decreasing = [], 0
    for table in tables:
        factors = oracle.read_factors(table)
        checks.equal(len(factors), 64, f"{table.name}: factors")
        decreasing += any(b < a for a, b in zip(factors, factors[1:]))
        files.append(table)
    listed = directory / "as-list.json"  # the same numbers as a JSON list
    listed.write_text(json.dumps(oracle.read_factors(tables[-1])))
    files.append(listed)
    checks.true(decreasing >= 1, "tables that are not monotone", "at least 1", decreasing)
    specs = ["none"] + [f"longrope:{file}" for file in files]
    found = driver.results_by_key(program.json("evaluate", "--model", model, "--tokens", tokens, "--length", length, "--windows", count,
                                               "--precision", "f32", "--backend", "cpu", "--threads", 2, "--json",
                                               *[x for spec in specs for x in ("--rope", spec)]))
    means = []
    for spec in specs:
        name = spec.rsplit("/", 1)[-1]
        result = found.get((spec, length))
        if result is None:
            checks.fail(name, "a result", sorted(found))
            continue
        expected = oracle.evaluate(checkpoint, documents, spec, length, count, "window")
        checks.equal(len(result["windows"]), len(expected), f"{name}: windows")
        for i, (got, (window, nll)) in enumerate(zip(result["windows"], expected)):
            checks.close(got["nll_nats"] / window.tokens, nll / window.tokens, 1e-5, f"{name}: mean NLL of window {i}")
        means.append(result["nll_nats"] / result["tokens"])
    checks.true(len(set(round(m, 4) for m in means)) >= len(tables), "results that differ", f"at least {len(tables)}", means)
    same = [found.get((f"longrope:{f}", length), {}).get("nll_nats") for f in (tables[-1], listed)]
    checks.true(same[0] is not None and same[0] == same[1], "the CSV and the JSON list give the same bits", "equal", same)


if __name__ == "__main__":
    driver.main(test, __doc__, at_least=20)
