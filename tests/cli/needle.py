"""`longrope needle` on the reference model: prompts and scores against an oracle that builds them from the published text with a
tokenizer of its own, what it answers within its context, haystacks of text, the store (the same bits after kill -9, with another
number of threads, beside a search), and the pages and listings made of it.

    python3 tests/cli/needle.py --longrope build/release/longrope
"""
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.dom.minidom
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import driver  # noqa: E402
import oracle  # noqa: E402
import sentencepiece_bpe  # noqa: E402
import stores  # noqa: E402

MODEL = ROOT / "experiments" / "reference"
BOS = 1
TOLERANCE_NATS = 1e-4
HEADER = ("There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you about the "
          "important information there.\n")
FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
QUESTION = "\nWhat is the pass key? The pass key is"
KEYS = ["--keys", "10000-99999"]  # the reference model knows keys of five digits


def wilson(hits, trials):
    z = 1.959963984540054
    p = hits / trials
    half = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    return centre - half, centre + half


def passkey_prompt(tokenizer, length, depth, key, reserve):
    """(prompt, answer): the text is cut in tokens, the pieces are tokenised as parts of one text."""
    def behind(front, text):
        whole, head = tokenizer.encode(front + text), tokenizer.encode(front)
        assert whole[:len(head)] == head
        return whole[len(head):]
    filler = behind(HEADER, " ".join([FILLER] * (length // 20 + 2)))
    head = [BOS] + tokenizer.encode(HEADER)
    needle = behind(FILLER, f"\nThe pass key is {key}. Remember it. {key} is the pass key.\n")
    question, answer = behind(FILLER, QUESTION), behind(FILLER + QUESTION, f" {key}")
    room = length - len(head) - len(needle) - len(question) - max(len(answer), reserve)
    before = int(room * (depth / 100))
    return head + filler[:before] + needle + filler[:room - before] + question, answer


def scores(program, checks, tokenizer, checkpoint):
    """Every figure of a few cells, and the sums over them."""
    found = program.json("needle", "--model", MODEL, "--rope", "none", "--rope", "yarn", "--length", "200,300", "--depths", "0,40,100", "--trials", 2,
                         *KEYS, "--seed", 7, "--threads", 2, "--json")
    new_tokens = found["options"]["new_tokens"]
    checks.equal(new_tokens, len(tokenizer.encode("key is 12345")) - len(tokenizer.encode("key is")) + 4, "tokens to generate by default")
    checks.equal(len(found["results"]), 2 * 2 * 3, "results")
    keys = set()
    for result in found["results"]:
        nll = tokens = hits = 0
        for cell in result["cells"]:
            what = f"{result['rope']} {result['length']} {result['depth']} trial {cell['trial']}"
            prompt, answer = passkey_prompt(tokenizer, result["length"], result["depth"], cell["answer"], new_tokens)
            checks.equal(cell["prompt_tokens"], len(prompt), f"{what}: tokens of the prompt")
            checks.equal(len(prompt) + max(len(answer), new_tokens), result["length"], f"{what}: length")
            table = oracle.rope_table(checkpoint, result["rope"], result["length"])
            each = oracle.token_nll(checkpoint, table, prompt + answer, dtype=np.float32)[len(prompt) - 1:]
            checks.close(cell["nll_nats"] / len(answer), each.sum() / len(answer), TOLERANCE_NATS, f"{what}: NLL of the answer")
            checks.equal(cell["tokens"], len(answer), f"{what}: tokens of the answer")
            number = re.search(r"\d+", cell["generated"])
            checks.equal(cell["exact"], bool(number) and int(number.group()) == int(cell["answer"]), f"{what}: exact ({cell['generated']!r})")
            if (each < math.log(2)).all():  # each is the likeliest token
                checks.true(cell["generated"].startswith(cell["answer"]), f"{what}: generated", cell["answer"], cell["generated"])
            else:
                checks.true(not cell["generated"].startswith(cell["answer"]) or (each < math.log(1024)).all(), f"{what}: generated",
                            "not the answer", cell["generated"])
            keys.add((result["length"], result["depth"], cell["trial"], cell["answer"]))
            checks.true(10000 <= int(cell["answer"]) <= 99999, f"{what}: key", "five digits", cell["answer"])
            nll, tokens, hits = nll + cell["nll_nats"], tokens + cell["tokens"], hits + cell["exact"]
        checks.equal((result["exact"], result["answer_tokens"], result["trials"]), (hits, tokens, 2), "sums of a result")
        checks.close(result["needle_ppl"], math.exp(nll / tokens), 1e-9 * result["needle_ppl"], "needle PPL")
    checks.equal(len({key[3] for key in keys}), len(keys), "keys differ")
    checks.equal(len(keys), 12, "all scalings are asked for the same keys")
    computed, all_tokens = found["prefill"]["computed"], found["prefill"]["tokens"]
    checks.true(computed < all_tokens, "prefixes are shared", f"less than {all_tokens}", computed)


def within_context(program, checks):
    """Issue 7: at least 95% of passkeys within the reference model's 256 tokens."""
    found = program.json("needle", "--model", MODEL, "--rope", "none", "--length", 256, "--trials", 10, *KEYS, "--json")
    of_length = found["by_length"][0]
    checks.equal(of_length["trials"], 110, "cells of 11 depths and 10 trials")
    checks.true(of_length["accuracy"] >= 0.95, "passkeys within 256 tokens", "at least 95%", of_length["accuracy"])
    low, high = wilson(of_length["exact"], 110)
    checks.close(of_length["accuracy_interval"][0], low, 1e-12, "Wilson's interval")
    if of_length["exact"] < 110:
        checks.close(of_length["accuracy_interval"][1], high, 1e-12, "Wilson's interval")
    checks.equal([r["depth"] for r in found["by_depth"]], [10.0 * i for i in range(11)], "depths as gkamradt's")
    checks.equal(sum(r["exact"] for r in found["by_depth"]), of_length["exact"], "by depth and by length")


def other_tasks(program, checks, directory):
    """Text haystacks: each trial its own document; depths of both spacings."""
    texts = []
    for seed in (1, 2, 3):
        subprocess.run([sys.executable, MODEL / "language.py", "--documents", "1", "--bytes", "6000", "--seed", str(seed), "--out", directory],
                       check=True)
        texts.append(directory / f"{seed}.txt")
    short = directory / "short.txt"
    short.write_text("Too short. ")
    for task in ("passkey", "niah", "niah-single-1", "niah-multikey-1"):
        found = program.json("needle", "--model", MODEL, "--text", *texts, "--task", task, "--length", 400, "--depths", 3, "--depth-spacing",
                             "sigmoid", "--trials", 4, "--no-generate", "--json")
        checks.equal((found["task"], found["haystack"]), (task, "text"), "task and haystack")
        checks.equal([r["depth"] for r in found["results"]], [0.0, 50.0, 100.0], f"{task}: sigmoid depths")
        for result in found["results"]:
            checks.equal([c["document"] for c in result["cells"]], ["1.txt", "2.txt", "3.txt", "1.txt"], f"{task}: documents")
            checks.true(result["nll_nats"] > 0 and result["accuracy"] is None, f"{task}: NLL only", "an NLL, no accuracy", result)
            answers = {c["answer"] for c in result["cells"]}
            checks.equal(len(answers), 1 if task == "niah" else 4, f"{task}: answers")
    done = program.run("needle", "--model", MODEL, "--text", texts[0], short, "--length", 400, "--trials", 2)
    checks.true(done.returncode == 2 and "document short.txt must have at least" in done.stderr, "a document too short", "exit 2, its name",
                (done.returncode, done.stderr))
    return texts


def kept(program, checks, directory):
    """The store: threads, kill -9, SIGTERM, refusals."""
    job = ["needle", "--model", MODEL, "--rope", "none", "--rope", "yarn", "--length", "256,384", "--depths", 4, "--trials", 6, *KEYS]
    whole, other, killed = (directory / f"{name}.h5" for name in ("whole", "other", "killed"))
    first = program.json(*job, "--threads", 1, "--store", whole, "--json")
    program.json(*job, "--threads", 2, "--store", other, "--json")
    expected = stores.contents(whole)
    checks.true(len(expected) > 20, "what a store holds", "more than 20 entries", len(expected))
    checks.equal(stores.differences(expected, stores.contents(other)), [], "1 and 2 threads")
    for number, kind in ((signal.SIGKILL, -9), (signal.SIGTERM, 3)):
        killed.unlink(missing_ok=True)
        process = program.start(*job, "--threads", 2, "--store", killed)
        rows, deadline = 0, time.monotonic() + 60
        while rows < 5 and process.poll() is None and time.monotonic() < deadline:
            try:
                with h5py.File(killed, "r", libver="latest", swmr=True) as f:
                    rows = len(f["needle/main/cells/cell"])
            except (OSError, KeyError):
                time.sleep(0.005)
        process.send_signal(number)
        code = process.wait()
        checks.equal(code, kind, f"exit after signal {number}")
        left = program.json("inspect", "--store", killed, "--json")["needle"][0]
        checks.true(5 <= left["finished"] < left["cells"], f"cells left by signal {number}", "5 and not all", left["finished"])
        checks.equal(left["status"], "running" if kind == -9 else "interrupted", "status after it")
        again = program.json(*job, "--threads", 1, "--store", killed, "--resume", "--json")
        checks.equal(stores.differences(expected, stores.contents(killed)), [], f"resumed after signal {number}")
        checks.equal(again["results"], first["results"], f"results after signal {number}")
    for extra, says in ((["--store", whole], "has a needle run \"main\" already"), (["--store", whole, "--resume", "--seed", 9], "seed 42 but this one 9"),
                        (["--store", whole, "--resume", "--run", "next"], "has no needle run \"next\""),
                        (["--store", whole, "--resume", "--new-tokens", 3], "new_tokens"),
                        (["--store", whole, "--resume", "--rope", "pi"], "scalings none yarn but this one none yarn pi")):
        done = program.run(*job, *extra)
        checks.true(done.returncode == 2 and says in done.stderr, f"refused: {says}", "exit 2", (done.returncode, done.stderr))
    checks.equal(stores.differences(expected, stores.contents(whole)), [], "refusals leave the store alone")
    done = program.run("search", "--model", MODEL, "--tokens", directory / "none.u16", "--target-length", 512, "--store", whole, "--resume")
    checks.equal(done.returncode, 2, "a search does not resume a needle run")
    return whole, first


def beside_a_search(program, checks, directory, text):
    """A run added to a search's store; the search goes on with the run in it."""
    store = directory / "job.h5"
    search = ["search", "--model", MODEL, "--text", text, "--target-length", 512, "--windows", 2, "--strategy", "random", "--store", store, "--json"]
    program.json(*search, "--budget", 3)
    before = stores.contents(store)
    program.json("needle", "--model", MODEL, "--rope", "none", "--rope", f"store:{store}", "--length", 256, "--depths", 2, "--trials", 1, "--run", "a",
                 "--store", store, "--json")
    after = stores.contents(store)
    checks.equal([n for n in stores.differences(before, after) if not n.startswith("/needle")], [], "what the search wrote")
    program.json(*search, "--budget", 5, "--resume")
    kept_run = {name: value for name, value in stores.contents(store).items() if name.startswith("/needle")}
    checks.equal(kept_run, {name: value for name, value in after.items() if name.startswith("/needle")}, "the run after the search went on")
    found = program.json("inspect", "--store", store, "--json")
    checks.equal(([s["name"] for s in found["stages"]], [n["name"] for n in found["needle"]]), (["main"], ["a"]), "inspect of both")
    done = program.run("report", store, "-o", directory / "job.html")
    checks.equal(done.returncode, 0, "report of both")


def shown(program, checks, directory, whole, first):
    """inspect and report of a store that holds a needle run only."""
    run = program.json("inspect", "--store", whole, "--json")["needle"][0]
    bare = [{key: value for key, value in result.items() if key != "cells"} for result in first["results"]]
    checks.equal(run["results"], bare, "inspect's results")
    text = program.run("inspect", "--store", whole).stdout
    checks.true("needle runs only" in text and "yarn" in text, "inspect's text", "the run", text[:300])
    page = directory / "whole.html"
    checks.equal(program.run("report", whole, "-o", page).returncode, 0, "report")
    html = page.read_text()
    xml.dom.minidom.parseString(html.replace("<!doctype html>", ""))
    figures = dict(re.findall(r'<data data-key="(needle[^"]*)" value="([^"]*)"', html))
    for result in first["results"]:
        key = f"needle.main.{('none', 'yarn').index(result['rope'])}.{result['length']}.{result['depth']:g}"
        checks.equal(float(figures.get(f"{key}.accuracy", "nan")), result["accuracy"], f"{key}.accuracy")
        checks.equal(float(figures.get(f"{key}.needle_ppl", "nan")), result["needle_ppl"], f"{key}.needle_ppl")
    checks.equal(html.count("<svg class=\"chart\""), 5, "charts: two heatmaps a scaling, one curve")
    for colour in ("#0CD79F",):
        checks.true(colour in html, "gkamradt's colours", colour, "not there")


def damaged(program, checks, directory, whole):
    """A run whose figures contradict each other is refused, in one line."""
    edits = {"a cell twice": lambda f: f["cells/cell"].__setitem__(1, f["cells/cell"][0]),
             "a cell beyond": lambda f: f["cells/cell"].__setitem__(0, 10**9),
             "another depth": lambda f: f["cells/depth_percent"].__setitem__(0, 55.0),
             "a document": lambda f: f["cells/document"].__setitem__(0, 3),
             "no tokens": lambda f: f["cells/answer_tokens"].__setitem__(0, 0),
             "a result": lambda f: f["cells/exact"].__setitem__(0, 7),
             "fewer rows": lambda f: f["cells/trial"].resize((3,)),
             "trials": lambda f: f.attrs.modify("trials", 2**62),
             "a task": lambda f: f.attrs.modify("task", np.bytes_("banana")),
             "a rotary_dim": lambda f: f["model"].attrs.modify("rotary_dim", -4),
             "no ropes": lambda f: f.__delitem__("ropes"),
             "lengths": lambda f: f["lengths"].__setitem__(0, -1),
             "a depth": lambda f: f["depths_percent"].__setitem__(0, math.nan)}
    for name, edit in edits.items():
        copy = directory / "damaged.h5"
        shutil.copy(whole, copy)
        with h5py.File(copy, "r+") as f:
            edit(f["needle/main"])
        for command in (["inspect", "--store", copy], ["report", copy, "-o", directory / "damaged.html"]):
            done = program.run(*command)
            checks.true(done.returncode == 2 and "damaged" in done.stderr and len(done.stderr.splitlines()) == 1, f"{command[0]}: {name}",
                        "exit 2, one line", (done.returncode, done.stderr, done.stdout[:200]))


def test(program, checks, directory, arguments):
    tokenizer, checkpoint = sentencepiece_bpe.Tokenizer(MODEL / "tokenizer.model"), oracle.Checkpoint(MODEL)
    scores(program, checks, tokenizer, checkpoint)
    within_context(program, checks)
    texts = other_tasks(program, checks, directory)
    whole, first = kept(program, checks, directory)
    shown(program, checks, directory, whole, first)
    damaged(program, checks, directory, whole)
    beside_a_search(program, checks, directory, texts[0])
    published = program.json("needle", "--model", MODEL, "--length", 256, "--depths", "50%", "--trials", 3, "--no-generate", "--json")
    checks.equal(published["options"]["keys"], "1-50000", "keys by default, as published")
    json.dumps(published)


if __name__ == "__main__":
    driver.main(test, __doc__, at_least=150)
