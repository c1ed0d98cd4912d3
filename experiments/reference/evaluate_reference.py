#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the reference model: perplexity and passkey accuracy per RoPE method and length.

Perplexity is exp of the mean NLL over windows of L tokens cut one after another from unseen
documents, each with BOS as the first of its L tokens, all next tokens scored. Passkey accuracy
counts prompts of which every answer token is the argmax (teacher forced), at random depths, with
keys kept out of training. The scale of PI, NTK and YaRN is L / 256.

    python3 evaluate_reference.py --model . --lengths 256,512,1024,2048 --trials 200
"""

import argparse
import math
import os
import random

import torch

import language
import model as reference


def documents(tokenizer, count, size, first_seed=1000000):
    """Token lists of documents that no training run has seen (training seeds are below 1000000)."""
    return [tokenizer.encode(language.document(first_seed + i, size)) for i in range(count)]


@torch.no_grad()
def perplexity(net, docs, length, method="none", windows=4, bos=1, device="cpu"):
    """Token-weighted perplexity over the first `windows` windows of every document."""
    table = [t.to(device) for t in reference.rope_table(length, net.config, method, length / 256)]
    total, count = 0.0, 0
    for doc in docs:
        cuts = [doc[i * (length - 1):(i + 1) * (length - 1)] for i in range(windows)]
        cuts = [[bos] + cut for cut in cuts if len(cut) == length - 1]
        size = max(1, 2048 // length)
        for i in range(0, len(cuts), size):
            tokens = torch.tensor(cuts[i:i + size], device=device)
            logits = net(tokens[:, :-1], table[0][:-1], table[1][:-1])
            total += torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum").item()
            count += tokens[:, 1:].numel()
    return math.exp(total / count)


def passkey_tokens(tokenizer, rng, length, header=language.HEADERS[0], joint=" ", bos=1):
    """A prompt with its answer of at most `length` tokens, and how many tokens the answer has."""
    key, depth = language.draw_key(rng, unseen=True), rng.random()
    filler = length * 5
    while True:
        before = int(filler * depth)
        prompt, _ = language.passkey_prompt(rng, before, filler - before, header, joint, key)
        tokens = [bos] + tokenizer.encode(prompt + " " + key)
        if len(tokens) <= length or filler <= 0:
            return tokens, len(tokens) - 1 - len(tokenizer.encode(prompt))
        filler -= max(4, (len(tokens) - length) * 2)


@torch.no_grad()
def passkey(net, tokenizer, length, method="none", trials=200, seed=5, device="cpu", **style):
    """The share of prompts answered with every token right."""
    rng, right = random.Random(seed), 0
    cos, sin = [t.to(device) for t in reference.rope_table(length, net.config, method, length / 256)]
    for _ in range(trials):
        tokens, answer = passkey_tokens(tokenizer, rng, length, **style)
        tokens = torch.tensor([tokens], device=device)
        n = tokens.shape[1] - 1
        best = net(tokens[:, :-1], cos[:n], sin[:n])[0, -answer:].argmax(-1)
        right += int(torch.equal(best, tokens[0, -answer:]))
    return right / trials


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description="Perplexity and passkey accuracy of the reference model.")
    parser.add_argument("--model", default=here, help="folder of config.json, model.safetensors, tokenizer.model")
    parser.add_argument("--lengths", default="256,512,1024,2048", help="token counts (default %(default)s)")
    parser.add_argument("--methods", default="none,pi,ntk,yarn", help="RoPE methods (default %(default)s)")
    parser.add_argument("--documents", type=int, default=16, help="unseen documents (default %(default)s)")
    parser.add_argument("--windows", type=int, default=4, help="windows per document (default %(default)s)")
    parser.add_argument("--trials", type=int, default=200, help="passkey prompts per cell, 0 for none (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="PyTorch device (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default %(default)s)")
    options = parser.parse_args()
    import sentencepiece
    torch.set_num_threads(options.threads)
    net = reference.load(options.model).to(options.device)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=os.path.join(options.model, "tokenizer.model"))
    lengths = [int(length) for length in options.lengths.split(",")]
    docs = documents(tokenizer, options.documents, max(lengths) * options.windows * 4)
    print(f"parameters {sum(p.numel() for p in net.parameters())}, documents {len(docs)}, "
          f"windows per document {options.windows}, passkey trials {options.trials}")
    for length in lengths:
        for method in options.methods.split(","):
            if method != "none" and length <= 256:
                continue
            ppl = perplexity(net, docs, length, method, options.windows, device=options.device)
            line = f"length {length:5d}  {method:4s}  ppl {ppl:9.4f}"
            if options.trials:
                for label, style in (("spaces", {}), ("newlines", {"joint": "\n"}), ("no header", {"header": ""})):
                    rate = passkey(net, tokenizer, length, method, options.trials, device=options.device, **style)
                    line += f"  passkey {label} {rate:.3f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
