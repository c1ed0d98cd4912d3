"""Broken inputs: each must end in one clear line on stderr, exit code 2 (1 where the disk fails), no signal, an empty stdout, and
nothing written in the output place.

    python3 tests/cli/broken_inputs.py --longrope build/release/longrope [--only NAME] [--list] [--show]
"""
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import driver  # noqa: E402
import tokenizer_model  # noqa: E402
import broken_checkpoints  # noqa: E402,F401: registers its cases
import broken_corpora  # noqa: E402,F401: registers its cases
import broken_exports  # noqa: E402,F401: registers its cases
import broken_needles  # noqa: E402,F401: registers its cases
import broken_options  # noqa: E402,F401: registers its cases
import broken_search  # noqa: E402,F401: registers its cases
import broken_stores  # noqa: E402,F401: registers its cases
from broken_cases import CASES, CASE_TIMEOUT_S, Context, LINE, evaluate, search  # noqa: E402


def judge(checks, name, done, words, expected):
    """One case; `done` is a CompletedProcess."""
    before = checks.failures
    shown = " | ".join(done.stderr.strip().splitlines())[:600]
    if done.returncode < 0:
        checks.fail(f"{name}: killed by a signal", f"exit {expected}", f"{signal.Signals(-done.returncode).name}: {shown}")
        return False
    if not checks.true(done.returncode in expected, f"{name}: exit code", expected, f"{done.returncode}: {shown}"):
        return False
    if done.returncode == 0:
        return True
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    if done.returncode == 1:  # the disk failed on the way: progress lines may stand before the error
        lines = [line for line in lines if line.startswith("longrope:")]
    checks.equal(len(lines), 1, f"{name}: error lines on stderr ({shown})")
    if lines:
        checks.true(len(lines[-1]) < 2000, f"{name}: length of the message", "a line that can be read", f"{len(lines[-1])} characters")
        checks.true(LINE.match(lines[-1]), f"{name}: form of the message", "longrope: ... or [where] ...", lines[-1][:400])
        checks.true(len(lines[-1]) < 2000, f"{name}: length of the message", "below 2000 characters", len(lines[-1]))
    if isinstance(words, re.Pattern):
        checks.true(words.search(done.stderr), f"{name}: what the message says", words.pattern, shown)
    else:
        checks.true(any(w.lower() in done.stderr.lower() for w in words), f"{name}: what the message says", f"one of {words}", shown)
    checks.equal(done.stdout, "", f"{name}: stdout")
    return checks.failures == before


def run_cases(program, checks, c, only, show):
    run = 0
    for name, arguments, words, expected, kwargs in CASES:
        if only and only not in name:
            continue
        command = arguments(c)
        before = driver.snapshot(c.out)
        try:
            done = program.run(*command, timeout=CASE_TIMEOUT_S, **kwargs)
        except subprocess.TimeoutExpired:
            checks.fail(name, f"an end within {CASE_TIMEOUT_S} s", "the program hung")
            continue
        if name == "backend-cuda" and done.returncode == 0:
            print("skipped: backend-cuda, this build has CUDA and a device")
            continue
        judge(checks, name, done, words, expected)
        if show:
            print(f"{name:40} exit {done.returncode}: {done.stderr.strip()[:300]}")
        after = driver.snapshot(c.out)
        if name.startswith("disk-full-store") and list(after) == ["new.h5"]:
            # made whole, then the disk was full: what is committed must be readable
            checks.equal(program.run("inspect", "--json", "--store", c.out / "new.h5").returncode, 0, f"{name}: inspect of what is left")
        elif done.returncode != 0:
            checks.true(before == after, f"{name}: the output place", "untouched",
                        [k for k in before.keys() | after.keys() if before.get(k) != after.get(k)])
        for path in list(c.out.iterdir()):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        run += 1
    return run


def as_nobody(program, checks, c):
    """A directory one may not write to. Root may always, so then as another user."""
    closed = c.directory / "closed"
    closed.mkdir(mode=0o555)
    user = {}
    if os.geteuid() == 0:
        user = {"user": 65534, "group": 65534, "extra_groups": []}
        c.directory.chmod(0o755)
        try:
            done = program.run("--help", **user)
        except (OSError, subprocess.SubprocessError) as error:
            done = error
        if getattr(done, "returncode", None) != 0:
            print(f"skipped: unwritable directories, another user cannot run the program ({done})")
            return
    for name, command in (("unwritable-store", search(c, store=closed / "s.h5")),
                          ("unwritable-export", ["export", "--to", "csv", "--model", c.base(), "--rope", "pi", "--target-length", "128",
                                                 "--out", closed / "t.csv"])):
        done = program.run(*command, timeout=CASE_TIMEOUT_S, **user)
        judge(checks, name, done, ["closed"], (1, 2))
        checks.equal(driver.snapshot(closed), {}, f"{name}: the closed directory")


def fuzz(program, checks, c, count):
    """Random bytes in sound files: any outcome but a crash, a hang or several lines."""
    rng = np.random.default_rng(4)
    for i in range(count):
        what = ("header", "config", "npy")[i % 3]
        model, token_file = c.base(), c.tokens
        if what == "npy":
            token_file = c.file("t.npy", b"")
            np.save(token_file, np.asarray(c.ids(600), "<i4"))
            path, end = token_file, 128
        else:
            model = c.model()
            path = model / ("config.json" if what == "config" else "model.safetensors")
            raw = path.read_bytes()
            end = len(raw) if what == "config" else 8 + struct.unpack("<Q", raw[:8])[0]
        raw = bytearray(path.read_bytes())
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(0, end))
            raw[at] = int(rng.integers(0, 256)) if rng.random() < 0.5 else int(rng.choice(list(b'0123456789[]{}",:-e.')))
        path.write_bytes(raw)
        try:
            done = program.run(*evaluate(c, model, token_file), timeout=CASE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            checks.fail(f"fuzz {i} ({what})", f"an end within {CASE_TIMEOUT_S} s", "the program hung")
            continue
        if not judge(checks, f"fuzz {i} ({what})", done, [""], (0, 2)):
            print(f"     the bytes: {bytes(raw[:end])!r}")


def test(program, checks, directory, arguments):
    if arguments.list:
        print("\n".join(c[0] for c in CASES))
    c = Context(program, directory)
    for sound in (evaluate(c), search(c, store=directory / "check.h5"),
                  ["evaluate", "--model", c.model(lambda d: tokenizer_model.write_tokenizer(d / "tokenizer.model")), "--text", c.text,
                   "--length", "64", "--windows", "1", "--rope", "none", "--json"]):
        done = program.run(*sound, timeout=CASE_TIMEOUT_S)  # or every refusal below would prove nothing
        if not checks.equal(done.returncode, 0, f"the sound `{sound[0]}` that the cases spoil: exit code"):
            print(done.stderr[-1000:])
    run = run_cases(program, checks, c, arguments.only, arguments.show)
    if not arguments.only:
        checks.true(run >= 60, "cases", "at least 60", run)
        as_nobody(program, checks, c)
        fuzz(program, checks, c, arguments.fuzz)
    print(f"{run} cases")


def options(parser):
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--show", action="store_true", help="print every message")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--fuzz", type=int, default=60, help="files with random bytes")


if __name__ == "__main__":
    driver.main(test, __doc__, options, at_least=3)
