# SPDX-License-Identifier: Apache-2.0
"""The reference model: a small Llama in PyTorch, its RoPE tables and its checkpoint files.

Runs with PyTorch 1.13 or later, on a CPU or a GPU. Nothing else is needed: the safetensors
format is simple enough to be written and read here.
"""

import json
import math
import os
import struct

import torch
from torch import nn
from torch.nn import functional

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 1024,
    "hidden_size": 256, "intermediate_size": 640, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "hidden_act": "silu",
    "max_position_embeddings": 256, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
    "rope_scaling": None, "tie_word_embeddings": True, "attention_bias": False,
    "mlp_bias": False, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16"}


def rope_factors(method, scale, dim, theta, window):
    """The rescale factors of all dim/2 frequencies and the factor on cos and sin."""
    half = dim // 2
    if method == "none" or scale <= 1.0:
        return [1.0] * half, 1.0
    if method == "pi":
        return [scale] * half, 1.0
    if method == "ntk":
        return [scale ** (2 * i / (dim - 2)) for i in range(half)], 1.0
    if method == "yarn":
        def at(turns):
            return dim * math.log(window / (2 * math.pi * turns)) / (2 * math.log(theta))
        low, high = max(math.floor(at(32)), 0), min(math.ceil(at(1)), dim - 1)
        ramp = [min(max((i - low) / max(high - low, 1e-3), 0.0), 1.0) for i in range(half)]
        return [1.0 / (r / scale + 1.0 - r) for r in ramp], 0.1 * math.log(scale) + 1.0
    raise ValueError(f"unknown RoPE method {method}")


def rope_table(length, config, method="none", scale=1.0):
    """cos and sin, each [length, head_dim], in the rotate_half layout."""
    dim, theta = config["head_dim"], config["rope_theta"]
    factors, attention = rope_factors(method, scale, dim, theta, config["max_position_embeddings"])
    frequency = torch.tensor([theta ** (-2.0 * i / dim) / factor for i, factor in enumerate(factors)],
                             dtype=torch.float64)
    angle = torch.outer(torch.arange(length, dtype=torch.float64), frequency)
    angle = torch.cat((angle, angle), dim=1)
    return (angle.cos() * attention).float(), (angle.sin() * attention).float()


def rotate(x, cos, sin):
    """Applies RoPE to [batch, heads, length, head_dim]."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class RMSNorm(nn.Module):
    def __init__(self, size, epsilon):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon))


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv_heads, self.dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        self.q_proj = nn.Linear(c["hidden_size"], self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(c["hidden_size"], self.kv_heads * self.dim, bias=False)
        self.v_proj = nn.Linear(c["hidden_size"], self.kv_heads * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, c["hidden_size"], bias=False)

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape
        q = rotate(self.q_proj(x).view(batch, length, self.heads, self.dim).transpose(1, 2), cos, sin)
        k = rotate(self.k_proj(x).view(batch, length, self.kv_heads, self.dim).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(batch, length, self.kv_heads, self.dim).transpose(1, 2)
        k = k.repeat_interleave(self.heads // self.kv_heads, dim=1)
        v = v.repeat_interleave(self.heads // self.kv_heads, dim=1)
        if length > 512 and hasattr(functional, "scaled_dot_product_attention"):
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:  # faster than the fused kernel at training length, and all that PyTorch 1 has
            mask = torch.full((length, length), float("-inf"), device=x.device).triu(1)
            y = torch.softmax(q @ k.transpose(-1, -2) * self.dim ** -0.5 + mask, dim=-1) @ v
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, self.heads * self.dim))


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = nn.Linear(c["hidden_size"], c["intermediate_size"], bias=False)
        self.up_proj = nn.Linear(c["hidden_size"], c["intermediate_size"], bias=False)
        self.down_proj = nn.Linear(c["intermediate_size"], c["hidden_size"], bias=False)

    def forward(self, x):
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.self_attn, self.mlp = Attention(c), MLP(c)
        self.input_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.post_attention_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """The model; its state has the tensor names of Hugging Face Llama, less the `model.` in front."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        self.norm = RMSNorm(config["hidden_size"], config["rms_norm_eps"])
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * len(self.layers)) if deep else 1))

    @torch.no_grad()
    def build_copying(self):
        """Starts with the two-layer circuit that copies, instead of waiting for it to form by chance.

        In layer 0 the two query heads of the first KV head look one and two tokens back: a constant
        in embedding dimension 0 makes scores that depend on the distance alone. They write what they
        see into subspaces of their own. In layers 1 and 2 the query heads of the first KV head look
        for places whose predecessors were the present token (and, for the second, the one before it),
        in the slow RoPE dimensions, and copy what stands there. Training refines all of it.
        """
        dim, hidden = self.config["head_dim"], self.config["hidden_size"]
        half, fast, slow = dim // 2, range(0, 12), range(16, dim // 2)
        self.embed_tokens.weight[:, 0] = 0.1
        basis = nn.init.orthogonal_(torch.empty(hidden, hidden)).split(dim, dim=1)
        look, code, before = basis[0].t(), basis[1], basis[2]  # what is read, where it is written
        first = self.layers[0].self_attn
        for head, distance, target in ((0, 1, code), (1, 2, before)):
            for i in fast:
                angle = distance * self.config["rope_theta"] ** (-2.0 * i / dim)
                first.q_proj.weight[head * dim + i, 0] = 1.3 * math.cos(angle)
                first.q_proj.weight[head * dim + half + i, 0] = -1.3 * math.sin(angle)
            first.o_proj.weight[:, head * dim:(head + 1) * dim] = 0.05 * target
        first.k_proj.weight[list(fast), 0] = 1.3
        first.v_proj.weight[:dim] = look
        for layer, part in ((1, 0), (2, 3)):
            attention = self.layers[layer].self_attn
            for i in slow:
                attention.k_proj.weight[i] = 2.8 * code[:, i]
                attention.k_proj.weight[half + i] = 2.8 * before[:, i]
                for head in (0, 1):
                    attention.q_proj.weight[head * dim + i] = 2.8 * look[i]
                attention.q_proj.weight[dim + half + i] = 2.8 * code[:, i]
            attention.v_proj.weight[:dim] = basis[part].t()
            attention.o_proj.weight[:, :2 * dim] = 0.1 * torch.cat((basis[part], basis[part]), dim=1)

    def forward(self, tokens, cos, sin):
        """Logits [batch, length, vocabulary] in f32; the head is the embedding (tied)."""
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return functional.linear(self.norm(x), self.embed_tokens.weight).float()


def save(model, folder):
    """Writes config.json and a bf16 model.safetensors, each in one atomic step."""
    state = {"model." + name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
             for name, tensor in model.state_dict().items()}
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in state.items():
        size = 2 * tensor.numel()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = os.path.join(folder, "model.safetensors")
    with open(path + ".new", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in state.values():
            file.write(tensor.view(torch.int16).numpy().tobytes())
    os.replace(path + ".new", path)
    path = os.path.join(folder, "config.json")
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(json.dumps(model.config, indent=2) + "\n")
    os.replace(path + ".new", path)


def load(folder):
    """Reads what `save` wrote; the model computes in f32."""
    with open(os.path.join(folder, "config.json"), encoding="ascii") as file:
        model = Llama(json.load(file))
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = bytearray(file.read())
    header.pop("__metadata__", None)
    state = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensor = torch.frombuffer(data, dtype=torch.bfloat16, count=(end - begin) // 2, offset=begin)
        state[name[len("model."):]] = tensor.view(entry["shape"]).float()
    model.load_state_dict(state)
    return model.eval()
