"""What racing would have saved, and lost, in a search that scored every window: replays the rule of search/racing.hpp, written here
anew, over a finished store made with `--racing off`, generation by generation, with the first W windows of the store.

    python3 experiments/benchmarks/strategies/racing.py STORE.h5 [--windows 3,5,10] [--confidence 0.9,0.95,0.99,0.999]

cost: mean share of a full evaluation per candidate. false drops: candidates dropped although their mean over all W windows was
below the elite's of that moment; a search loses at most these. worst: the largest such loss, in nats per token. With --check the
store is one that raced (one objective), and each of its rows must have the fate that the rule gives it here.
"""
import argparse
import json
import math
import sys

import h5py
import numpy as np


def digamma(x):
    """Abramowitz and Stegun 6.3.5, 6.3.18."""
    shift = 0.0
    while x < 20.0:
        shift -= 1.0 / x
        x += 1.0
    return shift + math.log(x) - 1 / (2 * x) - 1 / (12 * x**2) + 1 / (120 * x**4) - 1 / (252 * x**6)


def trigamma(x):
    """Abramowitz and Stegun 6.4.6, 6.4.12."""
    shift = 0.0
    while x < 20.0:
        shift += 1.0 / x**2
        x += 1.0
    return shift + 1 / x + 1 / (2 * x**2) + 1 / (6 * x**3) - 1 / (30 * x**5) + 1 / (42 * x**7)


def inverse_trigamma(y):
    low, high = 1e-6, 1e6
    if y >= trigamma(low):
        return low
    if y <= trigamma(high):
        return high
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if trigamma(middle) > y else (low, middle)
    return math.sqrt(low * high)


def t_tail(t, degrees):
    """P(T > t), t > 0, by Simpson's rule in theta, t = sqrt(degrees) tan(theta)."""
    start = math.atan(t / math.sqrt(degrees))
    theta = np.linspace(start, math.pi / 2, 20001)
    density = np.cos(theta) ** (degrees - 1.0) if degrees >= 1 else np.where(theta < math.pi / 2, np.cos(theta), np.nan) ** (degrees - 1)
    constant = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(math.pi)
    step = theta[1] - theta[0]
    return constant * step / 3 * (density[0] + density[-1] + 4 * density[1:-1:2].sum() + 2 * density[2:-1:2].sum())


CACHE = {}


def t_quantile(alpha, degrees):
    """t with P(T > t) = alpha; degrees >= 1."""
    key = (alpha, round(degrees, 9))
    if key not in CACHE:
        low, high = 0.0, 1e7
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if t_tail(middle, degrees) > alpha else (low, middle)
        CACHE[key] = (low + high) / 2
    return CACHE[key]


class Prior:
    def __init__(self, differences):
        rows = []
        for d in differences:
            m, v = d.mean(), d.var(ddof=1)
            if m != 0 and v > 0 and np.isfinite(m) and np.isfinite(v):
                rows.append((math.log(m * m), math.log(v)))
        self.degrees = 0.0
        if len(rows) < 2:
            return
        x, y = np.array(rows).T
        n, d = len(rows), differences.shape[1] - 1
        xx = ((x - x.mean()) ** 2).sum()
        self.slope = min(max(((x - x.mean()) * (y - y.mean())).sum() / xx, 0.0), 1.0) if xx > 0 else 0.0
        scatter = ((y - y.mean() - self.slope * (x - x.mean())) ** 2).sum() / max(1, n - 2)
        excess = scatter - trigamma(d / 2)
        self.degrees = min(float(n), 2 * inverse_trigamma(excess) if excess > 0 else math.inf)
        self.intercept = (y.mean() - self.slope * x.mean() - digamma(d / 2) + math.log(d / 2) + digamma(self.degrees / 2)
                          - math.log(self.degrees / 2))
        self.low, self.high = x.min(), x.max()

    def variance(self, m):
        x = min(max(2 * math.log(abs(m)) if m else -math.inf, self.low), self.high)
        return math.exp(self.intercept + self.slope * x)


def rungs(windows):
    out, base = [], 1
    while base < windows:
        out += [base] + ([base + base // 2] if base >= 2 and base + base // 2 < windows else [])
        base *= 2
    return out


def lower_bound(candidate, elite, tokens, documents, scored, prior, alpha):
    """Of the mean difference over all windows, after the first `scored`. candidate, elite: nats [W]."""
    if len(set(documents)) == 1:
        documents = np.arange(len(documents))
    known = list(dict.fromkeys(documents[:scored]))
    c, u = len(known), len(set(documents[scored:]))
    d, n = (candidate - elite)[:scored], tokens[:scored]
    mean = d.sum() / n.sum()
    own = sum((d[documents[:scored] == k].sum() / n[documents[:scored] == k].sum() - mean) ** 2 for k in known)
    degrees = prior.degrees + c - 1
    if degrees <= 0:
        return -math.inf, mean
    variance = ((prior.degrees * prior.variance(mean) if prior.degrees else 0.0) + own) / degrees
    error = (1 - n.sum() / tokens.sum()) * math.sqrt(variance * (1 / c + 1 / u))
    return mean - t_quantile(alpha, degrees) * error, mean


def race(nats, tokens, documents, elite, history, candidate, confidence):
    """After how many windows the candidate is dropped; None: never. History and elite: row numbers of nats [N, W]."""
    windows = len(tokens)
    looks = rungs(windows)
    prior = Prior((nats[history] - nats[elite]) / tokens) if windows > 1 else None
    for scored in looks:
        bound, _ = lower_bound(nats[candidate], nats[elite], tokens, documents, scored, prior, (1 - confidence) / len(looks))
        if bound > 0:
            return scored
    return None


def replay(nats, tokens, documents, generation, confidence):
    """(cost per candidate, false drops, candidates better than the elite, dropped, candidates, worst loss)."""
    mean = nats.sum(1) / tokens.sum()
    finite = np.isfinite(mean)
    complete = list(np.flatnonzero((generation < 0) & finite))
    cost, false, better, dropped, worst, count = 0.0, 0, 0, 0, 0.0, 0
    for g in sorted(set(generation[generation >= 0])):
        elite = min(complete, key=lambda i: (mean[i], i))
        history, survivors = list(complete), []
        for i in np.flatnonzero((generation == g) & finite):
            count += 1
            better += mean[i] < mean[elite]
            at = race(nats, tokens, documents, elite, history, i, confidence)
            if at is None:
                cost += 1
                survivors.append(i)
                continue
            cost += at / len(tokens)
            dropped += 1
            if mean[i] < mean[elite]:
                false += 1
                worst = max(worst, mean[elite] - mean[i])
        complete += survivors
    return cost / count, false, better, dropped, count, worst


def pairs(nats, tokens, documents, confidence, count, nearest, seed=1):
    """False drops among random pairs (elite, better candidate at most `nearest` nats per token away), with a random history of 30
    rows: (how many, pairs, mean loss of those dropped)."""
    generator = np.random.default_rng(seed)
    mean = nats.sum(1) / tokens.sum()
    rows = np.flatnonzero(np.isfinite(mean))
    false, made, lost = 0, 0, 0.0
    for _ in range(100 * count):
        if made == count:
            break
        i, j = generator.choice(rows, 2, replace=False)
        elite, candidate = (i, j) if mean[j] < mean[i] else (j, i)
        if not 0 < mean[elite] - mean[candidate] <= nearest:
            continue
        others = rows[(rows != elite) & (rows != candidate)]
        made += 1
        if race(nats, tokens, documents, elite, generator.choice(others, min(30, len(others)), replace=False), candidate, confidence):
            false += 1
            lost += mean[elite] - mean[candidate]
    return false, made, lost / max(1, false)


def check(evaluations, nats, tokens, documents, generation, confidence):
    """Rows of a store that raced whose fate is not the rule's."""
    status = evaluations["status"][:]
    mean = evaluations["objectives"][:, 0]
    wrong = []
    for g in sorted(set(generation[generation >= 0])):
        complete = np.flatnonzero((generation < g) & (status == 0))
        elite = min(complete, key=lambda i: (mean[i], i))
        for i in np.flatnonzero((generation == g) & (status <= 1)):
            scored = int((evaluations["tokens"][i] > 0).sum())
            at = race(nats, tokens, documents, elite, complete, i, confidence)
            if (at or len(tokens)) != scored or (at is None) != (status[i] == 0):
                wrong.append((int(i), scored, at))
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--windows", default="3,5,10", help="how many of the store's windows")
    parser.add_argument("--confidence", default="0.9,0.95,0.99,0.999")
    parser.add_argument("--pairs", type=int, default=0, help="also that many random pairs a line, at most 0.01 and 0.1 nats apart")
    parser.add_argument("--check", action="store_true", help="the store raced: were its decisions the rule's?")
    arguments = parser.parse_args()
    with h5py.File(arguments.store, "r", libver="latest", swmr=True) as f:
        (stage,) = f["stages"].values()
        e = stage["evaluations"]
        nats, generation, documents = e["nll_nats"][:], e["generation"][:], f["corpus/windows/document"][:]
        tokens = e["tokens"][:].max(0).astype(float)
        if arguments.check:
            confidence = json.loads(stage.attrs["options"])["racing"]
            wrong = check(e, nats, tokens, documents, generation, confidence)
            print(f"{len(nats)} rows, {(e['status'][:] == 1).sum()} dropped; {len(wrong)} are not as the rule says: {wrong[:5]}")
            sys.exit(1 if wrong else 0)
    print(f"{'windows':>7}  {'confidence':>10}  {'candidates':>10}  {'dropped':>7}  {'cost':>5}  {'better':>6}  {'false drops':>11}  "
          f"{'worst':>8}")
    for windows in map(int, arguments.windows.split(",")):
        if windows > len(tokens):
            continue
        for confidence in map(float, arguments.confidence.split(",")):
            cost, false, better, dropped, count, worst = replay(nats[:, :windows], tokens[:windows], documents[:windows], generation,
                                                                confidence)
            print(f"{windows:>7}  {confidence:>10}  {count:>10}  {dropped:>7}  {cost:>5.2f}  {better:>6}  {false:>11}  {worst:>8.5f}",
                  flush=True)
            for nearest in (0.01, 0.1) if arguments.pairs else ():
                false, made, loss = pairs(nats[:, :windows], tokens[:windows], documents[:windows], confidence, arguments.pairs, nearest)
                print(f"{'':>7}  of {made} better by at most {nearest} nats per token {false} are dropped ({100 * false / max(1, made):.1f}%), "
                      f"losing {loss:.5f} each", flush=True)


if __name__ == "__main__":
    main()
