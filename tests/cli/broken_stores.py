"""Broken and foreign stores, and disks that fail."""
import os
import resource
import signal

import h5py
import numpy as np

import random_checkpoint as rc
from broken_cases import VOCABULARY, case, evaluate, search
from broken_options import bare, export


# --- stores -----------------------------------------------------------------------------------------------------------

def inspect(make):
    return lambda c: ["inspect", "--json", "--store", make(c)]


def other_h5(path):
    with h5py.File(path, "w") as f:
        f["unrelated"] = [1, 2, 3]


def schema_99(path):
    with h5py.File(path, "r+") as f:
        f.attrs.modify("schema_version", 99)


def cut(share):
    return lambda path: os.truncate(path, int(path.stat().st_size * share))


def garbage(path):
    path.write_bytes(np.random.default_rng(2).bytes(20000))


for name, edit in (("random-bytes", garbage), ("empty", lambda p: p.write_bytes(b"")), ("other-hdf5", other_h5),
                   ("other-schema", schema_99), ("truncated-half", cut(0.5)), ("truncated-tenth", cut(0.1)),
                   ("truncated-99", cut(0.99))):
    expected = (0, 2) if name == "truncated-99" else (2,)
    says = "schema" if name == "other-schema" else "store"
    case(f"inspect-{name}", inspect(lambda c, edit=edit: c.store_copy(edit)), says, expected)
    case(f"resume-{name}", lambda c, edit=edit: search(c, "--resume", store=c.store_copy(edit)), says, expected)
case("inspect-missing", inspect(lambda c: c.directory / "no-such.h5"), "no-such.h5")
case("inspect-directory", inspect(lambda c: c.out), "out")
case("inspect-no-store", bare("inspect", "--json"), "store")
case("search-existing-store", lambda c: search(c, store=c.store_copy()), "resume")
case("resume-other-model", lambda c: search(c, "--resume", store=c.store_copy(), model=c.base("llama", theta=20000.0)), "model")
case("resume-other-weights", lambda c: search(c, "--resume", store=c.store_copy(), model=c.model(
    lambda d: rc.make_checkpoint(d, "llama", seed=99))), "weights")
case("resume-other-corpus", lambda c: search(c, "--resume", store=c.store_copy(), tokens=rc.write_raw(
    c.file("other.u16", b""), rc.random_documents(9, VOCABULARY, [600])[0])), ("corpus", "tokens"))
case("resume-other-windows", lambda c: search(c, "--resume", store=c.store_copy(), windows="2"), ("window", "corpus"))
case("resume-other-strategy", lambda c: search(c, "--resume", store=c.store_copy(), strategy="release-ga"), "strategy")
case("resume-other-target", lambda c: search(c, "--resume", store=c.store_copy(), target="192"), ("target", "length", "window"))
case("resume-other-seed", lambda c: search(c, "--resume", store=c.store_copy(), seed="2"), "seed")
case("resume-other-start-tokens", lambda c: search(c, "--resume", "--start-tokens", "search", store=c.store_copy()), ("option", "start"))
case("store-is-directory", lambda c: search(c, store=c.out), "")
case("store-in-missing-directory", lambda c: search(c, store=c.directory / "no-such-folder" / "s.h5"), "no-such-folder", (1, 2))
case("store-below-device", lambda c: search(c, store="/dev/full/s.h5"), "/dev/full", (1, 2))
case("store-below-file", lambda c: search(c, store=c.text / "s.h5"), "good.txt", (1, 2))
case("rope-store-no-stage", lambda c: evaluate(c, rope=f"store:{c.store()}#no-such-stage"), "no-such-stage")
case("rope-store-no-id", lambda c: evaluate(c, rope=f"store:{c.store()}#main/999999"), "999999")
case("rope-store-bad-id", lambda c: evaluate(c, rope=f"store:{c.store()}#main/abc"), "abc")
case("rope-store-other-geometry", lambda c: evaluate(c, c.base("llama", head_dim=32), rope=f"store:{c.store()}"), "")
case("rope-store-not-a-store", lambda c: evaluate(c, rope=f"store:{c.store_copy(other_h5)}"), "store")


# --- the disk ---------------------------------------------------------------------------------------------------------

def file_size_limit(size):
    """A full disk, near enough: every write beyond `size` bytes of a file fails with EFBIG."""
    def apply():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return {"preexec_fn": apply, "restore_signals": False}


for size in (0, 1000, 20000):
    case(f"disk-full-store-{size}", lambda c: search(c, budget="600"), "", (1,), **file_size_limit(size))
case("disk-full-export-csv", export(to="csv", out="t.csv"), "", (1,), **file_size_limit(0))
case("disk-full-export-hf", export("--weights", "copy"), "", (1,), **file_size_limit(100))
case("disk-full-export-weights", export("--weights", "copy"), "", (1,), **file_size_limit(50000))
