"""Broken inputs: each must end in one clear line on stderr, exit code 2 (1 where the disk fails), no signal, an empty stdout, and
nothing written in the output place.

    python3 tests/cli/broken_inputs.py --longrope build/release/longrope [--only NAME] [--list] [--show]
"""
import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import driver  # noqa: E402
import random_checkpoint as rc  # noqa: E402
import tokenizer_model  # noqa: E402

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


# --- safetensors ------------------------------------------------------------------------------------------------------

def spoil(edit):
    """Spoils model.safetensors as bytes."""
    def apply(directory):
        path = directory / "model.safetensors"
        path.write_bytes(edit(path.read_bytes()))
    return apply


def weights(edit):
    return lambda c: evaluate(c, c.model(spoil(edit)))


def rename(raw, old, new):
    assert len(old) == len(new) and old.encode() in raw
    return raw.replace(old.encode(), new.encode())


def parts(raw):
    (n,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8:8 + n]), bytearray(raw[8 + n:])


def join(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


def header(edit):
    """Spoils the header dict (in place) or replaces it."""
    def apply(raw):
        h, data = parts(raw)
        replaced = edit(h)
        return join(h if replaced is None else replaced, data)
    return weights(apply)


def poison(name, value):
    def apply(raw):
        h, data = parts(raw)
        begin, end = h[name]["data_offsets"]
        at = begin + (end - begin) // 8 * 4
        data[at:at + 4] = struct.pack("<f", value)
        return join(h, data)
    return weights(apply)


Q = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.norm.weight"


def entry(name, **changes):
    return header(lambda h: h[name].update(changes))


def shift(name, begin, end):
    def apply(h):
        b, e = h[name]["data_offsets"]
        h[name]["data_offsets"] = [b + begin, e + end]
    return header(apply)


case("safetensors-empty", weights(lambda raw: b""), "model.safetensors")
case("safetensors-seven-bytes", weights(lambda raw: raw[:7]), "model.safetensors")
case("safetensors-only-length", weights(lambda raw: raw[:8]), "model.safetensors")
case("safetensors-header-length-0", weights(lambda raw: struct.pack("<Q", 0) + raw[8:]), "model.safetensors")
case("safetensors-header-length-2e63", weights(lambda raw: struct.pack("<Q", 2**63) + raw[8:]), "model.safetensors")
case("safetensors-header-length-all-ones", weights(lambda raw: b"\xff" * 8 + raw[8:]), "model.safetensors")
case("safetensors-header-length-past-end", weights(lambda raw: struct.pack("<Q", len(raw) - 7) + raw[8:]), "model.safetensors")
case("safetensors-header-truncated", weights(lambda raw: raw[:100]), "model.safetensors")
case("safetensors-header-not-json", header(lambda h: b"{hello}"), "model.safetensors")
case("safetensors-header-array", header(lambda h: b"[1, 2, 3]"), "model.safetensors")
case("safetensors-header-not-utf8", header(lambda h: b'{"\xff\xfe": 1}'), "model.safetensors")
case("safetensors-header-deep", header(lambda h: b'{"a":' + b"[" * 200000 + b"]" * 200000 + b"}"), "model.safetensors")
case("safetensors-header-duplicate-name", header(
    lambda h: (json.dumps(h)[:-1] + f', "{Q}": {json.dumps(h[Q])}}}').encode()), Q)
case("safetensors-offsets-past-end", shift(NORM, 10**6, 10**6), NORM)
case("safetensors-offsets-huge", entry(NORM, data_offsets=[2**62, 2**62 + 256]), NORM)
case("safetensors-offsets-overflowing", entry(NORM, data_offsets=[2**64 - 128, 2**64 + 128]), ("model.safetensors", NORM))
case("safetensors-offsets-beyond-u64", entry(NORM, data_offsets=[0, 10**40]), ("model.safetensors", NORM))
case("safetensors-begin-after-end", entry(NORM, data_offsets=[512, 256]), NORM)
case("safetensors-offsets-negative", entry(NORM, data_offsets=[-256, 0]), NORM)
case("safetensors-offsets-strings", entry(NORM, data_offsets=["0", "256"]), NORM)
case("safetensors-offsets-one", entry(NORM, data_offsets=[0]), NORM)
case("safetensors-offsets-float", entry(NORM, data_offsets=[0.5, 256.5]), NORM)
case("safetensors-overlap", header(lambda h: h[NORM].update(
    data_offsets=h["model.layers.0.input_layernorm.weight"]["data_offsets"])), ("norm", "overlap"))
case("safetensors-no-offsets", header(lambda h: h[NORM].pop("data_offsets") and None), NORM)
case("safetensors-no-shape", header(lambda h: h[NORM].pop("shape") and None), NORM)
case("safetensors-no-dtype", header(lambda h: h[NORM].pop("dtype") and None), NORM)
case("safetensors-entry-not-object", header(lambda h: h.update({NORM: 7})), NORM)
case("safetensors-size-not-shape", entry(NORM, shape=[65]), NORM)
case("safetensors-dtype-not-size", entry(NORM, dtype="BF16"), NORM)
case("safetensors-dtype-unknown", entry(NORM, dtype="F99"), NORM)
case("safetensors-dtype-integer", entry(NORM, dtype="I32"), NORM)
case("safetensors-dtype-quantized", entry(NORM, dtype="F8_E4M3", shape=[256]), NORM)
case("safetensors-shape-wrong", entry(NORM, shape=[8, 8]), NORM)
case("safetensors-shape-negative", entry(NORM, shape=[-64]), NORM)
case("safetensors-shape-two-negatives", entry(NORM, shape=[-8, -8]), NORM)
case("safetensors-shape-overflow-to-zero", entry(NORM, shape=[2**32, 2**32], data_offsets=[0, 0]), NORM)
case("safetensors-shape-float", entry(NORM, shape=[64.5]), NORM)
case("safetensors-shape-string", entry(NORM, shape="64"), NORM)
case("safetensors-shape-huge-rank", entry(NORM, shape=[1] * 100000 + [64]), NORM)
case("safetensors-transposed", entry("model.layers.0.mlp.down_proj.weight", shape=[144, 64]), "down_proj")
case("safetensors-missing-tensor", header(lambda h: h.update({Q + "x": h.pop(Q)})), Q)
case("safetensors-missing-lm-head", header(lambda h: h.update({"lm_tail.weight": h.pop("lm_head.weight")})), "lm_head")
case("safetensors-missing-bias", lambda c: evaluate(c, c.model(spoil(lambda raw: rename(raw, "q_proj.bias", "q_proj.bjas")),
                                                              kind="qwen2")), "q_proj.bias")
case("safetensors-data-truncated", weights(lambda raw: raw[:-100]), "model.safetensors")
case("safetensors-data-half", weights(lambda raw: raw[:len(raw) // 2]), "model.safetensors")
case("safetensors-nan-weight", poison(Q, float("nan")), Q)
case("safetensors-infinite-weight", poison("model.layers.1.mlp.up_proj.weight", float("-inf")), "up_proj")
case("safetensors-nan-norm", poison(NORM, float("nan")), NORM)
case("safetensors-nan-embedding", poison("model.embed_tokens.weight", float("nan")), "embed_tokens")


def replace_weights_by(make):
    def apply(directory):
        path = directory / "model.safetensors"
        path.unlink()
        make(directory, path)
    return lambda c: evaluate(c, c.model(apply))


case("safetensors-missing-file", replace_weights_by(lambda d, p: None), "safetensors")
case("safetensors-is-directory", replace_weights_by(lambda d, p: p.mkdir()), "model.safetensors")
case("safetensors-dangling-link", replace_weights_by(lambda d, p: p.symlink_to(d / "nowhere")), "model.safetensors")
case("safetensors-only-pytorch-bin", replace_weights_by(lambda d, p: (d / "pytorch_model.bin").write_bytes(b"PK")), "safetensors")


# --- sharded index ----------------------------------------------------------------------------------------------------

def index(edit):
    def apply(directory):
        path = directory / "model.safetensors.index.json"
        document = json.loads(path.read_text())
        replaced = edit(document, directory)
        path.write_text(json.dumps(document) if replaced is None else replaced)
    return lambda c: evaluate(c, c.model(apply, shards=2))


def remap(name, file):
    return index(lambda document, directory: document["weight_map"].update({name: file}))


case("index-not-json", index(lambda document, directory: '{"weight_map": {'), "index.json")
case("index-array", index(lambda document, directory: "[]"), "index.json")
case("index-no-weight-map", index(lambda document, directory: document.pop("weight_map") and None), "weight_map")
case("index-weight-map-empty", index(lambda document, directory: document["weight_map"].clear()), "")
case("index-value-not-string", remap(NORM, 7), "index.json")
case("index-path-traversal", remap(NORM, "../tokens.u16"), ("..", "path", "name"))
case("index-path-traversal-sound-file", index(lambda document, directory: (
    rc.write_safetensors(directory.parent / "elsewhere.safetensors", {NORM: np.ones(64)}),
    document["weight_map"].update({NORM: "../elsewhere.safetensors"}))[1]), ("..", "path", "name"))
case("index-path-absolute", remap(NORM, "/etc/passwd"), "/etc/passwd")
case("index-missing-shard", remap(NORM, "model-00009-of-00002.safetensors"), "model-00009-of-00002.safetensors")
case("index-tensor-not-in-shard", remap("model.layers.9.nothing", "model-00001-of-00002.safetensors"), "")
case("index-lost-shard", index(lambda document, directory: (directory / "model-00002-of-00002.safetensors").unlink()),
     "model-00002-of-00002.safetensors")


# --- config.json ------------------------------------------------------------------------------------------------------

def config(kind="llama", rope="none", **changes):
    def apply(directory):
        path = directory / "config.json"
        document = json.loads(path.read_text())
        for key, value in changes.items():
            if value is ...:
                document.pop(key, None)
            else:
                document[key] = value
        path.write_text(json.dumps(document))
    return lambda c: evaluate(c, c.model(apply, kind=kind), rope=rope, length="128")


def config_text(content):
    return lambda c: evaluate(c, c.model(lambda d: (d / "config.json").write_bytes(content)))


case("config-missing", lambda c: evaluate(c, c.model(lambda d: (d / "config.json").unlink())), "config.json")
case("config-empty", config_text(b""), "config.json")
case("config-bad-json", config_text(b'{"hidden_size": 64,'), "config.json")
case("config-array", config_text(b"[]"), "config.json")
case("config-not-utf8", config_text(b'{"model_type": "\xff\xfe"}'), "config.json")
case("config-deep-arrays", config_text(b"[" * 500000), "config.json")
case("config-deep-objects", config_text(b'{"a":' * 300000 + b"1" + b"}" * 300000), "config.json")
case("config-is-directory", lambda c: evaluate(c, c.model(lambda d: ((d / "config.json").unlink(), (d / "config.json").mkdir()))),
     "config.json")
case("config-unknown-architecture", config(architectures=["GPT2LMHeadModel"], model_type="gpt2"), "GPT2LMHeadModel")
case("config-no-architecture", config(architectures=..., model_type=...), ("architecture", "model_type"))
case("config-architectures-not-list", config(architectures={"a": 1}), "architectures")
case("config-hidden-missing", config(hidden_size=...), "hidden_size")
case("config-hidden-zero", config(hidden_size=0), "hidden_size")
case("config-hidden-negative", config(hidden_size=-64), "hidden_size")
case("config-hidden-string", config(hidden_size="64"), "hidden_size")
case("config-hidden-float", config(hidden_size=64.5), "hidden_size")
case("config-hidden-null", config(hidden_size=None), "hidden_size")
case("config-hidden-list", config(hidden_size=[64]), "hidden_size")
case("config-hidden-huge", config(hidden_size=10**18), "hidden_size")
case("config-hidden-beyond-int64", config(hidden_size=2**64), "hidden_size")
case("config-layers-zero", config(num_hidden_layers=0), "num_hidden_layers")
case("config-layers-too-many", config(num_hidden_layers=10**12), ("num_hidden_layers", "layers"))
case("config-layers-one-more", config(num_hidden_layers=3), "model.layers.2")
case("config-vocabulary-zero", config(vocab_size=0), "vocab_size")
case("config-vocabulary-wrong", config(vocab_size=321), "embed_tokens")
case("config-vocabulary-huge", config(vocab_size=2**62), ("vocab_size", "embed_tokens"))
case("config-intermediate-negative", config(intermediate_size=-1), "intermediate_size")
case("config-intermediate-wrong", config(intermediate_size=145), ("gate_proj", "up_proj", "down_proj"))
case("config-heads-zero", config(num_attention_heads=0), "num_attention_heads")
case("config-heads-not-divisible", config(num_attention_heads=5), ("num_attention_heads", "head"))
case("config-kv-heads-not-divisible", config(num_key_value_heads=3), "num_key_value_heads")
case("config-kv-heads-zero", config(num_key_value_heads=0), "num_key_value_heads")
case("config-head-dim-odd", config(head_dim=15), "head_dim")
case("config-head-dim-negative", config(head_dim=-16), "head_dim")
case("config-head-dim-huge", config(head_dim=2**40), ("head_dim", "q_proj"))
case("config-activation", config(hidden_act="gelu"), "gelu")
case("config-quantized", config(quantization_config={"quant_method": "gptq", "bits": 4}), "quanti")
case("config-epsilon-negative", config(rms_norm_eps=-1.0), "rms_norm_eps")
case("config-epsilon-string", config(rms_norm_eps="1e-5"), "rms_norm_eps")
case("config-epsilon-nan", config(rms_norm_eps=float("nan")), "config.json")
case("config-theta-zero", config(rope_theta=0.0), "rope_theta")
case("config-theta-negative", config(rope_theta=-1e4), "rope_theta")
case("config-theta-string", config(rope_theta="big"), "rope_theta")
case("config-positions-zero", config(max_position_embeddings=0), "max_position_embeddings")
case("config-positions-missing", config(max_position_embeddings=...), "max_position_embeddings")
case("config-sliding-negative", config(kind="mistral", sliding_window=-4), "sliding_window")
case("config-sliding-string", config(kind="mistral", sliding_window="no"), "sliding_window")
case("config-layer-types-short", config(kind="qwen3", use_sliding_window=True, sliding_window=32, layer_types=["full_attention"]),
     "layer_types")
case("config-layer-types-unknown", config(kind="qwen3", use_sliding_window=True, sliding_window=32,
                                          layer_types=["full_attention", "linear_attention"]), ("layer_types", "linear_attention"))
case("config-partial-rotary-zero", config(kind="phi3", partial_rotary_factor=0.0), "partial_rotary_factor")
case("config-partial-rotary-large", config(kind="phi3", partial_rotary_factor=1.7), "partial_rotary_factor")
case("config-tie-string", config(tie_word_embeddings="yes"), "tie_word_embeddings")
case("config-scaling-not-object", config(rope_scaling="linear"), "rope_scaling")
case("config-scaling-unknown", config(rope="config", rope_scaling={"rope_type": "banana", "factor": 2.0}), "banana")
case("config-scaling-factor-zero", config(rope="config", rope_scaling={"rope_type": "linear", "factor": 0.0}), "factor")
case("config-scaling-no-factor", config(rope="config", rope_scaling={"rope_type": "linear"}), "factor")
case("config-scaling-short-list", config(rope="config", max_position_embeddings=128, original_max_position_embeddings=64,
     rope_scaling={"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [1.0] * 7}), "long_factor")
case("config-scaling-zero-in-list", config(rope="config", max_position_embeddings=128, original_max_position_embeddings=64,
     rope_scaling={"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [1.0] * 7 + [0.0]}), ("long_factor", "factor"))
case("config-parameters-not-object", config(rope_parameters=[1, 2]), "rope_parameters")


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


# --- options ----------------------------------------------------------------------------------------------------------

def bare(*arguments):
    return lambda c: list(arguments)


def plus(*extra, **kwargs):
    return lambda c: evaluate(c, None, None, *extra, **kwargs)


def without(option, command=evaluate):
    def arguments(c):
        made = command(c)
        at = made.index(option)
        return made[:at] + made[at + 2:]
    return arguments


case("no-command", bare(), "")
case("unknown-command", bare("evaluat"), "evaluat")
case("unknown-option", plus("--lenght", "64"), "lenght")
case("stray-argument", plus("stray"), ("stray", "positional"))
case("option-without-value", plus("--seed"), "seed")
case("no-model", without("--model"), "model")
case("model-missing", lambda c: evaluate(c, c.directory / "no-such-model"), "no-such-model")
case("model-is-file", lambda c: evaluate(c, c.text), "good.txt")
case("no-text-no-tokens", without("--tokens"), ("text", "tokens"))
case("text-and-tokens", lambda c: evaluate(c, None, None, "--text", c.text), ("text", "tokens"))
for value in ("0", "-1", "abc", "1.5", "99999999999999999999"):
    case(f"windows {value}", plus(windows=value), "windows")
case("windows-too-many", plus(windows="100000"), re.compile(r"\b9\b"))  # 600 tokens in blocks of 63
case("windows-too-many-by-one", plus(windows="10"), re.compile(r"\b9\b"))
case("windows-huge", plus(windows="9223372036854775807"), re.compile(r"\b9\b|windows"))
for value in ("0", "1", "-64", "abc", "1e99", "64,abc", "64,1", "99999999999999999999", "64.5", ""):
    case(f"length {value!r}", plus(length=value), "length")
case("length-beyond-text", plus(length="1000000000000"), ("window", "length"))
case("length-beyond-documents", plus(length="700"), ("window", "length"))
for value in ("0", "-2", "100000000", "abc"):
    case(f"threads {value}", plus("--threads", value), "threads")
for value in ("-1", "abc", "1.5", "99999999999999999999999"):
    case(f"seed {value}", lambda c, value=value: search(c, seed=value), "seed")
for value in ("0", "-5", "abc"):
    case(f"budget {value}", lambda c, value=value: search(c, budget=value), "budget")
for value in ("banana", "stride", "stride:0", "stride:-1", "stride:abc", "stride:65", "half:3", ""):
    case(f"protocol {value!r}", plus("--protocol", value), ("protocol", "stride"))
case("backend-unknown", plus("--backend", "banana"), "banana")
case("backend-cuda", plus("--backend", "cuda"), "built without cuda")
case("precision-fp8", plus("--precision", "fp8"), "fp8")
case("precision-unknown", plus("--precision", "banana"), "banana")
case("strategy-unknown", lambda c: search(c, strategy="banana"), "paper-ga")
case("search-no-target", without("--target-length", search), "target-length")
case("search-target-abc", lambda c: search(c, target="abc"), "target-length")
case("search-target-1", lambda c: search(c, target="1"), ("target-length", "length"))
case("search-too-few-windows", lambda c: search(c, windows="50"), re.compile(r"\b4\b"))  # 600 tokens in blocks of 127
case("search-start-tokens-abc", lambda c: search(c, "--start-tokens", "abc"), "start-tokens")
case("config-file-missing", lambda c: evaluate(c, None, None, "--config", c.directory / "no-such.cfg"), "no-such.cfg")
case("config-file-unknown-option", lambda c: evaluate(c, None, None, "--config", c.file("job.cfg", "lenght=64\n")), "lenght")


# --- rope specs -------------------------------------------------------------------------------------------------------

def rope(spec, says="", **kwargs):
    made = spec if callable(spec) else lambda c: spec
    case("rope " + (spec if isinstance(spec, str) else spec.__name__), lambda c: evaluate(c, rope=made(c), length="128"), says, **kwargs)


def table(name, content, options="", says=""):
    case(f"rope longrope:FILE {name}", lambda c: evaluate(c, rope=f"longrope:{c.file('table.csv', content)}{options}", length="128"), says)


EIGHT = "1\n1.5\n2\n2\n2\n2\n2\n2\n"
rope("banana", "banana")
rope("", "")
rope(":", "")
rope("yarn:banana=1", "banana")
rope("yarn:beta_fast", "")
rope("yarn:beta_fast=", "beta_fast")
rope("yarn:beta_fast=nan", "beta_fast")
rope("yarn:beta_fast=abc", "beta_fast")
rope("yarn:beta_fast=-1", "beta_fast")
rope("yarn:beta_slow=0", "beta_slow")
rope("yarn:factor=1e400", "factor")
rope("pi:factor=nan", "factor")
rope("pi:factor=inf", "factor")
rope("pi:factor=-2", "factor")
rope("pi:factor=0", "factor")
rope("pi:factor=2x", "factor")
rope("ntk:target_length=-5", "target_length")
rope("ntk:original_length=0", "original_length")
rope("longrope", "longrope")
rope("longrope:no-such-table.csv", "no-such-table.csv")
rope("store:no-such-store.h5", "no-such-store.h5")
table("seven-lines", "1\n" * 7, says=("7", "8"))
table("nine-lines", "1\n" * 9, says=("9", "8"))
table("empty", "", says="table.csv")
table("word", EIGHT.replace("1.5", "word"), says="table.csv")
table("two-columns", EIGHT.replace("1.5", "1.5 3"), says="table.csv")
table("nan", EIGHT.replace("1.5", "nan"), says="table.csv")
table("infinite", EIGHT.replace("1.5", "inf"), says="table.csv")
table("zero", EIGHT.replace("1.5", "0"), says="table.csv")
table("negative", EIGHT.replace("1.5", "-1.5"), says="table.csv")
table("beyond-double", EIGHT.replace("1.5", "1e999"), says="table.csv")
table("binary", "\0\1\2\3" * 100, says="table.csv")
table("bad-json", "[1, 2, 3", says="table.csv")
table("json-strings", '["1","1","1","1","1","1","1","1"]', says="table.csv")
table("start-tokens-negative", EIGHT, ":start_tokens=-1", says="start_tokens")
table("start-tokens-fraction", EIGHT, ":start_tokens=1.5", says="start_tokens")
table("attention-factor-nan", EIGHT, ":attention_factor=nan", says="attention_factor")
table("attention-factor-zero", EIGHT, ":attention_factor=0", says="attention_factor")
case("rope longrope:DIRECTORY", lambda c: evaluate(c, rope=f"longrope:{c.out}"), "out")


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
    lambda d: rc.make_checkpoint(d, "llama", seed=99))), "", (0, 2))  # only the config is digested: may go on
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


# --- export -----------------------------------------------------------------------------------------------------------

def export(*extra, to="hf", rope_="pi", out="exported", target="128"):
    return lambda c: ["export", "--to", to, "--model", c.base(), "--out", c.out / out,
                      *(["--rope", rope_] if rope_ else []), *(["--target-length", target] if target else []), *extra]


case("export-unknown-format", export(to="banana"), "banana")
case("export-no-format", lambda c: ["export", "--model", c.base(), "--rope", "pi", "--target-length", "128", "--out", c.out / "e"], "to")
case("export-no-out", lambda c: ["export", "--to", "hf", "--model", c.base(), "--rope", "pi", "--target-length", "128"], "out")
case("export-no-table", export(rope_=None), ("rope", "store"))
case("export-two-tables", lambda c: export("--store", c.store())(c), ("rope", "store"))
case("export-no-target", export(target=None), "target-length")
case("export-bad-target", export(target="abc"), "target-length")
case("export-bad-weights", export("--weights", "banana"), "banana")
case("export-bad-rope", export(rope_="banana"), "banana")
case("export-below-file", lambda c: ["export", "--to", "csv", "--model", c.base(), "--rope", "pi", "--target-length", "128", "--out",
                                     c.text / "t.csv"], "good.txt", (1, 2))
case("export-below-device", lambda c: ["export", "--to", "csv", "--model", c.base(), "--rope", "pi", "--target-length", "128", "--out",
                                       "/dev/full/t.csv"], "/dev/full", (1, 2))


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


# --- running them -----------------------------------------------------------------------------------------------------

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
