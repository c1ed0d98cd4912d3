"""`longrope export`: Hugging Face directories of the five architectures (keys as shared/reference/engines.md section 1.1 wants
them for transformers v4 and v5), weights linked, copied or left out, the same NLL through `--rope config` on the export as
through the table on the source; CSV that round-trips; stores; refusals that write nothing.

    python3 tests/cli/export.py --longrope build/release/longrope
"""
import json
import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import driver  # noqa: E402
import random_checkpoint as rc  # noqa: E402

L0, TARGET = 64, 256

MODELS = {
    "llama": dict(kind="llama", dtype="BF16", shards=2),
    "llama-v5": dict(kind="llama", rope_form="v5", theta=500000.0, head_dim=24),
    "mistral": dict(kind="mistral", extra={"sliding_window": 100}),
    "qwen2": dict(kind="qwen2", tied=True, bos=None),
    "qwen3": dict(kind="qwen3", head_dim=32, theta=1e6),
    "qwen3-v5": dict(kind="qwen3", head_dim=16, rope_form="v5", dtype="F16"),
    "phi3": dict(kind="phi3", hidden=96, heads=4, kv_heads=4),
    "phi3-partial": dict(kind="phi3", partial=0.75, shards=2, extra={"sliding_window": 47}),
    "phi3-partial-v5": dict(kind="phi3", partial=0.75, rope_form="v5"),
}


def geometry(arguments):
    heads = arguments.get("heads", 4)
    head_dim = arguments.get("head_dim") or arguments.get("hidden", 64) // heads
    return int(head_dim * arguments.get("partial", 1.0)), arguments.get("theta", 10000.0)


def nll(program, model, tokens, rope, length):
    found = driver.results_by_key(program.json("evaluate", "--model", model, "--tokens", tokens, "--length", length, "--windows", 2,
                                               "--precision", "f32", "--backend", "cpu", "--threads", 2, "--rope", rope, "--json"))
    result = found[rope, length]
    if not math.isfinite(result["nll_nats"]) or len(result["windows"]) != 2:
        raise driver.Failed(f"{rope} at {length}: {result}")
    return result["nll_nats"]


def check_config(checks, label, source, exported, arguments, factors):
    """The keys of engines.md section 1.1."""
    pairs, theta = geometry(arguments)[0] // 2, geometry(arguments)[1]
    default_attention = math.sqrt(1 + math.log(TARGET / L0) / math.log(L0))
    checks.equal(exported.get("max_position_embeddings"), TARGET, f"{label}: max_position_embeddings")
    checks.equal(exported.get("original_max_position_embeddings"), L0, f"{label}: original_max_position_embeddings")
    checks.equal(exported.get("rope_theta"), theta, f"{label}: rope_theta")
    checks.true("rope_parameters" not in exported, f"{label}: rope_parameters beside rope_scaling", "absent", exported.keys())
    scaling = exported.get("rope_scaling")
    if not checks.true(isinstance(scaling, dict), f"{label}: rope_scaling", "an object", scaling):
        return
    checks.equal(scaling.get("long_factor"), factors, f"{label}: long_factor, bit for bit")
    short = scaling.get("short_factor")
    checks.true(short in (factors, [1.0] * pairs), f"{label}: short_factor", "the long table (static) or ones (switch)", short)
    if arguments["kind"] == "phi3":
        checks.equal(sorted(scaling), ["long_factor", "short_factor", "type"], f"{label}: the three keys of Phi3Config")
        checks.equal(scaling.get("type"), "longrope", f"{label}: type")
        if arguments.get("partial", 1.0) != 1.0:
            checks.equal(exported.get("partial_rotary_factor"), arguments["partial"], f"{label}: partial_rotary_factor")
    else:
        checks.equal(scaling.get("rope_type"), "longrope", f"{label}: rope_type")
        checks.equal(scaling.get("factor"), TARGET / L0, f"{label}: factor")
        checks.equal(scaling.get("original_max_position_embeddings"), L0, f"{label}: original_max_position_embeddings inside")
        for key in ("factor", "attention_factor"):  # transformers v4 wants float, not int
            checks.true(type(scaling.get(key)) is float, f"{label}: type of {key} in the JSON text", "float", scaling.get(key))
        for key in ("attention_factor", "short_mscale", "long_mscale"):
            checks.close(scaling.get(key), default_attention, 1e-12, f"{label}: {key}")
    rope_keys = {"max_position_embeddings", "original_max_position_embeddings", "rope_theta", "rope_scaling", "rope_parameters",
                 "partial_rotary_factor"}
    for key in source.keys() - rope_keys:
        checks.true(key in exported and exported[key] == source[key], f"{label}: {key} is kept", source[key],
                    exported.get(key, "absent"))


def hf(program, checks, directory, tokens):
    for seed, (label, arguments) in enumerate(MODELS.items()):
        arguments = dict(arguments)
        source = rc.make_checkpoint(directory / label, seed=40 + seed, max_positions=L0, **arguments)
        (source / "generation_config.json").write_text('{"do_sample": false}')
        (source / "tokenizer_config.json").write_text('{"model_max_length": 64}')
        pairs = geometry(arguments)[0] // 2
        rng = np.random.default_rng(seed)
        factors = sorted(float(x) for x in rng.uniform(1.0, 5.0, pairs))
        table = directory / f"{label}.csv"
        table.write_text("".join(f"{x!r}\n" for x in factors))
        rope = f"longrope:{table}"
        expected = nll(program, source, tokens, rope, TARGET)
        before = driver.snapshot(source)
        for weights in ("link", "copy", "none"):
            out = directory / f"{label}-{weights}"
            name = f"{label} --weights {weights}"
            done = program.run("export", "--to", "hf", "--model", source, "--rope", rope, "--target-length", TARGET, "--out", out,
                               "--weights", weights)
            if not checks.equal(done.returncode, 0, f"{name}: exit code"):
                print(done.stderr[-1000:])
                continue
            exported = json.loads((out / "config.json").read_text())
            check_config(checks, name, json.loads((source / "config.json").read_text()), exported, arguments, factors)
            files = sorted(p.name for p in source.glob("*.safetensors*"))
            found = sorted(p.name for p in out.glob("*.safetensors*"))
            checks.equal(found, [] if weights == "none" else files, f"{name}: weight files")
            if weights != "none":
                checks.true(files, f"{name}: weight files of the source", "some", files)
                for file in files:
                    if not (out / file).exists():
                        continue
                    same = (out / file).samefile(source / file)
                    if file.endswith(".safetensors"):
                        checks.equal(same, weights == "link", f"{name}: {file} is the source's own file")
                    checks.true((out / file).read_bytes() == (source / file).read_bytes(), f"{name}: bytes of {file}", "the source's",
                                "others")
                got = nll(program, out, tokens, "config", TARGET)
                checks.close(got, expected, 1e-12 * expected, f"{name}: NLL of `config` on the export at {TARGET}")
            half = [p.name for p in directory.iterdir() if p.name.startswith(out.name) and p != out]
            checks.equal(half, [], f"{name}: temporary files left beside the export")
        checks.true(driver.snapshot(source) == before, f"{label}: the source directory", "unchanged", "changed")


def csv_and_store(program, checks, directory, tokens):
    source = rc.make_checkpoint(directory / "store-model", "llama", seed=60, max_positions=L0)
    store = directory / "store.h5"
    found = program.json("search", "--model", source, "--tokens", tokens, "--target-length", TARGET, "--windows", 2, "--strategy",
                         "paper-ga", "--budget", 100, "--seed", 4, "--store", store, "--threads", 2, "--json")
    best = found["best"]
    out = directory / "best.csv"
    done = program.run("export", "--to", "csv", "--model", source, "--store", store, "--out", out)
    if checks.equal(done.returncode, 0, "csv from a store: exit code"):
        lines = out.read_text().split("\n")
        checks.equal(lines[-1], "", "csv ends with a newline")
        checks.equal([float(x) for x in lines[:-1]], best["factors"], "csv from a store: factors of search's best, bit for bit")
        # CSV -> table -> CSV
        again = directory / "again.csv"
        done = program.run("export", "--to", "csv", "--model", source, "--rope", f"longrope:{out}", "--target-length", TARGET, "--out",
                           again)
        checks.equal(done.returncode, 0, "csv from a csv: exit code")
        checks.equal([float(x) for x in again.read_text().split()] if again.exists() else None, best["factors"],
                     "csv from a csv: bit for bit")
    else:
        print(done.stderr[-1000:])
    expected = best["ppl"]
    found = driver.results_by_key(program.json("evaluate", "--model", source, "--tokens", tokens, "--length", TARGET, "--windows", 2,
                                               "--rope", f"store:{store}", "--json"))
    checks.close(found[f"store:{store}", TARGET]["ppl"], expected, 1e-12 * expected, "ppl of store:FILE against search's best")
    out = directory / "store-hf"
    done = program.run("export", "--to", "hf", "--model", source, "--store", store, "--out", out, "--weights", "link")
    if checks.equal(done.returncode, 0, "hf from a store: exit code"):
        found = driver.results_by_key(program.json("evaluate", "--model", out, "--tokens", tokens, "--length", TARGET, "--windows", 2,
                                                   "--rope", "config", "--json"))
        checks.close(found["config", TARGET]["ppl"], expected, 1e-12 * expected, "ppl of the exported store against search's best")
    else:
        print(done.stderr[-1000:])
    # formulas become tables: yarn at 4x, frequencies within rounding
    done = program.run("export", "--to", "csv", "--model", source, "--rope", "pi", "--target-length", TARGET, "--out",
                       directory / "pi.csv")
    if checks.equal(done.returncode, 0, "csv of pi: exit code"):
        for i, factor in enumerate((directory / "pi.csv").read_text().split()):
            checks.close(factor, TARGET / L0, 1e-12, f"csv of pi: factor {i}")


def refusals(program, checks, directory, tokens):
    source = rc.make_checkpoint(directory / "refusals", "llama", seed=61, max_positions=L0)
    phi3 = rc.make_checkpoint(directory / "refusals-phi3", "phi3", seed=62, max_positions=L0)
    table = directory / "eight.csv"
    table.write_text("".join(f"{1 + i}\n" for i in range(8)))
    base = ["--model", source, "--target-length", TARGET]

    def refused(what, model_arguments, word, out, *arguments):
        before = driver.snapshot(out) if out.exists() else None
        done = program.run("export", *model_arguments, "--out", out, *arguments)
        good = checks.equal(done.returncode, 2, f"{what}: exit code")
        checks.true(word in done.stderr.lower(), f"{what}: message", f"it says {word!r}", done.stderr[-500:])
        after = driver.snapshot(out) if out.exists() else None
        checks.true(before == after, f"{what}: the output place", "untouched", "changed")
        return good

    occupied = directory / "occupied"
    occupied.mkdir()
    (occupied / "config.json").write_text("{}")
    refused("hf into an existing export", base, "exist", occupied, "--to", "hf", "--rope", f"longrope:{table}")
    refused("hf onto its own source", base, "", source, "--to", "hf", "--rope", f"longrope:{table}")

    def refused_or_warned(what, model, spec, word):
        """Engines cannot hold this: exit 2, or done with a warning that names it."""
        out = directory / what.replace(" ", "-")
        done = program.run("export", "--to", "hf", "--model", model, "--target-length", TARGET, "--rope", spec, "--out", out,
                           "--weights", "none")
        checks.true(done.returncode in (0, 2), f"{what}: exit code", "0 with a warning, or 2", done.returncode)
        checks.true(any(w in done.stderr.lower() for w in word), f"{what}: message", f"it says one of {word}", done.stderr[-500:])
        checks.equal(out.exists(), done.returncode == 0, f"{what}: an output exists only after success")

    refused_or_warned("hf with start tokens", source, f"longrope:{table}:start_tokens=8",
                      ("start_tokens", "start tokens", "start-tokens", "n-hat", "n̂"))
    refused_or_warned("phi3 with an attention factor of its own", phi3, f"longrope:{table}:attention_factor=1.4",
                      ("attention_factor", "attention factor"))


def test(program, checks, directory, arguments):
    tokens = rc.write_raw(directory / "tokens.u16", rc.random_documents(50, 320, [900])[0])
    hf(program, checks, directory, tokens)
    csv_and_store(program, checks, directory, tokens)
    refusals(program, checks, directory, tokens)


if __name__ == "__main__":
    driver.main(test, __doc__, at_least=100)
