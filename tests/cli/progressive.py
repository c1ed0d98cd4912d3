"""`longrope progressive`: a chain of two searches with a fine-tuning command between them and a repair, in one store; killed
in a search, in the fine-tuning, between; a command that fails, lies or is interrupted; job files that are wrong.

    python3 tests/cli/progressive.py --longrope build/release/longrope
"""
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import driver  # noqa: E402
import random_checkpoint as rc  # noqa: E402
import stores  # noqa: E402

HOOK = ROOT / "tests" / "support" / "fake_finetune.py"
WORDS = ["--model", "{model}", "--table", "{table}", "--length", "{length}", "--out", "{out}"]


def job_text(model, tokens, hook, second="", budget=40):
    return f"""# a chain
model = {model}
tokens = {tokens}
windows = 2
seed = 3
strategy = paper-ga
finetune = {hook}
[stage.first]
target-length = 128
budget = {budget}
finetune-after = yes
[stage.second]
target-length = 512
budget = {budget}
{second}
[repair]
length = 32,64
strategy = auto
budget = 24
max-factor = 3
"""


class Chain:
    """A job that is always run in one place, so that its stores can be compared to the bit."""

    def __init__(self, program, directory, model, tokens):
        self.program, self.directory, self.model, self.tokens = program, directory, model, tokens
        self.store, self.work, self.job = directory / "chain.h5", directory / "chain.work", directory / "job.cfg"
        self.log, self.errors = directory / "hook.log", directory / "errors.txt"

    def write(self, *options, second="", budget=40):
        """The job file; options: further words of the command."""
        words = [sys.executable, str(HOOK), *WORDS, "--log", str(self.log), *options]
        self.job.write_text(job_text(self.model, self.tokens, " ".join(f'"{w}"' if " " in w else w for w in words), second, budget))

    def clear(self):
        for path in (self.store, self.log):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.work, ignore_errors=True)

    def arguments(self, *options):
        return ["progressive", "--config", str(self.job), "--store", str(self.store), *map(str, options)]

    def run(self, *options):
        return self.program.run(*self.arguments(*options))

    def start(self, *options):
        with open(self.errors, "wb") as errors:
            return subprocess.Popen([self.program.path, *self.arguments(*options)], stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=errors)

    def words(self):
        if not self.log.exists():
            return []
        return [json.loads(line)["word"] for line in self.log.read_text().splitlines()]

    def wait_for_hook(self, process):
        deadline = time.monotonic() + 60
        while "start" not in self.words():
            if process.poll() is not None or time.monotonic() > deadline:
                raise driver.Failed(f"the command never started: {self.errors.read_text()}")
            time.sleep(0.01)

    def stage_names(self):
        with h5py.File(self.store, "r", libver="latest", swmr=True) as f:
            return sorted(f["stages"], key=lambda name: f["stages"][name].attrs["index"])


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def last_line(checks, done, code, words, what):
    """Exit code, and one line of ours at the end of stderr that says these words."""
    checks.equal(done.returncode, code, f"{what}: exit code ({done.stderr.strip()[-600:]})")
    lines = done.stderr.strip().splitlines() or [""]
    for word in words:
        checks.true(lines[-1].startswith("longrope: ") and word in lines[-1], f"{what}: the last line says {word!r}", word, lines[-1])


def whole_chain(chain, checks):
    """The store and report of an uninterrupted run; returns its contents."""
    done = chain.run("--json", "--threads", 2)
    checks.equal(done.returncode, 0, f"the whole chain: {done.stderr.strip()[-800:]}")
    report = json.loads(done.stdout)
    checks.true("fake fine-tuning on stdout" in done.stderr, "the command's output is in the log", "it", done.stderr[-500:])
    checks.equal(chain.words(), ["start", "end"], "the command ran once, between the two searches")
    checks.equal([s["name"] for s in report["stages"]], ["first", "second"], "stages in order")
    checks.equal(chain.stage_names(), ["first", "second", "repair"], "stages of the store")
    with h5py.File(chain.store, "r") as f:
        stages = f["stages"]
        checks.equal([text(stages[n].attrs["status"]) for n in ("first", "second", "repair")], ["done"] * 3, "statuses")
        first, second, repair = (stages[n] for n in ("first", "second", "repair"))
        base_id = report["stages"][0]["table"]["id"]
        checks.equal(text(second.attrs["base"]), f"first/{base_id}", "base of the second stage")
        base = first["evaluations/factors"][base_id]
        best = int(np.nanargmin(np.where(first["evaluations/status"][()] == 0, first["evaluations/objectives"][:, 0], np.nan)))
        checks.equal(base_id, best, "the first stage hands on its best table")
        checks.true(np.array_equal(second["base_factors"][()], base), "base factors are that table's", base.tolist(),
                    second["base_factors"][()].tolist())
        searched = second["evaluations/generation"][()] >= 0
        relative = second["evaluations/factors"][()][searched] / base
        checks.true(relative.min() >= 1 - 1e-12 and relative.max() <= 1.25 * 4 + 1e-9,
                    "second factors: 1 to 1.25 s of the base, s = 512 / 128", "1 to 5", (relative.min(), relative.max()))
        checks.equal(sorted(second["model"].attrs) , sorted(f["model"].attrs), "attributes of a later stage's model")
        checks.true(text(second["model"].attrs["weights_sha256"]) != text(f["model"].attrs["weights_sha256"]),
                    "the second search is on the fine-tuned weights", "another digest", "the same")
        checks.equal(second["corpus/windows/length"][()].tolist(), [512, 512], "windows of the second stage")
        checks.equal(f["corpus/windows/length"][()].tolist(), [128, 128], "windows of the first stage")
        checks.equal(text(repair.attrs["baselines"]), "long,identity,half,plain", "what the repair is compared with")
        factors = repair["evaluations/factors"][()][repair["evaluations/generation"][()] >= 0]
        checks.true(factors.min() >= 1 - 1e-12 and factors.max() <= 3 + 1e-9, "repair factors: 1 to --max-factor", "1 to 3",
                    (factors.min(), factors.max()))
        table = f["tables/repair"]
        long_id = report["stages"][1]["table"]["id"]
        long_factors = second["evaluations/factors"][long_id]
        checks.true(np.array_equal(table["long"][()], long_factors), "long table of the repair", long_factors, table["long"][()])
        values = repair["evaluations/objectives"][()]
        points = repair["frontier/id"][()][repair["frontier/generation_row"][()] == repair["frontier/generation_row"][()].max()]
        chosen = min(points, key=lambda i: np.log(values[i]).sum())
        checks.true(np.array_equal(table["short"][()], repair["evaluations/factors"][chosen]), "short table: lowest mean of ln PPL",
                    repair["evaluations/factors"][chosen], table["short"][()])
        checks.equal(int(table.attrs["switch_length"]), 64, "switch length")
        checks.equal(float(table.attrs["short_attention_factor"]), float(table.attrs["attention_factor"]),
                     "one attention factor, as engines apply it")
        checks.true(np.array_equal(table["long"][()], f["tables/second"]["long"][()]), "tables/second is the long one", "it", "another")
        original = repair["original_objectives"][()]
    evaluated = chain.program.json("evaluate", "--model", chain.model, "--tokens", chain.tokens, "--length", "32,64", "--windows", 2,
                                   "--json")
    for k, length in enumerate((32, 64)):
        expected = driver.results_by_key(evaluated)[("config", length)]["ppl"]
        checks.close(original[k], expected, 1e-9 * expected, f"perplexity of the original model at {length}")
        checks.equal(report["repair"]["original"][f"ppl@{length}"], original[k], f"the same as reported at {length}")
    tuned = chain.work / "first"
    again = chain.program.json("evaluate", "--model", tuned, "--tokens", chain.tokens, "--length", "64", "--windows", 2, "--json",
                               "--rope", f"store:{chain.store}#repair/{chosen}", "--rope", f"store:{chain.store}")
    results = driver.results_by_key(again)
    checks.close(results[(f"store:{chain.store}#repair/{chosen}", 64)]["ppl"], report["repair"]["repaired"]["ppl@64"], 1e-6,
                 "the short table evaluated anew")
    checks.close(results[(f"store:{chain.store}", 64)]["ppl"], report["repair"]["long"]["ppl@64"], 1e-6,
                 "store:FILE is the table for the longest context")
    inspected = chain.program.json("inspect", "--store", chain.store, "--json")
    checks.equal([s["name"] for s in inspected["stages"]], ["first", "second", "repair"], "inspect lists all stages")
    return stores.contents(chain.store), report


def killed(chain, checks, expected, seconds, generator):
    """kill -9 in the first search, in the command, in the second search and at random moments; each time resumed to the end."""
    moments = ["first", "hook", "second"] + ["random"] * 2
    landed = 0
    for number, moment in enumerate(moments):
        chain.clear()
        chain.write("--seconds", "0.6" if moment == "hook" else "0")
        process = chain.start("--threads", 1 + number % 2)
        if moment == "hook":
            chain.wait_for_hook(process)
            time.sleep(0.2)
        elif moment == "random":
            time.sleep(seconds * generator.random())
        else:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and process.poll() is None:
                if chain.store.exists():
                    try:
                        if moment in chain.stage_names():
                            break
                    except (OSError, KeyError, RuntimeError):
                        pass
                time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        landed += process.wait() == -signal.SIGKILL
        if moment == "hook":
            time.sleep(0.3)
            checks.true("end" not in chain.words(), "the command ends when the program is killed", "no end", chain.words())
        done = chain.run("--resume", "--threads", 2 - number % 2)
        checks.equal(done.returncode, 0, f"killed in {moment}: resumed ({done.stderr.strip()[-600:]})")
        checks.equal(stores.differences(expected, stores.contents(chain.store)), [], f"killed in {moment}: the store against the uninterrupted one")
    checks.true(landed >= 3, "kills that landed", "at least 3", landed)
    done = chain.run("--resume", "--json")  # all done: nothing runs, nothing changes
    checks.equal(done.returncode, 0, "resume of a finished chain")
    checks.equal(stores.differences(expected, stores.contents(chain.store)), [], "a finished chain after --resume")


def bad_hooks(chain, checks, expected):
    for mode, words in (("fail", ("exit code 5", "after stage first")), ("nothing", ("cannot be used", "not there")),
                        ("nan", ("cannot be used", "model.norm.weight")), ("theta", ("cannot be used", "theta"))):
        chain.clear()
        chain.write("--mode", mode)
        last_line(checks, chain.run(), 1, words, f"a command with mode {mode}")
        checks.equal(chain.stage_names(), ["first"], f"{mode}: the store holds the first stage")
        checks.true(not (chain.work / "first").exists(), f"{mode}: no checkpoint", "none", "one")
    chain.write()
    done = chain.run("--resume")
    checks.equal(done.returncode, 0, f"resume with a command that works: {done.stderr[-400:]}")
    checks.equal(stores.differences(expected, stores.contents(chain.store)), [], "the store after that")
    chain.clear()
    chain.job.write_text(job_text(chain.model, chain.tokens, "/no/such/command {out}"))
    last_line(checks, chain.run(), 1, ("could not be run", "/no/such/command"), "a command that does not exist")


def signals(chain, checks, expected):
    for number in (signal.SIGTERM, signal.SIGINT):
        chain.clear()
        chain.write("--seconds", "30")
        process = chain.start()
        chain.wait_for_hook(process)
        last_line(checks, chain.run("--resume"), 2, ("another process",), "a second run of the job while the first one fine-tunes")
        began = time.monotonic()
        process.send_signal(number)
        checks.equal(process.wait(60), 3, f"{number.name} during fine-tuning: exit code")
        checks.true(time.monotonic() - began < 20, f"{number.name}: ends soon", "within 20 s", time.monotonic() - began)
        checks.equal(chain.words(), ["start", number.name], f"{number.name}: the command got it")
    chain.write()
    process = chain.start("--resume", "--threads", 1)
    while process.poll() is None and "second" not in chain.stage_names():
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    if process.wait(60) == 0:
        print("note: the second search had ended before SIGTERM came")
    else:
        checks.equal(process.returncode, 3, "SIGTERM in the second search: exit code")
    done = chain.run("--resume")
    checks.equal(done.returncode, 0, "resume after the signals")
    checks.equal(stores.differences(expected, stores.contents(chain.store)), [], "the store after that")


def words_of_the_command(chain, checks):
    """No shell: a quoted word stays one, and what looks like shell is text."""
    chain.clear()
    victim = chain.directory / "victim"
    chain.write("--note", f"two words; touch {victim} $(touch {victim}) {{length}}")
    checks.equal(chain.run().returncode, 0, "a command with odd words")
    argv = json.loads(chain.log.read_text().splitlines()[0])["argv"]
    checks.equal(argv[argv.index("--note") + 1], f"two words; touch {victim} $(touch {victim}) 128", "the odd word as the command got it")
    checks.true(not victim.exists(), "no shell ran", "no file", "a file")


def other_jobs(chain, checks, expected):
    """A resumed job must be the same one; a checkpoint of another table is not taken."""
    chain.clear()
    chain.write()
    checks.equal(chain.run().returncode, 0, "a chain to resume")
    last_line(checks, chain.run(), 2, ("exists already",), "without --resume")
    last_line(checks, chain.run("--resume", "--seed", 4), 2, ("seed",), "another seed")
    chain.write(budget=41)
    last_line(checks, chain.run("--resume"), 2, ("budget",), "another budget of a stage that others rest on")
    chain.write()
    chain.store.unlink()
    last_line(checks, chain.run("--seed", 4), 2, ("was not made by this job", "remove it"), "a checkpoint made from another table")
    chain.store.unlink()
    norm = chain.work / "first" / "model.safetensors"
    norm.write_bytes(norm.read_bytes()[:-100])
    last_line(checks, chain.run(), 2, ("from an earlier run but", "remove it"), "a checkpoint that was damaged since")


def wrong_files(chain, checks):
    good = job_text(chain.model, chain.tokens, "tune {out}")
    cases = {
        "no stage": ("model = x\n", "must have a section"),
        "unknown section": (good + "[plan]\na = 1\n", "[plan]"),
        "unknown option": (good.replace("windows = 2", "window = 2"), "'window'"),
        "unknown option of a stage": (good.replace("[stage.second]", "[stage.second]\nbudgets = 3"), "budgets"),
        "a stage twice": (good + "[stage.first]\ntarget-length = 9\n", "given twice"),
        "not a line": (good + "what is this\n", "what is this"),
        "bad budget": (good.replace("budget = 40", "budget = many"), "[first] [--budget]"),
        "model in a stage": (good.replace("[stage.second]", "[stage.second]\nmodel = x"), "before the sections"),
        "shorter": (good.replace("target-length = 512", "target-length = 100"), "[second] [--target-length]"),
        "no previous": (good.replace("target-length = 128", "target-length = 128\nbase = previous"), "[first] [--base]"),
        "no command": (good.replace("finetune = tune {out}\n", ""), "--finetune"),
        "command without out": (good.replace("tune {out}", "tune {model}"), "{out}"),
        "unknown braces": (good.replace("tune {out}", "tune {out} {lengths}"), "{lengths}"),
        "open quote": (good.replace("tune {out}", 'tune "{out}'), "quote"),
        "yes or no": (good.replace("finetune-after = yes", "finetune-after = perhaps"), "finetune-after"),
        "objective in repair": (good + "objective = ppl@3\n", "--length"),
        "no target": (good.replace("target-length = 512\n", ""), "[second]"),
    }
    for name, (content, words) in cases.items():
        chain.job.write_text(content)
        done = chain.run("--check")
        checks.equal(done.returncode, 2, f"{name}: exit code")
        lines = done.stderr.strip().splitlines()
        checks.true(len(lines) == 1 and words in lines[0], f"{name}: one line that says {words!r}", words, done.stderr)
    chain.job.write_text(good)
    done = chain.run("--check")
    checks.equal(done.returncode, 0, f"--check of a good file: {done.stderr}")
    checks.true("stage second: 512 tokens" in done.stdout and "repair: 32,64" in done.stdout, "what --check says", "the stages", done.stdout)
    checks.true(not chain.store.exists(), "--check makes no store", "none", "one")


def test(program, checks, directory, arguments):
    model = rc.make_checkpoint(directory / "model", "llama", seed=31, layers=2)
    tokens = rc.write_raw(directory / "tokens.u16", rc.random_documents(32, 320, [3000])[0])
    chain = Chain(program, directory, model, tokens)
    wrong_files(chain, checks)
    chain.write()
    began = time.monotonic()
    expected, _ = whole_chain(chain, checks)
    seconds = time.monotonic() - began
    killed(chain, checks, expected, seconds, random.Random(arguments.seed))
    bad_hooks(chain, checks, expected)
    signals(chain, checks, expected)
    words_of_the_command(chain, checks)
    other_jobs(chain, checks, expected)


def options(parser):
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")


if __name__ == "__main__":
    driver.main(test, __doc__, options, at_least=90)
