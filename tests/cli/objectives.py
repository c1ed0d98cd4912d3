"""Objectives beyond plain perplexity: needle@N and key-ppl@N in searches, frontiers, held-out text, resumed searches and chains,
and the metrics of `evaluate`. What the published needle perplexity got wrong without a word is an error here: a misspelt name, a
truncated answer, another tokenizer, one document ten times.

    python3 tests/cli/objectives.py --longrope build/release/longrope
"""
import json
import math
import signal
import sys
import time
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import driver  # noqa: E402
import oracle  # noqa: E402
import random_checkpoint as rc  # noqa: E402
import stores  # noqa: E402
from tokenizer_model import write_tokenizer  # noqa: E402

REFERENCE = ROOT / "experiments" / "reference"
VOCABULARY = 320  # the tokenizer has 312 pieces
LENGTH = 512  # a passkey of single letters takes some 350 tokens
KEYS = ["--key-lsd", 0.2, "--key-lcl", -7, "--key-rope", "yarn", "--key-context", 64, "--key-long", "window"]  # random weights hardly use what is far


def make_model(directory, vocabulary=VOCABULARY):
    model = rc.make_checkpoint(directory, seed=3, hidden=32, heads=2, kv_heads=1, intermediate=48, vocabulary=vocabulary)
    write_tokenizer(model / "tokenizer.model")
    return model


def documents(seed, count, tokens):
    """Ids of the tokenizer's letters, a full stop now and then, no BOS."""
    rng = np.random.default_rng(seed)
    stop = 3 + ord(".")
    return [[int(i) if i % 17 else stop for i in rng.integers(259, 312, tokens)] for _ in range(count)]


class Objectives:
    def __init__(self, program, checks, directory):
        self.program, self.checks, self.directory = program, checks, directory
        self.model = make_model(directory / "model")
        self.documents = documents(5, 10, 1200)
        self.tokens = rc.write_h5(directory / "text.h5", self.documents)
        self.held_out = rc.write_h5(directory / "held-out.h5", documents(6, 4, 1200))

    def search(self, store, objective, *options, model=None):
        return ["search", "--model", model or self.model, "--tokens", self.tokens, "--target-length", LENGTH, "--objective", objective,
                "--store", store, *options]

    def refused(self, what, *arguments, say, store=None):
        done = self.program.run(*arguments)
        self.checks.equal(done.returncode, 2, f"{what}: exit code")
        self.checks.true(done.stderr.startswith("longrope: [") or "--resume" in arguments, f"{what}: no work before it", "the message alone",
                         done.stderr[:300])
        self.checks.true(say in done.stderr.rstrip("\n").rsplit("\n", 1)[-1], f"{what}: the message", f"one line with {say!r}", done.stderr[-600:])
        if store is not None:
            left = [p.name for p in store.parent.iterdir() if store.stem in p.name]
            self.checks.equal(left, [], f"{what}: what is left of the store")

    # --- key tokens are those of the oracle, and so is what is scored of them ---

    def key_tokens(self):
        checkpoint = oracle.Checkpoint(self.model)
        for protocol, length in (("window", 160), ("half", 200)):
            store = self.directory / f"keys-{protocol}.h5"
            answer = self.program.json("search", "--model", self.model, "--tokens", self.tokens, "--target-length", length, "--objective",
                                       "key-ppl,ppl", "--windows", 3, "--protocol", protocol, "--budget", 1, "--store", store, *KEYS, "--json")
            windows = oracle.make_windows(self.documents, checkpoint.bos, protocol, length, 3)
            with h5py.File(store, "r") as f:
                found = f["corpus/key_tokens"]
                at = [found["position"][()][found["window"][()] == w].tolist() for w in range(6)]
                settings, scored = json.loads(found.attrs["settings"]), found["scored"][()].tolist()
                rows = {name: f["stages/main/evaluations"][name][()] for name in ("nll_nats", "tokens", "objectives", "cost")}
            self.checks.equal((settings["rope"], settings["context"], settings["step"]), ("yarn", 64, 16), f"{protocol}: settings")
            self.checks.equal(scored, [w.tokens for w in windows] + [0, 0, 0], f"{protocol}: what keys were chosen from")
            total = 0
            for w, window in enumerate(windows):
                keys, unsure = oracle.key_tokens(checkpoint, window, "yarn", 64, 0.2, -7.0, 1e-4)
                total += len(at[w])
                self.checks.equal(sorted(set(at[w]) - set(unsure)), sorted(set(keys) - set(unsure)), f"{protocol}: keys of window {w}")
                nll = oracle.token_nll(checkpoint, oracle.rope_table(checkpoint, "yarn", length), window.ids)
                self.checks.close(rows["nll_nats"][2, w], nll[np.array(at[w]) - 1].sum(), 1e-3, f"{protocol}: NLL of the keys of window {w} under yarn")
                self.checks.close(rows["nll_nats"][2, 3 + w], nll[window.first_scored - 1:].sum(), 1e-2, f"{protocol}: NLL of window {w} under yarn")
                self.checks.equal(rows["tokens"][2].tolist()[w::3], [len(at[w]), window.tokens], f"{protocol}: tokens of window {w}")
            self.checks.true(0 < total < sum(scored), f"{protocol}: number of keys", f"some of {sum(scored)}", total)
            self.checks.equal(answer["key_tokens"], {f"key-ppl@{length}": {"tokens": total, "scored": sum(scored), "share": total / sum(scored)}},
                              f"{protocol}: key tokens, as said")
            self.checks.equal(answer["best"]["key_ppl"], float(np.nanmin(np.delete(rows["objectives"][:, 0], 3))), f"{protocol}: best, as said")
            self.checks.true(bool((rows["cost"] == 1).all()), f"{protocol}: cost", "1 each", rows["cost"])

    # --- needles: documents, depths, held-out text ---

    def needles(self):
        store = self.directory / "needles.h5"
        answer = self.program.json(*self.search(store, "needle", "--windows", 10, "--budget", 2, "--holdout-tokens", self.held_out,
                                                "--holdout-windows", 4), "--json")
        with h5py.File(store, "r") as f:
            windows, held = f["corpus/windows"], f["holdout/windows"] if "windows" in f["holdout"] else f["holdout/corpus/windows"]
            self.checks.equal(windows["document"][()].tolist(), list(range(10)), "ten needles are in ten documents")
            self.checks.equal(set(windows["length"][()].tolist()), {LENGTH}, "needles: lengths")
            first = windows["needle_first"][()]
            self.checks.true(len(set(first.tolist())) == 10 and first[0] == first.min() and first[1] == first.max(), "needles: depths",
                             "ten, the ends first", first)
            self.checks.equal(sorted(held["document"][()].tolist()), [0, 1, 2, 3], "held-out needles are in all documents")
            tokens = f["stages/main/evaluations/tokens"][0]
            self.checks.true(bool((tokens >= 1).all() and (tokens <= 7).all()), "needles: the answers' tokens", "1 to 7", tokens)
            objectives = f["stages/main/evaluations/objectives"][:, 0]
            nll = f["stages/main/evaluations/nll_nats"][()]
        self.checks.close(objectives[0], math.exp(nll[0].sum() / tokens.sum()), 1e-9 * objectives[0], "needles: the objective")
        self.checks.equal(answer["best"]["needle_ppl"], float(objectives.min()), "needles: best, as said")
        self.checks.true(answer["holdout"]["results"][0].get("needle_ppl", 0) > 1, "needles: held out", "a perplexity", answer["holdout"])
        shown = self.program.run("inspect", "--store", store).stdout
        self.checks.true("needle PPL" in shown and " PPL" not in shown.replace("needle PPL", ""), "needles: inspect says what it is", "needle PPL", shown[:800])
        page = self.directory / "needles.html"
        done = self.program.run("report", store, "-o", page)
        self.checks.true(done.returncode == 0 and "needle perplexity" in page.read_text(), "needles: report says what it is", "needle perplexity", done.stderr)
        done = self.program.run("report", self.directory / "keys-window.h5", "-o", page)
        self.checks.true(done.returncode == 0 and "Key tokens" in page.read_text() and "key-token perplexity" in page.read_text(),
                         "key tokens: report says how many", "Key tokens", done.stderr)
        self.refused("held-out needles that are the search's", *self.search(self.directory / "same.h5", "needle", "--windows", 3, "--task", "niah",
                     "--haystack", "filler", "--holdout-tokens", self.held_out), say="is a window of the search", store=self.directory / "same.h5")

    # --- kill -9 and resume ---

    def resumed(self):
        options = ["--windows", 4, "--strategy", "auto", "--budget", 40, "--racing", 0.6, "--patience", 0, *KEYS]
        whole, killed = self.directory / "whole.h5", self.directory / "killed.h5"
        objective = f"ppl@{LENGTH},needle@{LENGTH},key-ppl@{LENGTH}"
        self.program.json(*self.search(whole, objective, *options), "--threads", 1, "--json")
        process = self.program.start(*self.search(killed, objective, *options), "--threads", 2)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            try:
                with h5py.File(killed, "r", libver="latest", swmr=True) as f:
                    if len(stores.stage(f)["generations/generation"]) >= 3:
                        break
            except (OSError, KeyError, RuntimeError, ValueError):
                pass
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        self.checks.equal(process.wait(), -signal.SIGKILL, "the search was killed while it ran")
        self.refused("resume with other key tokens", *self.search(killed, objective, *options[:-len(KEYS)], "--key-lsd", 0.3, *KEYS[2:]), "--resume",
                     say="holds key tokens chosen by")
        self.refused("resume with other needles", *self.search(killed, objective, *options, "--keys", "1-99"), "--resume", say="options")
        done = self.program.run(*self.search(killed, objective, *options), "--resume", "--threads", 2)
        self.checks.equal(done.returncode, 0, f"resume: exit code ({done.stderr[-500:]})")
        self.checks.true("as the store has it" in done.stderr, "resume: key tokens are not chosen again", "as the store has it", done.stderr[:500])
        self.checks.equal(stores.differences(stores.contents(whole), stores.contents(killed)), [], "the resumed store against the uninterrupted one")

    # --- evaluate ---

    def evaluated(self):
        store = self.directory / "keys-window.h5"
        with h5py.File(store, "r") as f:
            expected = f["stages/main/evaluations/objectives"][:4]  # pi, ntk, yarn, none
        answer = self.program.json("evaluate", "--model", self.model, "--tokens", self.tokens, "--length", "160,64", "--windows", 3, "--metrics",
                                   "key-ppl", *KEYS, "--rope", "pi", "--rope", "yarn", "--json")
        found = driver.results_by_key(answer)
        for rope, row in (("pi", 0), ("yarn", 2)):
            result = found[rope, 160]
            self.checks.equal([result["key_ppl"], result["ppl"]], expected[row].tolist(), f"evaluate {rope}: the search's own figures")
            self.checks.true(result["key_tokens"] > 0 and result["tokens"] == 3 * 159, f"evaluate {rope}: tokens", "some keys of 477", result["key_tokens"])
            self.checks.true("key_ppl" not in found[rope, 64], f"evaluate {rope}: no key tokens within the short context", "none", found[rope, 64])
        pi, yarn = (math.log(found[rope, 160]["key_ppl"]) for rope in ("pi", "yarn"))
        self.checks.close(found["yarn", 160]["key_difference_nats"], yarn - pi, 1e-9, "evaluate: the paired difference of key tokens")

        answer = self.program.json("evaluate", "--model", REFERENCE, "--tokens", self.tokens, "--length", 256, "--windows", 4, "--metrics",
                                   "needle,passkey", "--haystack", "filler", "--trials", 2, "--rope", "none", "--rope", "pi:factor=8", "--json")
        found = driver.results_by_key(answer)
        plain, bad = found["none", 256], found["pi:factor=8", 256]
        self.checks.true(plain["passkey_accuracy"] >= 0.8 and plain["passkey_trials"] == 10, "evaluate: the reference model finds passkeys",
                         "at least 8 of 10", plain["passkey_accuracy"])
        self.checks.true(1 < plain["needle_ppl"] < 3 < bad["needle_ppl"], "evaluate: needle perplexity", "low, and high under a bad table",
                         (plain["needle_ppl"], bad["needle_ppl"]))
        self.checks.close(bad["needle_difference_nats"], math.log(bad["needle_ppl"] / plain["needle_ppl"]), 1e-9, "evaluate: difference of needles")
        self.checks.true(bad["passkey_accuracy"] < plain["passkey_accuracy"], "evaluate: a bad table finds fewer", "fewer", bad["passkey_accuracy"])
        done = self.program.run("evaluate", "--model", REFERENCE, "--tokens", self.tokens, "--length", 256, "--windows", 2, "--metrics",
                                "needle,passkey", "--trials", 1, "--haystack", "filler")
        self.checks.true(all(word in done.stdout for word in ("needle PPL", "passkeys", "/5")), "evaluate: the table", "its columns", done.stdout)

    # --- a chain ---

    def chained(self):
        job = self.directory / "job.cfg"
        job.write_text(f"model = {self.model}\ntokens = {self.tokens}\nstore = {self.directory / 'chain.h5'}\nwindows = 2\nbudget = 1\n"
                       f"[stage.a]\ntarget-length = 160\nobjective = key-ppl\nkey-lsd = 0.2\nkey-lcl = -7\n"
                       f"[stage.b]\ntarget-length = {LENGTH}\nobjective = needle@{LENGTH},ppl\nhaystack = filler\n[repair]\nlength = 64\n")
        answer = self.program.json("progressive", "--config", job, "--json")
        self.checks.equal([stage["objectives"] for stage in answer["stages"]], ["key-ppl@160", f"needle@{LENGTH},ppl@{LENGTH}"], "chain: objectives")
        self.checks.true("key_ppl" in answer["stages"][0]["table"] and "needle_ppl" in answer["stages"][1]["table"], "chain: tables", "by their measure",
                         [stage["table"].keys() for stage in answer["stages"]])
        with h5py.File(self.directory / "chain.h5", "r") as f:
            self.checks.equal(set(f["stages/b/corpus/windows/document"][:2].tolist()), {-1}, "chain: filler is no document's")

    # --- what is an error ---

    def errors(self):
        store = self.directory / "error.h5"

        def wrong(what, objective, *options, say, model=None):
            self.refused(what, *self.search(store, objective, *options, model=model), say=say, store=store)
        kinds = "must be one of ppl@LENGTH, key-ppl@LENGTH, needle@LENGTH"
        for name in ("neddle@512", "key_ppl", "ppl,needles@512"):
            wrong(f"misspelt {name}", name, say=kinds)
        wrong("a length too short for the needle", "needle@100", say="[needle] a length must be at least")
        wrong("a length too short for one of two", f"ppl@{LENGTH},needle@120", say="[needle] a length must be at least")
        wrong("key tokens without a long context", "key-ppl@64", *KEYS, say="windows must be longer than the short context of 64 tokens")
        wrong("a short context that is none", "key-ppl", "--key-context", 64, say="[--key-context] must be less than the long context of 64 tokens")
        wrong("no key token at all", "key-ppl@160", "--key-lsd", 1000, "--windows", 2, say="every window must have a key token")
        wrong("options of another objective", "ppl", "--key-lsd", 1, say="--key-lsd needs key-ppl among what is measured")
        wrong("needle options without a needle", "ppl", "--task", "passkey", say="--task needs needle among what is measured")
        wrong("a task that is none", "needle", "--task", "pass", say="[--task]")
        bare = make_model(self.directory / "bare")
        (bare / "tokenizer.model").unlink()
        wrong("no tokenizer", "needle", say="must hold a SentencePiece tokenizer.model", model=bare)
        other = make_model(self.directory / "other", 312)
        write_tokenizer(other / "tokenizer.model", extra_pieces=4)  # "ee" has an id that the model lacks
        wrong("another model's tokenizer", "needle", "--haystack", "filler", say="must have ids below the model's vocabulary 312 but has 312", model=other)
        self.refused("a metric that is none", "evaluate", "--model", self.model, "--tokens", self.tokens, "--metrics", "ppl,neddle", say="[--metrics]")
        self.refused("key tokens at a short length only", "evaluate", "--model", self.model, "--tokens", self.tokens, "--metrics", "key-ppl", *KEYS,
                     "--length", 64, say="key-ppl needs a length above the short context of 64")


def test(program, checks, directory, arguments):
    job = Objectives(program, checks, directory)
    for part in (job.key_tokens, job.needles, job.resumed, job.evaluated, job.chained, job.errors):
        began = time.monotonic()
        try:
            part()
        except driver.Failed as failure:
            checks.fail(part.__name__, "success", failure)
        print(f"{part.__name__}: {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    driver.main(test, __doc__.split("\n", maxsplit=1)[0], at_least=60)
