#!/usr/bin/env python3
"""Turns text files into a token file for longrope, for checkpoints that have only tokenizer.json.

    python3 experiments/tokenize.py --model DIR --text FILE... --out tokens.h5
    longrope evaluate --model DIR --tokens tokens.h5 ...

Writes one dataset /documents/<name> of uint32 token ids per text file, in the order given, without special tokens
(longrope puts BOS in front of windows itself). Needs the Python packages tokenizers and h5py.
"""
import argparse
import hashlib
import os
import sys
import tempfile
from pathlib import Path

# This file is called tokenize.py, as a module of the standard library is: its folder must not come first on the path,
# or `import tokenize` inside other packages would find it.
_here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.getcwd()) != _here]


class InputError(Exception):
    """What the user gave is wrong; the message says what and where."""


def import_or_explain(name):
    try:
        return __import__(name)
    except ImportError as error:
        raise InputError(f"[{name}] must be installed but got: {error} "
                         f"(python3 -m pip install tokenizers h5py, in a virtual environment)") from error


def read_bytes(path):
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"[{path}] must be a readable file but got: {error.strerror}") from error


def read_text(path):
    """The file's text. Strict UTF-8, newlines as they are."""
    raw = read_bytes(path)
    if not raw:
        raise InputError(f"[{path}] must hold text but got an empty file")
    try:
        return raw.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        raise InputError(f"[{path}] must be UTF-8 but got byte 0x{raw[error.start]:02x} "
                         f"at byte offset {error.start}") from error


def unique_names(paths):
    """The files' stems; the second of a name becomes name-2, and so on."""
    names = []
    for path in paths:
        stem = Path(path).stem
        name, n = stem, 1
        while name in names:
            n += 1
            name = f"{stem}-{n}"
        names.append(name)
    return names


def load_tokenizer(tokenizers, path):
    """The tokenizer and the SHA-256 of its file."""
    raw = read_bytes(path)
    try:
        tokenizer = tokenizers.Tokenizer.from_buffer(raw)
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"[{path}] must be a tokenizer.json that the tokenizers library reads but got: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, hashlib.sha256(raw).hexdigest()


def write_documents(h5py, tokenizer, digest, texts, out):
    """Writes `out` whole or not at all: temporary name beside it, fsync, rename."""
    out = Path(out)
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    except OSError as error:
        raise InputError(f"[{out}] must be writable but got: {error.strerror}") from error
    os.close(descriptor)
    try:
        with h5py.File(temporary, "w") as file:
            file.attrs["tokenizer_sha256"] = digest
            group = file.create_group("documents", track_order=True)
            for name, path in zip(unique_names(texts), texts):
                ids = tokenizer.encode(read_text(path), add_special_tokens=False).ids
                if not ids:
                    raise InputError(f"[{path}] must hold tokens but got none")
                dataset = group.create_dataset(name, data=ids, dtype="<u4")
                dataset.attrs["source"] = os.fspath(path)
                print(f"{name}: {len(ids)} tokens", file=sys.stderr)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, out)
    except OSError as error:
        raise InputError(f"[{out}] must be writable but got: {error}") from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="DIR", help="checkpoint directory with tokenizer.json")
    parser.add_argument("--text", required=True, nargs="+", metavar="FILE", help="UTF-8 text files, one document each")
    parser.add_argument("--out", required=True, metavar="FILE.h5", help="token file to write (replaced if it is there)")
    arguments = parser.parse_args()
    if Path(arguments.out).suffix not in (".h5", ".hdf5"):
        parser.error(f"--out must end in .h5 or .hdf5 but got {arguments.out}")
    try:
        h5py, tokenizers = import_or_explain("h5py"), import_or_explain("tokenizers")
        tokenizer, digest = load_tokenizer(tokenizers, Path(arguments.model) / "tokenizer.json")
        write_documents(h5py, tokenizer, digest, arguments.text, arguments.out)
    except InputError as error:
        print(f"tokenize.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
