"""What every script in tests/cli needs: the arguments, running the program, counting checks, exit codes 0, 1 and 77."""
import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

SKIPPED = 77
TIMEOUT_S = 300


class Skip(Exception):
    """Raise with the reason to end a script with exit code 77."""


class Failed(Exception):
    """Raise to give up a group of checks; it counts as one failure."""


class Checks:
    """Counts checks; each failure is printed with what, expected and got as it happens."""

    def __init__(self):
        self.passed = 0
        self.failures = 0

    def fail(self, what, expected, got):
        self.failures += 1
        print(f"FAIL {what}\n     expected: {expected}\n     got:      {got}", flush=True)
        return False

    def true(self, condition, what, expected, got):
        if condition:
            self.passed += 1
            return True
        return self.fail(what, expected, got)

    def equal(self, got, expected, what):
        return self.true(got == expected, what, repr(expected), repr(got))  # NaN equals nothing, so it fails

    def close(self, got, expected, tolerance, what):
        """|got - expected| <= tolerance; NaN and missing values fail."""
        try:
            got, expected = float(got), float(expected)
            good = math.isfinite(got) and math.isfinite(expected) and abs(got - expected) <= tolerance
        except (TypeError, ValueError):
            return self.fail(what, f"{expected} within {tolerance:g}", repr(got))
        return self.true(good, what, f"{expected!r} within {tolerance:g}", f"{got!r} (off by {abs(got - expected):.3g})")


class Program:
    """The program under test."""

    def __init__(self, path):
        self.path = str(Path(path).resolve())

    def run(self, *args, timeout=TIMEOUT_S, **kwargs):
        """CompletedProcess with text output (undecodable bytes replaced)."""
        command = [self.path, *map(str, args)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=timeout, **kwargs)
        done.stdout = done.stdout.decode("utf-8", "replace")
        done.stderr = done.stderr.decode("utf-8", "replace")
        return done

    def start(self, *args, **kwargs):
        return subprocess.Popen([self.path, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, **kwargs)

    def json(self, *args, **kwargs):
        """stdout as one JSON document of a run that must succeed."""
        done = self.run(*args, **kwargs)
        if done.returncode != 0:
            raise Failed(f"`longrope {' '.join(map(str, args))}` exited {done.returncode}: {done.stderr.strip()[-2000:]}")

        def no_constants(name):
            raise Failed(f"`longrope {' '.join(map(str, args))}` printed {name}, which is not JSON")
        try:
            return json.loads(done.stdout, parse_constant=no_constants)
        except ValueError as error:
            raise Failed(f"`longrope {' '.join(map(str, args))}` printed no JSON document ({error}): {done.stdout[:500]!r}")


def results_by_key(document):
    """(rope, length) -> result of `evaluate --json`; refuses duplicates and results that are not ok."""
    found = {}
    for result in document["results"]:
        key = (result["rope"], result["length"])
        if key in found:
            raise Failed(f"evaluate --json lists {key} twice")
        if result.get("status") != "ok":
            raise Failed(f"evaluate --json: {key} has status {result.get('status')!r}")
        found[key] = result
    return found


def window_positions(result, names=None):
    """[(document index, first_token)] of a result; a document may be given by index or by its name in `names`. The one
    document of a raw file (names None) may have any name."""
    out = []
    for window in result["windows"]:
        document = window["document"]
        if isinstance(document, str):
            document = 0 if names is None else names.index(document) if document in names else document
        out.append((document, window["first_token"]))
    return out


def snapshot(directory):
    """path -> (type, size, mtime, digest) of everything below a directory."""
    out = {}
    for path in sorted(Path(directory).rglob("*")):
        info = path.lstat()
        digest = ""
        if path.is_file() and not path.is_symlink():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        out[str(path.relative_to(directory))] = (info.st_mode, 0 if path.is_dir() else info.st_size,
                                                 0 if path.is_dir() else info.st_mtime_ns, digest)
    return out


def main(test, description, options=None, at_least=1):
    """Runs test(program, checks, directory, arguments) and exits 0, 1 or 77. `at_least`: checks that must have passed."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--longrope", required=True, help="the program")
    parser.add_argument("--shared", default=str(Path(__file__).resolve().parents[3] / "shared"),
                        help="directory with models/, text/ and tables/ (tests that need it are skipped without)")
    if options:
        options(parser)
    arguments = parser.parse_args()
    arguments.shared = Path(arguments.shared)
    if not os.access(arguments.longrope, os.X_OK):
        print(f"FAIL no program at {arguments.longrope}")
        sys.exit(1)
    checks, began = Checks(), time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="longrope-test-") as directory:
            test(Program(arguments.longrope), checks, Path(directory), arguments)
    except Skip as reason:
        if not checks.failures:
            print(f"skipped: {reason}")
            sys.exit(SKIPPED)
    except Failed as failure:
        checks.fail("the test could not go on", "success", failure)
    except subprocess.TimeoutExpired as hung:
        checks.fail("the program hung", f"an end within {hung.timeout} s", " ".join(hung.cmd))
    except Exception:
        checks.fail("the test itself broke", "no exception", traceback.format_exc())
    if checks.passed < at_least:
        checks.fail("the test checked too little", f"at least {at_least} checks passed", checks.passed)
    print(f"{checks.passed} checks passed, {checks.failures} failed, {time.monotonic() - began:.1f} s")
    sys.exit(1 if checks.failures else 0)
