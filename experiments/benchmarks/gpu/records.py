"""What every script of this series shares: one JSON line per measurement, and compact tables that appear as they grow."""
import json
import time
from pathlib import Path


def say(*words):
    print(*words, flush=True)


def record(out, kind, **fields):
    """Appends one measurement to OUT/records.jsonl (nothing if out is None) and returns it."""
    entry = {"kind": kind, "time": time.strftime("%H:%M:%S"), **fields}
    if out is not None:
        path = Path(out)
        path.mkdir(parents=True, exist_ok=True)
        with open(path / "records.jsonl", "a") as file:
            file.write(json.dumps(entry) + "\n")
    return entry


def read(out):
    """All measurements of OUT, oldest first."""
    path = Path(out) / "records.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def table(header, rows):
    """The rows as text, columns as wide as they must be; numbers to the right."""
    cells = [[str(c) for c in row] for row in rows]
    widths = [max(len(str(h)), *(len(row[i]) for row in cells)) if cells else len(str(h)) for i, h in enumerate(header)]

    def line(values):
        return "  ".join(str(v).ljust(w) if i == 0 else str(v).rjust(w) for i, (v, w) in enumerate(zip(values, widths))).rstrip()
    return "\n".join([line(header), *map(line, cells)])
