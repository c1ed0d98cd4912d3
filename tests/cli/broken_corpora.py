"""Broken text, tokenizers and token files."""
import re

import h5py
import numpy as np

import tokenizer_model
from broken_cases import VOCABULARY, case, evaluate


# --- text and tokenizer -----------------------------------------------------------------------------------------------

def text(content, tokenizer=lambda d: tokenizer_model.write_tokenizer(d / "tokenizer.model")):
    """evaluate --text with a tokenizer made by tokenizer(model directory)."""
    def arguments(c):
        path = content(c) if callable(content) else c.file("input.txt", content)
        return ["evaluate", "--model", c.model(tokenizer), "--text", path, "--length", "64", "--windows", "1", "--rope", "none", "--json"]
    return arguments


def sound_text(c):
    return c.text


case("text-not-utf8", text(b"A fine text " * 30 + b"\xff\xfe\x00" + b" and so on" * 30), ("utf-8", "utf8"))
case("text-not-utf8-says-where", text(b"a" * 360 + b"\xc3\x28" + b"b" * 300), re.compile(r"\b(360|361)\b"))
case("text-utf8-surrogate", text(b"a" * 300 + b"\xed\xa0\x80" + b"b" * 300), ("utf-8", "utf8"))
case("text-utf8-overlong", text(b"a" * 300 + b"\xc0\xaf" + b"b" * 300), ("utf-8", "utf8"))
case("text-utf8-cut", text(b"a" * 300 + b"\xe2\x82"), ("utf-8", "utf8"))
case("text-empty", text(b""), "input.txt")
case("text-too-short", text(b"Hello."), ("window", "token"))
case("text-missing", text(lambda c: c.directory / "no-such.txt"), "no-such.txt")
case("text-directory", text(lambda c: c.out), "out")
case("tokenizer-absent", text(sound_text, lambda d: None), "tokenizer")
case("tokenizer-only-json", text(sound_text, lambda d: (d / "tokenizer.json").write_text("{}")), "experiments/tokenize.py")
case("tokenizer-garbage", text(sound_text, lambda d: (d / "tokenizer.model").write_bytes(b"garbage" * 100)), "tokenizer.model")
case("tokenizer-empty", text(sound_text, lambda d: (d / "tokenizer.model").write_bytes(b"")), "tokenizer.model")
case("tokenizer-truncated", text(sound_text, lambda d: (
    tokenizer_model.write_tokenizer(d / "tokenizer.model"),
    (d / "tokenizer.model").write_bytes((d / "tokenizer.model").read_bytes()[:1234]))), "tokenizer")
case("tokenizer-directory", text(sound_text, lambda d: (d / "tokenizer.model").mkdir()), "tokenizer.model")
case("tokenizer-of-larger-vocabulary", text(b"e" * 2000, lambda d: tokenizer_model.write_tokenizer(d / "tokenizer.model", 40)),
     ("vocab", "340"))


# --- token files ------------------------------------------------------------------------------------------------------

def tokens(make, name):
    def arguments(c):
        path = c.file(name, b"")
        made = make(c, path)
        if isinstance(made, (bytes, bytearray)):
            path.write_bytes(made)
        return evaluate(c, None, path)
    return arguments


def npy(array):
    def make(c, path):
        np.save(path, array(c) if callable(array) else array, allow_pickle=True)
    return make


def h5(fill):
    def make(c, path):
        with h5py.File(path, "w") as f:
            fill(c, f)
    return make


def npy_bytes(c, path, edit):
    np.save(path, np.asarray(c.ids(600), "<i4"))
    return edit(path.read_bytes())


def u16(edit):
    return tokens(lambda c, p: edit(np.asarray(c.ids(600), "<u2")).tobytes(), "t.u16")


def put(index_, value):
    def apply(array):
        array = array.copy()
        array[index_] = value
        return array
    return apply


case("tokens-missing", lambda c: evaluate(c, None, c.directory / "no-such.u16"), "no-such.u16")
case("tokens-unknown-suffix", tokens(lambda c, p: b"\0" * 2000, "t.bin"), ".bin")
case("tokens-no-suffix", tokens(lambda c, p: b"\0" * 2000, "tokens"), "tokens")
case("tokens-directory", lambda c: evaluate(c, None, (lambda p: (p.mkdir(), p)[1])(c.directory / "folder.u16")), "folder.u16")
case("tokens-u16-empty", tokens(lambda c, p: b"", "t.u16"), "t.u16")
case("tokens-u16-odd-size", tokens(lambda c, p: b"\0" * 1201, "t.u16"), ("t.u16", "1201"))
case("tokens-u32-odd-size", tokens(lambda c, p: b"\0" * 2402, "t.u32"), ("t.u32", "2402"))
case("tokens-u16-out-of-vocabulary", u16(put(7, VOCABULARY)), str(VOCABULARY))
case("tokens-u16-last-out-of-vocabulary", u16(put(599, 65535)), "65535")
case("tokens-u32-beyond-int32", tokens(lambda c, p: np.full(600, 2**31 + 5, "<u4").tobytes(), "t.u32"), str(2**31 + 5))
case("tokens-npy-float", tokens(npy(np.zeros(600)), "t.npy"), "t.npy")
case("tokens-npy-two-dimensions", tokens(npy(np.zeros((20, 30), "<i4")), "t.npy"), "t.npy")
case("tokens-npy-scalar", tokens(npy(np.array(5, "<i4")), "t.npy"), "t.npy")
case("tokens-npy-objects", tokens(npy(np.array([1, "a"], object)), "t.npy"), "t.npy")
case("tokens-npy-structured", tokens(npy(np.zeros(600, [("a", "<i4"), ("b", "<i4")])), "t.npy"), "t.npy")
case("tokens-npy-negative", tokens(npy(lambda c: put(3, -1)(np.asarray(c.ids(600), "<i8"))), "t.npy"), "-1")
case("tokens-npy-beyond-int32", tokens(npy(lambda c: put(3, 2**33)(np.asarray(c.ids(600), "<i8"))), "t.npy"), str(2**33))
case("tokens-npy-empty-array", tokens(npy(np.zeros(0, "<i4")), "t.npy"), "")
case("tokens-npy-bad-magic", tokens(lambda c, p: npy_bytes(c, p, lambda raw: b"\x93NUMPX" + raw[6:]), "t.npy"), "t.npy")
case("tokens-npy-lying-shape", tokens(lambda c, p: npy_bytes(c, p, lambda raw: raw.replace(b"(600,)", b"(999,)")), "t.npy"), "t.npy")
case("tokens-npy-huge-shape", tokens(lambda c, p: npy_bytes(
    c, p, lambda raw: raw.replace(b"(600,), }" + b" " * 20, b"(4611686018427387904,), }  ")), "t.npy"), "t.npy")
case("tokens-npy-negative-shape", tokens(lambda c, p: npy_bytes(c, p, lambda raw: raw.replace(b"(600,)", b"(-60,)")), "t.npy"), "t.npy")
case("tokens-npy-header-cut", tokens(lambda c, p: npy_bytes(c, p, lambda raw: raw[:40]), "t.npy"), "t.npy")
case("tokens-npy-header-length-lies", tokens(lambda c, p: npy_bytes(c, p, lambda raw: raw[:8] + b"\xff\xff" + raw[10:]), "t.npy"), "t.npy")
case("tokens-npy-header-garbage", tokens(lambda c, p: npy_bytes(c, p, lambda raw: raw[:10] + b"\xff" * 118 + raw[128:]), "t.npy"), "t.npy")
case("tokens-npy-only-magic", tokens(lambda c, p: b"\x93NUMPY", "t.npy"), "t.npy")
case("tokens-h5-empty", tokens(lambda c, p: b"", "t.h5"), "t.h5")
case("tokens-h5-random-bytes", tokens(lambda c, p: np.random.default_rng(1).bytes(5000), "t.h5"), "t.h5")
case("tokens-h5-only-signature", tokens(lambda c, p: b"\x89HDF\r\n\x1a\n" + b"\0" * 500, "t.h5"), "t.h5")
case("tokens-h5-no-documents", tokens(h5(lambda c, f: f.create_dataset("tokens", data=c.ids(600))), "t.h5"), "documents")
case("tokens-h5-documents-is-dataset", tokens(h5(lambda c, f: f.create_dataset("documents", data=c.ids(600))), "t.h5"), "documents")
case("tokens-h5-no-document", tokens(h5(lambda c, f: f.create_group("documents")), "t.h5"), "documents")
case("tokens-h5-float", tokens(h5(lambda c, f: f.create_dataset("documents/a", data=np.zeros(600))), "t.h5"), ("/documents/a", "documents"))
case("tokens-h5-string", tokens(h5(lambda c, f: f.create_dataset("documents/a", data="text")), "t.h5"), "documents")
case("tokens-h5-two-dimensions", tokens(h5(lambda c, f: f.create_dataset("documents/a", data=np.zeros((20, 30), "<i4"))), "t.h5"), "documents")
case("tokens-h5-scalar", tokens(h5(lambda c, f: f.create_dataset("documents/a", data=7)), "t.h5"), "documents")
case("tokens-h5-group-inside", tokens(h5(lambda c, f: f.create_group("documents/a")), "t.h5"), "documents")
case("tokens-h5-dangling-link", tokens(h5(lambda c, f: f.create_group("documents").__setitem__("a", h5py.SoftLink("/nowhere"))), "t.h5"),
     "documents")
case("tokens-h5-negative", tokens(h5(lambda c, f: f.create_dataset("documents/a", data=put(9, -7)(np.asarray(c.ids(600))))), "t.h5"), "-7")
case("tokens-h5-out-of-vocabulary", tokens(h5(lambda c, f: f.create_dataset(
    "documents/a", data=put(9, 99999)(np.asarray(c.ids(600), "<u4")))), "t.h5"), "99999")
case("tokens-h5-beyond-int64", tokens(h5(lambda c, f: f.create_dataset(
    "documents/a", data=put(9, 2**64 - 1)(np.asarray(c.ids(600), "<u8")))), "t.h5"), "documents")


def truncated_h5(c, path):
    with h5py.File(path, "w") as f:
        f.create_dataset("documents/a", data=np.asarray(c.ids(6000), "<i4"))
    return path.read_bytes()[:-5000]


case("tokens-h5-truncated", tokens(truncated_h5, "t.h5"), "t.h5")
