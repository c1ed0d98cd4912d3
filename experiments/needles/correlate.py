#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which objective ranks tables as retrieval does: Kendall's rank correlation between what `longrope evaluate --metrics all` reports.

tau-b (ties counted as such) over the tables, with a 95% interval from resampling the tables; needs numpy.

    python3 correlate.py evaluate.json --retrieval passkey=needle.json --retrieval niah=other.json
"""
import argparse
import json
from pathlib import Path

import numpy as np

OBJECTIVES = {"PPL": "ppl", "key-PPL": "key_ppl", "needle-PPL": "needle_ppl"}


def kendall(a, b):
    """Kendall's tau-b of two sequences; NaN where one is constant."""
    x = np.sign(a[:, None] - a[None, :])
    y = np.sign(b[:, None] - b[None, :])
    ties = np.sqrt(np.sum(x != 0) * np.sum(y != 0))
    return np.sum(x * y) / ties if ties else np.nan


def interval(a, b, resamples, rng):
    """The central 95% of tau-b over resampled tables."""
    taus = []
    for _ in range(resamples):
        chosen = rng.integers(0, len(a), len(a))
        taus.append(kendall(a[chosen], b[chosen]))
    return np.nanpercentile(taus, [2.5, 97.5])


def accuracy_of(path, length, found):
    """The share of cells that were found, of each rope spec at a length, from the JSON of `longrope needle`."""
    hits, trials = {}, {}
    for place in json.loads(path.read_text(encoding="utf-8"))["results"]:
        if place["length"] == length:
            hits[place["rope"]] = hits.get(place["rope"], 0) + sum(found(cell) for cell in place["cells"])
            trials[place["rope"]] = trials.get(place["rope"], 0) + len(place["cells"])
    return {rope: hits[rope] / trials[rope] for rope in hits}


# What counts as found: the task's published rule, or the answer's characters in front, whatever follows.
FOUND = {"accuracy": lambda cell: cell["exact"], "answer in front": lambda cell: cell["generated"].strip().startswith(cell["answer"])}


def main():
    parser = argparse.ArgumentParser(description="Kendall correlations between objectives and retrieval accuracy.")
    parser.add_argument("evaluated", type=Path, help="JSON of longrope evaluate --metrics all at one length")
    parser.add_argument("--retrieval", action="append", default=[], metavar="NAME=FILE", help="JSON of longrope needle on the same specs")
    parser.add_argument("--resamples", type=int, default=10000, help="of the tables, for the intervals (default 10000)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    results = json.loads(options.evaluated.read_text(encoding="utf-8"))["results"]
    ropes, length = [r["rope"] for r in results], results[0]["length"]
    if any(r["length"] != length for r in results) or len(set(ropes)) != len(ropes):
        parser.error(f"{options.evaluated}: one length and every spec once are wanted")
    columns = {name: np.array([r[key] for r in results]) for name, key in OBJECTIVES.items()}
    retrieval = {}
    if all("passkey_accuracy" in r for r in results):
        retrieval["passkey accuracy"] = np.array([-r["passkey_accuracy"] for r in results])
    for item in options.retrieval:
        name, _, path = item.partition("=")
        for rule, found in FOUND.items():
            shares = accuracy_of(Path(path), length, found)
            retrieval[f"{name}: {rule}"] = np.array([-shares[rope] for rope in ropes])
    print(f"{len(ropes)} tables at {length} tokens. tau-b, 95% interval; 1: the lower the objective, the more is found.\n")
    everything = {**columns, **retrieval}
    names = list(everything)
    print("| | " + " | ".join(names[1:]) + " |")
    print("| --- |" + " --- |" * (len(names) - 1))
    for i, row in enumerate(names[:-1]):
        cells = []
        for j, column in enumerate(names[1:], 1):
            if j <= i:
                cells.append("")
                continue
            a, b = everything[row], everything[column]
            low, high = interval(a, b, options.resamples, np.random.default_rng(options.seed))
            cells.append(f"{kendall(a, b):.2f} [{low:.2f}, {high:.2f}]")
        print(f"| {row} | " + " | ".join(cells) + " |")
    for target, accuracy in retrieval.items():
        best = {name: ropes[int(np.argmin(values))] for name, values in columns.items()}
        print(f"\n{target} of the table each objective likes best: " +
              ", ".join(f"{name} {-accuracy[ropes.index(rope)]:.1%} ({rope.rsplit('/', 1)[-1]})" for name, rope in best.items()) +
              f"; the best of all {-accuracy.min():.1%} ({ropes[int(np.argmin(accuracy))].rsplit('/', 1)[-1]}).")


if __name__ == "__main__":
    main()
