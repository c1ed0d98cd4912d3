#!/usr/bin/env python3
"""Writes a checkpoint of a known shape with random weights, and a file of random token ids, fast.

    python3 random_checkpoint.py --shape llama3-8b --out /dev/shm/llama3-8b --tokens /dev/shm/tokens.u32

Hugging Face layout: config.json, sharded bf16 safetensors and their index; matrices N(0, 0.02), norms 1, no tokenizer.
Weights are drawn on the GPU where there is one. `--layers N` keeps the first N layers only: a length can then be
measured whose full depth would take too long, since every layer costs the same.
"""
import argparse
import dataclasses
import json
import shutil
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from records import record, say
from shapes import SHAPES

STANDARD_DEVIATION = 0.02
SHARDS = 8
WRITERS = 4


def tensors_of(shape):
    """(name, shape) in file order. One-dimensional ones are norms."""
    yield "model.embed_tokens.weight", (shape.vocabulary, shape.hidden)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (shape.hidden,)
        yield prefix + "self_attn.q_proj.weight", (shape.heads * shape.head_dim, shape.hidden)
        yield prefix + "self_attn.k_proj.weight", (shape.kv_heads * shape.head_dim, shape.hidden)
        yield prefix + "self_attn.v_proj.weight", (shape.kv_heads * shape.head_dim, shape.hidden)
        yield prefix + "self_attn.o_proj.weight", (shape.hidden, shape.heads * shape.head_dim)
        yield prefix + "post_attention_layernorm.weight", (shape.hidden,)
        yield prefix + "mlp.gate_proj.weight", (shape.intermediate, shape.hidden)
        yield prefix + "mlp.up_proj.weight", (shape.intermediate, shape.hidden)
        yield prefix + "mlp.down_proj.weight", (shape.hidden, shape.intermediate)
    yield "model.norm.weight", (shape.hidden,)
    yield "lm_head.weight", (shape.vocabulary, shape.hidden)


def draw(size, seed, device):
    """bf16; the same for the same seed on one kind of device."""
    if len(size) == 1:
        return torch.ones(size, dtype=torch.bfloat16, device=device)
    generator = torch.Generator(device=device).manual_seed(seed)
    values = torch.empty(size, dtype=torch.bfloat16, device=device)
    values.normal_(0.0, STANDARD_DEVIATION, generator=generator)
    return values


def write_shard(path, part, seed, device):
    """part: [(name, shape)]. Safetensors: u64 header length, JSON header, the tensors' bytes in order."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, size in part:
        count = 2 * int(np.prod(size))
        header[name] = {"dtype": "BF16", "shape": list(size), "data_offsets": [offset, offset + count]}
        offset += count
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for i, (_, size) in enumerate(part):
            file.write(draw(size, seed + i, device).cpu().view(torch.int16).numpy().data)
    return offset


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="llama3-8b")
    parser.add_argument("--layers", type=int, help="keep this many layers (default: the shape's)")
    parser.add_argument("--out", type=Path, required=True, help="directory of the checkpoint")
    parser.add_argument("--tokens", type=Path, help="also write this .u32 file of random ids")
    parser.add_argument("--token-count", type=int, default=(1 << 21) + 1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--records", type=Path, help="folder of records.jsonl")
    arguments = parser.parse_args()
    shape = SHAPES[arguments.shape]
    if arguments.layers:
        shape = dataclasses.replace(shape, layers=arguments.layers)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    began = time.monotonic()
    tensors = list(tensors_of(shape))
    total = sum(2 * int(np.prod(size)) for _, size in tensors)
    arguments.out.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(arguments.out).free
    if free < total + (1 << 30):
        sys.exit(f"[{arguments.out}] must have {total / 1e9:.1f} GB and 1 GB to spare but has {free / 1e9:.1f} GB")
    shards = [part for part in (tensors[i::SHARDS] for i in range(SHARDS)) if part]
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    with ThreadPoolExecutor(WRITERS) as pool:
        jobs = [pool.submit(write_shard, arguments.out / name, part, arguments.seed * 1_000_003 + 10_007 * i, device)
                for i, (name, part) in enumerate(zip(names, shards))]
        written = sum(job.result() for job in jobs)
    weight_map = {tensor: name for name, part in zip(names, shards) for tensor, _ in part}
    (arguments.out / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": written}, "weight_map": dict(sorted(weight_map.items()))}))
    (arguments.out / "config.json").write_text(json.dumps(shape.config(), indent=1))
    if arguments.tokens:
        ids = np.random.default_rng(arguments.seed).integers(0, shape.vocabulary, arguments.token_count, dtype=np.uint32)
        ids.astype("<u4").tofile(arguments.tokens)
    elapsed_s = time.monotonic() - began
    record(arguments.records, "checkpoint", shape=arguments.shape, layers=shape.layers, bytes=written, elapsed_s=elapsed_s)
    say(f"{arguments.out}: {len(tensors)} tensors, {shape.layers} layers, {written / 1e9:.2f} GB in {elapsed_s:.1f} s, drawn on {device}")


if __name__ == "__main__":
    main()
