"""A longrope store as pandas tables, also while a search writes it (HDF5's SWMR mode): what the notebooks here share.

A generation counts once its row in `generations/generation` is there, which is written last: everything here reads that
column first and then no more rows than it vouches for.
"""
import math
import os
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

DEFAULT = Path(__file__).resolve().parents[2] / "build" / "quickstart" / "search.h5"  # what experiments/quickstart.sh makes
COLOURS = {"best": "#c2410c", "repaired": "#c2410c", "yarn": "#0b6fb3", "ntk": "#00805f", "pi": "#a8478f", "none": "#80858b",
           "original": "#80858b", "long": "#8a6d00", "base": "#8a6d00", "identity": "#5a4fcf", "half": "#00805f", "plain": "#a8478f"}


def path():
    """The store to look at: the environment variable LONGROPE_STORE, else what quickstart made."""
    return Path(os.environ.get("LONGROPE_STORE", DEFAULT))


def open_store(file=None):
    """Open for reading beside a writer; `refresh` of a data set or opening anew shows what came since."""
    return h5py.File(file or path(), "r", libver="latest", swmr=True)


def text(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def stage_names(store):
    """In the order in which they were searched; none where the store holds needle runs only."""
    return sorted(store.get("stages", ()), key=lambda name: int(store["stages"][name].attrs["index"]))


def stage_of(store, name=None):
    """A stage's group: by name, else the one for the longest context. LookupError where there is none."""
    names = stage_names(store)
    if not names:
        raise LookupError(f"{store.file.filename} holds no search, only needle runs: see needles.ipynb")
    name = name or max(names, key=lambda n: int(store["stages"][n].attrs["target_length"]))
    return store["stages"][name]


def owner_of(store, stage):
    """Where a stage's model and corpus stand: at the root for the first stage, in its own group for a later one."""
    return stage if "model" in stage else store


def objectives_of(stage):
    """["ppl@2048", "needle@2048"]."""
    length = int(stage.attrs["target_length"])
    return [word if "@" in word else f"{word}@{length}" for word in text(stage.attrs["objectives"]).split(",")]


def measure_of(objective):
    """What an objective is: "perplexity", "key-token perplexity", "needle perplexity"."""
    kind = objective.split("@")[0]
    return {"ppl": "perplexity", "key-ppl": "key-token perplexity", "needle": "needle perplexity"}.get(kind, kind)


def length_of(objective):
    return int(objective.split("@")[1])


def baseline_names(stage):
    names = text(stage.attrs.get("baselines", ""))
    return names.split(",") if names else ["pi", "ntk", "yarn", "none"]


def generations(stage):
    """A row a committed generation: best so far, rows, cost in full evaluations, seconds."""
    group = stage["generations"]
    committed = group["generation"][()]
    columns = {name: group[name][:len(committed)] for name in ("evaluations", "cost", "elapsed_s", "best_id", "best_objective")}
    return pd.DataFrame({"generation": committed, **columns})


def evaluations(stage):
    """A row a candidate of the committed generations, indexed by id; baselines have generation -1 and a name."""
    done = generations(stage)
    count = int(done["evaluations"].iloc[-1]) if len(done) else 0
    group = stage["evaluations"]

    def names_of(column):
        names = {value: name for name, value in h5py.check_enum_dtype(group[column].dtype).items()}
        return [names[value] for value in group[column][:count].tolist()]
    frame = pd.DataFrame({name: group[name][:count] for name in ("id", "generation", "start_tokens", "attention_factor", "cost", "elapsed_s")})
    frame["origin"], frame["status"] = names_of("origin"), names_of("status")
    for k, objective in enumerate(objectives_of(stage)):
        frame[objective] = group["objectives"][:count, k]
    frame["windows"] = np.isfinite(group["nll_nats"][:count]).sum(axis=1)
    frame["spent"] = frame["cost"].cumsum()
    names = baseline_names(stage)
    frame["baseline"] = [names[i] if g < 0 and i < len(names) else "" for i, g in enumerate(frame["generation"])]
    return frame.set_index("id")


def factors(stage):
    """[row, pair]: every candidate's absolute factors."""
    done = generations(stage)
    return stage["evaluations/factors"][:int(done["evaluations"].iloc[-1]) if len(done) else 0]


def best_id(stage):
    """None before the first complete candidate."""
    done = generations(stage)
    return int(done["best_id"].iloc[-1]) if len(done) and done["best_id"].iloc[-1] >= 0 else None


def chosen_id(store, stage):
    """The row that the stage's table was made of: its best, or after a repair what the rule picked."""
    name = stage.name.rsplit("/", 1)[-1]
    if name not in store["tables"]:
        return best_id(stage)
    table = store["tables"][name]
    wanted = table["short" if "switch_length" in table.attrs else "long"][()]
    same = np.flatnonzero((factors(stage) == wanted).all(axis=1) & (evaluations(stage)["status"] == "ok").to_numpy())
    return best_id(stage) if len(same) == 0 or best_id(stage) in same else int(same[0])


def frontiers(stage):
    """Every committed generation's non-dominated candidates: generation, id, objectives."""
    rows = len(generations(stage))
    group, names = stage["frontier"], objectives_of(stage)
    of = group["generation_row"][()]
    of = of[:np.searchsorted(of, rows)]
    frame = pd.DataFrame(group["objectives"][:len(of)], columns=names)
    frame.insert(0, "id", group["id"][:len(of)])
    frame.insert(0, "generation", group["generation"][:len(of)])
    frame.insert(0, "row", of)
    return frame


def critical_pair(store, stage):
    """The first pair that turns less than once within the L0 tokens of training: ceil(d/2 ln(L0 / 2 pi) / ln theta), half of
    LongRoPE2's critical dimension (arXiv 2502.20082, section 2)."""
    model = owner_of(store, stage)["model"].attrs
    pairs = int(model["rotary_dim"]) // 2
    pair = pairs * math.log(float(model["original_length"]) / (2 * math.pi)) / math.log(float(model["theta"]))
    return min(max(math.ceil(pair), 0), pairs)


NEEDLE_COLOURS = ["#F0496E", "#EBB839", "#0CD79F"]  # gkamradt's, from nothing found to all


def needle_names(store):
    """Names of the needle runs (`longrope needle --store`), beside the stages of a search or alone."""
    return sorted(store["needle"]) if "needle" in store else []


def needle_cells(store, name=None):
    """A row a finished cell of a needle run (by name, else the first), indexed by cell: rope, length, depth, trial, document, answer,
    what was generated, exact (1, 0; -1: nothing was generated), NLL of the answer's tokens."""
    run = store["needle"][name or needle_names(store)[0]]
    cells = run["cells"]
    done = cells["cell"][()]  # written last
    ropes, documents = ([text(value) for value in run[column][()]] for column in ("ropes", "documents"))
    frame = pd.DataFrame({column: cells[column][:len(done)] for column in
                          ("length", "depth_percent", "trial", "exact", "nll_nats", "answer_tokens", "prompt_tokens", "elapsed_s")}, index=done)
    frame.insert(0, "rope", [ropes[i] for i in cells["rope"][:len(done)]])
    frame["document"] = [documents[i] if i >= 0 else "" for i in cells["document"][:len(done)]]
    for column in ("answer", "generated"):
        frame[column] = [text(value) for value in cells[column][:len(done)]]
    return frame.sort_index()


def wilson(hits, trials, z=1.959963984540054):
    """95% Wilson score interval of a share, (low, high)."""
    if trials == 0:
        return math.nan, math.nan
    share = hits / trials
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == trials else centre + half)


def needle_table(cells, by):
    """Cells taken together by columns: trials, exact, accuracy with its 95% interval, needle perplexity."""
    rows = []
    for key, some in cells.groupby(by, sort=False):
        tried = some[some["exact"] >= 0]
        hits = int((tried["exact"] == 1).sum())
        low, high = wilson(hits, len(tried))
        rows.append({**dict(zip(by, key if isinstance(key, tuple) else (key,))), "trials": len(some), "exact": hits,
                     "accuracy": hits / len(tried) if len(tried) else math.nan, "low": low, "high": high,
                     "needle_ppl": math.exp(min(some["nll_nats"].sum(skipna=False) / some["answer_tokens"].sum(), 700.0))})
    return pd.DataFrame(rows, columns=[*by, "trials", "exact", "accuracy", "low", "high", "needle_ppl"])
