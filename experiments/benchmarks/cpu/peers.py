#!/usr/bin/env python3
"""longrope beside other programs that score text on a CPU: same model, same tokens, same targets, in one run.

    python3 experiments/benchmarks/cpu/peers.py --model DIR --text FILE --length 2048 --gguf model-f32.gguf model-bf16.gguf

Disjoint windows of --length tokens, BOS in front, the second half of each scored (llama-perplexity's protocol). A program's time for a
window is what --windows more of them cost it, start and tokenising subtracted; the best of --repeats. Peers: llama-perplexity of
llama.cpp, on each GGUF named, with and without flash attention; PyTorch through transformers with its own scaled dot-product
attention. One that is not installed is skipped by name. Run it on an idle machine.
"""
import argparse
import contextlib
import importlib.util
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path


class InputError(Exception):
    """What the user gave is wrong; the message says what and where."""


def run(command, environment=None):
    """Seconds and everything the command said; an error with its last words where it fails."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise InputError(f"[{command[0]}] must succeed but ended with {done.returncode}: {last[0]}")
    return seconds, done.stdout, done.stderr


class Longrope:
    def __init__(self, options, precision):
        self.name = f"longrope {precision}"
        self.precision = precision
        self.options = options

    def missing(self):
        if not os.access(self.options.longrope, os.X_OK):
            return f"{self.options.longrope} is not there (--longrope)"
        return None

    def score(self, windows, threads):
        o = self.options
        seconds, out, _ = run([o.longrope, "evaluate", "--model", o.model, "--text", o.text, "--length", str(o.length),
                               "--windows", str(windows), "--protocol", "half", "--rope", "config", "--backend", "cpu",
                               "--precision", self.precision, "--threads", str(threads), "--json"])
        return seconds, json.loads(out)["results"][0]["ppl"]

    def seconds_per_window(self, threads):
        return by_difference(self.score, self.options, threads)


class LlamaPerplexity:
    """llama.cpp on one GGUF: the better of its two ways to attend."""

    def __init__(self, options, gguf):
        self.name = f"llama.cpp {Path(gguf).stem}"
        self.gguf = gguf
        self.options = options
        self.program = options.llama_perplexity or shutil.which("llama-perplexity")

    def missing(self):
        if not self.program or not os.access(self.program, os.X_OK):
            return "llama-perplexity is not on the PATH (--llama-perplexity)"
        return None if os.path.exists(self.gguf) else f"{self.gguf} is not there (--gguf)"

    def seconds_per_window(self, threads):
        best = None
        for attention in ("on", "off"):
            def score(windows, count):
                o = self.options
                seconds, out, log = run([self.program, "-m", self.gguf, "-f", o.text, "-c", str(o.length), "-b",
                                         str(o.length), "--chunks", str(windows), "-t", str(count), "-tb", str(count),
                                         "-fa", attention])
                found = re.search(r"Final estimate: PPL = ([0-9.]+)", out + log)
                return seconds, float(found.group(1)) if found else None  # its last lines are lost now and then
            measured = by_difference(score, self.options, threads)
            if best is None or measured[0] < best[0]:
                best = measured
        return best


class PyTorch:
    """A forward pass of transformers in this process, logits of the scored half alone."""

    def __init__(self, options, precision):
        self.name = f"PyTorch {precision}"
        self.precision = precision
        self.options = options
        self.model = None

    def missing(self):
        for module in ("torch", "transformers", "sentencepiece"):
            if importlib.util.find_spec(module) is None:
                return f"the Python package {module} is not installed"
        if not (Path(self.options.model) / "tokenizer.model").exists():
            return f"{self.options.model} has no tokenizer.model"
        return None

    def load(self):
        import sentencepiece
        import torch
        import transformers
        tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(Path(self.options.model) / "tokenizer.model"))
        text = Path(self.options.text).read_text(encoding="utf-8")
        stream = [tokenizer.bos_id()] + tokenizer.encode(text)
        length = self.options.length
        self.windows = []
        for k in range(self.options.windows):
            ids = stream[k * length:(k + 1) * length]
            if len(ids) < length:
                raise InputError(f"[{self.options.text}] must hold {self.options.windows} windows of {length} tokens")
            self.windows.append(torch.tensor([[tokenizer.bos_id()] + ids[1:]]))
        kind = torch.float32 if self.precision == "f32" else torch.bfloat16
        with contextlib.redirect_stderr(io.StringIO()):
            self.model = transformers.AutoModelForCausalLM.from_pretrained(self.options.model, dtype=kind,
                                                                           attn_implementation="sdpa").eval()

    def seconds_per_window(self, threads):
        import torch
        if self.model is None:
            self.load()
        torch.set_num_threads(threads)
        half = self.options.length // 2
        best, nll = math.inf, 0.0
        with torch.inference_mode():
            for _ in range(self.options.repeats + 1):  # the first warms up
                started = time.perf_counter()
                nll = 0.0
                for ids in self.windows:
                    hidden = self.model.model(ids[:, :-1], use_cache=False).last_hidden_state[0, half:]
                    logits = self.model.lm_head(hidden).float()
                    nll += torch.nn.functional.cross_entropy(logits, ids[0, half + 1:], reduction="sum").item()
                best = min(best, time.perf_counter() - started)
        scored = len(self.windows) * (self.options.length - half - 1)
        return best / len(self.windows), math.exp(nll / scored)


def by_difference(score, options, threads):
    """Seconds a window costs a program that is started anew, and its perplexity of --windows windows."""
    few = min(score(1, threads)[0] for _ in range(options.repeats))
    runs = [score(1 + options.windows, threads) for _ in range(options.repeats)]
    for _ in range(5):
        perplexity = score(options.windows, threads)[1]
        if perplexity is not None:
            return (min(seconds for seconds, _ in runs) - few) / options.windows, perplexity
    raise InputError("the program does not say its perplexity")


def measure(options):
    peers = [Longrope(options, precision) for precision in options.precision]
    peers += [LlamaPerplexity(options, gguf) for gguf in options.gguf or [""]]
    peers += [PyTorch(options, precision) for precision in ("f32", "bf16")]
    own = {}
    print(f"windows of {options.length} tokens, the second half scored, {options.model}")
    header = "".join(f"{'of longrope ' + p:>20}" for p in options.precision)
    print(f"{'program':<28}{'threads':>8}{'s/window':>10}{'PPL':>10}{header}")
    for peer in peers:
        reason = peer.missing()
        if reason:
            print(f"{peer.name.strip():<28}skipped: {reason}")
            continue
        for threads in options.threads:
            try:
                seconds, perplexity = peer.seconds_per_window(threads)
            except InputError as error:
                print(f"{peer.name:<28}{threads:>8}  failed: {error}")
                continue
            if isinstance(peer, Longrope):
                own[peer.precision, threads] = seconds
            ratios = "".join(f"{seconds / own[p, threads]:>19.2f}x" if (p, threads) in own else f"{'-':>20}"
                             for p in options.precision)
            print(f"{peer.name:<28}{threads:>8}{seconds:>10.4f}{perplexity:>10.4f}{ratios}", flush=True)


def integers(text):
    values = [int(value) for value in text.split(",")]
    if any(value < 1 for value in values):
        raise argparse.ArgumentTypeError("must be at least 1")
    return values


def at_least(least):
    def parse(text):
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        return value
    return parse


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="checkpoint directory with tokenizer.model")
    parser.add_argument("--text", required=True, help="one UTF-8 text file")
    parser.add_argument("--length", type=at_least(4), default=2048, help="tokens of a window (default 2048)")
    parser.add_argument("--windows", type=at_least(1), default=4, help="windows timed (default 4)")
    parser.add_argument("--repeats", type=at_least(1), default=3, help="the best of so many runs counts (default 3)")
    parser.add_argument("--threads", type=integers, default=[1, 2], help="thread counts, comma-separated (default 1,2)")
    parser.add_argument("--precision", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"], help="of longrope")
    parser.add_argument("--longrope", default="build/release/longrope", help="the program (default build/release/longrope)")
    parser.add_argument("--llama-perplexity", help="the program (default: found on the PATH)")
    parser.add_argument("--gguf", nargs="+", help="the same model as llama.cpp reads it, one file per precision")
    options = parser.parse_args(arguments)
    for path in (options.model, options.text):
        if not os.path.exists(path):
            raise InputError(f"[{path}] must exist but does not")
    measure(options)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as problem:
        print(f"peers.py: {problem}", file=sys.stderr)
        sys.exit(2)
