"""Float64 reference of everything `longrope evaluate` computes, in plain numpy. It shares no code with the program.

Llama, Mistral, Qwen2, Qwen3 and Phi-3 checkpoints in Hugging Face layout; every scaling method of DESIGN section 4;
windows of the protocols window, stride:S and half. Written from the papers, transformers' modeling files as described in
shared/reference/engines.md, and DESIGN; slow and obvious on purpose.

As a program it checks itself against shared/models/golden.json (needs python3-sentencepiece):
    python3 tests/support/oracle.py --shared ../shared
"""
import json
import math
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ARCHITECTURES = {
    "LlamaForCausalLM": "llama", "MistralForCausalLM": "mistral", "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3", "Phi3ForCausalLM": "phi3",
}


# --- files ------------------------------------------------------------------------------------------------------------

def read_safetensors(path):
    """name -> float64 array, of one safetensors file (F32, F16, BF16)."""
    raw = Path(path).read_bytes()
    (header_bytes,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + header_bytes])
    data = memoryview(raw)[8 + header_bytes:]
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        buffer = data[begin:end]
        if entry["dtype"] == "F32":
            values = np.frombuffer(buffer, "<f4").astype(np.float64)
        elif entry["dtype"] == "F16":
            values = np.frombuffer(buffer, "<f2").astype(np.float64)
        elif entry["dtype"] == "BF16":
            values = (np.frombuffer(buffer, "<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        else:
            raise ValueError(f"{path}: {name} is {entry['dtype']}")
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def read_tensors(directory):
    index = Path(directory) / "model.safetensors.index.json"
    if not index.exists():
        return read_safetensors(Path(directory) / "model.safetensors")
    tensors = {}
    for shard in sorted(set(json.loads(index.read_text())["weight_map"].values())):
        tensors.update(read_safetensors(Path(directory) / shard))
    return tensors


@dataclass
class Checkpoint:
    """A checkpoint read from `directory`; `scaling` is the config's own rope scaling, {} if none."""
    directory: Path
    config: dict = field(default_factory=dict)
    tensors: dict = field(default_factory=dict)
    known: dict = field(default_factory=dict)  # NLLs computed so far

    def __post_init__(self):
        self.directory = Path(self.directory)
        self.config = c = json.loads((self.directory / "config.json").read_text())
        self.kind = ARCHITECTURES[c["architectures"][0]]
        self.heads = c["num_attention_heads"]
        self.kv_heads = c.get("num_key_value_heads") or self.heads
        self.layers = c["num_hidden_layers"]
        default_head_dim = 128 if self.kind == "qwen3" else c["hidden_size"] // self.heads
        self.head_dim = c.get("head_dim") or default_head_dim
        if c.get("rope_parameters"):
            self.scaling = dict(c["rope_parameters"])
        else:
            self.scaling = dict(c.get("rope_scaling") or {})
        self.theta = float(self.scaling.pop("rope_theta", None) or c.get("rope_theta") or 10000.0)
        partial = self.scaling.pop("partial_rotary_factor", None) or c.get("partial_rotary_factor") or 1.0
        self.rotary_dim = int(self.head_dim * (partial if self.kind == "phi3" else 1.0))
        self.max_positions = c["max_position_embeddings"]
        self.original_length = (c.get("original_max_position_embeddings")
                                or self.scaling.get("original_max_position_embeddings") or self.max_positions)
        self.epsilon = c.get("rms_norm_eps", 1e-5 if self.kind == "phi3" else 1e-6)
        self.windows = [self._layer_window(i) for i in range(self.layers)]
        self.bos = self._bos()
        self.tensors = read_tensors(self.directory)

    def _layer_window(self, layer):
        """Sliding window of a layer in tokens, None: full attention."""
        c = self.config
        size = c.get("sliding_window", 4096 if self.kind == "mistral" else None)
        if self.kind in ("mistral", "phi3"):
            return size
        if self.kind in ("qwen2", "qwen3") and c.get("use_sliding_window", False):
            types = c.get("layer_types")
            if types:
                return size if types[layer] == "sliding_attention" else None
            return size if layer >= c.get("max_window_layers", 28) else None
        return None

    def _bos(self):
        """BOS put in front of windows; None: none. (Checkpoints with tokenizer.model: both of ours have BOS 1.)"""
        if (self.directory / "tokenizer.model").exists():
            return 1
        tokenizer_config = self.directory / "tokenizer_config.json"
        if tokenizer_config.exists():
            tokenizer_config = json.loads(tokenizer_config.read_text())
            if "bos_token" in tokenizer_config and tokenizer_config["bos_token"] is None:
                return None
        return self.config.get("bos_token_id")


# --- scaling methods (DESIGN section 4) -------------------------------------------------------------------------------

@dataclass
class Table:
    inv_freq: np.ndarray
    attention_factor: float = 1.0
    start_tokens: int = 0


def plain_frequencies(theta, d):
    return np.array([theta ** (-2.0 * i / d) for i in range(d // 2)])


def yarn_frequencies(w, theta, d, s, length0, beta_fast=32.0, beta_slow=1.0, truncate=True):
    def dim(rotations):
        return d * math.log(length0 / (2 * math.pi * rotations)) / (2 * math.log(theta))
    low, high = dim(beta_fast), dim(beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, d - 1)
    if low == high:
        high += 0.001
    ramp = np.clip((np.arange(d // 2) - low) / (high - low), 0.0, 1.0)
    return w / s * ramp + w * (1.0 - ramp)


def llama3_frequencies(w, s, length0, low=1.0, high=4.0):
    out = []
    for f in w:
        wavelength = 2 * math.pi / f
        if wavelength < length0 / high:
            out.append(f)
        elif wavelength > length0 / low:
            out.append(f / s)
        else:
            k = (length0 / wavelength - low) / (high - low)
            out.append((1 - k) * f / s + k * f)
    return np.array(out)


def longrope_attention_factor(s, length0):
    return math.sqrt(1.0 + math.log(s) / math.log(length0)) if s > 1.0 else 1.0


def parse_spec(spec):
    """NAME[:ARG][:key=value,...] -> name, argument or None, {key: float}."""
    name, *rest = spec.split(":")
    argument, options = None, {}
    for part in rest:
        if "=" in part:
            options.update((k, float(v)) for k, v in (item.split("=", 1) for item in part.split(",")))
        else:
            argument = part
    return name, argument, options


def read_factors(path):
    text = Path(path).read_text()
    if text.lstrip().startswith("["):
        return [float(x) for x in json.loads(text)]
    return [float(line) for line in text.split()]


def rope_table(checkpoint, spec, length):
    """The Table of a --rope SPEC for sequences of `length` tokens."""
    name, argument, options = parse_spec(spec)
    d, theta = checkpoint.rotary_dim, checkpoint.theta
    w = plain_frequencies(theta, d)
    if name == "config":
        return config_table(checkpoint, length)
    length0 = options.get("original_length", checkpoint.original_length)
    s = options["factor"] if "factor" in options else max(1.0, options.get("target_length", length) / length0)
    if name == "none":
        return Table(w)
    if name == "pi":
        return Table(w / s)
    if name == "ntk":
        return Table(plain_frequencies(theta * s ** (d / (d - 2)), d))
    if name == "dynamic-ntk":
        factor = options.get("factor", 1.0)
        s = factor * length / length0 - (factor - 1.0) if length > length0 else 1.0
        return Table(plain_frequencies(theta * s ** (d / (d - 2)), d))
    if name == "yarn":
        return Table(yarn_frequencies(w, theta, d, s, length0, options.get("beta_fast", 32.0), options.get("beta_slow", 1.0)),
                     0.1 * math.log(s) + 1.0 if s > 1.0 else 1.0)
    if name == "llama3":
        return Table(llama3_frequencies(w, s, length0, options.get("low_freq_factor", 1.0), options.get("high_freq_factor", 4.0)))
    if name == "longrope":
        factors = np.array(read_factors(argument))
        assert len(factors) == d // 2, (len(factors), d)
        attention = options.get("attention_factor", longrope_attention_factor(s, length0))
        return Table(w / factors, attention, int(options.get("start_tokens", 0)))
    raise ValueError(spec)


def config_table(checkpoint, length):
    """What transformers (modeling_rope_utils.py) computes from the checkpoint's config.json."""
    scaling, d, theta = checkpoint.scaling, checkpoint.rotary_dim, checkpoint.theta
    w = plain_frequencies(theta, d)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "su":
        kind = "longrope"
    if kind == "default":
        return Table(w)
    factor = scaling.get("factor")
    if kind == "linear":
        return Table(w / factor)
    if kind == "dynamic":
        trained = checkpoint.max_positions
        n = max(length, trained)
        return Table(plain_frequencies(theta * (factor * n / trained - (factor - 1)) ** (d / (d - 2)), d))
    length0 = checkpoint.original_length
    if kind == "yarn":
        def g(scale, mscale=1.0):
            return 0.1 * mscale * math.log(scale) + 1.0 if scale > 1 else 1.0
        attention = scaling.get("attention_factor")
        if attention is None:
            if scaling.get("mscale") and scaling.get("mscale_all_dim"):
                attention = g(factor, scaling["mscale"]) / g(factor, scaling["mscale_all_dim"])
            else:
                attention = g(factor)
        return Table(yarn_frequencies(w, theta, d, factor, length0, scaling.get("beta_fast") or 32.0,
                                      scaling.get("beta_slow") or 1.0, scaling.get("truncate", True)), attention)
    if kind == "llama3":
        return Table(llama3_frequencies(w, factor, scaling["original_max_position_embeddings"], scaling["low_freq_factor"],
                                        scaling["high_freq_factor"]))
    if kind == "longrope":
        factors = scaling["long_factor"] if length > length0 else scaling["short_factor"]
        if factor is None:
            factor = checkpoint.max_positions / length0
        attention = scaling.get("attention_factor")
        if attention is None:
            attention = longrope_attention_factor(factor, length0)
        return Table(w / np.array(factors, np.float64), attention)
    raise ValueError(kind)


# --- forward pass -----------------------------------------------------------------------------------------------------

def _bf16(x):
    """Rounds to bfloat16, to nearest even."""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32)


def _rms_norm(x, weight, epsilon):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + x.dtype.type(epsilon)) * weight


def _rotate(x, cos, sin):
    """x [T, heads, head_dim]; the first rotary_dim columns turn in pairs (i, i + d/2)."""
    half = cos.shape[1]
    a, b, rest = x[..., :half], x[..., half:2 * half], x[..., 2 * half:]
    cos, sin = cos[:, None, :], sin[:, None, :]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], axis=-1)


def token_nll(checkpoint, table, ids, dtype=np.float64, rounding=None):
    """NLL in nats of ids[1:], each given everything before it. `dtype` and `rounding` are only for judging tolerances."""
    rnd = rounding or (lambda x: x)
    cast = {}

    def t(name):
        if name not in cast:
            value = checkpoint.tensors.get(name)
            cast[name] = None if value is None else rnd(value.astype(dtype))
        return cast[name]

    def linear(x, name):
        y = rnd(x) @ t(name + ".weight").T
        bias = t(name + ".bias")
        return y if bias is None else y + bias

    ids = np.asarray(ids, np.int64)
    n, hd, heads, kv_heads = len(ids), checkpoint.head_dim, checkpoint.heads, checkpoint.kv_heads
    w = plain_frequencies(checkpoint.theta, checkpoint.rotary_dim)
    position = np.arange(n, dtype=np.float64)[:, None]
    angle = np.where(position < table.start_tokens, position * w, position * table.inv_freq)
    cos = (np.cos(angle) * table.attention_factor).astype(dtype)
    sin = (np.sin(angle) * table.attention_factor).astype(dtype)

    hidden = t("model.embed_tokens.weight")[ids]
    for layer in range(checkpoint.layers):
        p = f"model.layers.{layer}."
        x = _rms_norm(hidden, t(p + "input_layernorm.weight"), checkpoint.epsilon)
        if checkpoint.kind == "phi3":
            qkv = linear(x, p + "self_attn.qkv_proj")
            q, k, v = np.split(qkv, [heads * hd, (heads + kv_heads) * hd], axis=1)
        else:
            q, k, v = (linear(x, p + f"self_attn.{name}_proj") for name in "qkv")
        q, k, v = q.reshape(n, heads, hd), k.reshape(n, kv_heads, hd), v.reshape(n, kv_heads, hd)
        if checkpoint.kind == "qwen3":
            q = _rms_norm(q, t(p + "self_attn.q_norm.weight"), checkpoint.epsilon)
            k = _rms_norm(k, t(p + "self_attn.k_norm.weight"), checkpoint.epsilon)
        q, k, v = rnd(_rotate(q, cos, sin)), rnd(_rotate(k, cos, sin)), rnd(v)
        lag = np.arange(n)[:, None] - np.arange(n)[None, :]
        visible = lag >= 0
        if checkpoint.windows[layer]:
            visible &= lag < checkpoint.windows[layer]
        out = np.empty((n, heads, hd), dtype)
        for head in range(heads):
            kv = head // (heads // kv_heads)
            scores = q[:, head] @ k[:, kv].T / dtype(math.sqrt(hd))
            scores = np.where(visible, scores, -np.inf)
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            out[:, head] = (scores / scores.sum(axis=1, keepdims=True)) @ v[:, kv]
        hidden = hidden + linear(out.reshape(n, heads * hd), p + "self_attn.o_proj")
        x = _rms_norm(hidden, t(p + "post_attention_layernorm.weight"), checkpoint.epsilon)
        if checkpoint.kind == "phi3":
            gate, up = np.split(linear(x, p + "mlp.gate_up_proj"), 2, axis=1)
        else:
            gate, up = linear(x, p + "mlp.gate_proj"), linear(x, p + "mlp.up_proj")
        hidden = hidden + linear(gate / (1.0 + np.exp(-gate)) * up, p + "mlp.down_proj")
    hidden = _rms_norm(hidden, t("model.norm.weight"), checkpoint.epsilon)
    tied = checkpoint.config.get("tie_word_embeddings", False)
    logits = rnd(hidden[:-1]) @ t("model.embed_tokens.weight" if tied else "lm_head.weight").T
    top = logits.max(axis=1)
    return top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - logits[np.arange(n - 1), ids[1:]]


# --- windows ----------------------------------------------------------------------------------------------------------

@dataclass
class Window:
    document: int
    first_token: int  # of the document, BOS not counted
    ids: list
    first_scored: int

    @property
    def tokens(self):
        return len(self.ids) - self.first_scored


def document_windows(document, tokens, bos, protocol, length):
    """Every window of one document."""
    front = [] if bos is None else [bos]
    if protocol == "window":
        block = length - len(front)
        return [Window(document, b, front + tokens[b:b + block], 1)
                for b in range(0, len(tokens) - block + 1, block)]
    if protocol == "half":
        # llama-perplexity: the stream starts with BOS; each disjoint chunk of it gives its token 0 up to BOS, and the
        # targets from length/2 + 1 on are scored.
        stream = front + tokens
        return [Window(document, b, front + stream[b + len(front):b + length], length // 2 + 1)
                for b in range(0, len(stream) - length + 1, length)]
    stride = int(protocol.removeprefix("stride:"))
    return [Window(document, b, tokens[b:b + length], 1 if b == 0 else max(1, length - stride))
            for b in range(0, len(tokens) - length + 1, stride)]


def make_windows(documents, bos, protocol, length, count):
    """The first `count` windows, round-robin over documents; `documents` is a list of lists of ids."""
    per_document = [document_windows(i, list(map(int, tokens)), bos, protocol, length)
                    for i, tokens in enumerate(documents)]
    out, block = [], 0
    while len(out) < count and any(block < len(windows) for windows in per_document):
        out += [windows[block] for windows in per_document if block < len(windows)]
        block += 1
    if len(out) < count:
        raise ValueError(f"{len(out)} windows, {count} wanted")
    return out[:count]


def window_nll(checkpoint, spec, window, **kwargs):
    """Sum of NLL in nats over the scored tokens of a window under a --rope SPEC."""
    table = rope_table(checkpoint, spec, len(window.ids))
    key = (table.inv_freq.tobytes(), table.attention_factor, table.start_tokens, tuple(window.ids), repr(kwargs))
    if key not in checkpoint.known:  # at 1x most methods are the same table
        checkpoint.known[key] = token_nll(checkpoint, table, window.ids, **kwargs)
    return float(checkpoint.known[key][window.first_scored - 1:].sum())


def evaluate(checkpoint, documents, spec, length, count, protocol):
    """[(Window, nll_nats)] as `longrope evaluate` reports them."""
    return [(w, window_nll(checkpoint, spec, w)) for w in make_windows(documents, checkpoint.bos, protocol, length, count)]


def key_tokens(checkpoint, window, rope, context, lsd, lcl, margin=0.0):
    """(positions that are key tokens, positions within `margin` nats of either threshold) of a window's scored targets.

    LongPPL (arXiv 2410.23771): log p(token | long context) exceeds log p(token | short context) by more than lsd, and lcl.
    The long context is the whole window under `rope`; short ones are `context` tokens under the checkpoint's own rope, every
    context // 4 tokens, of which the last context // 4 are read.
    """
    ids, step = window.ids, context // 4
    far = -token_nll(checkpoint, rope_table(checkpoint, rope, len(ids)), ids)
    keys, unsure = [], []
    for begin in range(context, len(ids), step):
        end = min(begin + step, len(ids))
        near = -token_nll(checkpoint, rope_table(checkpoint, "config", context), ids[end - context:end])
        for position in range(max(begin, window.first_scored), end):
            long, short = far[position - 1], near[position - 1 - (end - context)]
            if min(abs(long - short - lsd), abs(long - lcl)) <= margin:
                unsure.append(position)
            if long - short > lsd and long > lcl:
                keys.append(position)
    return keys, unsure


# --- self-check -------------------------------------------------------------------------------------------------------

def main():
    import argparse
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", default="../shared")
    shared = Path(parser.parse_args().shared)
    try:
        import sentencepiece
    except ImportError:
        print("skipped: python3-sentencepiece is not installed")
        return 77
    golden = json.loads((shared / "models" / "golden.json").read_text())
    failures, worst = 0, 0.0
    for entry in golden:
        checkpoint = Checkpoint(shared / "models" / entry["model"])
        tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(checkpoint.directory / "tokenizer.model"))
        tokens = tokenizer.encode((shared / "text" / "validation" / entry["text"]).read_text(encoding="utf-8")[:40000])
        window = make_windows([tokens], checkpoint.bos, "window", entry["length"], entry["window"] + 1)[entry["window"]]
        nll = window_nll(checkpoint, entry["rope"], window)
        error = abs(nll - entry["nll_nats"]) / entry["tokens"]
        worst = max(worst, error)
        good = error <= 1e-9 and window.ids[:8] == entry["first_tokens"] and window.tokens == entry["tokens"]
        failures += not good
        print(f"{'ok  ' if good else 'FAIL'} {entry['model']:12} {entry['length']:5} {entry['rope']:12} "
              f"{nll:.9f} golden {entry['nll_nats']:.9f} difference per token {error:.1e}")
    print(f"{len(golden) - failures} of {len(golden)} entries, largest difference {worst:.1e} nats per token")
    return 0 if golden and not failures else 1


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")
    raise SystemExit(main())
