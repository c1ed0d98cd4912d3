#!/usr/bin/env python3
"""Rates of torch on this GPU: causal attention by each SDPA backend, and bf16 matrix products of a layer's shapes.

    python3 attention_peer.py --records OUT

Attention: bf16, batch 1, 32 query heads on 8 K/V heads, causal, contiguous [batch, heads, tokens, head_dim]. A backend
without grouped queries is given K and V expanded to 32 heads (said in the table; that costs memory traffic, not FLOPs).
FLOPs are 2 * heads * head_dim * N^2: causal, the half that is computed. Time: CUDA events around several calls, the
median, after warm-up; data random.
"""
import argparse
import statistics
import sys
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from records import record, say
from shapes import SHAPES

BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION,
            "efficient": SDPBackend.EFFICIENT_ATTENTION}
HEADS, KV_HEADS = 32, 8


def median_s(call, budget_s):
    """Median seconds of one call: two warm-ups, then as many as fit the budget, 3 to 20."""
    call()
    torch.cuda.synchronize()
    began = time.monotonic()
    call()
    torch.cuda.synchronize()
    repeats = max(3, min(20, int(budget_s / max(time.monotonic() - began, 1e-5))))
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in zip(events, events[1:])) * 1e-3


def attention(arguments):
    say(f"{'attention':<10} {'head_dim':>8} {'tokens':>8} {'K and V':>9} {'ms':>9} {'TFLOP/s':>8}")
    for head_dim in arguments.head_dim:
        for tokens in arguments.tokens:
            q, k, v = (torch.randn(1, heads, tokens, head_dim, dtype=torch.bfloat16, device="cuda")
                       for heads in (HEADS, KV_HEADS, KV_HEADS))
            for name, backend in BACKENDS.items():
                for form in ("grouped", "expanded"):
                    try:
                        with sdpa_kernel(backend):
                            if form == "grouped":
                                seconds = median_s(lambda: scaled_dot_product_attention(
                                    q, k, v, is_causal=True, enable_gqa=True), arguments.budget)
                            else:
                                wide_k, wide_v = (x.repeat_interleave(HEADS // KV_HEADS, 1) for x in (k, v))
                                seconds = median_s(lambda: scaled_dot_product_attention(
                                    q, wide_k, wide_v, is_causal=True), arguments.budget)
                    except RuntimeError as error:
                        say(f"{name:<10} {head_dim:>8} {tokens:>8} {form:>9}  not run: {str(error).splitlines()[0][:70]}")
                        torch.cuda.empty_cache()
                        continue
                    rate = 2.0 * HEADS * head_dim * tokens ** 2 / seconds * 1e-12
                    say(f"{name:<10} {head_dim:>8} {tokens:>8} {form:>9} {seconds * 1e3:>9.2f} {rate:>8.1f}")
                    record(arguments.records, "torch_attention", backend=name, head_dim=head_dim, tokens=tokens,
                           form=form, seconds=seconds, tflops=rate)
                    break  # expanded only where grouped is not to be had


def gemm(arguments):
    shape = SHAPES["llama3-8b"]
    rows = 8192
    sizes = {"qkv": ((shape.heads + 2 * shape.kv_heads) * shape.head_dim, shape.hidden),
             "output": (shape.hidden, shape.heads * shape.head_dim),
             "gate_up": (2 * shape.intermediate, shape.hidden), "down": (shape.hidden, shape.intermediate),
             "lm_head": (shape.vocabulary, shape.hidden)}
    say(f"{'product':<10} {'rows':>8} {'out':>8} {'in':>9} {'ms':>9} {'TFLOP/s':>8}")
    seconds_sum, flops_sum = 0.0, 0.0
    for name, (out, size) in sizes.items():
        x = torch.randn(rows, size, dtype=torch.bfloat16, device="cuda")
        w = torch.randn(out, size, dtype=torch.bfloat16, device="cuda") * 0.02
        y = torch.empty(rows, out, dtype=torch.bfloat16, device="cuda")
        seconds = median_s(lambda: torch.matmul(x, w.t(), out=y), arguments.budget)
        flops = 2.0 * rows * out * size
        times = 1 if name == "lm_head" else shape.layers
        seconds_sum, flops_sum = seconds_sum + times * seconds, flops_sum + times * flops
        say(f"{name:<10} {rows:>8} {out:>8} {size:>9} {seconds * 1e3:>9.2f} {flops / seconds * 1e-12:>8.1f}")
        record(arguments.records, "torch_gemm", product=name, rows=rows, seconds=seconds, tflops=flops / seconds * 1e-12)
    say(f"all products of llama3-8b, {rows} tokens: {flops_sum / seconds_sum * 1e-12:.1f} TFLOP/s")
    record(arguments.records, "torch_gemm", product="all", rows=rows, seconds=seconds_sum, tflops=flops_sum / seconds_sum * 1e-12)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head-dim", type=int, nargs="+", default=[128, 64])
    parser.add_argument("--tokens", type=int, nargs="+", default=[32768, 131072])
    parser.add_argument("--budget", type=float, default=1.0, help="seconds of timing per row")
    parser.add_argument("--records", help="folder of records.jsonl")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("[attention_peer] torch must see a GPU but sees none")
    say(f"torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, {torch.cuda.get_device_name()}")
    gemm(arguments)
    attention(arguments)


if __name__ == "__main__":
    main()
