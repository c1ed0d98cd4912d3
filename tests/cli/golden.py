"""`longrope evaluate` on the trained models of shared/models: golden.json (float64 NLL sums, from real text) through --text, and
the methods that golden.json leaves out against the oracle; 1e-5 nats per token in f32. Skipped (77) without shared/.

    python3 tests/cli/golden.py --longrope build/release/longrope --shared ../shared
"""
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import driver  # noqa: E402
import oracle  # noqa: E402
import random_checkpoint as rc  # noqa: E402

TOLERANCE_NATS = 1e-5


def golden(program, checks, shared):
    entries = json.loads((shared / "models" / "golden.json").read_text())
    groups = {}
    for entry in entries:
        groups.setdefault((entry["model"], entry["text"]), []).append(entry)
    checks.true(len(entries) >= 20 and len(groups) >= 2, "entries of golden.json", "at least 20 of 2 models", len(entries))
    for (model, text), group in groups.items():
        lengths = sorted({e["length"] for e in group})
        ropes = list(dict.fromkeys(e["rope"] for e in group))
        document = program.json("evaluate", "--model", shared / "models" / model, "--text", shared / "text" / "validation" / text,
                                "--length", ",".join(map(str, lengths)), "--windows", max(e["window"] for e in group) + 1,
                                "--protocol", "window", "--precision", "f32", "--backend", "cpu", "--threads", 2, "--json",
                                *[x for rope in ropes for x in ("--rope", rope)])
        found = driver.results_by_key(document)
        for e in group:
            name = f"{model} {e['length']} {e['rope']}"
            result = found.get((e["rope"], e["length"]))
            if result is None or len(result["windows"]) <= e["window"]:
                checks.fail(name, "a result with this rope, length and window", sorted(found))
                continue
            window = result["windows"][e["window"]]
            checks.equal(window["tokens"], e["tokens"], f"{name}: tokens scored")
            checks.equal(window["first_token"], e["window"] * (e["length"] - 1), f"{name}: first token")
            nll = window["nll_nats"]
            checks.close(nll / e["tokens"] if isinstance(nll, (int, float)) else nll, e["nll_nats"] / e["tokens"], TOLERANCE_NATS,
                         f"{name}: mean NLL")


def other_methods(program, checks, shared, directory):
    for model in ("stories260k", "books"):
        checkpoint = oracle.Checkpoint(shared / "models" / model)
        length0, pairs = checkpoint.original_length, checkpoint.rotary_dim // 2
        text = (shared / "text" / "validation" / "great-expectations-1400.txt").read_text(encoding="utf-8")[20000:60000]
        try:
            import sentencepiece
            ids = sentencepiece.SentencePieceProcessor(model_file=str(checkpoint.directory / "tokenizer.model")).encode(text)
        except ImportError:
            print("python3-sentencepiece is not installed: random token ids instead of text")
            ids = rc.random_documents(1, checkpoint.config["vocab_size"], [4 * length0])[0]
        ids = ids[:4 * length0]
        tokens = rc.write_raw(directory / f"{model}.u16", ids)
        factors = directory / f"{model}.csv"
        factors.write_text("".join(f"{x!r}\n" for x in map(float, np.linspace(1.0, 4.5, pairs))))
        plan = {length0: [f"longrope:{factors}", "config"], 4 * length0: ["llama3", f"longrope:{factors}:start_tokens=16"]}
        for length, ropes in plan.items():
            found = driver.results_by_key(program.json(
                "evaluate", "--model", checkpoint.directory, "--tokens", tokens, "--length", length, "--windows", 1, "--precision",
                "f32", "--threads", 2, "--backend", "cpu", "--json", *[x for rope in ropes for x in ("--rope", rope)]))
            for rope in ropes:
                [(window, nll)] = oracle.evaluate(checkpoint, [ids], rope, length, 1, "window")
                result = found.get((rope, length), {"nll_nats": None})
                got = result["nll_nats"]
                checks.close(got / window.tokens if isinstance(got, (int, float)) else got, nll / window.tokens, TOLERANCE_NATS,
                             f"{model} {length} {rope.split('/')[0]}: mean NLL against the oracle")


def test(program, checks, directory, arguments):
    if not (arguments.shared / "models" / "golden.json").exists():
        raise driver.Skip(f"no models in {arguments.shared}")
    golden(program, checks, arguments.shared)
    other_methods(program, checks, arguments.shared, directory)


if __name__ == "__main__":
    driver.main(test, __doc__, at_least=60)
