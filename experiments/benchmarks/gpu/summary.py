#!/usr/bin/env python3
"""The series in one compact table: reads OUT/records.jsonl, compares with the peers, recomputes the floor.

    python3 summary.py --records OUT --model DIR

The floor of an evaluation is its FLOPs (shapes.py) over rates measured in the same series: matrix products at torch's
rate over a layer's shapes, attention at the fastest rate measured at head_dim 128 and the nearest length. What is reached
is floor / measured.
"""
import argparse
import dataclasses
import json
import math
from pathlib import Path

from records import read, say, table
from shapes import SHAPES, shape_of


def latest(entries, key):
    """The last entry of every key, in order of first appearance."""
    found = {}
    for entry in entries:
        found[key(entry)] = entry
    return list(found.values())


def floor_s(shape, tokens, gemm, attention):
    """Seconds, or NaN without measured rates."""
    rates = [(abs(math.log(entry["tokens"] / tokens)), -entry["tflops"], entry["tflops"]) for entry in attention]
    if not rates or gemm is None:
        return float("nan")
    return 1e-12 * (shape.linear_flops(tokens) / gemm + shape.attention_flops(tokens) / min(rates)[2])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", required=True)
    parser.add_argument("--model", type=Path, help="the checkpoint of the evaluations (default: the shape llama3-8b)")
    arguments = parser.parse_args()
    entries = read(arguments.records)

    def of(kind):
        return [entry for entry in entries if entry["kind"] == kind]

    shape = SHAPES["llama3-8b"]
    if arguments.model and (arguments.model / "config.json").exists():
        shape = shape_of(json.loads((arguments.model / "config.json").read_text()))
    gemm = next((e["tflops"] for e in reversed(of("torch_gemm")) if e["product"] == "all"), None)
    attention = latest([e for e in of("torch_attention") if e["head_dim"] == shape.head_dim], lambda e: (e["backend"], e["tokens"]))

    say("\n== steps")
    say(table(("step", "exit", "seconds"), [(e["step"], e["exit"], f"{e['seconds']:.0f}") for e in latest(of("step"), lambda e: e["step"])]))
    if gemm:
        say(f"\ntorch's bf16 products: {gemm:.0f} TFLOP/s")
    fastest = {}
    for e in latest(of("torch_attention"), lambda e: (e["backend"], e["head_dim"], e["tokens"])):
        key = (e["head_dim"], e["tokens"])
        if key not in fastest or e["tflops"] > fastest[key]["tflops"]:
            fastest[key] = e
    if fastest:
        say(table(("torch's fastest attention", "head_dim", "tokens", "TFLOP/s"),
                  [(e["backend"], e["head_dim"], e["tokens"], f"{e['tflops']:.0f}") for e in fastest.values()]))

    peers = {e["tokens"]: e for e in of("transformers")}
    rows = []
    for e in latest(of("longrope"), lambda e: (e["tokens"], e["layers"], e.get("numerics"))):
        if "failed" in e:
            rows.append((e["tokens"], e["layers"], e["failed"], *[""] * 7))
            continue
        peer = peers.get(e["tokens"], {}) if e["layers"] == shape.layers else {}
        floor = floor_s(dataclasses.replace(shape, layers=e["layers"]), e["tokens"], gemm, attention)
        faster = peer["seconds"] / e["seconds"] if "seconds" in peer else float("nan")
        apart = abs(peer["mean_nll"] - e["mean_nll"]) if "mean_nll" in peer else float("nan")
        rows.append((e["tokens"], e["layers"], e["numerics"], f"{e['seconds']:.2f}", f"{floor:.2f}", f"{100 * floor / e['seconds']:.0f}%",
                     f"{e['peak_gb']:.1f}", f"{peer.get('seconds', float('nan')):.2f}", f"{faster:.2f}x",
                     f"{peer.get('peak_gb', float('nan')):.1f}", f"{apart:.1e}"))
    if rows:
        say("\n== evaluations: one window, every next token scored")
        say(table(("tokens", "layers", "numerics", "seconds", "floor", "of floor", "GB", "transformers", "faster", "its GB", "|dNLL|"), rows))
    for e in latest(of("agreement"), lambda e: e["numerics"]):
        say(f"\nagreement of {e['numerics']} with the CPU in f32, {e['tables']} tables: greatest difference {e['greatest_difference']:.1e} nats, "
            f"tau {e['kendall_tau']:.3f}: {'passed' if e['passed'] else 'FAILED'}")
    searches = latest(of("search"), lambda e: e["backend"])
    if searches:
        say("\n== search on a small model")
        say(table(("backend", "evaluations/s", "best PPL"), [(e["backend"], f"{e['per_second']:.1f}", f"{e['best_ppl']:.4f}") for e in searches]))


if __name__ == "__main__":
    main()
