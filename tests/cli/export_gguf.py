"""`export --to gguf`: GGUFs of llama, mistral, phi3 and qwen2 get tables and keys and stay as they were otherwise; what cannot
carry a table is refused and leaves nothing; llama.cpp, where it is installed, gives our perplexity under protocol half.

    python3 tests/cli/export_gguf.py --longrope build/release/longrope --shared ../shared
"""
import struct
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import driver  # noqa: E402
import engines  # noqa: E402
import gguf_maker  # noqa: E402
import oracle  # noqa: E402
import random_checkpoint as rc  # noqa: E402

L0, TARGET = 256, 1024
FREQS = {"rope_freqs.weight": ([8], 0, np.ones(8, "<f4").tobytes())}
LINEAR = {"llama.rope.scaling.factor": (gguf_maker.F32, 4.0), "llama.rope.scaling.type": (gguf_maker.STRING, "linear"),
          "llama.rope.scale_linear": (gguf_maker.F32, 4.0)}

MODELS = {
    "llama": dict(kind="llama"),
    "llama-replaced": dict(kind="llama", gguf=dict(extra_keys=LINEAR, extra_tensors=FREQS)),
    "llama-biases": dict(kind="llama", attention_bias=True, tied=True),
    "mistral": dict(kind="mistral", dtype="BF16", shards=2),
    "minicpm": dict(kind="llama", gguf=dict(arch="minicpm", extra_keys={f"minicpm.{x}_scale": (gguf_maker.F32, 1.0) for x in
                                                                        ("embedding", "residual", "logit")})),
    "phi3-partial": dict(kind="phi3", hidden=128, partial=0.75),
    "qwen2": dict(kind="qwen2", bos=None, tied=True),
    "qwen2-q8": dict(kind="qwen2", bos=None, gguf=dict(quantised=("attn_q", "attn_k"))),
}


def make(directory, label, arguments, seed):
    arguments = dict(arguments)
    gguf = arguments.pop("gguf", {})
    source = rc.make_checkpoint(directory / label, seed=seed, max_positions=L0, **arguments)
    path = directory / f"{label}.gguf"
    keys, tensors = gguf_maker.make(source, path, **gguf)
    return source, path, keys, tensors


def check_file(checks, label, checkpoint, keys, tensors, out, factors, short, attention):
    old = keys["general.architecture"][1]
    arch = "llama" if old == "qwen2" else old
    expected = {name.replace(f"{old}.", f"{arch}.", 1) if name.startswith(f"{old}.") else name: v for name, v in keys.items()}
    for gone in ("rope.scaling.factor", "rope.scale_linear"):
        expected.pop(f"{arch}.{gone}", None)
    expected.update({
        "general.architecture": (gguf_maker.STRING, arch), f"{arch}.context_length": (gguf_maker.U32, TARGET),
        f"{arch}.rope.scaling.type": (gguf_maker.STRING, "longrope"),
        f"{arch}.rope.scaling.original_context_length": (gguf_maker.U32, L0),
        f"{arch}.rope.scaling.attn_factor": (gguf_maker.F32, float(np.float32(attention)))})
    got_keys, got = gguf_maker.read(out)

    def plain(found):  # what `read` makes of floats
        return {n: (k, float(np.float32(v)) if k == gguf_maker.F32 else v) for n, (k, v) in found.items()}
    checks.equal(plain(got_keys), plain(expected), f"{label}: keys")
    checks.true("rope_freqs.weight" not in got, f"{label}: rope_freqs", "removed", list(got))
    for name, table in (("long", factors), ("short", short)):
        dims, kind, raw = got.pop(f"rope_factors_{name}.weight", ([], -1, b""))
        checks.equal((dims, kind, raw), ([len(table)], 0, np.asarray(table, "<f4").tobytes()), f"{label}: {name} table, bit for bit")
    wanted = {name: entry for name, entry in tensors.items() if name != "rope_freqs.weight"}
    checks.equal(list(got), list(wanted), f"{label}: tensors")
    for name, (dims, kind, raw) in wanted.items():
        if checkpoint.kind == "qwen2" and (".attn_q." in name or ".attn_k." in name):
            rows = dims[1] if len(dims) == 2 else dims[0]
            matrix = np.frombuffer(raw, np.uint8).reshape(rows, -1)
            raw = gguf_maker.interleave(matrix, checkpoint.heads if ".attn_q." in name else checkpoint.kv_heads).tobytes()
            checks.true(raw != matrix.tobytes(), f"{label}: rows of {name}", "in another order", "the same")
        checks.true(got.get(name) == (dims, kind, raw), f"{label}: {name}", "its bytes", "others")


def structure(program, checks, directory):
    for seed, (label, arguments) in enumerate(MODELS.items()):
        source, path, keys, tensors = make(directory, label, arguments, 90 + seed)
        checkpoint = oracle.Checkpoint(source)
        pairs = checkpoint.rotary_dim // 2
        factors = [float(x) for x in np.random.default_rng(seed).uniform(1.0, 5.0, pairs)]  # not monotone
        table = directory / f"{label}.csv"
        table.write_text("".join(f"{x!r}\n" for x in factors))
        before = driver.snapshot(source), path.read_bytes()
        for mode, short in (("static", factors), ("switch", [1.0] * pairs)):
            out = directory / f"{label}-{mode}.gguf"
            done = program.run("export", "--to", "gguf", "--gguf", path, "--model", source, "--rope", f"longrope:{table}",
                               "--target-length", TARGET, "--mode", mode, "--out", out, "--verify")
            if not checks.equal(done.returncode, 0, f"{label} {mode}: exit code"):
                print(done.stderr[-1000:])
                continue
            checks.true("to the bit" in done.stdout, f"{label} {mode}: --verify", "says so", done.stdout)
            check_file(checks, f"{label} {mode}", checkpoint, keys, tensors, out, factors, short,
                       oracle.longrope_attention_factor(TARGET / L0, L0))
            readme = Path(f"{out}.README.md")
            said = readme.read_text() if readme.exists() else ""
            for word in ("-c N", "Not measured", "llama.cpp", str(TARGET)):
                checks.true(word in said, f"{label} {mode}: README", f"it says {word!r}", said[:300])
        checks.true((driver.snapshot(source), path.read_bytes()) == before, f"{label}: sources", "unchanged", "changed")
        half = [p.name for p in directory.iterdir() if p.name.endswith(".tmp")]
        checks.equal(half, [], f"{label}: temporary files left")


def refusals(program, checks, directory):
    source, path, _, _ = make(directory, "plain", dict(kind="llama"), 110)
    qwen3, qwen3_path, _, _ = make(directory, "qwen3", dict(kind="qwen3", head_dim=16), 111)
    other, other_path, _, _ = make(directory, "other", dict(kind="llama", layers=3), 112)
    split = directory / "split.gguf"
    gguf_maker.make(source, split, extra_keys={"split.count": (2, 2)})
    table = directory / "eight.csv"
    table.write_text("".join(f"{1 + i}\n" for i in range(8)))
    out = directory / "refused.gguf"

    def refused(what, word, gguf, *arguments, model=source, spec=f"longrope:{table}", target=TARGET):
        done = program.run("export", "--to", "gguf", "--model", model, "--rope", spec, "--target-length", target, "--out", out,
                           *(["--gguf", gguf] if gguf else []), *arguments)
        checks.equal(done.returncode, 2, f"{what}: exit code")
        checks.true(word in done.stderr, f"{what}: message", f"it says {word!r}", done.stderr[-500:])
        checks.equal([p.name for p in directory.iterdir() if "refused" in p.name], [], f"{what}: what was written")

    refused("no --gguf", "--gguf is missing", None)
    refused("qwen3", "q_norm and k_norm", qwen3_path, model=qwen3)
    refused("a GGUF of another model", "block_count", other_path)
    refused("one part of a split file", "split", split)
    refused("start tokens", "start_tokens", path, spec=f"longrope:{table}:start_tokens=8")
    refused("below the original length", "original length", path, target=128)
    refused("an engine that does not read it", "transformers", path, "--with", "transformers", "--tokens", "none.u16")
    refused("an engine without text", "--text", path, "--with", "llama.cpp")
    refused("a Python that is none", "no-such-python", path, "--with", "llama.cpp", "--tokens", "none.u16", "--python", "no-such-python")
    refused("a Python without engines", "llama.cpp must be importable", path, "--with", "llama.cpp", "--tokens", "none.u16", "--python",
            "/bin/false")
    existing = Path(f"{out}.README.md")
    existing.write_text("mine")
    done = program.run("export", "--to", "gguf", "--gguf", path, "--model", source, "--rope", f"longrope:{table}", "--target-length",
                       TARGET, "--out", out)
    checks.true(done.returncode == 2 and "exists" in done.stderr, "a README in the way", "refused", done.stderr)
    checks.true(existing.read_text() == "mine" and not out.exists(), "a README in the way", "stays, and nothing else", "changed")
    existing.unlink()


def in_llama_cpp(program, checks, directory, shared, python):
    """PPL of llama.cpp on the same tokens, through --with and by its own numbers."""
    cases = []
    for label, arguments in MODELS.items():
        if label != "qwen2-q8":
            source, path = directory / label, directory / f"{label}.gguf"
            tokens = rc.write_raw(directory / f"{label}.u16", rc.random_documents(7, 320, [2 * TARGET + 10])[0])
            cases.append((label, source, path, ["--tokens", tokens], TARGET, L0))
    texts = sorted((shared / "text" / "validation").glob("*.txt"))
    for name, original in (("books", 256), ("stories260k", 512)):
        source = shared / "models" / name
        if not source.exists() or not texts:
            print(f"skipped: llama.cpp on {name}, {shared} has no {name}")
            continue
        path = directory / f"{name}.gguf"
        gguf_maker.make(source, path)
        cases.append((name, source, path, ["--text", *texts], 4 * original, original))
    for label, source, path, corpus, target, original in cases:
        for mode in ("static", "switch"):
            out = directory / f"{label}-{mode}-engine.gguf"
            found = program.json("export", "--to", "gguf", "--gguf", path, "--model", source, "--rope", "yarn", "--target-length", target,
                                 "--mode", mode, "--out", out, "--with", "llama.cpp", "--python", python, *corpus, "--protocol", "half",
                                 "--windows", 2, "--precision", "f32", "--backend", "cpu", "--json", timeout=900)
            rows = {(row["reader"].split()[0], row["length"]): row for row in found["verified"]}
            for length in (target, original):
                row = rows.get(("llama.cpp", length))
                if checks.true(row is not None and row["judged"], f"{label} {mode} at {length}", "compared with llama.cpp", rows):
                    relative = abs(np.expm1(row["got_nats"] - row["expected_nats"]))
                    checks.true(relative <= 1e-4, f"{label} {mode} at {length}: relative difference of PPL", "at most 1e-4", relative)
                    print(f"llama.cpp: {label} {mode} at {length}: PPL {np.exp(row['got_nats']):.4f}, relative difference {relative:.1e}")
            measured = {(row["table"], row["length"]): row["ppl"] for row in found["measured"]}
            checks.true(("long table", original) in measured, f"{label} {mode}: measured at {original}", "long table", measured)


def corners_in_llama_cpp(program, checks, directory, python):
    def rows_of(label, length, *extra):
        tokens = rc.write_raw(directory / f"{label}.u16", rc.random_documents(8, 320, [3 * TARGET])[0])
        found = program.json("export", "--to", "gguf", "--gguf", directory / f"{label}.gguf", "--model", directory / label, "--rope", "yarn",
                             "--target-length", TARGET, "--mode", "switch", "--out", directory / f"{label}-corner.gguf", "--with", "llama.cpp",
                             "--python", python, "--tokens", tokens, "--protocol", "half", "--windows", 2, "--precision", "f32", "--backend",
                             "cpu", "--length", length, "--json", *extra)
        return [row for row in found["verified"] if row["reader"].startswith("llama.cpp")], found

    # A context of the original length 64 is padded to 256 there, so that the long table is used: as the warning says.
    source = rc.make_checkpoint(directory / "padded", seed=120, max_positions=64)
    gguf_maker.make(source, directory / "padded.gguf")
    rows, found = rows_of("padded", 64)
    checks.true(any("a context of 64 counts as 256" in w for w in found["warnings"]), "padded: warning", "64 counts as 256", found["warnings"])
    if checks.equal([(row["length"], row["judged"]) for row in rows], [(64, True)], "padded: compared with llama.cpp"):
        checks.close(rows[0]["got_nats"], rows[0]["expected_nats"], 1e-5, "padded: NLL of the long table")
        by_table = {row["table"]: row["ppl"] for row in found["measured"]}
        apart = abs(np.log(by_table["long table"] / by_table["short table"]))
        checks.true(apart > 1e-3, "padded: the two tables", "differ, or this proves nothing", apart)
    # Quantised rows of a Qwen2 in llama's order: the same model up to Q8_0.
    rows, _ = rows_of("qwen2-q8", TARGET)
    if checks.equal([(row["length"], row["judged"]) for row in rows], [(TARGET, False)], "quantised: compared, not judged"):
        checks.close(rows[0]["got_nats"], rows[0]["expected_nats"], 0.01, "quantised: NLL in llama.cpp")


def test(program, checks, directory, arguments):
    structure(program, checks, directory)
    refusals(program, checks, directory)
    python = engines.find_python("llama.cpp")
    if python is None:
        print("skipped: llama.cpp, no Python here has llama_cpp (pip install llama-cpp-python; LONGROPE_ENGINE_PYTHON names it)")
    else:
        in_llama_cpp(program, checks, directory, arguments.shared, python)
        corners_in_llama_cpp(program, checks, directory, python)


if __name__ == "__main__":
    driver.main(test, __doc__, at_least=200)
