"""What the cases of broken inputs share: their list, sound inputs to spoil, the commands."""
import re
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import driver  # noqa: E402
import random_checkpoint as rc  # noqa: E402

CASE_TIMEOUT_S = 60
LINE = re.compile(r"^(longrope: \S|.*\[[^\]]+\] \S)")
VOCABULARY = 320
CASES = []


def case(name, arguments, says="", expected=(2,), **kwargs):
    """Registers a case. `arguments(c)` makes the inputs and returns the command line; `says`: words of which the message must
    contain one (any case), or a compiled pattern; kwargs go to the run."""
    words = says if isinstance(says, re.Pattern) else [says] if isinstance(says, str) else list(says)
    CASES.append((name, arguments, words, expected, kwargs))


class Context:
    """Sound inputs, and copies of them to spoil."""

    def __init__(self, program, directory):
        self.program, self.directory, self.count = program, directory, 0
        self.out = directory / "out"
        self.out.mkdir()
        self.models = {}
        self.tokens = rc.write_raw(directory / "tokens.u16", self.ids(600))
        self.text = self.file("good.txt", ("It is a truth universally acknowledged, " * 60).encode())
        self._store = None

    def ids(self, n):
        return rc.random_documents(1, VOCABULARY, [n])[0]

    def base(self, kind="llama", **kwargs):
        key = (kind, repr(sorted(kwargs.items())))
        if key not in self.models:
            self.models[key] = rc.make_checkpoint(self.directory / f"base{len(self.models)}", kind, seed=1, **kwargs)
        return self.models[key]

    def model(self, edit=None, kind="llama", **kwargs):
        """A copy of a sound checkpoint, spoiled by edit(directory)."""
        self.count += 1
        copy = self.directory / f"model{self.count}"
        shutil.copytree(self.base(kind, **kwargs), copy)
        if edit:
            edit(copy)
        return copy

    def file(self, name, content):
        self.count += 1
        folder = self.directory / f"file{self.count}"
        folder.mkdir()
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder / name

    def store(self):
        """A sound store, made once."""
        if self._store is None:
            path = self.directory / "sound.h5"
            done = self.program.run(*search(self, store=path), timeout=CASE_TIMEOUT_S)
            if done.returncode != 0:
                raise driver.Failed(f"the sound search exited {done.returncode}: {done.stderr[-1000:]}")
            self._store = path
        return self._store

    def store_copy(self, edit=None):
        self.count += 1
        copy = self.out / f"store{self.count}.h5"
        shutil.copy(self.store(), copy)
        if edit:
            edit(copy)
        return copy


def evaluate(c, model=None, tokens=None, *extra, length="64", windows="1", rope="none"):
    return ["evaluate", "--model", model or c.base(), "--tokens", tokens or c.tokens, "--length", length, "--windows", windows,
            "--rope", rope, "--json", *extra]


def search(c, *extra, model=None, tokens=None, store=None, target="128", windows="1", strategy="paper-ga", budget="6", seed="1"):
    return ["search", "--model", model or c.base(), "--tokens", tokens or c.tokens, "--target-length", target, "--windows", windows,
            "--strategy", strategy, "--budget", budget, "--seed", seed, "--store", store or c.out / "new.h5", "--json", *extra]
