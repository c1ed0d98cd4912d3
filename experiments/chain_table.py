#!/usr/bin/env python3
"""The perplexities of a chain's stages at every length, on text that it did not see, as a Markdown table.

    python3 experiments/chain_table.py --longrope build/release/longrope --model DIR --tuned DIR --store chain.h5 --text FILE...
"""
import argparse
import json
import subprocess
import sys

LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192)
TOKENS = 49152  # of each length: windows of 8192 tokens are 6


def perplexities(longrope, model, text, length, specs):
    command = [longrope, "evaluate", "--model", model, "--text", *text, "--length", str(length), "--windows", str(TOKENS // length),
               "--json", *(word for spec in specs for word in ("--rope", spec))]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"chain_table.py: [evaluate] failed with exit code {done.returncode}: {' '.join(command)}")
    return [result["ppl"] for result in json.loads(done.stdout)["results"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("longrope", "model", "tuned", "store"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--text", nargs="+", required=True)
    o = parser.parse_args()
    first, second, short = (f"store:{o.store}#{stage}" for stage in ("2k", "8k", "repair"))
    # (label, checkpoint, spec, longest length)
    rows = [("original, unscaled", o.model, "none", LENGTHS[-1]),
            ("original, YaRN for the length", o.model, "yarn", LENGTHS[-1]),
            ("1: original, table of stage 2k", o.model, first, LENGTHS[-1]),
            ("2: fine-tuned, table of stage 2k", o.tuned, first, LENGTHS[-1]),
            ("fine-tuned, YaRN for 8192", o.tuned, "yarn:target_length=8192", LENGTHS[-1]),
            ("3: fine-tuned, table of stage 8k", o.tuned, second, LENGTHS[-1]),
            ("4: fine-tuned, repaired short table", o.tuned, short, 256)]
    cells = {}
    for length in LENGTHS:
        for model in (o.model, o.tuned):
            asked = [row for row in rows if row[1] == model and length <= row[3]]
            for row, ppl in zip(asked, perplexities(o.longrope, model, o.text, length, [row[2] for row in asked])):
                cells[row[0], length] = ppl
    print("| | " + " | ".join(map(str, LENGTHS)) + " |")
    print("|---|" + "---|" * len(LENGTHS))
    for label, *_ in rows:
        print(f"| {label} | " + " | ".join(f"{cells[label, n]:.3f}" if (label, n) in cells else "" for n in LENGTHS) + " |")
    print()
    for length in (128, 256):
        original, repaired = cells[rows[0][0], length], cells[rows[-1][0], length]
        print(f"at {length} tokens the repaired table is {100 * (repaired / original - 1):+.2f}% from the original model")


if __name__ == "__main__":
    main()
