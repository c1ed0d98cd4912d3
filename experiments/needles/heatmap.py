#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Depth by length pictures of `longrope needle --json`, a panel for each rope spec, and Markdown tables: the share found by length, and
each spec against --paired on the same prompts, with the two-sided sign test.

Colours are those of gkamradt's needle test (red 0, yellow half, green all). Needs matplotlib.

    python3 heatmap.py needles.json --name store:ppl.h5="searched on PPL" --out heatmap.png
"""
import argparse
import json
import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import LinearSegmentedColormap  # noqa: E402

COLOURS = LinearSegmentedColormap.from_list("needle", ["#F0496E", "#EBB839", "#0CD79F"])


def paired(cells, ropes, chosen, names):
    """Prompts that only one of two specs answers."""
    found = {(c["rope"], c["length"], c["depth"], k["trial"]): k["exact"] for c in cells for k in c["cells"]}
    prompts = [key[1:] for key in found if key[0] == chosen]
    print(f"\n| against {names.get(chosen, chosen)}, {len(prompts)} prompts | found by that one only | by this one only | p |")
    print("| --- | --- | --- | --- |")
    for rope in ropes:
        if rope == chosen:
            continue
        lost = sum(found[(chosen, *prompt)] and not found[(rope, *prompt)] for prompt in prompts)
        won = sum(found[(rope, *prompt)] and not found[(chosen, *prompt)] for prompt in prompts)
        tail = sum(math.comb(lost + won, i) for i in range(max(lost, won), lost + won + 1)) / 2 ** (lost + won)
        print(f"| {names.get(rope, rope)} | {lost} | {won} | {min(2 * tail, 1.0):.2g} |")


def main():
    parser = argparse.ArgumentParser(description="Heatmaps of a needle grid.")
    parser.add_argument("grid", type=Path, help="JSON of longrope needle")
    parser.add_argument("--name", action="append", default=[], metavar="SPEC=NAME", help="what to call a rope spec")
    parser.add_argument("--paired", metavar="SPEC", help="compare every other spec with this one, prompt by prompt")
    parser.add_argument("--above", type=int, default=0, metavar="TOKENS", help="in that, lengths above this only")
    parser.add_argument("--columns", type=int, default=4, help="panels in a row (default 4)")
    parser.add_argument("--out", type=Path, required=True, help="the picture, .png or .svg")
    options = parser.parse_args()
    grid = json.loads(options.grid.read_text(encoding="utf-8"))
    names = dict(item.rsplit("=", 1) for item in options.name)
    cells = grid["results"]
    ropes = list(dict.fromkeys(cell["rope"] for cell in cells))
    lengths, depths = (sorted({cell[key] for cell in cells}) for key in ("length", "depth"))
    by_place = {(cell["rope"], cell["length"], cell["depth"]): cell for cell in cells}
    columns = min(options.columns, len(ropes))
    rows = -(-len(ropes) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.1 * columns, 3.0 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(ropes):]:
        axis.axis("off")
    for axis, rope in zip(axes.flat, ropes):
        accuracy = [[by_place[rope, length, depth]["accuracy"] for length in lengths] for depth in depths]
        axis.imshow(accuracy, cmap=COLOURS, vmin=0, vmax=1, aspect="auto")
        for y, line in enumerate(accuracy):
            for x, value in enumerate(line):
                axis.text(x, y, f"{100 * value:.0f}", ha="center", va="center", fontsize=7)
        axis.set_title(names.get(rope, rope), fontsize=10)
        axis.set_xticks(range(len(lengths)), lengths, fontsize=8)
        axis.set_yticks(range(len(depths)), [f"{depth:g}" for depth in depths], fontsize=8)
    figure.supxlabel("tokens")
    figure.supylabel("depth, %")
    figure.savefig(options.out, dpi=110)
    print("| table | " + " | ".join(str(length) for length in lengths) + " |")
    print("| --- |" + " --- |" * len(lengths))
    for rope in ropes:
        shares = []
        for length in lengths:
            at = [by_place[rope, length, depth] for depth in depths]
            shares.append(f"{sum(c['exact'] for c in at) / sum(c['trials'] for c in at):.1%}")
        print(f"| {names.get(rope, rope)} | " + " | ".join(shares) + " |")
    if options.paired:
        if options.paired not in ropes:
            parser.error(f"--paired {options.paired}: {options.grid} has {', '.join(ropes)}")
        paired([cell for cell in cells if cell["length"] > options.above], ropes, options.paired, names)


if __name__ == "__main__":
    main()
