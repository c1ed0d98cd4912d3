"""Broken checkpoints: safetensors, sharded indexes, config.json."""
import json
import struct

import numpy as np

import random_checkpoint as rc
from broken_cases import case, evaluate


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
