"""Every format of `export`: what is in it against engines.md's rules for its reader, the published tables through all of them bit for
bit, READMEs that say which table is active and what it costs, --verify, and refusals and warnings by name.

    python3 tests/cli/export_formats.py --longrope build/release/longrope --shared ../shared
"""
import json
import math
import re
import shlex
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import driver  # noqa: E402
import gguf_maker  # noqa: E402
import oracle  # noqa: E402
import random_checkpoint as rc  # noqa: E402

L0, TARGET = 64, 256
FORMATS = ("hf", "trtllm", "vllm", "sglang", "json", "csv", "gguf")
DIRECTORIES = ("hf", "trtllm", "vllm", "sglang")
DEFAULT = math.sqrt(1 + math.log(TARGET / L0) / math.log(L0))


def read_tables(kind, out):
    """(long, short) as the format's reader finds them; float32 bytes from a GGUF."""
    if kind == "csv":
        factors = [float(x) for x in out.read_text().split()]
        return factors, factors
    if kind == "json":
        root = json.loads(out.read_text())
        return root["factors"], root.get("short", root)["factors"]
    if kind == "gguf":
        _, tensors = gguf_maker.read(out)
        return tuple(np.frombuffer(tensors[f"rope_factors_{name}.weight"][2], "<f4") for name in ("long", "short"))
    root = json.loads((out / ("overrides.json" if kind in ("vllm", "sglang") else "config.json")).read_text())
    rope = root["rope_parameters" if kind == "vllm" else "rope_scaling"]
    return rope["long_factor"], rope["short_factor"]


def readme_of(kind, out):
    return out / "README.md" if kind in DIRECTORIES else Path(f"{out}.README.md")


def published(program, checks, directory, shared):
    tables = sorted((shared / "tables").glob("*.csv"))
    if not tables:
        print(f"skipped: published tables, {shared} has none")
        return
    checks.true(len(tables) >= 5, "tables found", "at least 5", len(tables))
    source = rc.make_checkpoint(directory / "published", "llama", seed=80, hidden=64, heads=2, kv_heads=1, head_dim=128, layers=1,
                                max_positions=4096)
    gguf = directory / "published.gguf"
    gguf_maker.make(source, gguf)
    decreasing = 0
    for table in tables:
        factors = [float(x) for x in table.read_text().split()]
        decreasing += any(b < a for a, b in zip(factors, factors[1:]))
        for kind in FORMATS:
            name, out = f"{table.stem} as {kind}", directory / f"{table.stem}-{kind}.{kind}"
            done = program.run("export", "--to", kind, "--model", source, "--rope", f"longrope:{table}", "--target-length", 131072, "--out",
                               out, "--verify", *(["--gguf", gguf] if kind == "gguf" else []),
                               *(["--weights", "none"] if kind in ("hf", "trtllm") else []))
            if not checks.equal(done.returncode, 0, f"{name}: exit code"):
                print(done.stderr[-1000:])
                continue
            for which, got in zip(("long", "short"), read_tables(kind, out)):
                same = np.asarray(got, "<f4").tobytes() == np.asarray(factors, "<f4").tobytes()
                checks.true(same and (kind == "gguf" or list(got) == factors), f"{name}: {which} table", "bit for bit", list(got)[:4])
            # and back into a table here
            if kind in ("json", "csv", "hf", "trtllm"):
                file = out / "config.json" if kind in DIRECTORIES else out
                back = directory / f"{table.stem}-{kind}-back.csv"
                done = program.run("export", "--to", "csv", "--model", source, "--rope", f"longrope:{file}", "--target-length", 131072, "--out",
                                   back)
                checks.equal(done.returncode, 0, f"{name} read back: exit code")
                checks.equal(back.exists() and [float(x) for x in back.read_text().split()], factors, f"{name} read back")
    checks.true(decreasing >= 1, "tables that are not monotone", "at least 1", decreasing)


def contents(program, checks, directory):
    """Keys that the engines' sources ask for; two tables with attention factors of their own."""
    for kind_of_model, made in (("llama", dict(theta=500000.0)), ("phi3", dict(hidden=128, partial=0.75)), ("qwen3", dict(head_dim=16))):
        source = rc.make_checkpoint(directory / f"it's {kind_of_model}", kind_of_model, seed=81, max_positions=L0, **made)
        checkpoint = oracle.Checkpoint(source)
        pairs = checkpoint.rotary_dim // 2
        table = directory / f"{kind_of_model}.csv"
        factors = [1 + 0.37 * i for i in range(pairs)]
        table.write_text("".join(f"{x!r}\n" for x in factors))
        spec = f"longrope:{table}:attention_factor=1.3"
        for engine in ("vllm", "sglang"):
            out = directory / f"{kind_of_model}-{engine}"
            done = program.run("export", "--to", engine, "--model", source, "--rope", spec, "--target-length", TARGET, "--mode", "switch",
                               "--out", out, "--verify")
            if not checks.equal(done.returncode, 0, f"{out.name}: exit code"):
                print(done.stderr[-1000:])
                continue
            checks.equal(sorted(p.name for p in out.iterdir()), ["README.md", "overrides.json", "serve.sh"], f"{out.name}: files")
            overrides = json.loads((out / "overrides.json").read_text())
            rope = overrides["rope_parameters" if engine == "vllm" else "rope_scaling"]
            expected = {"rope_type": "longrope", "rope_theta": made.get("theta", 10000.0), "original_max_position_embeddings": L0,
                        "short_mscale": 1.0, "long_mscale": 1.3, "short_factor": [1.0] * pairs, "long_factor": factors}
            if kind_of_model == "phi3":
                expected["partial_rotary_factor"] = 0.75
            checks.equal(rope, expected, f"{out.name}: the rope dictionary")
            checks.equal(overrides["max_position_embeddings"], TARGET, f"{out.name}: max_position_embeddings")
            script = (out / "serve.sh").read_text()
            words = shlex.split(script.split("exec ", 1)[1].replace("\\\n", " "))
            option = "--hf-overrides" if engine == "vllm" else "--json-model-override-args"
            length = "--max-model-len" if engine == "vllm" else "--context-length"
            checks.equal(json.loads(words[words.index(option) + 1]), overrides, f"{out.name}: the JSON in serve.sh")
            checks.equal(words[words.index(length) + 1], str(TARGET), f"{out.name}: {length}")
            checks.true(str(source.resolve()) in words, f"{out.name}: serve.sh names the model", source, words[:4])
            checks.true((out / "serve.sh").stat().st_mode & 0o100, f"{out.name}: serve.sh", "executable", oct((out / "serve.sh").stat().st_mode))
        out = directory / f"{kind_of_model}.json"
        done = program.run("export", "--to", "json", "--model", source, "--rope", f"{spec},start_tokens=3", "--target-length", TARGET,
                           "--mode", "switch", "--out", out, "--verify")
        if checks.equal(done.returncode, 0, f"{out.name}: exit code"):
            root = json.loads(out.read_text())
            wanted = {"rotary_dim": checkpoint.rotary_dim, "rope_theta": checkpoint.theta, "original_length": L0, "target_length": TARGET,
                      "mode": "switch", "factors": factors, "attention_factor": 1.3, "start_tokens": 3}
            for key, content in wanted.items():
                checks.equal(root.get(key), content, f"{out.name}: {key}")
            plain = oracle.plain_frequencies(checkpoint.theta, checkpoint.rotary_dim)
            checks.true(np.allclose(root["inv_freq"], plain / factors, rtol=1e-14), f"{out.name}: inv_freq", "w / factors", root["inv_freq"][:3])
            checks.equal((root["short"]["factors"], root["short"]["attention_factor"], root["short"]["start_tokens"]), ([1.0] * pairs, 1.0, 0),
                         f"{out.name}: short")


def measured(program, checks, directory):
    """README figures are evaluate's; every format verifies the NLL."""
    source = rc.make_checkpoint(directory / "measured", "llama", seed=82, max_positions=L0)
    gguf = directory / "measured.gguf"
    gguf_maker.make(source, gguf)
    tokens = rc.write_raw(directory / "measured.u16", rc.random_documents(83, 320, [900])[0])
    table = directory / "measured.csv"
    table.write_text("".join(f"{1 + 0.4 * i}\n" for i in range(8)))
    spec, common = f"longrope:{table}:attention_factor={DEFAULT!r}", ["--tokens", tokens, "--windows", 3, "--backend", "cpu"]
    lengths = [L0 // 4, L0 // 2, L0, TARGET]
    found = driver.results_by_key(program.json("evaluate", "--model", source, *common, "--length", ",".join(map(str, lengths)), "--rope",
                                               "config", "--rope", spec, "--json"))
    for kind in FORMATS:
        for mode in ("static",) if kind == "csv" else ("static", "switch"):
            name, out = f"{kind} {mode}", directory / f"measured-{kind}-{mode}"
            done = program.json("export", "--to", kind, "--model", source, "--rope", spec, "--target-length", TARGET, "--mode", mode, "--out",
                                out, *common, "--verify", "--json", *(["--gguf", gguf] if kind == "gguf" else []))
            got = {(row["table"], row["length"]): row["ppl"] for row in done["measured"]}
            tolerance = 1e-4 if kind == "gguf" else 1e-9  # float32 tables
            for length in lengths:
                for label, rope in (("checkpoint as it is", "config"), ("long table", spec)):
                    expected = found[rope, length]["ppl"]
                    checks.close(got.get((label, length)), expected, tolerance * expected, f"{name}: {label} at {length}")
                checks.equal(("short table", length) in got, mode == "switch" and length <= L0, f"{name}: a short table at {length}")
            if mode == "switch":  # the long table's attention factor on plain frequencies, or its own
                own = kind in ("vllm", "sglang", "json")
                same = abs(got["short table", L0] - got["checkpoint as it is", L0]) < 1e-9 * got["short table", L0]
                checks.equal(same, own, f"{name}: the short table is the plain model")
            checks.true(done["tables_verified"], f"{name}: tables verified", True, done["tables_verified"])
            checks.equal(sorted(row["length"] for row in done["verified"]), [L0, TARGET], f"{name}: lengths verified")
            for row in done["verified"]:
                checks.equal(row["got_nats"], row["expected_nats"], f"{name}: NLL verified at {row['length']}")
            said = readme_of(kind, out).read_text()
            for (label, length), ppl in got.items():
                checks.true(re.search(rf"\| {length} \| {label} \| {ppl:.4f} \|", said), f"{name}: README has {label} at {length}", f"{ppl:.4f}",
                            said[-900:])
            checks.true("Not measured" not in said, f"{name}: README", "measured", said[-300:])
    # Without text, and where the text is too short for the target.
    out = directory / "unmeasured"
    done = program.run("export", "--to", "vllm", "--model", source, "--rope", spec, "--target-length", TARGET, "--out", out, "--verify")
    checks.true("Not measured" in (out / "README.md").read_text(), "without text: README", "it says so", done.stderr)
    checks.true("to the bit" in done.stdout, "without text: --verify", "the tables", done.stdout)
    out = directory / "short-text"
    done = program.run("export", "--to", "vllm", "--model", source, "--rope", spec, "--target-length", 4096, "--out", out, *common)
    checks.equal(done.returncode, 0, "text too short for the target: exit code")
    checks.true("not measured at 4096" in done.stderr, "text too short for the target", "a warning", done.stderr)


def limits(program, checks, directory):
    source = rc.make_checkpoint(directory / "limits", "llama", seed=84, max_positions=L0)
    phi3 = rc.make_checkpoint(directory / "limits-phi3", "phi3", seed=85, max_positions=L0)
    gguf = directory / "limits.gguf"
    gguf_maker.make(source, gguf)
    table = directory / "limits.csv"
    table.write_text("".join(f"{1 + i}\n" for i in range(8)))
    out = directory / "limited"

    def run(kind, spec, *arguments, model=source, target=TARGET):
        return program.run("export", "--to", kind, "--model", model, "--rope", f"longrope:{table}{spec}", "--target-length", target, "--out",
                           out, *(["--gguf", gguf] if kind == "gguf" else []), *arguments)

    def refused(kind, spec, word, *arguments, **kwargs):
        done = run(kind, spec, *arguments, **kwargs)
        what = f"{kind} {spec} {' '.join(map(str, arguments))}"
        checks.equal(done.returncode, 2, f"{what}: exit code")
        checks.equal(len(done.stderr.strip().splitlines()), 1, f"{what}: lines on stderr")
        checks.true(word in done.stderr, f"{what}: message", f"it says {word!r}", done.stderr)
        checks.equal([p.name for p in directory.iterdir() if p.name.startswith((out.name, f".{out.name}"))], [], f"{what}: what was written")

    for kind in ("hf", "trtllm", "vllm", "sglang", "gguf"):
        refused(kind, ":start_tokens=4", "start_tokens")
        refused(kind, "", "original length", target=32)
    refused("trtllm", ":attention_factor=1.5", "TensorRT-LLM cannot be told an attention factor")
    refused("hf", ":attention_factor=1.5", "Phi-3's config cannot carry an attention factor", model=phi3)
    refused("csv", "", "one table", "--mode", "switch")
    refused("hf", "", "--gguf belongs to", "--gguf", gguf)
    refused("vllm", "", "--length needs", "--length", "64")
    refused("vllm", "", "transformers does not read", "--with", "transformers", "--tokens", gguf)
    refused("hf", "", "transformers does not read", "--with", "transformers", "--tokens", gguf, "--weights", "none")
    refused("hf", "", "banana", "--with", "banana")

    def warned(kind, spec, word, *arguments):
        done = run(kind, spec, *arguments)
        what = f"{kind} {spec} {' '.join(map(str, arguments))}"
        checks.equal(done.returncode, 0, f"{what}: exit code")
        checks.true(word in done.stderr and "warning" in done.stderr, f"{what}: warning", f"it says {word!r}", done.stderr)
        readme = readme_of(kind, out)
        checks.true(word in readme.read_text(), f"{what}: the README says it too", word, readme.read_text()[:500])
        for path in sorted(directory.glob("limited*")):
            if path.is_dir():
                for file in path.iterdir():
                    file.unlink()
                path.rmdir()
            else:
                path.unlink()

    warned("csv", ":start_tokens=4", "start_tokens=4")
    warned("csv", ":attention_factor=1.5", "attention_factor=1.5")
    for kind in ("hf", "trtllm", "gguf"):
        warned(kind, "", "one attention factor", "--mode", "switch")
    warned("hf", "", "does not recompute", "--mode", "switch")
    warned("sglang", "", "SGLang takes the long table for every request", "--mode", "switch")
    done = run("vllm", ":attention_factor=1.5", "--mode", "switch")
    checks.equal((done.returncode, done.stderr), (0, ""), "vllm takes two attention factors: no warning")


def test(program, checks, directory, arguments):
    published(program, checks, directory, arguments.shared)
    contents(program, checks, directory)
    measured(program, checks, directory)
    limits(program, checks, directory)


if __name__ == "__main__":
    driver.main(test, __doc__, at_least=300)
