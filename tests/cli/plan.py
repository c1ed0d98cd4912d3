"""`longrope plan`: its bytes against sums of shapes, its FLOPs against a count written down here, its refusals.

    python3 tests/cli/plan.py --longrope build/release/longrope
"""
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import driver  # noqa: E402
import random_checkpoint as rc  # noqa: E402

LLAMA8B = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
           "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "hidden_act": "silu",
           "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": False}


def window_flops(c, length):
    """Of one window under which every next token is scored: products, and attention over the pairs that exist."""
    tokens, hidden, heads = length - 1, c["hidden_size"], c["num_attention_heads"] * c["head_dim"]
    layer = hidden * (2 * heads + 2 * c["num_key_value_heads"] * c["head_dim"] + 3 * c["intermediate_size"])
    attention = 4 * heads * tokens * (tokens + 1) / 2
    return c["num_hidden_layers"] * (2 * layer * tokens + attention) + 2 * hidden * c["vocab_size"] * tokens


def test(program, checks, directory, arguments):
    big = directory / "big"
    big.mkdir()
    (big / "config.json").write_text(json.dumps(LLAMA8B))
    gpu = ["plan", "--model", big, "--backend", "cuda", "--memory", 140, "--host-memory", 200]
    found = program.json(*gpu, "--length", "131072,2097152", "--windows", 5, "--budget", 100, "--rate", 600, "--json")
    checks.equal([p["length"] for p in found["lengths"]], [131072, 2097152], "lengths")
    for p in found["lengths"]:
        length, what = p["length"], f"8B at {p['length']}"
        checks.close(p["flops"]["window"], window_flops(LLAMA8B, length), 1e-9 * p["flops"]["window"], f"{what}: FLOPs of a window")
        checks.close(p["flops"]["budget"], 500 * p["flops"]["window"], 1e-9 * p["flops"]["budget"], f"{what}: FLOPs of the budget")
        checks.close(p["budget_s"], p["flops"]["budget"] / 600e12, 1e-9 * p["budget_s"], f"{what}: seconds")
        checks.equal(p["bytes"]["kv"], 2 * 8 * 128 * 2 * (length - 1), f"{what}: K and V of one layer in bf16, the last token is not fed")
        parameters = 2 * 128256 * 4096 + 32 * (4096 * (4096 + 2048 + 4096) + 3 * 4096 * 14336)
        checks.true(0 <= p["bytes"]["weights"] - 2 * parameters < 0.01 * 2 * parameters, f"{what}: weights in bf16", 2 * parameters,
                    p["bytes"]["weights"])
        checks.true(p["fits"] and p["bytes"]["total"] <= 140e9, f"{what}: fits 140 GB", "at most 140e9", p["bytes"]["total"])
    fp8 = ["--precision", "fp8", "--length", 2097152, "--json"]
    planned = [program.json(*gpu, *fp8, "--attention", attention)["lengths"][0]["bytes"] for attention in ("bf16", "fp8")]
    checks.true(planned[1]["scratch"] - planned[0]["scratch"] > 1.7 * 2097152 * 8 * 128, "FP8 attention: room for K and V in e4m3",
                "about K and V: 4.3 GB", (planned[0]["scratch"], planned[1]["scratch"]))
    generated = program.json(*gpu, "--length", 131072, "--generate", "--json")["lengths"][0]
    checks.equal(generated["bytes"]["kv"], 32 * 2 * 8 * 128 * 2 * 131072, "a generation: K and V of all layers")
    small = program.run(*gpu[:-4], "--memory", 24, "--length", "8192,2097152", "--json", "--host-memory", 10)
    checks.equal(small.returncode, 2, "24 GB: exit code")
    fits = [p["fits"] for p in json.loads(small.stdout)["lengths"]]
    checks.equal(fits, [True, False], "24 GB: what fits")
    checks.true(small.stderr.count("[memory]") == 1 and "2097152 tokens must fit" in small.stderr, "24 GB: says why not", "[memory] ...", small.stderr)

    model = rc.make_checkpoint(directory / "model", "llama", seed=3, layers=2)
    text = program.run("plan", "--model", model, "--backend", "cpu", "--length", 4096, "--windows", 3)
    checks.true(text.returncode == 0 and "a full evaluation, 3 windows" in text.stdout and "K and V of one layer" in text.stdout, "text",
                "terms and FLOPs", text.stdout + text.stderr)
    # On a GPU windows of a small model share launches: as many as fill a chunk, and that much more memory a pass.
    small = ["plan", "--model", model, "--backend", "cuda", "--memory", 80, "--host-memory", 10, "--json"]
    joined, full = program.json(*small, "--length", "2048,16384")["lengths"]
    checks.equal((joined["sequences"], joined["chunk_tokens"], joined["windows_at_once"]), (4, 4 * 2047, 8), "2048 tokens: windows, rows and passes at once")
    checks.equal((full["sequences"], full["chunk_tokens"]), (1, 8192), "16384 tokens: alone")
    checks.equal(joined["bytes"]["kv"] * 16383, 4 * full["bytes"]["kv"] * 2047, "K and V of four windows")
    checks.equal([p["sequences"] for p in found["lengths"]], [1, 1], "8B: one window keeps the GPU busy")
    # What a run says that it takes is what was planned: the tables of a search's step.
    tokens = rc.write_raw(directory / "tokens.u16", rc.random_documents(5, 320, [5000])[0])
    ran = program.run("evaluate", "--model", model, "--tokens", tokens, "--length", 4096, "--windows", 1, "--backend", "cpu", "--verbose",
                      "--threads", 1, *(part for factor in range(2, 10) for part in ("--rope", f"pi:factor={factor}")))
    planned = program.json("plan", "--model", model, "--backend", "cpu", "--length", 4096, "--threads", 1, "--json")["lengths"][0]["bytes"]
    checks.true(f"K and V of one layer {planned['kv'] / 1e6:.1f} MB" in ran.stderr, "evaluate --verbose: the plan's bytes",
                f"{planned['kv'] / 1e6:.1f} MB", ran.stderr)
    for what, options, say in (("no model", [], "--model"), ("a length of none", ["--model", model, "--length", "1"], "length"),
                               ("memory of none", ["--model", model, "--memory", "0"], "--memory"),
                               ("memory that is no number", ["--model", model, "--memory", "nan"], "memory"),
                               ("fp8 on the CPU", ["--model", model, "--backend", "cpu", "--precision", "fp8"], "--precision"),
                               ("fp8 attention in bf16", [*gpu[1:], "--attention", "fp8"], "--precision fp8"),
                               ("fp8 attention of other heads", ["--model", model, "--backend", "cuda", "--memory", "10", "--precision",
                                                                 "fp8", "--attention", "fp8"], "head_dim 64, 96 or 128 but got"),
                               ("f32 on a GPU", ["--model", model, "--backend", "cuda", "--precision", "f32"], "--precision"),
                               ("a rate of none", ["--model", model, "--rate", "0"], "rate"),
                               ("a host for the CPU", ["--model", model, "--backend", "cpu", "--host-memory", "3"], "--host-memory"),
                               ("a model that is none", ["--model", directory / "none"], "none")):
        refused = program.run("plan", *options)
        checks.true(refused.returncode == 2 and refused.stdout == "" and refused.stderr.count("\n") == 1 and say in refused.stderr, what,
                    f"exit 2 and one line with {say}", (refused.returncode, refused.stderr))


if __name__ == "__main__":
    driver.main(test, __doc__, at_least=20)
