"""Mean NLL per window of `longrope evaluate` against the float64 oracle: random checkpoints of the five architectures, every
scaling method, 1x and 4x of the original length, the three protocols; f32 within 1e-5 nats, bf16 within 1% perplexity.

    python3 tests/cli/parity.py --longrope build/release/longrope [--only NAME] [--list]
"""
import json
import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import driver  # noqa: E402
import oracle  # noqa: E402
import random_checkpoint as rc  # noqa: E402

TOLERANCE_NATS = 1e-5
MINIMUM_SPREAD_NATS = 1e-3  # between some two methods, or the comparison would prove little


def llama3_scaling(factor, length0):
    return {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": length0}


def longrope_lists(pairs):
    return {"short_factor": [1.0 + 0.01 * i for i in range(pairs)],
            "long_factor": [1.0 + 3.0 * i / pairs for i in range(pairs)]}


# name: arguments of make_checkpoint; `L0` the original length, `tokens` the form of the token file, `few`: some methods only.
CASES = {
    "llama-plain": dict(kind="llama", layers=3, L0=64, tokens="h5"),
    "llama-bias-f16-sharded-v5": dict(kind="llama", attention_bias=True, head_dim=32, dtype="F16", shards=3, rope_form="v5",
                                      theta=500000.0, tied=True, L0=96, tokens="npy"),
    "llama-config-llama3": dict(kind="llama", dtype="BF16", max_positions=512, scaling=llama3_scaling(8.0, 64), L0=64,
                                kv_heads=1, tokens="h5"),
    "llama-config-linear-mha": dict(kind="llama", kv_heads=None, scaling={"type": "linear", "factor": 2.0}, L0=64,
                                    tokens="u16"),
    "llama-config-dynamic": dict(kind="llama", scaling={"rope_type": "dynamic", "factor": 2.0}, L0=64, padding=1, tokens="u32"),
    "llama-config-longrope": dict(kind="llama", max_positions=256, L0=64, tokens="h5",
                                  extra={"original_max_position_embeddings": 64},
                                  scaling={"rope_type": "longrope", **longrope_lists(8), "factor": 4.0, "attention_factor": 1.15,
                                           "original_max_position_embeddings": 64}),
    "llama-config-yarn-no-truncate": dict(kind="llama", max_positions=256, rope_form="v5", L0=64, head_dim=24, tokens="h5",
                                          scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
                                                   "truncate": False, "beta_fast": 8.0, "beta_slow": 0.5}),
    "llama-head80-odd-sizes": dict(kind="llama", hidden=80, heads=3, kv_heads=1, head_dim=80, vocabulary=321, intermediate=131,
                                   L0=64, tokens="h5-creation-order"),
    "mistral-sliding-bf16": dict(kind="mistral", heads=4, kv_heads=1, head_dim=24, dtype="BF16", shards=2, layers=2,
                                 extra={"sliding_window": 70}, L0=275, tokens="h5", few=True),  # 1100 tokens: beyond any chunk
    "mistral-config-yarn": dict(kind="mistral", max_positions=256, L0=64, hidden=96, heads=6, kv_heads=3, tokens="h5",
                                scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
                                         "beta_fast": 16.0}),
    "qwen2-tied-no-bos": dict(kind="qwen2", tied=True, bos=None, theta=1e6, L0=64, tokens="h5",
                              extra={"use_sliding_window": False, "sliding_window": 16, "max_window_layers": 0}),
    "qwen2-sliding-bf16": dict(kind="qwen2", layers=3, dtype="BF16", heads=4, kv_heads=4, L0=96, tokens="h5",
                               extra={"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1}),
    "qwen2-no-bos-by-tokenizer": dict(kind="qwen2", bos=5, no_bos_token=True, L0=64, tokens="npy", rope_form="v5"),
    "qwen3-head32": dict(kind="qwen3", head_dim=32, theta=1e6, L0=64, epsilon=1e-6, tokens="h5"),
    "qwen3-bias-layer-types-v5": dict(kind="qwen3", head_dim=16, layers=3, tied=True, attention_bias=True, dtype="F16", L0=64,
                                      rope_form="v5", tokens="h5",
                                      extra={"use_sliding_window": True, "sliding_window": 33, "max_window_layers": 0,
                                             "layer_types": ["full_attention", "sliding_attention", "full_attention"]}),
    "phi3-sliding": dict(kind="phi3", hidden=96, heads=4, kv_heads=4, L0=64, tokens="h5", extra={"sliding_window": 47}),
    "phi3-partial-config-longrope": dict(kind="phi3", hidden=64, heads=4, kv_heads=2, partial=0.75, dtype="BF16", shards=2,
                                         max_positions=256, L0=64, tokens="h5", extra={"original_max_position_embeddings": 64},
                                         scaling={"type": "longrope", **longrope_lists(6)}),
    "phi3-head80-su": dict(kind="phi3", hidden=160, heads=2, kv_heads=1, partial=0.75, max_positions=384, L0=96, tied=True,
                           tokens="h5", extra={"original_max_position_embeddings": 96, "sliding_window": None},
                           scaling={"type": "su", **longrope_lists(30)}),
    "phi3-partial-v5": dict(kind="phi3", hidden=96, heads=3, kv_heads=3, partial=0.75, rope_form="v5", L0=64, tokens="h5"),
}


def make(case, seed, directory):
    arguments = dict(CASES[case])
    length0, form, no_bos_token = arguments.pop("L0"), arguments.pop("tokens"), arguments.pop("no_bos_token", False)
    arguments.pop("few", None)
    arguments.setdefault("max_positions", length0)
    model = rc.make_checkpoint(directory / case, seed=seed, **arguments)
    if no_bos_token:
        (model / "tokenizer_config.json").write_text(json.dumps({"bos_token": None, "add_bos_token": False}))
    checkpoint = oracle.Checkpoint(model)
    assert checkpoint.original_length == length0, case
    vocabulary = checkpoint.config["vocab_size"]
    if form.startswith("h5"):  # the second document is too short for any window
        documents = rc.random_documents(seed, vocabulary, [9 * length0 + 5, length0 // 2, 5 * length0 + 3])
        creation_order = form == "h5-creation-order"
        names = ["zebra", "middle", "apple"] if creation_order else ["a.txt", "b.txt", "c.txt"]
        tokens = rc.write_h5(directory / f"{case}.h5", documents, names, ["<i4", "<u2", "<i8"][seed % 3], creation_order)
    else:
        documents, names = rc.random_documents(seed, vocabulary, [13 * length0]), None
        path = directory / f"{case}.{form}"
        tokens = rc.write_npy(path, documents[0]) if form == "npy" else rc.write_raw(path, documents[0])
    return checkpoint, documents, names, tokens


def write_factors(checkpoint, directory, case):
    """A monotone CSV and a JSON list that is not monotone."""
    rng = np.random.default_rng([3, len(case)])
    pairs = checkpoint.rotary_dim // 2
    monotone = np.sort(np.round(rng.uniform(1.0, 5.0, pairs), 2))
    csv = directory / f"{case}.csv"
    csv.write_text("".join(f"{x!r}\n" for x in map(float, monotone)))
    listed = directory / f"{case}-list.json"
    listed.write_text(json.dumps([float(x) for x in rng.uniform(0.8, 6.0, pairs)]))
    return csv, listed


def specs_of(checkpoint, directory, case):
    csv, listed = write_factors(checkpoint, directory, case)
    length0 = checkpoint.original_length
    return ["none", "pi", "ntk", "dynamic-ntk", "dynamic-ntk:factor=2", "yarn", "yarn:beta_fast=16,beta_slow=2", "llama3",
            f"longrope:{csv}", f"longrope:{csv}:start_tokens=4,attention_factor=1.1", f"longrope:{listed}:start_tokens=256",
            "config", "pi:factor=3", f"ntk:target_length={8 * length0}", "yarn:factor=4"]


def compare(checks, checkpoint, documents, names, document, specs, lengths, count, protocol, label):
    """Every window of every result; returns the mean NLLs of the oracle by (spec, length)."""
    found, means = driver.results_by_key(document), {}
    checks.equal(len(found), len(specs) * len(lengths), f"{label}: number of results")
    for length in lengths:
        windows = oracle.make_windows(documents, checkpoint.bos, protocol, length, count)
        for spec in specs:
            name = f"{label} {protocol} {length} {spec.replace(str(checkpoint.directory.parent), '')}"
            result = found.get((spec, length))
            if result is None:
                checks.fail(name, "a result with this rope and length", sorted(found))
                continue
            checks.equal(driver.window_positions(result, names), [(w.document, w.first_token) for w in windows],
                         f"{name}: (document, first_token) of the windows")
            checks.equal([w["tokens"] for w in result["windows"]], [w.tokens for w in windows], f"{name}: tokens scored")
            expected = [oracle.window_nll(checkpoint, spec, w) for w in windows]
            means[spec, length] = sum(expected) / sum(w.tokens for w in windows)
            if len(result["windows"]) != len(windows):
                continue
            for i, (got, want, window) in enumerate(zip(result["windows"], expected, windows)):
                nll = got["nll_nats"]
                checks.close(nll / window.tokens if isinstance(nll, (int, float)) else nll, want / window.tokens,
                             TOLERANCE_NATS, f"{name}: mean NLL of window {i}")
            total = sum(w["nll_nats"] for w in result["windows"])
            tokens = sum(w["tokens"] for w in result["windows"])
            checks.equal(result["tokens"], tokens, f"{name}: tokens")
            checks.close(result["nll_nats"], total, 1e-9 * total, f"{name}: nll_nats is the sum over windows")
            checks.close(result["ppl"], math.exp(total / tokens), 1e-9 * math.exp(total / tokens), f"{name}: ppl")
            if protocol == "window":
                by_document = {}
                for w in result["windows"]:
                    by_document.setdefault(w["document"], []).append(w)
                per_document = [sum(w["nll_nats"] for w in ws) / sum(w["tokens"] for w in ws) for ws in by_document.values()]
                mean = math.exp(sum(per_document) / len(per_document))
                checks.close(result["ppl_document_mean"], mean, 1e-9 * mean, f"{name}: ppl_document_mean")
    return means


def test(program, checks, directory, arguments):
    bf16_done, bf16_refused = 0, None
    for seed, case in enumerate(CASES):
        if arguments.only and arguments.only not in case:
            continue
        checkpoint, documents, names, tokens = make(case, seed, directory)
        length0 = checkpoint.original_length
        lengths, count = [length0, 4 * length0], 3 if len(documents) > 1 and not CASES[case].get("few") else 2
        specs = specs_of(checkpoint, directory, case)
        if CASES[case].get("few"):
            specs = [specs[i] for i in (0, 1, 5, 9)]
        # every method under `window`; a rotating third of them under each of the others
        thirds = [specs[seed % 3::3], specs[(seed + 1) % 3::3]] if len(specs) > 4 else [specs[::3], specs[1:3]]
        plan = [("window", specs), (f"stride:{length0 // 3}", thirds[0]), ("half", thirds[1])]
        for protocol, chosen in plan:
            document = program.json("evaluate", "--model", checkpoint.directory, "--tokens", tokens, "--length",
                                    ",".join(map(str, lengths)), "--windows", count, "--protocol", protocol, "--precision",
                                    "f32", "--threads", 2, "--backend", "cpu", "--json",
                                    *[x for spec in chosen for x in ("--rope", spec)])
            checks.equal(document.get("protocol"), protocol, f"{case}: protocol")
            geometry = document.get("geometry", {})
            for key, expected in (("rotary_dim", checkpoint.rotary_dim), ("theta", checkpoint.theta),
                                  ("original_length", length0)):
                checks.equal(geometry.get(key), expected, f"{case}: geometry.{key}")
            means = compare(checks, checkpoint, documents, names, document, chosen, lengths, count, protocol, case)
            spread = [m for (spec, length), m in means.items() if length == lengths[1]]
            checks.true(spread and max(spread) - min(spread) > MINIMUM_SPREAD_NATS,
                        f"{case} {protocol}: the methods differ", f"> {MINIMUM_SPREAD_NATS} nats", spread)
        if seed % 2 == 0 and bf16_refused is None:
            bf16_refused = bf16(program, checks, checkpoint, documents, tokens, lengths[1], count,
                                [specs[1], specs[-1]], case)
            bf16_done += bf16_refused is None
    if bf16_refused:
        print(f"skipped: bf16, which this machine refuses: {bf16_refused}")
    elif not arguments.only:
        checks.true(bf16_done >= 5, "checkpoints compared in bf16", "at least 5", bf16_done)


def bf16(program, checks, checkpoint, documents, tokens, length, count, specs, case):
    """None, or the program's message where it refuses bf16 on this machine."""
    command = ["evaluate", "--model", checkpoint.directory, "--tokens", tokens, "--length", length, "--windows", count,
               "--protocol", "window", "--precision", "bf16", "--threads", 2, "--backend", "cpu", "--json",
               *[x for spec in specs for x in ("--rope", spec)]]
    probe = program.run(*command)
    if probe.returncode == 2 and "bf16" in probe.stderr:
        return probe.stderr.strip()
    found = driver.results_by_key(program.json(*command))
    for spec in specs:
        windows = oracle.evaluate(checkpoint, documents, spec, length, count, "window")
        expected = math.exp(sum(nll for _, nll in windows) / sum(w.tokens for w, _ in windows))
        got = found.get((spec, length), {}).get("ppl")
        checks.close(got, expected, 0.01 * expected, f"{case} bf16 {length} {spec}: ppl")
    return None


def options(parser):
    parser.add_argument("--only", default="", help="checkpoints whose name contains this")


if __name__ == "__main__":
    driver.main(test, __doc__, options, at_least=100)
