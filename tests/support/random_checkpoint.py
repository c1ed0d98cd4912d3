"""Small random checkpoints of the five architectures in Hugging Face layout, and token files for them.

Weights are scaled so that logits vary and attention depends on positions: two scaling methods differ by far more than the
tolerance of any comparison. Deterministic by seed.
"""
import json
import struct
from pathlib import Path

import numpy as np

ARCHITECTURES = {
    "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM", "phi3": "Phi3ForCausalLM",
}


def encode(array, dtype):
    """Bytes of `array` as a safetensors dtype."""
    array = np.ascontiguousarray(array, np.float32)
    if dtype == "F32":
        return array.astype("<f4").tobytes()
    if dtype == "F16":
        return array.astype("<f2").tobytes()
    if dtype == "BF16":
        bits = array.view(np.uint32).astype(np.uint64)
        return (((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")).tobytes()
    raise ValueError(dtype)


def write_safetensors(path, tensors, dtype="F32", padding=8, header_edit=None, data_edit=None):
    """Writes name -> array. `padding`: the header length is made a multiple of it (1: data may be misaligned).
    `header_edit(dict)` and `data_edit(bytearray, dict)` spoil the file on purpose."""
    header, data = {"__metadata__": {"format": "pt"}}, bytearray()
    for name, array in tensors.items():
        raw = encode(array, dtype)
        header[name] = {"dtype": dtype, "shape": list(np.shape(array)), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    if data_edit:
        data_edit(data, header)
    if header_edit:
        header_edit(header)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % padding)
    if padding == 1 and len(text) % 2 == 0:
        text += b" "
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))


def write_checkpoint(directory, tensors, config, dtype="F32", shards=1, padding=8):
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    if shards == 1:
        write_safetensors(directory / "model.safetensors", tensors, dtype, padding)
        return
    weight_map, names = {}, list(tensors)
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}
        write_safetensors(directory / file, part, dtype, padding)
        weight_map.update({name: file for name in part})
    total = sum(np.size(a) for a in tensors.values()) * (4 if dtype == "F32" else 2)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def make_checkpoint(directory, kind="llama", *, seed=0, hidden=64, layers=2, heads=4, kv_heads=2, head_dim=None,
                    intermediate=144, vocabulary=320, max_positions=64, theta=10000.0, tied=False, attention_bias=False,
                    mlp_bias=False, partial=1.0, scaling=None, rope_form="v4", bos=1, epsilon=1e-5, extra=None,
                    dtype="F32", shards=1, padding=8):
    """Writes a checkpoint and returns its directory.

    head_dim: written to the config only where given (for qwen3 always). scaling: the rope_scaling dict or None.
    rope_form: "v4" (rope_theta, rope_scaling) or "v5" (rope_parameters). extra: config keys added last; a value of
    `...` removes a key. kv_heads=None leaves num_key_value_heads out.
    """
    rng = np.random.default_rng([seed, sum(map(ord, kind))])
    hd = head_dim or hidden // heads
    kv = kv_heads or heads
    config = {
        "architectures": [ARCHITECTURES[kind]], "model_type": kind, "hidden_size": hidden, "intermediate_size": intermediate,
        "num_hidden_layers": layers, "num_attention_heads": heads, "hidden_act": "silu", "vocab_size": vocabulary,
        "max_position_embeddings": max_positions, "rms_norm_eps": epsilon, "tie_word_embeddings": tied,
        "torch_dtype": {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype],
        "eos_token_id": 2, "initializer_range": 0.02, "use_cache": True, "transformers_version": "4.57.0",
    }
    if kv_heads is not None:
        config["num_key_value_heads"] = kv_heads
    if head_dim is not None or kind == "qwen3":
        config["head_dim"] = hd
    if bos is not None:
        config["bos_token_id"] = bos
    if kind in ("llama", "qwen3"):
        config["attention_bias"] = attention_bias
    if kind == "llama":
        config["mlp_bias"] = mlp_bias
    if kind == "mistral":
        config["sliding_window"] = None
    if rope_form == "v5":
        config["rope_parameters"] = {"rope_theta": theta, **({"partial_rotary_factor": partial} if partial != 1.0 else {}),
                                     **(scaling or {"rope_type": "default"})}
    else:
        config["rope_theta"] = theta
        config["rope_scaling"] = scaling
        if partial != 1.0:
            config["partial_rotary_factor"] = partial
    for key, value in (extra or {}).items():
        if value is ...:
            config.pop(key, None)
        else:
            config[key] = value

    tensors = {}

    def matrix(name, rows, cols, gain=1.0):
        tensors[name + ".weight"] = rng.standard_normal((rows, cols)) * (gain / np.sqrt(cols))

    def bias(name, size):
        tensors[name + ".bias"] = rng.standard_normal(size) * 0.4

    def norm(name, size, mean=1.0):
        tensors[name + ".weight"] = mean + 0.2 * rng.standard_normal(size)

    # A shared direction in the embeddings gives attention a part that depends on distance alone.
    tensors["model.embed_tokens.weight"] = (rng.standard_normal((vocabulary, hidden))
                                            + 0.7 * rng.standard_normal((1, hidden))) * (1.2 / np.sqrt(hidden))
    qk = 1.4
    for layer in range(layers):
        p = f"model.layers.{layer}."
        norm(p + "input_layernorm", hidden)
        if kind == "phi3":
            matrix(p + "self_attn.qkv_proj", (heads + 2 * kv) * hd, hidden, 1.2)
        else:
            for name, rows, gain in (("q", heads * hd, qk), ("k", kv * hd, qk), ("v", kv * hd, 1.0)):
                matrix(p + f"self_attn.{name}_proj", rows, hidden, gain)
                if kind == "qwen2" or attention_bias:
                    bias(p + f"self_attn.{name}_proj", rows)
        if kind == "qwen3":
            norm(p + "self_attn.q_norm", hd, 1.3)
            norm(p + "self_attn.k_norm", hd, 1.3)
        matrix(p + "self_attn.o_proj", hidden, heads * hd)
        if attention_bias:
            bias(p + "self_attn.o_proj", hidden)
        norm(p + "post_attention_layernorm", hidden)
        if kind == "phi3":
            matrix(p + "mlp.gate_up_proj", 2 * intermediate, hidden)
        else:
            matrix(p + "mlp.gate_proj", intermediate, hidden)
            matrix(p + "mlp.up_proj", intermediate, hidden)
        matrix(p + "mlp.down_proj", hidden, intermediate)
        if mlp_bias:
            for name, size in (("gate", intermediate), ("up", intermediate), ("down", hidden)):
                bias(p + f"mlp.{name}_proj", size)
    norm("model.norm", hidden)
    if not tied:
        matrix("lm_head", vocabulary, hidden, 1.4)
    write_checkpoint(directory, tensors, config, dtype, shards, padding)
    return Path(directory)


# --- token files ------------------------------------------------------------------------------------------------------

def random_documents(seed, vocabulary, lengths):
    """Lists of ids, both ends of the vocabulary included."""
    rng = np.random.default_rng([seed, 77])
    documents = []
    for n in lengths:
        ids = rng.integers(0, vocabulary, n)
        if n >= 2:
            ids[0], ids[1] = vocabulary - 1, 0
        documents.append([int(i) for i in ids])
    return documents


def write_raw(path, tokens):
    """.u16 or .u32 by the path's suffix."""
    np.asarray(tokens, {".u16": "<u2", ".u32": "<u4"}[Path(path).suffix]).tofile(path)
    return Path(path)


def write_npy(path, tokens, dtype="<i8"):
    np.save(path, np.asarray(tokens, dtype))
    return Path(path)


def write_h5(path, documents, names=None, dtype="<i4", track_order=False):
    """/documents/<name>; names are alphabetical unless given."""
    import h5py
    names = names or [f"document{i:03d}" for i in range(len(documents))]
    with h5py.File(path, "w") as f:
        group = f.create_group("documents", track_order=track_order)
        for name, tokens in zip(names, documents):
            group.create_dataset(name, data=np.asarray(tokens, dtype))
    return Path(path)
