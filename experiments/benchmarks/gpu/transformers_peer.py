#!/usr/bin/env python3
"""The peer of `longrope evaluate`: the same checkpoint, the same tokens, every next token scored, by transformers.

    python3 transformers_peer.py --model DIR --tokens tokens.u32 --length 32768 131072 --records OUT

bf16, attention "sdpa" with the torch backend that is fastest at the first length (all of cuDNN, flash and efficient are
tried there; that also warms up), plain theta. The model body is one call, as transformers makes it; logits are formed in
blocks of --logit-rows positions, in float32 for the cross-entropy, for whole logits of 128k tokens would need 100 GB.
Prints seconds of one scoring (median of the repeats), peak memory by torch's allocator, and mean NLL.
"""
import argparse
import statistics
import sys
import time
import traceback

import numpy as np
import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel

from records import record, say

BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION,
            "efficient": SDPBackend.EFFICIENT_ATTENTION, "math": SDPBackend.MATH}


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


@torch.inference_mode()
def score(model, ids, rows):
    """Sum of NLL in nats over targets ids[1:], in double over blocks."""
    hidden = model.model(input_ids=ids[None, :-1], use_cache=False).last_hidden_state[0]
    total = 0.0
    for begin in range(0, hidden.shape[0], rows):
        logits = model.lm_head(hidden[begin:begin + rows]).float()
        targets = ids[begin + 1:begin + 1 + logits.shape[0]]
        total += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").double()
    return float(total)


def measure(model, ids, backend, rows, device):
    """(seconds, NLL sum, peak GB) of one scoring."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    synchronize(device)
    began = time.monotonic()
    with sdpa_kernel(BACKENDS[backend]):
        nll = score(model, ids, rows)
    synchronize(device)
    seconds = time.monotonic() - began
    return seconds, nll, torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else float("nan")


def fastest(model, ids, arguments, device):
    """The backend with the shortest second scoring."""
    found = {}
    for name in BACKENDS if device == "cpu" else ("cudnn", "flash", "efficient"):
        try:
            measure(model, ids, name, arguments.logit_rows, device)
            found[name] = measure(model, ids, name, arguments.logit_rows, device)[0]
            say(f"  {name:<10} {len(ids):>8} tokens {found[name]:>9.3f} s")
        except RuntimeError as error:
            say(f"  {name:<10} not run: {str(error).splitlines()[0][:90]}")
    if not found:
        sys.exit("[transformers_peer] some SDPA backend must run but none did")
    return min(found, key=found.get)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokens", required=True, help=".u32 file; the first LENGTH ids are the window")
    parser.add_argument("--length", type=int, nargs="+", default=[32768, 131072])
    parser.add_argument("--logit-rows", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--records", help="folder of records.jsonl")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    began = time.monotonic()
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        arguments.model, dtype=torch.bfloat16 if device == "cuda" else torch.float32, attn_implementation="sdpa",
        device_map="cuda" if device == "cuda" else None).eval()
    synchronize(device)
    say(f"transformers {transformers.__version__}, torch {torch.__version__}; loaded in {time.monotonic() - began:.1f} s")
    tokens = torch.from_numpy(np.fromfile(arguments.tokens, "<u4", max(arguments.length)).astype(np.int64)).to(device)
    backend = fastest(model, tokens[:arguments.length[0]], arguments, device)
    say(f"{'peer':<14} {'tokens':>8} {'seconds':>9} {'peak GB':>8} {'mean NLL':>10}")
    for length in arguments.length:
        try:
            runs = [measure(model, tokens[:length], backend, arguments.logit_rows, device)
                    for _ in range(arguments.repeats)]
        except RuntimeError as error:  # out of memory included: the shorter lengths are already on record
            say(f"transformers   {length:>8}  failed: {str(error).splitlines()[0][:90]}")
            record(arguments.records, "transformers", tokens=length, backend=backend, failed=str(error).splitlines()[0])
            continue
        seconds, mean_nll = statistics.median(run[0] for run in runs), runs[-1][1] / (length - 1)
        peak_gb = max(run[2] for run in runs)
        say(f"{'sdpa ' + backend:<14} {length:>8} {seconds:>9.3f} {peak_gb:>8.1f} {mean_nll:>10.5f}")
        record(arguments.records, "transformers", tokens=length, backend=backend, seconds=seconds, peak_gb=peak_gb,
               mean_nll=mean_nll, logit_rows=arguments.logit_rows)


if __name__ == "__main__":
    try:
        main()
    except Exception:
        traceback.print_exc()
        sys.exit(1)
