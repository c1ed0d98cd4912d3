"""`export --to hf` in the installed transformers, v4 or v5: of Llama, Mistral, Qwen2, Qwen3 and Phi-3, static and switching, cos and
sin are those of the exported tables and the perplexity is ours. Skipped (77) without transformers.

    python3 tests/cli/export_transformers.py --longrope build/release/longrope --shared ../shared
"""
import math
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import driver  # noqa: E402
import engines  # noqa: E402
import oracle  # noqa: E402
import random_checkpoint as rc  # noqa: E402

L0, TARGET = 64, 512

MODELS = {
    "llama": dict(kind="llama", theta=500000.0, head_dim=24),
    "llama-v5": dict(kind="llama", rope_form="v5"),
    "mistral": dict(kind="mistral", dtype="BF16"),
    "qwen2": dict(kind="qwen2", bos=None),
    "qwen3": dict(kind="qwen3", head_dim=32),
    "phi3": dict(kind="phi3", extra={"pad_token_id": 0}),
    "phi3-partial-v5": dict(kind="phi3", hidden=128, partial=0.75, rope_form="v5", extra={"pad_token_id": 0}),
}

# cos and sin as each model's own module gives them to a sequence of n tokens, written to DIRECTORY.npz.
ROTARY = """
import sys, numpy, torch, transformers
long, short, *directories = sys.argv[1:]
for directory in directories:
    config = transformers.AutoConfig.from_pretrained(directory)
    model = transformers.AutoModelForCausalLM.from_config(config).float()
    found = {}
    for n in int(long), int(short):
        cos, sin = model.model.rotary_emb(torch.zeros(1, 1, config.hidden_size), torch.arange(n)[None])
        found[f"cos{n}"], found[f"sin{n}"] = cos[0].numpy(), sin[0].numpy()
    numpy.savez(directory + ".npz", **found)
"""


def check_rotary(checks, label, found, n, factors, attention, theta, rotary_dim):
    inv_freq = oracle.plain_frequencies(theta, rotary_dim) / np.asarray(factors)
    angle = np.arange(n)[:, None] * inv_freq[None, :]
    # transformers rounds frequency and angle to float32, three roundings of 2^-24 each; beyond those, 1e-6.
    allowed = 1e-6 + 3 * 2.0**-24 * angle * attention
    for name, function in (("cos", np.cos), ("sin", np.sin)):
        got = found[f"{name}{n}"]
        checks.equal(got.shape, (n, rotary_dim), f"{label}: shape of {name} at {n}")
        off = np.abs(got[:, :rotary_dim // 2] - attention * function(angle))
        checks.true(np.all(off <= allowed), f"{label}: {name} at {n}", "ours within 1e-6", f"off by up to {off.max():.3g}")
        checks.true(np.all(off[angle < 1] <= 1e-6), f"{label}: {name} at {n}, angles below 1", "ours within 1e-6", off[angle < 1].max())


def test(program, checks, directory, arguments):
    python = engines.find_python("transformers")
    if python is None:
        raise driver.Skip("no Python here has transformers and torch (pip install transformers torch; LONGROPE_ENGINE_PYTHON names it)")
    versions, exported, worst = set(), [], 0.0
    for seed, (label, made) in enumerate(MODELS.items()):
        source = rc.make_checkpoint(directory / label, seed=200 + seed, max_positions=L0, **made)
        tokens = rc.write_raw(directory / f"{label}.u16", rc.random_documents(300 + seed, 320, [2 * TARGET + 10])[0])
        checkpoint = oracle.Checkpoint(source)
        rng = np.random.default_rng(seed)
        tables = {}
        for name in ("long", "short"):
            tables[name] = [float(x) for x in rng.uniform(1.0, 6.0 if name == "long" else 1.3, checkpoint.rotary_dim // 2)]
            (directory / f"{label}-{name}.csv").write_text("".join(f"{x!r}\n" for x in tables[name]))
        formula = math.sqrt(1 + math.log(TARGET / L0) / math.log(L0))
        attention = formula if made["kind"] == "phi3" else 1.2
        long_spec = f"longrope:{directory / label}-long.csv:attention_factor={attention!r}"
        for mode in ("static", "switch"):
            name, out = f"{label} {mode}", directory / f"{label}-{mode}"
            short = ["--short", f"longrope:{directory / label}-short.csv:attention_factor={attention!r}"] if mode == "switch" else []
            found = program.json("export", "--to", "hf", "--model", source, "--rope", long_spec, "--target-length", TARGET, "--mode", mode,
                                 *short, "--out", out, "--with", "transformers", "--python", python, "--tokens", tokens, "--windows", 2,
                                 "--precision", "f32", "--backend", "cpu", "--json", timeout=600)
            rows = {(row["reader"].split()[0], row["length"]): row for row in found["verified"]}
            for length in (TARGET, L0):
                row = rows.get(("transformers", length))
                if checks.true(row is not None and row["judged"], f"{name} at {length}", "compared with transformers", rows):
                    versions.add(row["reader"])
                    relative = abs(math.expm1(row["got_nats"] - row["expected_nats"]))
                    worst = max(worst, relative)
                    checks.true(relative <= 1e-4, f"{name} at {length}: relative difference of PPL", "at most 1e-4", relative)
            exported.append((name, out, tables, mode, attention, checkpoint))
    done = subprocess.run([python, "-c", ROTARY, str(TARGET), str(L0), *[str(entry[1]) for entry in exported]], stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, timeout=300)
    if not checks.equal(done.returncode, 0, "transformers' rotary modules"):
        raise driver.Failed(done.stderr[-1500:])
    for name, out, tables, mode, attention, checkpoint in exported:
        rotary = np.load(f"{out}.npz")
        for n, table in ((TARGET, "long"), (L0, "short" if mode == "switch" else "long")):
            check_rotary(checks, name, rotary, n, tables[table], attention, checkpoint.theta, checkpoint.rotary_dim)
    books, texts = arguments.shared / "models" / "books", sorted((arguments.shared / "text" / "validation").glob("*.txt"))
    if books.exists() and texts:
        found = program.json("export", "--to", "hf", "--model", books, "--rope", "yarn", "--target-length", 1024, "--out", directory / "books",
                             "--with", "transformers", "--python", python, "--text", *texts, "--windows", 2, "--precision", "f32",
                             "--backend", "cpu", "--json", timeout=600)
        for row in found["verified"]:
            relative = abs(math.expm1(row["got_nats"] - row["expected_nats"]))
            checks.true(relative <= 1e-4, f"books at {row['length']} in {row['reader']}", "PPL within 1e-4", relative)
            print(f"books: {row['reader']} at {row['length']}: PPL {math.exp(row['got_nats']):.4f}, relative difference {relative:.1e}")
    else:
        print(f"skipped: books, {arguments.shared} has none")
    checks.equal(len(versions), 1, "versions of transformers")
    print(f"{', '.join(sorted(versions))}: relative difference of PPL at most {worst:.1e}")


if __name__ == "__main__":
    driver.main(test, __doc__, at_least=150)
