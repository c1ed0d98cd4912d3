"""`kill -9` at random moments and `--resume`: the final store equals the uninterrupted run's bit for bit (elapsed times and
the command line apart), with another --threads each time. Also: a reader beside the running writer (SWMR), a second writer
refused, SIGTERM and SIGINT (exit 3, store complete, resume equal).

    python3 tests/cli/kill_resume.py --longrope build/release/longrope             # 4 runs, for CI
    python3 tests/cli/kill_resume.py --longrope build/release/longrope --runs 20   # the full proof
"""
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import driver  # noqa: E402
import random_checkpoint as rc  # noqa: E402
import stores  # noqa: E402

# What is killed, by name: the strategy and its options. A race on random weights drops some at a low confidence.
JOBS = {"paper-ga": ("paper-ga", ["--start-tokens", "search"]),
        "release-ga": ("release-ga", []),
        "raced": ("nsga2", ["--racing", "0.7", "--objective", "ppl@TARGET,ppl@64", "--patience", 100000]),
        "auto": ("auto", ["--racing", "0.6", "--patience", 0])}
WANTED_S = 2.0  # an uninterrupted run
MINIMUM_BUDGET = 170  # the first 64 and three more generations of 32
MAXIMUM_BUDGET = 1200


class Job:
    """A search that can be started again and again on another store."""

    def __init__(self, program, model, tokens, name, target_length, budget, directory):
        self.program, self.directory, self.name, self.budget = program, directory, name, budget
        strategy, options = JOBS[name]
        self.options = ["search", "--model", model, "--tokens", tokens, "--target-length", target_length, "--windows", 2,
                        "--strategy", strategy, "--seed", 3, "--budget", budget,
                        *(str(option).replace("TARGET", str(target_length)) for option in options)]
        self.log = directory / "log.txt"

    def start(self, store, threads, resume=False):
        command = [self.program.path, *map(str, self.options), "--store", str(store), "--threads", str(threads),
                   *(["--resume"] if resume else [])]
        with open(self.log, "wb") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)

    def finish(self, process):
        """Exit code, waiting for the end."""
        try:
            return process.wait(driver.TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def error(self):
        return self.log.read_text(errors="replace").strip()[-1500:]


def committed(store):
    """(generations, evaluations) that a reader sees in a store that is being written, or was killed."""
    with h5py.File(store, "r", libver="latest", swmr=True) as f:
        stage = stores.stage(f)
        generations = stage["generations"]
        counts = generations["evaluations"][()] if isinstance(generations, h5py.Group) else generations["evaluations"]
        n = int(counts[-1]) if len(counts) else 0
        evaluations = stage["evaluations"]
        ids = evaluations["id"][()]
        lengths = {name: len(evaluations[name]) for name in stores.STAGE_DATASETS}
        if min(lengths.values()) < n:
            raise AssertionError(f"{n} evaluations are committed but the datasets have {lengths}")
        if not np.array_equal(ids[:n], np.arange(n)):
            raise AssertionError(f"ids of committed rows are not 0..{n - 1}: {ids[:n]}")
        factors = evaluations["factors"][:n]
        if not np.all(np.isfinite(factors)) or (n and factors.min() <= 0):
            raise AssertionError("committed rows hold factors that are not finite and positive")
        return len(counts), n


def calibrate(program, model, tokens, name, directory):
    """A job whose uninterrupted run takes about WANTED_S, where its bounds allow."""
    for target_length in (256, 512, 1024, 2048):
        job = Job(program, model, tokens, name, target_length, MINIMUM_BUDGET, directory)
        store, began = directory / f"calibrate-{name}-{target_length}.h5", time.monotonic()
        if job.finish(job.start(store, 2)) != 0:
            raise driver.Failed(f"the search {name} failed: {job.error()}")
        elapsed = time.monotonic() - began
        budget = int(min(MAXIMUM_BUDGET, max(MINIMUM_BUDGET, MINIMUM_BUDGET * WANTED_S / elapsed)))
        if elapsed > WANTED_S / 4 or target_length == 2048:
            return Job(program, model, tokens, name, target_length, budget, directory)


def killed_run(job, checks, reference, duration, generator, fraction, threads, label):
    """One run with up to four kills; returns how many landed while it worked, and how many of those after a commit."""
    store = job.directory / f"{label}.h5"
    landed = late = 0
    for attempt in range(5):
        resume = store.exists()  # a kill before the store was made leaves nothing to resume
        process = job.start(store, threads[attempt % len(threads)], resume)
        if attempt < 4 and (attempt == 0 or generator.random() < 0.5):
            delay = duration * (fraction if attempt == 0 else generator.random())
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        else:
            job.finish(process)
        code = process.wait()
        if code == 0:
            break
        if not checks.true(code == -signal.SIGKILL, f"{label}: attempt {attempt} (resume: {resume})", "exit 0 or our kill",
                           f"exit {code}: {job.error()}"):
            return landed, late
        landed += 1
        if store.exists():
            try:
                late += committed(store)[0] > 0
            except Exception as error:
                checks.fail(f"{label}: reading the killed store with swmr", "success", error)
    checks.equal(stores.status(store), "done", f"{label}: status")
    checks.equal(stores.differences(reference, stores.contents(store)), [],
                 f"{label}: store after {landed} kills against the uninterrupted one")
    left = sorted(p.name for p in job.directory.iterdir() if p.name.startswith(label) and p != store)
    if left:
        print(f"note: {label} left {left} beside its store")
    store.unlink()
    return landed, late


def watched_run(job, checks, reference, stop, threads, label):
    """A reader and a second writer beside a running search, then a polite signal, then resume."""
    store = job.directory / f"{label}.h5"
    process = job.start(store, 2)
    seen = []
    while process.poll() is None:
        if store.exists():
            try:
                state = committed(store)
            except AssertionError as error:
                checks.fail(f"{label}: what an SWMR reader sees", "consistent rows", error)
                break
            except (OSError, KeyError, RuntimeError) as error:  # a reader may meet a flush; most reads must succeed
                state = None
                seen.append(repr(error))
            if state and state[0] and process.poll() is None and state not in seen:
                seen.append(state)
        states = [s for s in seen if isinstance(s, tuple)]
        if len(states) >= 3:
            break
        time.sleep(0.002)
    states = [s for s in seen if isinstance(s, tuple)]
    if checks.true(len(states) >= 3, f"{label}: different states an SWMR reader saw while the program ran", "at least 3", seen):
        checks.true(states == sorted(states), f"{label}: what a reader sees only grows", sorted(states), states)
    if checks.true(process.poll() is None, f"{label}: still running when a second writer comes", "running", process.poll()):
        second = job.program.run(*job.options, "--store", store, "--threads", 1, "--resume")
        if process.poll() is None:
            checks.equal(second.returncode, 2, f"{label}: exit code of a second writer")
            checks.equal(len(second.stderr.strip().splitlines()), 1, f"{label}: lines a second writer prints to stderr")
        else:
            print(f"note: {label}: the search ended before the second writer had been refused")
        process.send_signal(stop)
        code = job.finish(process)
        if checks.equal(code, 3, f"{label}: exit code after {stop.name}"):
            checks.equal(stores.status(store), "interrupted", f"{label}: status")  # opens without swmr: no writer's flag is left
            generations, n = committed(store)
            checks.true(0 < n, f"{label}: evaluations in the interrupted store", "> 0", n)
            with h5py.File(store, "r") as f:
                lengths = {name: len(stores.stage(f)["evaluations"][name]) for name in stores.STAGE_DATASETS}
            checks.equal(set(lengths.values()), {n}, f"{label}: lengths of the datasets of the interrupted store")
            described = job.program.json("inspect", "--store", store, "--json")
            checks.true("interrupted" in json.dumps(described), f"{label}: inspect --json names the status", "interrupted",
                        json.dumps(described)[:500])
        code = job.finish(job.start(store, threads, resume=True))
        if not checks.equal(code, 0, f"{label}: exit code of resume"):
            print(job.error())
    else:
        job.finish(process)
    checks.equal(stores.status(store), "done", f"{label}: status after resume")
    checks.equal(stores.differences(reference, stores.contents(store)), [],
                 f"{label}: store after {stop.name} and resume against the uninterrupted one")


def test(program, checks, directory, arguments):
    model = rc.make_checkpoint(directory / "model", "llama", seed=21, layers=2)
    tokens = rc.write_raw(directory / "tokens.u16", rc.random_documents(22, 320, [4500])[0])
    generator = random.Random(arguments.seed)
    jobs = []
    for name in JOBS:
        (directory / name).mkdir()
        job = calibrate(program, model, tokens, name, directory / name)
        store, began = directory / name / "reference.h5", time.monotonic()
        code = job.finish(job.start(store, 2))
        duration = time.monotonic() - began
        if not checks.equal(code, 0, f"{name}: exit code of the uninterrupted run"):
            raise driver.Failed(job.error())
        checks.equal(stores.status(store), "done", f"{name}: status of the uninterrupted run")
        generations, rows = committed(store)
        checks.true(rows >= MINIMUM_BUDGET // 2 and generations >= 4, f"{name}: size of the uninterrupted run",
                    "at least 4 generations", (generations, rows))
        contents = stores.contents(store)
        checks.true(len(contents) > 30, f"{name}: objects compared", "more than 30", len(contents))
        print(f"{name}: {rows} evaluations, {generations} generations, {duration:.2f} s uninterrupted", flush=True)
        jobs.append((job, contents, duration))
        again = job.finish(job.start(store, 1, resume=True))  # a finished store: nothing to do, nothing changed
        checks.equal(again, 0, f"{name}: exit code of --resume on a finished store")
        checks.equal(stores.differences(contents, stores.contents(store)), [], f"{name}: a finished store after --resume")

    landed = late = 0
    for run in range(arguments.runs):
        job, contents, duration = jobs[run % len(jobs)]
        early = run % 5 == 4  # around the creation of the store
        fraction = generator.random() * 0.08 if early else (run + generator.random()) / arguments.runs * 0.95
        a, b = killed_run(job, checks, contents, duration, generator, fraction, [[1, 3, 2], [2, 1, 5]][run % 2],
                          f"run{run}-{job.name}")
        landed, late = landed + a, late + b
    print(f"{landed} kills landed in {arguments.runs} runs, {late} of them after a generation had been committed")
    checks.true(landed >= max(1, arguments.runs // 2), "kills that landed while the program ran",
                f"at least {max(1, arguments.runs // 2)}", landed)
    checks.true(late >= 1, "kills that landed after a generation had been committed", "at least 1", late)
    for (job, contents, _), stop in zip(jobs, 2 * (signal.SIGTERM, signal.SIGINT)):
        watched_run(job, checks, contents, stop, 5, f"watched-{job.name}")


def options(parser):
    parser.add_argument("--runs", type=int, default=4, help="runs that are killed")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")


if __name__ == "__main__":
    driver.main(test, __doc__, options, at_least=12)
