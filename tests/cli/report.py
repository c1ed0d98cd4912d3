"""`longrope report`: one page of a store, whatever state it is in. Well-formed, self-contained, with the figures that
`inspect --json` gives, safe against names, never half written, and looked at in a headless Chromium where there is one.

    python3 tests/cli/report.py --longrope build/release/longrope [--keep DIR]
"""
import json
import math
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
import zlib
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import driver  # noqa: E402
import random_checkpoint as rc  # noqa: E402
import stores  # noqa: E402

VOID = {"meta", "br", "hr", "img", "link", "input"}
HOSTILE = "<script>alert(1)</script>\"'&]]>--> \u202egnp.exe"


class Page(HTMLParser):
    """What a browser would make of a page: figures by key, the text, and whatever could load or run something."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.bytes = Path(path).read_bytes()
        self.open, self.wrong, self.figures, self.charts, self.circles, self.text = [], [], {}, [], [], ""
        self.viewport = self.style = ""
        self.feed(self.bytes.decode("utf-8"))
        self.close()
        if self.open:
            self.wrong.append(f"left open: {self.open}")

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes.items():
            if name.startswith("on") or name in ("src", "srcset", "action", "formaction", "xlink:href", "style", "background"):
                self.wrong.append(f"<{tag} {name}={value!r}>")
            if name == "href" and not value.startswith("#"):
                self.wrong.append(f"<{tag} href={value!r}>")
        if tag in ("script", "iframe", "object", "embed", "link", "img", "image", "use", "base", "form", "foreignobject"):
            self.wrong.append(f"<{tag}>")
        if tag == "meta" and attributes.get("name") == "viewport":
            self.viewport = attributes["content"]
        if tag == "meta" and "http-equiv" in attributes:
            self.wrong.append(f"<meta {attributes}>")
        if tag == "data":
            if attributes["data-key"] in self.figures:
                same = self.figures[attributes["data-key"]] == float(attributes["value"])
                self.wrong += [] if same else [f"two figures for {attributes['data-key']}"]
            self.figures[attributes["data-key"]] = float(attributes["value"])
        if tag == "svg" and attributes.get("class") == "chart":
            self.charts.append(attributes["aria-label"])

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        if inside == "style":
            self.style += data
        elif inside == "title" and "circle" in self.open:
            self.circles.append((self.charts[-1], data))
        else:
            self.text += data


def sound(checks, page, what):
    """Well-formed as XML and as HTML, and nothing in it that loads or runs."""
    try:
        root = ElementTree.fromstring(page.bytes.decode("utf-8").split("\n", 1)[1])
        checks.equal(root.tag, "html", f"{what}: the page is XML")
    except ElementTree.ParseError as error:
        checks.fail(f"{what}: the page is XML", "well-formed", error)
    checks.equal(page.wrong, [], f"{what}: tags and references")
    checks.true("width=device-width" in page.viewport, f"{what}: viewport", "device-width", page.viewport)
    checks.true(not re.search(r"url\(|@import|https?:|javascript:", page.style) and "prefers-color-scheme" in page.style,
                f"{what}: the style sheet", "dark and light, nothing from outside", page.style[:200])
    checks.true(not re.search(rb"(?<![\w.])(nan|inf)(?![\w.])", re.sub(rb"<data[^>]*>", b"", page.bytes)), f"{what}: no NaN in the text",
                "none", re.findall(rb".{30}(?<![\w.])(?:nan|inf)(?![\w.]).{30}", page.bytes)[:3])


class Reporter:
    def __init__(self, program, checks, directory, keep):
        self.program, self.checks, self.directory, self.keep = program, checks, directory, keep

    def page(self, store, what, name=None):
        out = (self.keep or self.directory) / f"{name or Path(store).stem}.html"
        done = self.program.run("report", store, "-o", out)
        self.checks.equal((done.returncode, done.stderr), (0, ""), f"{what}: report")
        page = Page(out)
        sound(self.checks, page, what)
        return page, out


def critical_pair(model):
    pair = model["rotary_dim"] / 2 * math.log(model["original_length"] / (2 * math.pi)) / math.log(model["theta"])
    return min(max(math.ceil(pair), 0), model["rotary_dim"] // 2)


def as_inspected(program, checks, store, page, what):
    """Every figure of the page that inspect has too, to the bit."""
    found = program.json("inspect", "--store", store, "--json")
    figures = page.figures
    for key in ("parameters", "rotary_dim", "theta", "original_length"):
        checks.equal(figures.get(f"model.{key}"), float(found["model"][key]), f"{what}: model.{key}")
    compared = 0
    for stage in found["stages"]:
        def same(key, value, stage=stage):
            nonlocal compared
            compared += 1
            got = figures.get(f"{stage['name']}.{key}", "missing")
            if value is None:  # NaN
                return checks.true(isinstance(got, float) and math.isnan(got), f"{what}: {stage['name']}.{key}", "NaN", got)
            return checks.equal(got, float(value), f"{what}: {stage['name']}.{key}")
        for key, name in (("target_length", "target_length"), ("evaluations", "evaluations"), ("cost", "cost_full_evaluations"),
                          ("elapsed_s", "elapsed_s")):
            same(key, stage[name])
        for g, generation in enumerate(stage["generations"]):
            same(f"generations.{g}.cost", generation["cost"])
            same(f"generations.{g}.best_objective", generation["best_objective"])
        for name, value in stage["baselines"].items():
            same(f"baselines.{name}", value)
            same(f"length.baseline.{name}.{stage['objectives'].split(',')[0]}", value)
        same("critical_pair", critical_pair(found["model"]))
        if stage["raced_out"]:
            same("raced_out", stage["raced_out"])
        best = stage["best"]
        if best is None:
            continue
        same("best.ppl", best["ppl"])
        if figures[f"{stage['name']}.table.id"] == best["id"]:
            same("table.ppl", best["ppl"])
            same("table.attention_factor", best["attention_factor"])
            same("table.start_tokens", best["start_tokens"])
            for i, factor in enumerate(best["factors"]):
                same(f"table.factors.{i}", factor)
        if stage["holdout"]:
            checks.true(stage["holdout"]["verdict"] in page.text, f"{what}: the verdict", stage["holdout"]["verdict"], "not in the page")
    return compared


def path_points(path):
    """[[x, y]] of a path of M and L."""
    return np.array([[float(v) for v in pair.split()] for pair in re.findall(r"[ML]([^ML]+)", path)])


def drawn_curve(checks, page, factors, critical, what):
    """The chart itself: the table's curve, the ticks and the critical dimension lie on one logarithmic scale, to the 0.1 of the drawing."""
    root = ElementTree.fromstring(page.bytes.decode("utf-8").split("\n", 1)[1])
    chart = next(e for e in root.iter("svg") if e.get("aria-label") == "rescale factors against the pair index")
    inner = next(e for e in chart.iter("svg") if e is not chart)
    left, top = float(inner.get("x")), float(inner.get("y"))
    curve = path_points(next(e for e in inner.iter("path") if e.get("class") == "line best").get("d"))
    checks.equal(len(curve), len(factors), f"{what}: points of the curve")
    x_of = np.polyfit(np.arange(len(factors)), curve[:, 0], 1)
    y_of = np.polyfit(np.log(factors), curve[:, 1], 1)
    checks.true(x_of[0] > 0 > y_of[0], f"{what}: directions of the axes", "right and up", (x_of, y_of))
    off = max(np.abs(np.polyval(x_of, np.arange(len(factors))) - curve[:, 0]).max(), np.abs(np.polyval(y_of, np.log(factors)) - curve[:, 1]).max())
    checks.true(off <= 0.11, f"{what}: the curve is the table", "within 0.11", off)
    rule = next(e for e in inner.iter("path") if e.get("class") == "rule ink").get("d")
    checks.close(re.match(r"M([\d.]+) 0V", rule).group(1), np.polyval(x_of, critical), 0.15, f"{what}: place of the critical dimension")
    texts = [(e.text, float(e.get("x")), float(e.get("y")), e.get("text-anchor")) for e in chart.iter("text")]
    checks.true(any(t[0] == f"critical: pair {critical}" for t in texts), f"{what}: its name", critical, texts)
    ticks = [(float(t), y) for t, x, y, anchor in texts if anchor == "end" and x < left and t.replace(".", "").isdigit()]
    checks.true(len(ticks) >= 2, f"{what}: ticks", "two or more", ticks)
    for value, y in ticks:
        checks.close(y - 4 - top, np.polyval(y_of, math.log(value)), 0.25, f"{what}: place of the tick {value}")


def races(reporter, store):
    page, out = reporter.page(store, "a search with racing")
    checks = reporter.checks
    checks.true(as_inspected(reporter.program, checks, store, page, "racing") > 30, "racing: figures compared", "more than 30", "fewer")
    with h5py.File(store, "r") as f:
        rows = {name: data[()] for name, data in stores.stage(f)["evaluations"].items()}
        generations = {name: data[()] for name, data in stores.stage(f)["generations"].items()}
    drawn_curve(checks, page, rows["factors"][generations["best_id"][-1]], int(page.figures["main.critical_pair"]), "racing")
    dropped = np.flatnonzero(rows["status"] == 1)
    checks.close(page.figures["main.racing.saved"], float((1 - rows["cost"][dropped]).sum()), 1e-9, "racing: cost saved")
    shown = {int(re.match(r"id (\d+)", title).group(1)): title for chart, title in page.circles if chart.startswith("how much worse")}
    checks.equal(sorted(shown), dropped.tolist(), "racing: a dot for each that was dropped")
    for i in dropped:  # against the best of the generations before its own, on the windows both have
        elite = generations["best_id"][generations["generation"] < rows["generation"][i]][-1]
        known = np.isfinite(rows["nll_nats"][i])
        worse = (rows["nll_nats"][i] - rows["nll_nats"][elite])[known].sum() / rows["tokens"][i][known].sum()
        checks.equal(shown.get(int(i)), f"id {i}: {worse:+.4f} nats/token on {known.sum()} of {len(known)} windows", f"racing: row {i}")
    return out


def frontiers(reporter, store):
    page, out = reporter.page(store, "two objectives")
    checks = reporter.checks
    as_inspected(reporter.program, checks, store, page, "two objectives")
    found = reporter.program.json("inspect", "--store", store, "--json")["stages"][0]
    last = {p["id"] for p in found["frontier"]}
    checks.equal(page.figures.get("main.hypervolume"), found["hypervolume"], "two objectives: hypervolume")
    shown = {int(re.match(r"id (\d+)", t).group(1)) for chart, t in page.circles if chart.startswith("frontier") and t.startswith("id ")}
    checks.true(last <= shown, "two objectives: the last frontier is drawn", sorted(last), sorted(shown))
    for name in ("best", "yarn"):
        value = page.figures.get(f"main.holdout.{name}.0")
        expected = next(r["objectives"][0] for r in found["holdout"]["results"] if r["name"] == name)
        checks.equal(value, expected, f"two objectives: held-out {name}")
    return out


def chain(reporter, store):
    page, out = reporter.page(store, "a search and a repair")
    checks = reporter.checks
    as_inspected(reporter.program, checks, store, page, "search and repair")
    with h5py.File(store, "r") as f:
        table = f["tables/repair"]
        for which, key in (("short", "factors"), ("long", "long_factors")):
            got = [page.figures.get(f"repair.table.{key}.{i}") for i in range(len(table[which]))]
            checks.equal(got, table[which][()].tolist(), f"search and repair: the {which} table")
        checks.equal(page.figures.get("repair.table.switch_length"), float(table.attrs["switch_length"]), "search and repair: the switch")
        for i, value in enumerate(f["stages/repair/original_objectives"][()]):
            name = f["stages/repair"].attrs["objectives"].decode().split(",")[i]
            checks.equal(page.figures.get(f"repair.length.original.{name}"), float(value), f"search and repair: original {name}")
    return out


def states(reporter, program, checks, model, tokens, store, directory):
    """An empty store, one that is being written, one that was killed."""
    empty = directory / "empty.h5"
    shutil.copy(store, empty)
    with h5py.File(empty, "r+") as f:
        stores.stage(f)["generations/generation"].resize((0,))
    page, _ = reporter.page(empty, "an empty store")
    as_inspected(program, checks, empty, page, "empty")
    checks.true("No generation is finished yet" in page.text, "empty: it says so", "a sentence", page.text[:300])
    growing = directory / "growing.h5"
    writer = program.start("search", "--model", model, "--tokens", tokens, "--target-length", 256, "--windows", 20, "--strategy",
                           "random", "--budget", 100000, "--store", growing)
    try:
        deadline, seen = time.monotonic() + 120, []
        while len(seen) < 3 and time.monotonic() < deadline:
            if growing.exists():
                page, _ = reporter.page(growing, "a store that grows")
                evaluations = page.figures["main.evaluations"]
                if evaluations > 0 and evaluations not in seen:
                    seen.append(evaluations)
            time.sleep(0.05)
        checks.true(len(seen) == 3 and seen == sorted(seen), "growing: more each time", "three counts", seen)
        checks.true(writer.poll() is None, "growing: the writer goes on", "running", writer.poll())
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    page, _ = reporter.page(growing, "a killed store", "killed")
    as_inspected(program, checks, growing, page, "killed")
    checks.true("running, or killed" in page.text, "killed: it says so", "running, or killed", page.text[:300])


def text_attribute(node, name, value):
    if name in node.attrs:
        del node.attrs[name]
    node.attrs[name] = np.bytes_(value)


def names(reporter, checks, store, directory):
    hostile = directory / "hostile.h5"
    shutil.copy(store, hostile)
    raw = HOSTILE.encode() + b"\x01\x1b[31m\xff\xc3("
    with h5py.File(hostile, "r+") as f:
        f.move("stages/main", "stages/" + HOSTILE.replace("/", "|"))
        text_attribute(f["model"], "name", raw)
        text_attribute(f["model"], "architecture", raw)
        text_attribute(f, "command_line", raw * 50)
        text_attribute(f, "created_utc", raw)
        text_attribute(stores.stage(f), "strategy", raw)
        text_attribute(stores.stage(f), "stop_reason", raw)
        text_attribute(stores.stage(f), "base", raw)
        text_attribute(stores.stage(f), "baselines", raw.replace(b",", b"") + b",a,b")
        document = f["corpus/documents/name"]
        document[0] = raw[:document.dtype.itemsize]
    page, out = reporter.page(hostile, "hostile names")
    checks.true("<script>alert(1)" in page.text, "hostile names: shown as text", "<script>alert(1)", page.text[:300])
    checks.true(b"<script" not in page.bytes and b"\x1b" not in page.bytes and b"\x01" not in page.bytes, "hostile names: escaped", "no tag",
                "a tag or a control character")
    checks.true("\u202e" not in page.text and "\ufffd" in page.text, "hostile names: direction marks and bad bytes are replaced", "U+FFFD", "")
    values = directory / "values.h5"
    shutil.copy(store, values)
    with h5py.File(values, "r+") as f:
        rows = stores.stage(f)["evaluations"]
        rows["objectives"][:, 0] = np.resize([1e308, 1e-308, np.nan, np.inf, -np.inf, -1.0, 0.0, 5.0], len(rows["id"]))
        rows["factors"][::3] = 1e308
        rows["factors"][1::3] = 1e-308
        rows["cost"][::2] = 1e300
        generations = stores.stage(f)["generations"]
        generations["best_objective"][:] = np.resize([1e308, 1e-300, np.nan], len(generations["best_id"]))
        generations["cost"][:] = np.resize([-1e300, 1e300, np.nan, np.inf], len(generations["best_id"]))
        generations["elapsed_s"][:] = np.resize([1e300, -1e300, np.nan, -5.0], len(generations["best_id"]))
        stores.stage(f).attrs.modify("budget", -(2**63))
        f["model"].attrs.modify("theta", 1.0)
    page, _ = reporter.page(values, "impossible values")
    checks.true(len(page.bytes) < 2_000_000, "impossible values: size of the page", "below 2 MB", len(page.bytes))
    return out


def refused(checks, done, words, what, code=2):
    lines = done.stderr.strip().splitlines()
    checks.equal(done.returncode, code, f"{what}: exit code")
    checks.true(len(lines) == 1 and words in lines[0], f"{what}: one line that says {words!r}", words, done.stderr)


def refusals(program, checks, store, directory):
    place = directory / "refusals"
    place.mkdir()
    out = place / "report.html"
    for name, data, words in (("random bytes", np.random.default_rng(2).bytes(20000), "store"), ("nothing", b"", "store"),
                              ("half a store", store.read_bytes()[:store.stat().st_size // 2], "store")):
        broken = directory / "broken.h5"
        broken.write_bytes(data)
        refused(checks, program.run("report", broken, "-o", out), words, name)
    refused(checks, program.run("report", directory / "no.h5", "-o", out), "does not exist", "no store")
    refused(checks, program.run("report", store), "--out", "no -o")
    refused(checks, program.run("report", "-o", out), "--store", "no store named")
    refused(checks, program.run("report", store, store, "-o", out), "usage", "two stores")
    checks.equal(list(place.iterdir()), [], "what that left")
    before = store.read_bytes()
    refused(checks, program.run("report", store, "-o", store), "no report", "-o onto the store")
    checks.true(store.read_bytes() == before, "the store after that", "as it was", "changed")
    out.write_text("mine")
    refused(checks, program.run("report", store, "-o", out), "no report", "-o onto another file")
    refused(checks, program.run("report", store, "-o", place), "no report", "-o onto a folder")
    refused(checks, program.run("report", store, "-o", place / "no" / "r.html"), "r.html", "-o into no folder")
    checks.equal(out.read_text(), "mine", "the other file after that")
    out.unlink()
    checks.equal(program.run("report", "--store", store, "--out", out).returncode, 0, "the long names of the options")
    first = out.read_bytes()

    def small():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    done = program.run("report", store, "-o", out, preexec_fn=small)
    checks.true(done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1, "a full disk", "exit 1, one line", (done.returncode, done.stderr))
    checks.true(out.read_bytes() == first, "the older report after that", "as it was", "changed")
    checks.equal(program.run("report", store, "-o", out).returncode, 0, "an older report is replaced")
    checks.equal([p.name for p in place.iterdir()], ["report.html"], "what is left")


# --- headless Chromium ------------------------------------------------------------------------------------------------

def chromium():
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def browse(directory, *options):
    command = [chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
               "--allow-file-access-from-files", f"--user-data-dir={directory / 'profile'}", *options]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=180, check=False,
                          env={**os.environ, "HOME": str(directory)})
    return done.stdout.decode("utf-8", "replace")


def read_png(path):
    """[height, width, channels] of an 8-bit PNG without interlace (PNG specification, sections 5 and 9)."""
    data, at, packed = Path(path).read_bytes(), 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
        packed += body if kind == b"IDAT" else b""
        at += length + 12
    channels = {2: 3, 6: 4}[colour]
    if depth != 8 or interlace:
        raise ValueError("not a plain 8-bit PNG")
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + width * channels)
    image, above = [], np.zeros((width, channels), np.int64)
    for line in lines:
        kind, row = line[0], line[1:].reshape(width, channels).astype(np.int64)
        if kind == 1:
            row = np.cumsum(row, 0) % 256
        elif kind == 2:
            row = (row + above) % 256
        elif kind >= 3:
            left, corner = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
            for x in range(width):
                if kind == 3:
                    guess = (left + above[x]) // 2
                else:
                    p = left + above[x] - corner
                    a, b, c = abs(p - left), abs(p - above[x]), abs(p - corner)
                    guess = np.where((a <= b) & (a <= c), left, np.where(b <= c, above[x], corner))
                corner = above[x]
                left = row[x] = (row[x] + guess) % 256
        image.append(row)
        above = row
    return np.stack(image)


MEASURE = """<!doctype html><html><body><iframe id="f" src="{page}" style="width:{width}px;height:{height}px;border:0"></iframe><script>
onload = () => {{ const d = document.getElementById("f").contentDocument;
const small = [...d.querySelectorAll("svg.chart text")].map(t => t.getBoundingClientRect().height).filter(h => h > 0);
const wide = [...d.querySelectorAll("svg.chart text")].filter(t => t.getBoundingClientRect().right > {width} + 1 ||
  t.getBoundingClientRect().left < -1).map(t => t.textContent);
document.body.innerHTML = "<pre>" + JSON.stringify({{scroll: d.documentElement.scrollWidth, client: d.documentElement.clientWidth,
  spilt: [...d.querySelectorAll(".tile, .card, .legend li")].filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 80)),
  charts: d.querySelectorAll("svg.chart").length, text: Math.min(...small), wide: wide,
  background: getComputedStyle(d.body).backgroundColor}}) + "</pre>"; }};
</script></body></html>"""


def seen(checks, pages, directory, keep):
    """Each page on a phone and on a desk: it fits the width, its text is not tiny, and the picture has something in it."""
    for out in pages:
        for width, height in ((390, 844), (1280, 900)):
            what = f"{out.name} at {width} x {height}"
            frame = directory / "frame.html"
            frame.write_text(MEASURE.format(page=out.resolve().as_uri(), width=width, height=height))
            text = browse(directory, "--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom", frame.as_uri())
            found = re.search(r"<pre>(\{.*?\})</pre>", text)
            if not checks.true(found is not None, f"{what}: measured", "a line of JSON", text[-500:]):
                continue
            size = json.loads(found.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
            checks.equal(size["client"], width, f"{what}: width of the view")
            checks.true(size["scroll"] <= width, f"{what}: no sideways scrolling", f"at most {width}", size["scroll"])
            checks.true(size["charts"] >= 3 and size["text"] >= 10, f"{what}: charts, and their smallest text", "3 and 10 px", size)
            checks.equal(size["spilt"], [], f"{what}: boxes whose content runs out of them")
            checks.equal(size["wide"], [], f"{what}: texts of charts that run out of the page")
            shot = (keep or directory) / f"{out.stem}-{width}.png"
            browse(directory, f"--window-size={width},{height}", f"--screenshot={shot}", out.resolve().as_uri())
            if checks.true(shot.exists(), f"{what}: screenshot", "a file", "none"):
                image = read_png(shot)
                colours = len(np.unique(image.reshape(-1, image.shape[2]), axis=0))
                checks.equal(image.shape[:2], (height, width), f"{what}: size of the picture")
                checks.true(colours > 50 and image[:, :, :3].std() > 5, f"{what}: the picture is not blank", "more than 50 colours", colours)


def test(program, checks, directory, arguments):
    keep = Path(arguments.keep) if arguments.keep else None
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
    reporter = Reporter(program, checks, directory, keep)
    model = rc.make_checkpoint(directory / "model", "llama", seed=41, layers=2)
    tokens = rc.write_h5(directory / "tokens.h5", rc.random_documents(43, 320, [1500] * 8))
    held_out = rc.write_h5(directory / "held-out.h5", rc.random_documents(44, 320, [700] * 6))
    raced, frontier, pair = directory / "raced.h5", directory / "frontier.h5", directory / "pair.h5"
    search = ["search", "--model", model, "--tokens", tokens, "--target-length", 256, "--seed", 5, "--json"]
    program.json(*search, "--windows", 5, "--strategy", "paper-ga", "--budget", 100, "--racing", 0.6, "--store", raced)
    program.json(*search, "--windows", 3, "--strategy", "nsga2", "--budget", 96, "--objective", "ppl@256,ppl@64", "--holdout-tokens", held_out,
                 "--holdout-windows", 6, "--store", frontier)
    program.json(*search, "--windows", 3, "--strategy", "random", "--budget", 20, "--store", pair)
    program.json("repair", "--model", model, "--tokens", tokens, "--windows", 3, "--store", pair, "--length", "32,64", "--strategy", "nsga2",
                 "--budget", 64, "--json")
    pages = [races(reporter, raced), frontiers(reporter, frontier), chain(reporter, pair), names(reporter, checks, raced, directory)]
    states(reporter, program, checks, model, tokens, raced, directory)
    refusals(program, checks, raced, directory)
    if chromium() is None:
        print("not looked at: there is no Chromium (Debian's package chromium)")
        return
    seen(checks, pages, directory, keep)




if __name__ == "__main__":
    driver.main(test, __doc__, lambda parser: parser.add_argument("--keep", help="directory for the pages and screenshots"), at_least=200)
