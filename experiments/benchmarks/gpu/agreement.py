#!/usr/bin/env python3
"""Does a GPU in bf16 rank tables as the CPU does in f32? 30 tables on one model, both ways.

    python3 agreement.py --longrope build/release/longrope --model DIR --text FILE... --records OUT

The tables are what a search proposes: blends of PI, NTK and YaRN, jittered, made monotone, within [1, 1.25 s]; the same
for the same seed. Prints the greatest difference of mean NLL (nats per token) and Kendall's tau of the two rankings;
exits 1 unless they are within --tolerance and at least --tau.
"""
import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from records import record, say


def yarn_factors(pairs, theta, original_length, scale, beta_fast=32.0, beta_slow=1.0):
    """YaRN's blend in frequency (Peng et al. 2023, eq. 20 to 23, as transformers computes it), as divisors."""
    width = 2 * pairs

    def pair_of(turns):
        return width * math.log(original_length / (2.0 * math.pi * turns)) / (2.0 * math.log(theta))
    low, high = math.floor(pair_of(beta_fast)), math.ceil(pair_of(beta_slow))
    ramp = np.clip((np.arange(pairs) - low) / max(high - low, 1e-3), 0.0, 1.0)
    return 1.0 / (ramp / scale + 1.0 - ramp)


def make_tables(config, length, count, seed):
    """[count, pairs] factors."""
    pairs = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"]) // 2
    original = config["max_position_embeddings"]
    scale = length / original
    pi = np.full(pairs, scale)
    ntk = scale ** (2.0 * np.arange(pairs) / (2 * pairs - 2))
    corners = np.log(np.stack([pi, ntk, yarn_factors(pairs, config.get("rope_theta", 1e4), original, scale)]))
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(3), count)
    blends = weights @ corners + rng.normal(0.0, 0.1, (count, pairs))
    return np.clip(np.exp(np.maximum.accumulate(blends, 1)), 1.0, 1.25 * scale)


def kendall_tau(a, b):
    """tau-b: concordant minus discordant pairs over the pairs that are not ties."""
    i, j = np.triu_indices(len(a), 1)
    da, db = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
    return float((da * db).sum() / math.sqrt((da != 0).sum() * (db != 0).sum()))


def mean_nll(arguments, files, backend, precision, attention="bf16"):
    """(mean NLL per table in nats, numerics, seconds of the process)."""
    command = [arguments.longrope, "evaluate", "--json", "--model", arguments.model, "--text", *arguments.text,
               "--windows", str(arguments.windows), "--length", str(arguments.length), "--backend", backend,
               "--precision", precision, "--attention", attention]
    for file in files:
        command += ["--rope", f"longrope:{file}"]
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=arguments.limit)
    if done.returncode != 0:
        sys.exit(f"[agreement] the program must exit 0 with --backend {backend} but exited {done.returncode}")
    document = json.loads(done.stdout)
    values = np.array([result["nll_nats"] / result["tokens"] for result in document["results"]])
    if len(values) != len(files) or not np.isfinite(values).all():
        sys.exit(f"[agreement] {len(files)} finite results were expected but --backend {backend} gave {values}")
    return values, document["numerics"], time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--longrope", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", nargs="+", required=True)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--windows", type=int, default=10)
    parser.add_argument("--tables", type=int, default=30)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--backend", default="cuda", help="the one compared with the CPU")
    parser.add_argument("--precision", default="bf16", help="its precision")
    parser.add_argument("--attention", default="bf16", help="its attention's")
    parser.add_argument("--tolerance", type=float, default=2e-3, help="nats per token")
    parser.add_argument("--tau", type=float, default=0.95)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for each process")
    parser.add_argument("--records")
    arguments = parser.parse_args()
    config = json.loads((Path(arguments.model) / "config.json").read_text())
    with tempfile.TemporaryDirectory() as directory:
        files = []
        for i, factors in enumerate(make_tables(config, arguments.length, arguments.tables, arguments.seed)):
            files.append(Path(directory) / f"table{i:02d}.csv")
            files[-1].write_text("".join(f"{value!r}\n" for value in factors.tolist()))
        reference, reference_numerics, reference_s = mean_nll(arguments, files, "cpu", "f32")
        other, other_numerics, other_s = mean_nll(arguments, files, arguments.backend, arguments.precision, arguments.attention)
    difference = float(np.abs(other - reference).max())
    tau = kendall_tau(reference, other)
    good = difference <= arguments.tolerance and tau >= arguments.tau
    say(f"{arguments.tables} tables at {arguments.length} tokens, {arguments.windows} windows; mean NLL {reference.min():.4f} to {reference.max():.4f}")
    say(f"{other_numerics} ({other_s:.1f} s) against {reference_numerics} ({reference_s:.1f} s): greatest difference {difference:.2e} nats "
        f"per token, mean {float((other - reference).mean()):+.2e}, Kendall tau {tau:.4f}, same best: {reference.argmin() == other.argmin()}")
    record(arguments.records, "agreement", numerics=other_numerics, tables=arguments.tables, length=arguments.length,
           windows=arguments.windows, greatest_difference=difference, kendall_tau=tau, passed=bool(good))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
