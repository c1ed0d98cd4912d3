#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the reference model on the procedural language, in windows of 256 tokens.

Copying is taught on purpose, and first: a window is a mixture of

    periodic  a random token sequence repeated until the window is full
    recall    pairs A B ... in a random order, then the same pairs in another order
    repeat    a stretch of language, repeated word by word
    passkey   a passkey prompt with its answer, the rest filled with language
    language  a random place in a document

and only tokens that can be known are scored in the first four. The warm-up phase uses windows
of 128 tokens and mostly the first three. The matrices learn by Muon (momentum made orthogonal by
Newton-Schulz steps), all else by AdamW; the learning rate warms up, stays, and falls linearly.

    python3 train.py --tokenizer tokenizer.model --out DIR --steps 9000

Several processes share the work when started by torchrun; on a CPU that others use as well, one
process per core does much better than one process with many threads:

    torchrun --nproc_per_node 2 train.py --threads 1 --tokenizer tokenizer.model --out DIR
"""

import argparse
import math
import os
import random
import re
import tempfile
import time

import numpy as np
import torch
import torch.distributed as group
from torch.nn import functional

import evaluate_reference
import language
import model as reference

WINDOW = 256
BOS = 1
FIRST_PIECE = 259  # the ids below are <unk>, <s>, </s> and the 256 bytes


def make_tokenizer(path, vocabulary):
    """Trains the SentencePiece model on 100 documents and 1500 passkey prompts."""
    import sentencepiece
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "text"), "w", encoding="ascii") as file:
            for seed in range(1, 101):
                sentences = re.split(r"(?<=\.) ", language.document(f"tokenizer {seed}", 60000))
                for i in range(0, len(sentences), 20):
                    file.write(" ".join(sentences[i:i + 20]) + "\n")
            for _ in range(1500):
                file.write(language.passkey_prompt(rng, rng.randrange(200), rng.randrange(200))[0] + "\n")
        with open(path, "wb") as out:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=open(os.path.join(folder, "text"), encoding="ascii"), model_writer=out,
                vocab_size=vocabulary, model_type="bpe", byte_fallback=True, split_digits=True,
                unk_id=0, bos_id=1, eos_id=2, pad_id=-1, character_coverage=1.0,
                normalization_rule_name="identity", remove_extra_whitespaces=False,
                max_sentence_length=100000, allow_whitespace_only_pieces=True)


class Data:
    """Bulk-tokenized text and the windows cut from it; everything follows from the seed."""

    def __init__(self, tokenizer, documents, prompts, seed, rank=0):
        self.rng = np.random.default_rng((seed, rank))
        self.vocabulary = tokenizer.vocab_size()
        pieces, self.starts = [], []
        position = 0
        for i in range(documents):
            tokens = np.array(tokenizer.encode(language.document(i, 36000)), dtype=np.uint16)
            last = max(1, len(tokens) - WINDOW - 1)
            self.starts.append((position, position + last))
            pieces.append(tokens)
            position += len(tokens)
        self.text = np.concatenate(pieces)
        self.starts = np.array(self.starts)
        self.prompts = [self.prompt(tokenizer, random.Random(f"prompt {seed} {i}")) for i in range(prompts)]

    @staticmethod
    def prompt(tokenizer, rng):
        """Tokens and weights of a passkey prompt with answer of at most WINDOW tokens."""
        header = rng.choices(("",) + language.HEADERS, (4, 4, 2))[0]
        joint = rng.choice((" ", " ", "\n"))
        key = language.draw_key(rng)
        filler = language.GARBAGE
        if rng.random() < 0.2:  # other text than the usual filler
            filler = language.document(rng.random(), 1500)[:1500].rsplit(".", 1)[0] + "."
        depth = rng.random()
        room = 900 if rng.random() < 0.6 else rng.randrange(900)
        while True:
            before = int(room * depth)
            prompt, _ = language.passkey_prompt(rng, before, room - before, header, joint, key, filler)
            tokens = tokenizer.encode(prompt + " " + key)
            if len(tokens) <= WINDOW:
                break
            room -= max(4, (len(tokens) - WINDOW) * 2)
        tokens.append(tokenizer.encode("a.")[-1])
        weights = np.full(len(tokens), 0.3, np.float32)
        digits = [i for i, piece in enumerate(tokenizer.id_to_piece(tokens)) if piece.isdigit()]
        weights[digits[:5]] = 0.0  # cannot be known
        weights[digits[5:]] = 1.0
        return np.array(tokens, dtype=np.uint16), weights

    def take(self, size):
        """`size` tokens from a random place of a random document."""
        low, high = self.starts[self.rng.integers(len(self.starts))]
        start = self.rng.integers(low, high)
        return self.text[start:start + size].astype(np.int64)

    def window(self, kind, size):
        """Tokens and weights, `size` each, of what follows BOS."""
        rng, weights = self.rng, np.ones(size, np.float32)
        if kind in ("periodic", "repeat"):
            period = int(np.exp(rng.uniform(np.log(4 if kind == "periodic" else 12), np.log(size * 0.6))))
            unit = self.take(period) if kind == "repeat" else rng.integers(FIRST_PIECE, self.vocabulary, period)
            tokens = np.tile(unit, size // period + 1)[:size]
            weights[:period] = 1.0 if kind == "repeat" else 0.0
        elif kind == "recall":
            pairs = int(rng.integers(3, size // 4 + 1))
            keys = rng.permutation(np.arange(FIRST_PIECE, self.vocabulary))[:pairs]
            values = rng.integers(FIRST_PIECE, self.vocabulary, pairs)
            parts, scored = [], []
            while 2 * pairs * len(parts) < size:
                order = rng.permutation(pairs)
                parts.append(np.stack((keys[order], values[order]), 1).ravel())
                scored.append(np.tile([0.0, 1.0 if len(parts) > 1 else 0.0], pairs))
            tokens, weights = np.concatenate(parts)[:size], np.concatenate(scored)[:size].astype(np.float32)
        elif kind == "passkey":
            while True:
                prompt, scored = self.prompts[rng.integers(len(self.prompts))]
                if len(prompt) <= size:
                    break
            tokens = np.concatenate((prompt.astype(np.int64), self.take(size - len(prompt))))
            weights[:len(prompt)] = scored
        else:
            tokens = self.take(size)
        return tokens, weights

    def batch(self, mixture, count, size):
        """Inputs, targets and weights of `count` windows of `size` tokens with BOS in front."""
        kinds = self.rng.choice(list(mixture), size=count, p=np.array(list(mixture.values())) / sum(mixture.values()))
        rows = [self.window(kind, size) for kind in kinds]
        tokens = torch.from_numpy(np.stack([row[0] for row in rows]))
        inputs = torch.cat((torch.full((count, 1), BOS), tokens[:, :-1]), dim=1)
        return inputs, tokens, torch.from_numpy(np.stack([row[1] for row in rows]))


class Muon:
    """Momentum whose matrix updates are made (nearly) orthogonal, in groups of equal shape."""

    def __init__(self, matrices, lr, momentum=0.95, decay=0.01):
        self.lr, self.momentum, self.decay = lr, momentum, decay
        self.groups = {}
        for matrix in matrices:
            self.groups.setdefault(tuple(matrix.shape), []).append(matrix)
        self.state = {shape: torch.zeros(len(same), *shape, device=same[0].device)
                      for shape, same in self.groups.items()}

    @torch.no_grad()
    def step(self, lr, rank=0, world=1):
        for shape, matrices in self.groups.items():
            gradient = torch.stack([matrix.grad for matrix in matrices])
            state = self.state[shape].mul_(self.momentum).add_(gradient)
            x = (gradient + self.momentum * state)[rank::world]  # every process does its part
            wide = shape[0] <= shape[1]
            x = x if wide else x.transpose(1, 2)
            x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
            for _ in range(5):  # quintic Newton-Schulz towards the nearest orthogonal matrix
                square = x @ x.transpose(1, 2)
                x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
            updates = torch.zeros_like(gradient)
            updates[rank::world] = x if wide else x.transpose(1, 2)
            if world > 1:
                group.all_reduce(updates)
            for matrix, update in zip(matrices, updates):
                matrix.mul_(1 - lr * self.decay).add_(update, alpha=-lr * max(1.0, shape[0] / shape[1]) ** 0.5)


@torch.no_grad()
def induction(net, data, size, table, device):
    """Argmax accuracy on the repeats of periodic windows of `size` tokens."""
    inputs, targets, weights = data.batch({"periodic": 1}, 16, size)
    right = net(inputs.to(device), table[0][:size], table[1][:size]).argmax(-1).cpu() == targets
    return (right * weights).sum().item() / weights.sum().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokenizer", default="tokenizer.model", help="SentencePiece model; made if missing")
    parser.add_argument("--out", required=True, help="folder for the checkpoint and train.log")
    parser.add_argument("--steps", type=int, default=9000, help="training steps (default %(default)s)")
    parser.add_argument("--minutes", type=float, default=0, help="let the schedule end after this time if that is earlier")
    parser.add_argument("--warm-steps", type=int, default=1500,
                        help="most steps of the copying phase, which ends when 92%% of repeats are right (default %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="windows of 256 tokens per step (default %(default)s)")
    parser.add_argument("--lr", type=float, default=3e-3, help="AdamW rate: embedding and norms (default %(default)s)")
    parser.add_argument("--muon-lr", type=float, default=0.02, help="Muon rate: matrices (default %(default)s)")
    parser.add_argument("--cooldown", type=float, default=0.4, help="last share of the run with a falling rate (default %(default)s)")
    parser.add_argument("--documents", type=int, default=2500, help="training documents of 36000 bytes (default %(default)s)")
    parser.add_argument("--prompts", type=int, default=30000, help="training passkey prompts (default %(default)s)")
    parser.add_argument("--vocabulary", type=int, default=1024, help="size of a new tokenizer (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of data order and weights (default %(default)s)")
    parser.add_argument("--log-every", type=int, default=50, help="steps between log lines (default %(default)s)")
    parser.add_argument("--save-every", type=int, default=500, help="steps between evals and checkpoints (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="PyTorch device")
    parser.add_argument("--plain", action="store_true", help="start from random weights, without the copying circuit")
    parser.add_argument("--resume", help="state.pt to go on from")
    parser.add_argument("--bf16", action="store_true", help="compute in bf16 (autocast)")
    parser.add_argument("--compile", action="store_true", help="use torch.compile (PyTorch 2)")
    o = parser.parse_args()

    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        group.init_process_group("gloo")
    torch.set_num_threads(o.threads)
    torch.manual_seed(o.seed)
    os.makedirs(o.out, exist_ok=True)
    import sentencepiece
    if not os.path.exists(o.tokenizer):
        make_tokenizer(o.tokenizer, o.vocabulary)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=o.tokenizer)
    log_file = open(os.path.join(o.out, "train.log") if rank == 0 else os.devnull,
                    "a" if o.resume else "w", encoding="ascii")

    def log(line):
        if rank == 0:
            print(line, flush=True)
        log_file.write(line + "\n")
        log_file.flush()

    data = Data(tokenizer, o.documents, o.prompts, o.seed, rank)
    probe = Data(tokenizer, 2, 2, o.seed + 1)
    unseen = evaluate_reference.documents(tokenizer, 8, 6000)
    net = reference.Llama(dict(reference.CONFIG, vocab_size=tokenizer.vocab_size())).to(o.device)
    if not o.plain:
        net.build_copying()
    forward = torch.compile(net) if o.compile else net
    matrices = [p for name, p in net.named_parameters() if p.dim() == 2 and "layers" in name]
    others = [p for name, p in net.named_parameters() if p.dim() != 2 or "layers" not in name]
    muon = Muon(matrices, o.muon_lr)
    adam = torch.optim.AdamW(others, lr=o.lr, betas=(0.9, 0.95), weight_decay=0.0)
    table = [t.to(o.device) for t in reference.rope_table(WINDOW, net.config)]
    log(f"torch {torch.__version__.split('+')[0]} device {o.device} threads {o.threads} processes {world} batch {o.batch} lr {o.lr} "
        f"muon-lr {o.muon_lr} seed {o.seed} warm-steps {o.warm_steps} cooldown {o.cooldown}")
    log(f"parameters {sum(p.numel() for p in net.parameters())} vocabulary {tokenizer.vocab_size()} "
        f"text tokens {len(data.text)} prompts {len(data.prompts)}")

    warm = {"periodic": 38, "recall": 12, "repeat": 20, "passkey": 8, "language": 22}
    main_mixture = {"periodic": 8, "recall": 5, "repeat": 5, "passkey": 20, "language": 62}
    begin = last = time.time()
    step, seen, seen_last, losses, small = 0, 0, 0, [], True
    if o.resume:
        weights, muon.state, moments, step, seen, small = torch.load(o.resume)
        net.load_state_dict(weights)
        adam.load_state_dict(moments)
        seen_last = seen
    while True:
        done = max(step / o.steps, (time.time() - begin) / (60 * o.minutes) if o.minutes else 0)
        if world > 1:  # all follow the first
            control = torch.tensor([done, float(small)])
            group.broadcast(control, 0)
            done, small = control[0].item(), bool(control[1])
        if done < 1:
            rate = min(1.0, (step + 1) / 100, max(0.01, (1 - done) / o.cooldown))
            small = small and step < o.warm_steps
            size = WINDOW // 2 if small else WINDOW
            inputs, targets, weights = data.batch(warm if small else main_mixture, o.batch * WINDOW // (size * world), size)
            inputs, targets, weights = inputs.to(o.device), targets.to(o.device), weights.to(o.device)
            for options in adam.param_groups:
                options["lr"] = o.lr * rate
            with torch.autocast(o.device, dtype=torch.bfloat16, enabled=o.bf16):
                logits = forward(inputs, table[0][:size], table[1][:size])
            loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            loss = (loss * weights.flatten()).sum() / weights.sum()
            for parameter in net.parameters():
                parameter.grad = None
            loss.backward()
            if world > 1:
                flat = torch.cat([p.grad.flatten() for p in net.parameters()]) / world
                group.all_reduce(flat)
                for p, part in zip(net.parameters(), flat.split([p.numel() for p in net.parameters()])):
                    p.grad.copy_(part.view_as(p))
            torch.nn.utils.clip_grad_norm_(others, 1.0)
            muon.step(o.muon_lr * rate, rank, world)
            adam.step()
            step += 1
            seen += inputs.numel() * world
            losses.append(loss.item())
        if rank == 0 and losses and (step % o.log_every == 0 or done >= 1):
            now = time.time()
            copies = induction(net, probe, size, table, o.device)
            log(f"step {step} tokens {seen} loss {sum(losses) / max(1, len(losses)):.4f} lr {rate:.4f} "
                f"tokens/s {(seen - seen_last) / (now - last):.0f} window {size} copy {copies:.3f}")
            small = small and copies < 0.92
            losses, last, seen_last = [], now, seen
        if rank == 0 and (step % o.save_every == 0 or done >= 1):
            reference.save(net, o.out)
            torch.save((net.state_dict(), muon.state, adam.state_dict(), step, seen, small),
                       os.path.join(o.out, "state.pt"))
            line = f"eval step {step} minutes {(time.time() - begin) / 60:.1f}"
            line += f" ppl256 {evaluate_reference.perplexity(net, unseen, 256, windows=4, device=o.device):.4f}"
            for method in ("none", "pi", "ntk", "yarn"):
                line += f" {method}1024 {evaluate_reference.perplexity(net, unseen[:4], 1024, method, 1, device=o.device):.3f}"
            for label, style in (("spaces", {}), ("newlines", {"joint": "\n"})):
                line += f" passkey-{label} {evaluate_reference.passkey(net, tokenizer, 256, trials=50, device=o.device, **style):.2f}"
            log(line)
            last = time.time()
        if done >= 1:
            break


if __name__ == "__main__":
    main()
