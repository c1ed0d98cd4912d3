#!/usr/bin/env python3
"""Fine-tunes a checkpoint under a table of rescale factors, on windows of the table's length: the command that
`longrope progressive` runs between stages.

    python3 experiments/finetune.py --model DIR --table table.json --length N --out DIR --text FILE...
    torchrun --nproc_per_node 8 experiments/finetune.py ...      (or accelerate launch, with its own config for FSDP)

Defaults are LongRoPE's recipe (arXiv 2402.13753, section 4.1: 400 steps, 32 windows a step, AdamW at 2e-5 with linear
decay, text framed by BOS and EOS and packed into windows). --mixed SHARE is LongRoPE2's mixed context window training
(arXiv 2502.20082): that share of the tokens is in windows of the original length, each of one document, under the
original RoPE. --lora RANK trains adapters (PEFT), merged into what is written; 0, the default, trains all weights.

Writes a Hugging Face directory: weights in the checkpoint's type, its config.json with the table in rope_scaling, its
tokenizer; whole or not at all. Needs torch, transformers, accelerate, safetensors; peft for --lora; sentencepiece or
tokenizers for --text. The same seed, machine and number of threads and processes give the same bytes on a CPU.
"""
import argparse
import json
import math
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]  # tokenize.py is beside this file

import numpy as np  # noqa: E402

TOKENIZER_FILES = ("tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                   "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json")


class InputError(Exception):
    """What the user gave is wrong; the message says what and where."""


def need(condition, message):
    if not condition:
        raise InputError(message)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", required=True, type=Path, help="checkpoint directory to start from")
    add("--table", required=True, type=Path, help="JSON with factors (absolute), attention_factor, start_tokens")
    add("--length", required=True, type=int, help="context of the table, in tokens")
    add("--window", type=int, help="tokens of a training window (default: --length; shorter trains on less memory)")
    add("--out", required=True, type=Path, help="directory to write; must not exist")
    add("--text", nargs="+", type=Path, help="UTF-8 files, one document each, or directories of them")
    add("--tokens", type=Path, help="token ids instead: .h5 (/documents/NAME), .npy, .u16 or .u32")
    add("--steps", type=int, default=400, help="(default %(default)s)")
    add("--batch", type=int, default=32, help="windows a step, all processes together (default %(default)s)")
    add("--lr", type=float, default=2e-5, help="peak learning rate (default %(default)s)")
    add("--schedule", choices=("linear", "cosine", "constant"), default="linear", help="decay to 0 (default %(default)s)")
    add("--warmup", type=int, default=0, help="steps of linear warm-up (default %(default)s)")
    add("--clip", type=float, default=1.0, help="largest gradient norm (default %(default)s)")
    add("--mixed", type=float, default=0.0, metavar="SHARE", help="share of tokens in original-length windows (default %(default)s)")
    add("--lora", type=int, default=0, metavar="RANK", help="adapters of this rank; 0: all weights (default %(default)s)")
    add("--lora-alpha", type=float, help="(default: 2 RANK)")
    add("--lora-targets", default="q_proj,k_proj,v_proj,o_proj,qkv_proj", help="modules with adapters (default %(default)s)")
    add("--train-norms", action="store_true", help="with --lora: norms and embeddings learn too (LongLoRA)")
    add("--precision", choices=("auto", "f32", "bf16"), default="auto", help="auto: bf16 on a GPU, else f32")
    add("--checkpointing", action="store_true", help="recompute activations in the backward pass: less memory")
    add("--save-every", type=int, default=0, metavar="STEPS", help="keep OUT.state to go on from after an interruption (0: do not)")
    add("--seed", type=int, default=1, help="order of the windows (default %(default)s)")
    add("--threads", type=int, default=0, help="CPU threads (default: torch's)")
    add("--log-every", type=int, default=10, help="(default %(default)s)")
    arguments = parser.parse_args()
    for name in ("steps", "batch", "log_every"):
        need(getattr(arguments, name) >= 1, f"[--{name.replace('_', '-')}] must be at least 1 but got {getattr(arguments, name)}")
    need(arguments.lr > 0 and math.isfinite(arguments.lr), f"[--lr] must be above 0 but got {arguments.lr}")
    need(0 <= arguments.mixed < 1, f"[--mixed] must be from 0 and below 1 but got {arguments.mixed}")
    need((arguments.text is None) != (arguments.tokens is None), "[usage] give --text or --tokens")
    need(not os.path.lexists(arguments.out), f"[--out] {arguments.out} exists already")
    arguments.window = arguments.window or arguments.length
    need(2 <= arguments.window <= arguments.length, f"[--window] must be from 2 to --length {arguments.length} but got {arguments.window}")
    return arguments


def read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"[{path}] must be readable JSON but got: {error}") from error


class Table:
    """What the engine wrote: factors that divide the plain frequencies, against plain theta."""

    def __init__(self, path, config):
        root = read_json(path)
        self.factors = root.get("factors")
        need(isinstance(self.factors, list) and self.factors and
             all(isinstance(x, (int, float)) and math.isfinite(x) and x > 0 for x in self.factors),
             f"[{path}] factors must be a list of numbers above 0")
        self.attention_factor = float(root.get("attention_factor", 1.0))
        self.start_tokens = int(root.get("start_tokens", 0))
        scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
        self.theta = float(scaling.get("rope_theta", config.get("rope_theta", 10000.0)))
        self.original_length = int(config.get("original_max_position_embeddings") or
                                   scaling.get("original_max_position_embeddings") or config["max_position_embeddings"])
        head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        partial = scaling.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
        pairs = int(head * partial) // 2
        need(len(self.factors) == pairs, f"[{path}] must hold {pairs} factors for this model but got {len(self.factors)}")

    def config(self, original, length):
        """The checkpoint's config.json with this table, as `longrope export --to hf --mode static` writes it."""
        config = {key: value for key, value in original.items() if key not in ("rope_parameters", "rope_scaling")}
        config.update(max_position_embeddings=length, original_max_position_embeddings=self.original_length, rope_theta=self.theta)
        scaling = original.get("rope_parameters") or {}
        if "partial_rotary_factor" in scaling:
            config["partial_rotary_factor"] = scaling["partial_rotary_factor"]
        if config.get("model_type") in ("phi3", "phi4"):
            config["rope_scaling"] = {"type": "longrope", "short_factor": self.factors, "long_factor": self.factors}
        else:
            a = self.attention_factor
            config["rope_scaling"] = {"rope_type": "longrope", "short_factor": self.factors, "long_factor": self.factors,
                                      "factor": float(length / self.original_length),
                                      "original_max_position_embeddings": self.original_length,
                                      "attention_factor": a, "short_mscale": a, "long_mscale": a}
        return config


def documents_of(arguments):
    """Token ids of each document, without special tokens."""
    if arguments.tokens is not None:
        suffix = arguments.tokens.suffix
        if suffix in (".h5", ".hdf5"):
            import h5py
            with h5py.File(arguments.tokens, "r") as file:
                return [np.asarray(data[()], dtype=np.int64) for data in file["documents"].values()]
        if suffix == ".npy":
            return [np.load(arguments.tokens).astype(np.int64)]
        need(suffix in (".u16", ".u32"), f"[--tokens] must end in .h5, .npy, .u16 or .u32 but got {arguments.tokens}")
        return [np.fromfile(arguments.tokens, dtype="<u2" if suffix == ".u16" else "<u4").astype(np.int64)]
    texts = []
    files = [f for path in arguments.text for f in (sorted(path.iterdir()) if path.is_dir() else [path]) if not f.is_dir()]
    need(files, "[--text] must name files but names empty directories")
    for path in files:
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"[{path}] must be UTF-8 text but got: {error}") from error
    if (arguments.model / "tokenizer.json").exists():
        from tokenizers import Tokenizer
        tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
        return [np.asarray(tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64) for text in texts]
    import sentencepiece
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(arguments.model / "tokenizer.model"))
    return [np.asarray(tokenizer.encode(text), dtype=np.int64) for text in texts]


def checkpoint_type(directory, torch):
    """The type of the checkpoint's weights; float32 where they differ."""
    from safetensors import safe_open
    found = set()
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, "pt") as tensors:
            found |= {tensors.get_slice(name).get_dtype() for name in tensors.keys()}
    return {"BF16": torch.bfloat16, "F16": torch.float16}.get(found.pop() if len(found) == 1 else "", torch.float32)


def token_id(config, name):
    """A special token; None where there is none."""
    value = config.get(name)
    return value[0] if isinstance(value, list) else value


class Windows:
    """Windows of the packed text, and of single documents for mixed training, in an order that the seed decides."""

    def __init__(self, documents, bos, eos, seed):
        self.documents, self.bos, self.eos, self.seed = documents, bos, eos, seed
        self.cache = {}

    def stream(self, order):
        """The documents one after the other, framed; the BOS in front of all is every window's own."""
        parts = []
        for index in order:
            if parts and self.bos is not None:
                parts.append([self.bos])
            parts.append(self.documents[index])
            if self.eos is not None:
                parts.append([self.eos])
        return np.concatenate(parts).astype(np.int64)

    def epoch(self, number, length, packed):
        """[n, length]: every window starts with BOS."""
        key = (number, length, packed)
        if key not in self.cache:
            random = np.random.default_rng([self.seed, number, length])
            order = random.permutation(len(self.documents))
            body = length - (self.bos is not None)
            if packed:
                pieces = [self.stream(order)]
            else:
                pieces = [self.documents[index] for index in order]
            rows = []
            for piece in pieces:
                start = int(random.integers(0, max(1, min(body, len(piece) - body + 1))))
                for first in range(start, len(piece) - body + 1, body):
                    row = piece[first:first + body]
                    rows.append(row if self.bos is None else np.concatenate(([self.bos], row)))
            need(rows, f"[--text] must hold {'' if packed else 'one document of '}{length} tokens but does not")
            self.cache = {k: v for k, v in self.cache.items() if k[1] != length}
            self.cache[key] = np.stack(rows)[random.permutation(len(rows))]
        return self.cache[key]

    def take(self, first, count, length, packed):
        """Windows first to first + count - 1 of the endless sequence."""
        rows, number = [], 0
        size = len(self.epoch(0, length, packed))
        while len(rows) < count:
            number = (first + len(rows)) // size  # epochs may differ in size by a window: the first one counts
            block = self.epoch(number, length, packed)
            rows.append(block[(first + len(rows)) % size % len(block)])
        return np.stack(rows)


def rotary_class(torch):
    class TableRotary(torch.nn.Module):
        """Takes the place of a transformers rotary embedding: angles in double, as longrope's own."""

        def __init__(self, table):
            super().__init__()
            plain = table.theta ** (-np.arange(len(table.factors)) / len(table.factors))
            self.plain = torch.tensor(plain, dtype=torch.float64)
            self.rescaled = torch.tensor(plain / np.asarray(table.factors, dtype=np.float64), dtype=torch.float64)
            self.attention_factor, self.start_tokens, self.original = table.attention_factor, table.start_tokens, False

        @torch.no_grad()
        def forward(self, x, position_ids, *_, **__):
            position = position_ids.to(torch.float64)[..., None]
            plain, rescaled = self.plain.to(x.device), self.rescaled.to(x.device)
            if self.original:
                angle, factor = position * plain, 1.0
            else:
                angle, factor = position * torch.where(position < self.start_tokens, plain, rescaled), self.attention_factor
            angle = torch.cat((angle, angle), dim=-1)
            return (angle.cos() * factor).to(x.dtype), (angle.sin() * factor).to(x.dtype)

    return TableRotary


def apply_table(torch, model, table):
    rotary = rotary_class(torch)(table)
    found = [module for module in model.modules() if hasattr(module, "rotary_emb")]
    need(found, f"[--model] {type(model).__name__} has no rotary_emb to give the table to")
    for module in found:
        module.rotary_emb = rotary
    return rotary


def learning_rate(arguments, step):
    """Of step 0, 1, ...; the peak is reached after the warm-up, 0 after the last step."""
    if step < arguments.warmup:
        return arguments.lr * (step + 1) / arguments.warmup
    share = (step - arguments.warmup) / max(1, arguments.steps - arguments.warmup)
    factor = {"linear": 1 - share, "cosine": (1 + math.cos(math.pi * share)) / 2, "constant": 1.0}[arguments.schedule]
    return arguments.lr * factor


def is_short(arguments, step, original_length):
    """Whether a step is of original-length windows: spread evenly, that share of the steps."""
    return original_length < arguments.window and math.floor((step + 1) * arguments.mixed) > math.floor(step * arguments.mixed)


def add_adapters(arguments, model):
    import peft
    names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    targets = [name for name in arguments.lora_targets.split(",") if name in names]
    need(targets, f"[--lora-targets] must name modules of the model but got {arguments.lora_targets}")
    config = peft.LoraConfig(r=arguments.lora, lora_alpha=arguments.lora_alpha or 2 * arguments.lora, target_modules=targets,
                             lora_dropout=0.0, bias="none", task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, config)
    if arguments.train_norms:
        for name, parameter in model.named_parameters():
            if "norm" in name or "embed_tokens" in name:
                parameter.requires_grad_(True)
    return model


def train(arguments, torch, accelerator, model, rotary, windows, table):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=arguments.lr, betas=(0.9, 0.95), weight_decay=0.0)
    model, optimizer = accelerator.prepare(model, optimizer)
    first, state = 0, Path(f"{arguments.out}.state")
    taken = {False: 0, True: 0}
    if arguments.save_every and (state / "step.json").exists():
        accelerator.load_state(str(state / "accelerate"))
        saved = read_json(state / "step.json")
        first, taken = saved["step"], {False: saved["long"], True: saved["short"]}
        accelerator.print(f"going on from step {first}", flush=True)
    model.train()
    world, rank = accelerator.num_processes, accelerator.process_index
    losses = {}
    for step in range(first, arguments.steps):
        short = is_short(arguments, step, table.original_length)
        length = table.original_length if short else arguments.window
        count = arguments.batch * (arguments.window // length)
        ids = windows.take(taken[short], count, length, packed=not short)
        taken[short] += count
        rotary.original = short
        per_pass = max(1, arguments.window // length)
        own = ids[rank::world]
        passes = [own[i:i + per_pass] for i in range(0, len(own), per_pass)]
        need(passes, f"[--batch] must be at least the number of processes, {world}, but got {arguments.batch}")
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(arguments, step)
        optimizer.zero_grad()
        total = 0.0
        for i, part in enumerate(passes):
            batch = torch.from_numpy(part).to(accelerator.device)
            last = i + 1 == len(passes)
            with accelerator.no_sync(model) if not last else torch.enable_grad():
                loss = model(input_ids=batch, labels=batch, use_cache=False).loss * (len(part) / len(own))
                accelerator.backward(loss)
            total += loss.item()
        need(math.isfinite(total), f"[step {step + 1}] the loss must be finite but is {total} (a lower --lr helps)")
        accelerator.clip_grad_norm_(model.parameters(), arguments.clip)
        optimizer.step()
        losses.setdefault(length, []).append(total)
        if (step + 1) % arguments.log_every == 0 or step + 1 == arguments.steps:
            said = ", ".join(f"{np.mean(values):.4f} (windows of {n})" for n, values in sorted(losses.items(), reverse=True))
            accelerator.print(f"step {step + 1}/{arguments.steps}  loss {said}  lr {learning_rate(arguments, step):.3g}", flush=True)
            losses = {}
        if arguments.save_every and (step + 1) % arguments.save_every == 0 and step + 1 < arguments.steps:
            accelerator.save_state(str(state / "accelerate"))
            if accelerator.is_main_process:
                (state / "step.tmp").write_text(json.dumps({"step": step + 1, "long": taken[False], "short": taken[True]}))
                os.replace(state / "step.tmp", state / "step.json")
            accelerator.wait_for_everyone()
    return model


def sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_checkpoint(arguments, torch, accelerator, model, config, dtype):
    """Whole or not at all: a temporary directory beside --out, fsync, rename."""
    plain = accelerator.unwrap_model(model)
    state = accelerator.get_state_dict(model)
    if not accelerator.is_main_process:
        return
    if arguments.lora:
        plain.load_state_dict(state)
        plain = plain.merge_and_unload()
        state = plain.state_dict()
    temporary = arguments.out.parent / f".{arguments.out.name}.writing"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        state = {name: tensor.to(dtype) for name, tensor in state.items()}
        plain.to(dtype).save_pretrained(temporary, state_dict=state)
        (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (temporary / "generation_config.json").unlink(missing_ok=True)
        for name in TOKENIZER_FILES:
            if (arguments.model / name).exists():
                shutil.copy(arguments.model / name, temporary / name)
        for path in temporary.iterdir():
            path.chmod(0o644)
            sync(path)
        sync(temporary)
        os.rename(temporary, arguments.out)
        sync(arguments.out.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(f"{arguments.out}.state", ignore_errors=True)


def main():
    arguments = parse_arguments()
    config = read_json(arguments.model / "config.json")
    table = Table(arguments.table, config)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import torch
        import transformers
        from accelerate import Accelerator
    except ImportError as error:
        raise InputError(f"[packages] torch, transformers and accelerate must be installed but got: {error}") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    cuda = torch.cuda.is_available()
    bf16 = arguments.precision == "bf16" or (arguments.precision == "auto" and cuda)
    accelerator = Accelerator(mixed_precision="bf16" if bf16 else "no", cpu=not cuda)
    windows = Windows(documents_of(arguments), token_id(config, "bos_token_id"), token_id(config, "eos_token_id"), arguments.seed)
    windows.take(0, 1, arguments.window, packed=True)
    plain_config = transformers.AutoConfig.from_pretrained(arguments.model)
    model = transformers.AutoModelForCausalLM.from_pretrained(arguments.model, config=plain_config, dtype=torch.float32,
                                                              attn_implementation="sdpa")
    dtype = checkpoint_type(arguments.model, torch)
    rotary = apply_table(torch, model, table)
    if arguments.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if arguments.lora:
            model.enable_input_require_grads()
    if arguments.lora:
        model = add_adapters(arguments, model)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    accelerator.print(f"fine-tuning {trained} weights for {arguments.steps} steps of {arguments.batch} windows of {arguments.window} tokens"
                      f" on {accelerator.num_processes} x {accelerator.device.type}", flush=True)
    if table.start_tokens:
        accelerator.print(f"note: start_tokens={table.start_tokens} is trained with but config.json cannot say it", flush=True)
    model = train(arguments, torch, accelerator, model, rotary, windows, table)
    write_checkpoint(arguments, torch, accelerator, model, table.config(config, arguments.length), dtype)
    accelerator.wait_for_everyone()
    accelerator.print(f"written: {arguments.out}", flush=True)
    accelerator.end_training()


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"finetune.py: {error}", file=sys.stderr)
        sys.exit(2)
