#!/usr/bin/env python3
"""Evaluations per second of `longrope search`, per backend, and how many windows its passes join (the plan that --verbose tells).

    python3 search_rate.py --longrope build/release/longrope --model DIR --text FILE... --backend cuda cpu --records OUT
"""
import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from records import record, say


def planned_passes(log):
    """Windows of a pass and passes at once, as the program says on stderr; 0 and 0 where it does not."""
    found = re.search(r"(\d+) such windows? in a pass, (\d+) pass(?:es)? at once", log)
    windows, passes = (int(n) for n in found.groups()) if found else (0, 0)
    return (1 if "windows go alone" in log else windows), passes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--longrope", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", nargs="+", required=True)
    parser.add_argument("--backend", nargs="+", default=["cuda", "cpu"])
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--target-length", type=int, default=2048)
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--budget", type=int, nargs="+", default=[400, 40], help="evaluations, one number per backend")
    parser.add_argument("--strategy", default="paper-ga")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for each search")
    parser.add_argument("--records")
    arguments = parser.parse_args()
    if len(arguments.budget) != len(arguments.backend):
        sys.exit(f"[--budget] must have one number per backend but got {len(arguments.budget)} for {len(arguments.backend)}")
    failed = False
    say(f"{'backend':<8} {'evaluations':>11} {'seconds':>9} {'per second':>11} {'best PPL':>10} {'joined':>7} {'at once':>8}")
    for backend, budget in zip(arguments.backend, arguments.budget):
        with tempfile.TemporaryDirectory() as directory:
            command = [arguments.longrope, "search", "--json", "--model", arguments.model, "--text", *arguments.text,
                       "--target-length", str(arguments.target_length), "--windows", str(arguments.windows), "--budget",
                       str(budget), "--strategy", arguments.strategy, "--backend", backend, "--precision",
                       arguments.precision, "--verbose", "--store", str(Path(directory) / "search.h5")]
            try:
                done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=arguments.limit)
            except subprocess.TimeoutExpired:
                say(f"{backend:<8} over {arguments.limit:g} s")
                failed = True
                continue
        if done.returncode != 0:
            say(f"{backend:<8} exited {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
            failed = True
            continue
        document = json.loads(done.stdout)
        joined, passes = planned_passes(done.stderr)
        rate = document["evaluations"] / document["elapsed_s"]
        say(f"{backend:<8} {document['evaluations']:>11} {document['elapsed_s']:>9.2f} {rate:>11.1f} {document['best']['ppl']:>10.4f} {joined:>7} {passes:>8}")
        record(arguments.records, "search", backend=backend, evaluations=document["evaluations"], seconds=document["elapsed_s"],
               per_second=rate, best_ppl=document["best"]["ppl"], target_length=arguments.target_length,
               windows=arguments.windows, strategy=arguments.strategy, joined_windows=joined, passes_at_once=passes)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
