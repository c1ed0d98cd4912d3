#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Thirty RoPE tables of different quality for one model and target length: what correlate.py ranks objectives on.

Formulas at their usual and at unusual settings, and blends of them with noise that stays monotone, drawn from a seed. Each is a
rope spec for `longrope evaluate`; drawn factors are CSV files in --out. Prints one spec a line.

    python3 tables.py --rotary-dim 64 --theta 10000 --original-length 256 --target-length 2048 --out DIR
"""
import argparse
import math
import random
from pathlib import Path

FORMULAS = ("none", "pi", "ntk", "yarn", "pi:factor={half}", "ntk:factor={half}", "ntk:factor={twice}", "ntk:factor={four}",
            "yarn:factor={half}", "yarn:factor={twice}", "yarn:beta_fast=16", "yarn:beta_fast=4", "yarn:beta_fast=8,beta_slow=0.5",
            "yarn:beta_slow=2", "yarn:beta_slow=4")
DRAWN = 15


def yarn(pairs, theta, original, scale, fast=32.0, slow=1.0):
    """YaRN's factors (a divisor per pair), blended in frequency."""
    def pair_of(turns):
        return 2 * pairs * math.log(original / (2 * math.pi * turns)) / (2 * math.log(theta))
    low, high = max(math.floor(pair_of(fast)), 0), min(math.ceil(pair_of(slow)), pairs - 1)
    ramp = [min(max((i - low) / max(high - low, 1e-3), 0.0), 1.0) for i in range(pairs)]
    return [1.0 / (r / scale + 1.0 - r) for r in ramp]


def ntk(pairs, scale):
    return [scale ** (i / (pairs - 1)) for i in range(pairs)]


def drawn(rng, pairs, theta, original, scale):
    """A point between NTK and a YaRN of random bounds, in log factors, with correlated noise, sorted."""
    a = ntk(pairs, scale * 2.0 ** rng.uniform(-0.5, 1.5))
    b = yarn(pairs, theta, original, scale * 2.0 ** rng.uniform(-0.5, 1.0), 2.0 ** rng.uniform(3, 6.5), 2.0 ** rng.uniform(-1.5, 2))
    blend, size, noise = rng.random(), rng.choice((0.0, 0.05, 0.2)), 0.0
    logs = []
    for x, y in zip(a, b):
        noise = 0.8 * noise + rng.gauss(0.0, size)
        logs.append(max((1 - blend) * math.log(x) + blend * math.log(y) + noise, 0.0))
    return [math.exp(value) for value in sorted(logs)]


def main():
    parser = argparse.ArgumentParser(description="Thirty rope specs for correlate.py.")
    parser.add_argument("--rotary-dim", type=int, required=True, help="rotated dimensions of a head")
    parser.add_argument("--theta", type=float, required=True, help="RoPE's base")
    parser.add_argument("--original-length", type=int, required=True, help="tokens the model was trained on")
    parser.add_argument("--target-length", type=int, required=True, help="tokens the tables are for")
    parser.add_argument("--seed", type=int, default=1, help="of the drawn tables (default 1)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the drawn tables")
    options = parser.parse_args()
    scale = options.target_length / options.original_length
    options.out.mkdir(parents=True, exist_ok=True)
    for formula in FORMULAS:
        spec = formula.format(half=scale / 2, twice=2 * scale, four=4 * scale)
        print(spec)
    rng = random.Random(f"tables {options.seed}")
    for number in range(DRAWN):
        factors = drawn(rng, options.rotary_dim // 2, options.theta, options.original_length, scale)
        path = options.out / f"drawn{number + 1:02d}.csv"
        path.write_text("".join(f"{factor!r}\n" for factor in factors), encoding="ascii")
        print(f"longrope:{path}")


if __name__ == "__main__":
    main()
