"""GGUF files of Hugging Face checkpoints for tests, in float32 as llama.cpp's converter lays them out (conversion/llama.py,
phi.py, qwen.py), and a reader; both written from ggml/docs/gguf.md with nothing of the program or of gguf-py.

    python3 tests/support/gguf_maker.py MODEL OUT.gguf
"""
import json
import struct
import sys
from pathlib import Path

import numpy as np

import oracle

U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}
ALIGNMENT = 32


def text(value):
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def value(kind, content):
    if kind == STRING:
        return text(content)
    if kind == ARRAY:
        element, items = content
        return struct.pack("<IQ", element, len(items)) + b"".join(value(element, item) for item in items)
    return struct.pack(NUMBERS[kind], content)


def pad(raw):
    return raw + b"\0" * (-len(raw) % ALIGNMENT)


def write(path, keys, tensors):
    """keys: name -> (type, content); tensors: name -> (dims with the fastest first, type, bytes)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(text(name) + struct.pack("<I", kind) + value(kind, content) for name, (kind, content) in keys.items())
    data = b""
    for name, (dims, kind, raw) in tensors.items():
        head += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", kind, len(data))
        data += pad(raw)
    Path(path).write_bytes(pad(head) + data)
    return Path(path)


def read(path):
    """(keys, tensors) as `write` takes them."""
    raw, at = Path(path).read_bytes(), 0

    def take(form):
        nonlocal at
        out = struct.unpack_from(form, raw, at)
        at += struct.calcsize(form)
        return out if len(out) > 1 else out[0]

    def string():
        nonlocal at
        length = take("<Q")
        at += length
        return raw[at - length:at]

    def content(kind):
        if kind == STRING:
            return string()
        if kind == ARRAY:
            element, count = take("<IQ")
            return element, [content(element) for _ in range(count)]
        return take(NUMBERS[kind])

    assert raw[:4] == b"GGUF"
    at = 4
    version, tensor_count, key_count = take("<IQQ")
    assert version == 3
    keys = {}
    for _ in range(key_count):
        name = string().decode()
        kind = take("<I")
        found = content(kind)
        keys[name] = (kind, found.decode() if kind == STRING else found)
    infos = []
    for _ in range(tensor_count):
        name, count = string().decode(), take("<I")
        dims = [take("<Q") for _ in range(count)]
        infos.append((name, dims, *take("<IQ")))
    begin = at + -at % ALIGNMENT
    ends = [offset for *_, offset in infos[1:]] + [len(raw) - begin]
    tensors = {}
    for (name, dims, kind, offset), end in zip(infos, ends):
        block, size = {0: (1, 4), 1: (1, 2), 8: (32, 34), 30: (1, 2)}[kind]
        bytes_ = int(np.prod(dims)) // block * size
        assert offset + bytes_ <= end
        tensors[name] = (dims, kind, raw[begin + offset:begin + offset + bytes_])
    return keys, tensors


def interleave(rows, heads):
    """HF's halves (i, i + d/2) to llama.cpp's neighbours, per head."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def q8_0(rows):
    """Rows in blocks of 32: a float16 scale and 32 int8."""
    blocks = rows.astype(np.float32).reshape(-1, 32)
    scale = np.abs(blocks).max(1) / 127
    safe = np.where(scale == 0, 1, scale)
    quants = np.round(blocks / safe[:, None]).astype(np.int8)
    return b"".join(s.tobytes() + q.tobytes() for s, q in zip(scale.astype("<f2"), quants))


def make(directory, path, extra_keys=None, quantised=(), extra_tensors=None, arch=None):
    """A GGUF of a checkpoint. quantised: name parts of matrices to store as Q8_0. arch: where it is not the
    checkpoint's own. Returns (keys, tensors)."""
    c = oracle.Checkpoint(directory)
    config, t = c.config, c.tensors
    arch = arch or {"mistral": "llama"}.get(c.kind, c.kind)
    keys = {
        "general.architecture": (STRING, arch), "general.name": (STRING, Path(directory).name), f"{arch}.context_length": (U32, c.max_positions),
        f"{arch}.embedding_length": (U32, config["hidden_size"]), f"{arch}.block_count": (U32, c.layers),
        f"{arch}.feed_forward_length": (U32, config["intermediate_size"]), f"{arch}.attention.head_count": (U32, c.heads),
        f"{arch}.attention.head_count_kv": (U32, c.kv_heads), f"{arch}.attention.layer_norm_rms_epsilon": (F32, c.epsilon),
        f"{arch}.attention.key_length": (U32, c.head_dim), f"{arch}.attention.value_length": (U32, c.head_dim),
        f"{arch}.rope.freq_base": (F32, c.theta), f"{arch}.rope.dimension_count": (U32, c.rotary_dim),
        f"{arch}.vocab_size": (U32, config["vocab_size"]), "tokenizer.ggml.model": (STRING, "none"),
        **(extra_keys or {}),
    }
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    parts = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
             "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
             "self_attn.qkv_proj": "attn_qkv", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate_up_proj": "ffn_up"}
    tensors = {}
    for name, array in t.items():
        stem, suffix = name.rsplit(".", 1)
        if stem in names:
            new = f"{names[stem]}.{suffix}"
        else:
            _, _, layer, part = stem.split(".", 3)
            new = f"blk.{layer}.{parts[part]}.{suffix}"
            if arch in ("llama", "minicpm") and parts[part] in ("attn_q", "attn_k"):
                array = interleave(array, c.heads if parts[part] == "attn_q" else c.kv_heads)
        if array.ndim == 2 and any(q in new for q in quantised):
            tensors[new] = (list(array.shape[::-1]), 8, q8_0(array))
        else:
            tensors[new] = (list(array.shape[::-1]), 0, array.astype("<f4").tobytes())
    tensors.update(extra_tensors or {})
    write(path, keys, tensors)
    return keys, tensors


if __name__ == "__main__":
    print(json.dumps({name: entry[0] for name, entry in make(sys.argv[1], sys.argv[2])[1].items()}))
