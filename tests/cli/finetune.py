"""experiments/finetune.py: the loss it starts from is the engine's under the same table, long and short; what it writes loads and
scores as the table does; LoRA touches what it should; the same seed gives the same bytes, also after a kill.

    python3 tests/cli/finetune.py --longrope build/release/longrope --python VENV/bin/python
"""
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import driver  # noqa: E402
import random_checkpoint as rc  # noqa: E402

SCRIPT = ROOT / "experiments" / "finetune.py"
LENGTH, L0, EOS = 128, 64, 2
PACKAGES = "torch, transformers, accelerate, peft, safetensors"


def tensors(directory):
    """name -> (dtype, bytes) of model.safetensors."""
    raw = (Path(directory) / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + size])
    return {name: (entry["dtype"], raw[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]])
            for name, entry in header.items() if name != "__metadata__"}


class Tuning:
    def __init__(self, python, directory, model, table):
        self.python, self.directory, self.model, self.table = python, directory, model, table

    def command(self, out, tokens, *options):
        return [self.python, str(SCRIPT), "--model", str(self.model), "--table", str(self.table), "--length", str(LENGTH), "--out",
                str(self.directory / out), "--tokens", str(tokens), "--threads", "1", "--log-every", "1", *map(str, options)]

    def run(self, out, tokens, *options):
        return subprocess.run(self.command(out, tokens, *options), capture_output=True, text=True, timeout=driver.TIMEOUT_S, check=False)

    def made(self, checks, out, tokens, *options):
        """The directory, and the losses that were logged."""
        done = self.run(out, tokens, *options)
        if not checks.equal(done.returncode, 0, f"{out}: exit code ({done.stderr.strip()[-800:]})"):
            raise driver.Failed(done.stderr[-2000:])
        return self.directory / out, [float(x) for x in re.findall(r"loss ([0-9.]+)", done.stdout)]


def mean_nll(program, model, tokens, length, rope):
    result = program.json("evaluate", "--model", model, "--tokens", tokens, "--length", length, "--windows", 1, "--rope", rope, "--json")
    return result["results"][0]["nll_nats"] / result["results"][0]["tokens"]


def errors(tuning, checks, tokens):
    taken = tuning.directory / "taken"
    taken.mkdir()
    wrong = tuning.directory / "wrong.json"
    wrong.write_text('{"factors": [1.0, 2.0]}')
    short = rc.write_raw(tuning.directory / "short.u16", [5] * 20)
    for what, out, data, options, words in (
            ("an --out that exists", "taken", tokens, [], "exists already"),
            ("another number of factors", "new", tokens, ["--table", wrong], "must hold 8 factors"),
            ("too little text", "new", short, [], f"{LENGTH} tokens"),
            ("no steps", "new", tokens, ["--steps", 0], "--steps")):
        done = tuning.run(out, data, *options)
        checks.equal(done.returncode, 2, f"{what}: exit code")
        lines = done.stderr.strip().splitlines() or [""]
        checks.true(words in lines[-1] and lines[-1].startswith("finetune.py: "), f"{what}: says {words!r}", words, done.stderr[-500:])
        checks.true(not (tuning.directory / "new").exists(), f"{what}: writes nothing", "nothing", "a directory")


def killed(tuning, checks, tokens, expected):
    """kill -9 after a saved step; the next run goes on from there."""
    options = ("--steps", 4, "--batch", 2, "--lr", 1e-3, "--save-every", 2)
    process = subprocess.Popen(tuning.command("killed", tokens, *options), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in process.stdout:
        if line.startswith("step 3/"):
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    checks.true(not (tuning.directory / "killed").exists(), "killed: nothing under the final name", "nothing", "a directory")
    done = tuning.run("killed", tokens, *options)
    checks.equal(done.returncode, 0, f"killed: the next run ({done.stderr[-400:]})")
    checks.true("going on from step 2" in done.stdout, "killed: goes on from the saved step", "step 2", done.stdout)
    checks.equal(tensors(tuning.directory / "killed") == expected, True, "killed: the same weights as without")
    left = sorted(p.name for p in tuning.directory.iterdir() if "killed" in p.name and p.name != "killed")
    checks.equal(left, [], "killed: what is left beside it")


def test(program, checks, directory, arguments):
    probe = subprocess.run([arguments.python, "-c", f"import {PACKAGES}"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        raise driver.Skip(f"{arguments.python} has no {PACKAGES} ({(probe.stderr.strip().splitlines() or ['?'])[-1]}); "
                          "give --python or set LONGROPE_TORCH_PYTHON")
    model = rc.make_checkpoint(directory / "model", "llama", seed=61, layers=2, max_positions=L0)
    table = directory / "table.json"
    factors = np.linspace(1.0, 2.4, 8).tolist()
    table.write_text(json.dumps({"factors": factors, "attention_factor": 1.08, "start_tokens": 3, "target_length": LENGTH}))
    tuning = Tuning(arguments.python, directory, model, table)

    # A document that fills one window with its BOS and EOS: the first loss is the engine's mean NLL.
    body = rc.random_documents(62, 320, [LENGTH - 2])[0]
    one = rc.write_raw(directory / "one.u16", body)
    scored = rc.write_raw(directory / "scored.u16", body + [EOS])
    still, losses = tuning.made(checks, "still", one, "--steps", 1, "--batch", 1, "--lr", 1e-30)
    spec = f"longrope:{table}"
    checks.close(losses[0], mean_nll(program, model, scored, LENGTH, spec), 1e-4, "loss of the first step against the engine")
    checks.equal(tensors(still) == tensors(model), True, "a rate of nothing changes no bit of the weights")
    table_only = directory / "no-start.json"
    table_only.write_text(json.dumps({"factors": factors, "attention_factor": 1.08}))
    checks.close(mean_nll(program, still, scored, LENGTH, "config"), mean_nll(program, model, scored, LENGTH, f"longrope:{table_only}"),
                 1e-9, "the written config scores as the table does")
    config = json.loads((still / "config.json").read_text())
    checks.equal([config["max_position_embeddings"], config["original_max_position_embeddings"], config["rope_theta"]], [LENGTH, L0, 10000.0],
                 "lengths and theta of the written config")

    # One token again and again: all windows are alike, so the short one, under the original RoPE, is known too.
    same = rc.write_raw(directory / "same.u16", [7] * 400)
    _, losses = tuning.made(checks, "mixed", same, "--steps", 2, "--batch", 1, "--lr", 1e-30, "--mixed", 0.5)
    checks.close(losses[0], mean_nll(program, model, same, LENGTH, spec), 1e-4, "mixed: the long window's loss")
    checks.close(losses[1], mean_nll(program, model, same, L0, "none"), 1e-4, "mixed: the short window's loss, original RoPE")

    tokens = rc.write_raw(directory / "tokens.u16", rc.random_documents(63, 320, [2000])[0])
    trained, losses = tuning.made(checks, "trained", tokens, "--steps", 4, "--batch", 2, "--lr", 1e-3)
    checks.true(tensors(trained) != tensors(model), "training changes the weights", "another", "the same")
    again, _ = tuning.made(checks, "again", tokens, "--steps", 4, "--batch", 2, "--lr", 1e-3)
    checks.equal(tensors(again) == tensors(trained), True, "the same seed gives the same bytes")
    killed(tuning, checks, tokens, tensors(trained))

    lora, _ = tuning.made(checks, "lora", tokens, "--steps", 2, "--batch", 1, "--lr", 1e-2, "--lora", 2)
    before, after = tensors(model), tensors(lora)
    checks.equal(sorted(after), sorted(before), "LoRA: names of the tensors")
    changed = {name for name in before if after.get(name) != before[name]}
    checks.true(changed and all(re.search(r"self_attn\.[qkvo]_proj\.weight$", name) for name in changed),
                "LoRA: only the projections of attention change", "q, k, v, o", changed)
    checks.equal(len(changed), 8, "LoRA: all of them do")
    mean_nll(program, lora, tokens, LENGTH, "config")  # loads

    command = tuning.command("two", tokens, "--steps", 2, "--batch", 2, "--lr", 1e-3)
    done = subprocess.run([arguments.python, "-m", "torch.distributed.run", "--nproc_per_node", "2", *command[1:]], capture_output=True,
                          text=True, timeout=driver.TIMEOUT_S, check=False)
    if checks.equal(done.returncode, 0, f"torchrun with two processes ({done.stderr[-800:]})"):
        single, _ = tuning.made(checks, "single", tokens, "--steps", 2, "--batch", 2, "--lr", 1e-3)
        one_process, two_processes = tensors(single), tensors(directory / "two")
        worst = max(np.abs(np.frombuffer(one_process[n][1], "<f4") - np.frombuffer(two_processes[n][1], "<f4")).max() for n in one_process)
        checks.true(worst < 2e-4, "two processes against one: largest difference of a weight, a tenth of what two steps move", "< 2e-4", worst)
    errors(tuning, checks, tokens)


def options(parser):
    parser.add_argument("--python", default=os.environ.get("LONGROPE_TORCH_PYTHON", sys.executable), help=f"one that has {PACKAGES}")


if __name__ == "__main__":
    driver.main(test, __doc__, options, at_least=25)
