#!/usr/bin/env python3
"""Runs `longrope evaluate` on a window of random tokens and records seconds, peak memory and mean NLL.

    python3 longrope_evaluate.py --longrope build/release/longrope --model DIR --tokens tokens.u32 --length 131072 --records OUT

One window of exactly LENGTH tokens, every next token scored, plain theta: what transformers_peer.py does. A short window
goes first, so that what a process does once (libraries, kernel images, plans) is not in the figure; seconds are the
program's own for the scoring, rotation table included, loading of weights not (that is in `process s`).
"""
import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from device_memory import PeakMemory
from records import record, say


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--longrope", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--length", type=int, nargs="+", required=True)
    parser.add_argument("--warm-up", type=int, default=4096, help="tokens of the window that goes first")
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--attention", default="bf16")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for the whole process")
    parser.add_argument("--records")
    arguments = parser.parse_args()
    layers = json.loads((Path(arguments.model) / "config.json").read_text())["num_hidden_layers"]
    command = [arguments.longrope, "evaluate", "--json", "--verbose", "--model", arguments.model, "--tokens", arguments.tokens,
               "--windows", "1", "--rope", "none", "--backend", arguments.backend, "--precision", arguments.precision,
               "--attention", arguments.attention,
               "--length", ",".join(map(str, [arguments.warm_up, *arguments.length]))]
    say("$", *command)
    began = time.monotonic()
    with PeakMemory() as peak:
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, timeout=arguments.limit, text=True)
        except subprocess.TimeoutExpired:
            record(arguments.records, "longrope", tokens=arguments.length[-1], layers=layers, failed=f"over {arguments.limit:g} s")
            sys.exit(f"[longrope_evaluate] must end within {arguments.limit:g} s but did not")
    process_s = time.monotonic() - began
    if done.returncode != 0:
        record(arguments.records, "longrope", tokens=arguments.length[-1], layers=layers, failed=f"exit code {done.returncode}")
        sys.exit(f"[longrope_evaluate] the program must exit 0 but exited {done.returncode}")
    document = json.loads(done.stdout)
    say(f"{document['numerics']}, {layers} layers")
    say(f"{'longrope':<14} {'tokens':>8} {'seconds':>9} {'peak GB':>8} {'mean NLL':>10} {'process s':>10}")
    for result in document["results"]:
        if result["length"] == arguments.warm_up and arguments.warm_up not in arguments.length:
            continue
        mean_nll = result["nll_nats"] / result["tokens"]
        say(f"{'evaluate':<14} {result['length']:>8} {result['elapsed_s']:>9.3f} {peak.gb:>8.1f} {mean_nll:>10.5f} {process_s:>10.1f}")
        record(arguments.records, "longrope", tokens=result["length"], layers=layers, numerics=document["numerics"],
               seconds=result["elapsed_s"], peak_gb=peak.gb, mean_nll=mean_nll, process_s=process_s)


if __name__ == "__main__":
    main()
