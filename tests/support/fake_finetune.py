"""Stands for a fine-tuning command: copies a checkpoint with its final norm moved by what the table says, in no time or
in --seconds. --mode: what else it may do, good or bad.

    python3 fake_finetune.py --model DIR --table FILE --length N --out DIR [--log FILE] [--seconds S] [--mode MODE]
"""
import argparse
import json
import os
import shutil
import signal
import struct
import sys
import time
from pathlib import Path

import numpy as np


def edit_norm(path, table, mode):
    """Scales model.norm.weight (F32) by the mean of ln λ; NaN in it for mode nan."""
    raw = bytearray(path.read_bytes())
    size = struct.unpack("<Q", raw[:8])[0]
    first, last = json.loads(raw[8:8 + size])["model.norm.weight"]["data_offsets"]
    weights = np.frombuffer(bytes(raw[8 + size + first:8 + size + last]), dtype="<f4")
    changed = (weights * np.float32(1.0 + 0.01 * np.mean(np.log(table["factors"])))).astype("<f4")
    if mode == "nan":
        changed[0] = np.nan
    raw[8 + size + first:8 + size + last] = changed.tobytes()
    path.write_bytes(bytes(raw))


def main():
    parser = argparse.ArgumentParser()
    for name in ("model", "table", "length", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--log")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--mode", default="good")
    parser.add_argument("--note", default="")
    o = parser.parse_args()

    def say(word):
        if o.log:
            with open(o.log, "a", encoding="utf-8") as log:
                log.write(json.dumps({"word": word, "argv": sys.argv[1:]}) + "\n")

    def on_signal(number, frame):
        say(signal.Signals(number).name)
        sys.exit(143)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    say("start")
    print("fake fine-tuning on stdout", flush=True)
    table = json.loads(Path(o.table).read_text())
    if int(o.length) != table["target_length"]:
        sys.exit(9)
    if o.mode == "nothing":
        return
    out = Path(o.out)
    out.mkdir()
    for name in os.listdir(o.model):
        if name != "longrope_finetune.json":
            shutil.copy(Path(o.model) / name, out / name)  # half a checkpoint until the end
    time.sleep(o.seconds)
    edit_norm(out / "model.safetensors", table, o.mode)
    if o.mode == "theta":
        config = json.loads((out / "config.json").read_text())
        config["rope_theta"] *= 2
        (out / "config.json").write_text(json.dumps(config))
    if o.mode == "fail":
        print("fake fine-tuning breaks", file=sys.stderr)
        sys.exit(5)
    say("end")


if __name__ == "__main__":
    main()
