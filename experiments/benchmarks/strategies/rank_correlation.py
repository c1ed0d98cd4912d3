"""Does a shorter context rank tables as the target length does? Kendall's tau-b between perplexities at L and at L/2 and L/4 over
monotone tables around YaRN and around tables a search found, with a bootstrap interval. Each length is scored on windows of its
own from the same documents.

    python3 experiments/benchmarks/strategies/rank_correlation.py --longrope build/release/longrope --model DIR \
        --text a.txt b.txt c.txt --target-length 2048 --windows 3 [--around TABLE.csv ...] [--tables 40] [--out FILE.json]

Tables come in three widths: far (log-factors perturbed by 0.3 of ln s), near (0.1) and close (0.03), a third each, so that the
answer can be told apart for the start and for the end of a search. Tables at L/n are the same tables, not ones rescaled to L/n.
"""
import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

WIDTHS = (("far", 0.3), ("near", 0.1), ("close", 0.03))


def yarn(pairs, theta, original_length, scale, beta_fast=32.0, beta_slow=1.0):
    """YaRN's factors (arXiv 2309.00071, section 3.2): frequencies blended between w and w/s over a ramp in the pair index."""
    d = 2 * pairs
    dim = lambda r: d * math.log(original_length / (2 * math.pi * r)) / (2 * math.log(theta))
    low, high = max(math.floor(dim(beta_fast)), 0), min(math.ceil(dim(beta_slow)), d - 1)
    ramp = np.clip((np.arange(pairs) - low) / max(high - low, 0.001), 0, 1)
    return 1.0 / (ramp / scale + 1.0 - ramp)


def tables(centres, count, scale, generator):
    """(width name, factors): smooth perturbations of log-factors, made non-decreasing, within [1, 1.25 s]."""
    out = []
    pairs = len(centres[0])
    knots = np.linspace(0, pairs - 1, 6)
    for i in range(count):
        name, width = WIDTHS[i % len(WIDTHS)]
        centre = np.log(centres[(i // len(WIDTHS)) % len(centres)])
        bump = np.interp(np.arange(pairs), knots, generator.normal(0.0, width * math.log(scale), len(knots)))
        factors = np.exp(np.maximum.accumulate(centre + bump))
        out.append((name, np.clip(factors, 1.0, 1.25 * scale)))
    return out


def kendall(x, y):
    """tau-b."""
    dx, dy = np.sign(x[:, None] - x[None, :]), np.sign(y[:, None] - y[None, :])
    upper = np.triu_indices(len(x), 1)
    a, b = dx[upper], dy[upper]
    return float((a * b).sum() / math.sqrt((a != 0).sum() * (b != 0).sum()))


def interval(x, y, generator, draws=2000):
    """95% percentile bootstrap over tables."""
    taus = []
    for _ in range(draws):
        pick = generator.integers(0, len(x), len(x))
        if len(set(pick.tolist())) > 2:
            taus.append(kendall(x[pick], y[pick]))
    return float(np.quantile(taus, 0.025)), float(np.quantile(taus, 0.975))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--longrope", required=True, help="the program")
    parser.add_argument("--model", required=True, help="checkpoint directory")
    parser.add_argument("--text", nargs="+", required=True, help="UTF-8 files")
    parser.add_argument("--target-length", type=int, required=True, help="L, in tokens")
    parser.add_argument("--windows", type=int, default=3, help="windows a length")
    parser.add_argument("--around", nargs="*", default=[], help="CSV tables, one factor a line, besides YaRN")
    parser.add_argument("--tables", type=int, default=42, help="how many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", help="JSON of everything scored")
    arguments = parser.parse_args()

    config = json.loads((Path(arguments.model) / "config.json").read_text())
    pairs = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"]) // 2
    original = config["max_position_embeddings"]
    scale = arguments.target_length / original
    generator = np.random.default_rng(arguments.seed)
    centres = [yarn(pairs, config.get("rope_theta", 10000.0), original, scale)]
    for path in arguments.around:
        centres.append(np.array([float(line) for line in Path(path).read_text().split()]))
    made = tables(centres, arguments.tables, scale, generator)
    lengths = [arguments.target_length // n for n in (1, 2, 4)]
    attention = math.sqrt(1 + math.log(scale) / math.log(original))

    with tempfile.TemporaryDirectory() as directory:
        ropes = []
        for i, (_, factors) in enumerate(made):
            path = Path(directory) / f"{i}.csv"
            path.write_text("".join(f"{x!r}\n" for x in map(float, factors)))
            ropes += ["--rope", f"longrope:{path}:attention_factor={attention!r}"]
        done = subprocess.run([arguments.longrope, "evaluate", "--model", arguments.model, "--text", *arguments.text, "--length",
                               ",".join(map(str, lengths)), "--windows", str(arguments.windows), "--threads",
                               str(arguments.threads), "--json", *ropes], stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    results = json.loads(done.stdout)["results"]
    perplexity = {n: np.array([r["ppl"] for r in results if r["length"] == n]) for n in lengths}
    nll = {n: np.array([[w["nll_nats"] / w["tokens"] for w in r["windows"]] for r in results if r["length"] == n]) for n in lengths}

    widths = np.array([name for name, _ in made])
    answer = {"lengths": lengths, "windows": arguments.windows, "tables": len(made), "tau": []}
    print(f"{'tables':<14}{'n':>4}{'PPL at L':>18}   " + "".join(f"tau {n} against {lengths[0]:<19}" for n in lengths[1:]) +
          f"tau of one window against {arguments.windows}")
    for name in ("all", *(w for w, _ in WIDTHS), "best third"):
        full = perplexity[lengths[0]]
        chosen = (np.ones(len(made), bool) if name == "all" else full <= np.quantile(full, 1 / 3) if name == "best third"
                  else widths == name)
        x = full[chosen]
        line = f"{name:<14}{chosen.sum():>4}{x.min():>9.3f}{x.max():>9.3f}   "
        for n in lengths[1:]:
            y = perplexity[n][chosen]
            tau, (low, high) = kendall(x, y), interval(x, y, generator)
            answer["tau"].append({"tables": name, "n": int(chosen.sum()), "length": n, "tau": tau, "low": low, "high": high})
            line += f"{tau:.2f} [{low:.2f}, {high:.2f}]{'':<13}"
        # How far one window at full length ranks as all of them do: what windows-only racing relies on.
        one = nll[lengths[0]][chosen][:, 0]
        tau, (low, high) = kendall(x, one), interval(x, one, generator)
        answer["tau"].append({"tables": name, "n": int(chosen.sum()), "length": lengths[0], "windows": 1, "tau": tau, "low": low,
                              "high": high})
        print(line + f"{tau:.2f} [{low:.2f}, {high:.2f}]", flush=True)
    if arguments.out:
        answer["factors"] = [list(map(float, f)) for _, f in made]
        answer["widths"] = widths.tolist()
        answer["ppl"] = {str(n): perplexity[n].tolist() for n in lengths}
        answer["nll_per_token"] = {str(n): nll[n].tolist() for n in lengths}
        Path(arguments.out).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
