"""The notebooks of experiments/notebooks: outputs stripped in the repository, and each of them executed on small stores: one that
raced, one with two objectives and a repair, an empty one, one that a search is writing. What their helpers read is compared with
`inspect --json`.

    python3 tests/cli/notebooks.py --longrope build/release/longrope
"""
import copy
import importlib.util
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import h5py

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import driver  # noqa: E402
import random_checkpoint as rc  # noqa: E402
import stores  # noqa: E402

NOTEBOOKS = ROOT / "experiments" / "notebooks"


def require_packages():
    missing = [name for name in ("nbclient", "nbformat", "ipykernel", "pandas", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        raise driver.Skip(f"Python packages are missing: {', '.join(missing)} (Debian: python3-NAME)")


def stripped(checks, path):
    book = json.loads(path.read_text(encoding="utf-8"))
    for i, cell in enumerate(book["cells"]):
        if cell["cell_type"] == "code":
            checks.equal((cell["outputs"], cell["execution_count"]), ([], None), f"{path.name}, cell {i}: outputs are stripped")
    kinds = [cell["cell_type"] for cell in book["cells"]]
    checks.true(kinds[0] == "markdown" and "code" in kinds, f"{path.name}: begins with text", "markdown, then code", kinds)


def execute(checks, path, files):
    """Of each store in turn the number of pictures, and the text of all outputs. One kernel for all: it starts longer than the
    notebook takes, and is emptied before each."""
    import nbclient
    import nbformat
    book = nbformat.read(path, as_version=4)
    together = nbformat.from_dict({**book, "cells": []})
    for file in files:
        together.cells.append(nbformat.v4.new_code_cell(f"%reset -f\nimport os\nos.environ['LONGROPE_STORE'] = {str(file)!r}"))
        together.cells += copy.deepcopy(book.cells)
    client = nbclient.NotebookClient(together, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}})
    try:
        client.execute()
    except nbclient.exceptions.CellExecutionError as error:
        checks.fail(f"{path.name} on {', '.join(file.stem for file in files)}", "no error", str(error)[-1500:])
    shown = []
    for k, file in enumerate(files):
        cells = together.cells[k * (len(book.cells) + 1):][:len(book.cells) + 1]
        outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
        warnings = [o["text"] for o in outputs if o.get("name") == "stderr"]
        checks.equal(warnings, [], f"{path.name} on {file.stem}: warnings")
        pictures = sum("image/png" in o.get("data", {}) for o in outputs)
        shown.append((pictures, "".join(str(o.get("text", "")) + str(o.get("data", {}).get("text/plain", "")) for o in outputs)))
    return shown


def helpers(program, checks, path, what):
    """experiments/notebooks/store.py against inspect."""
    sys.path.insert(0, str(NOTEBOOKS))
    sys.dont_write_bytecode = True
    import store as helper
    found = program.json("inspect", "--store", path, "--json")
    with helper.open_store(path) as job:
        checks.equal(helper.stage_names(job), [stage["name"] for stage in found["stages"]], f"{what}: stages")
        for stage in found["stages"]:
            group, name = helper.stage_of(job, stage["name"]), stage["name"]
            rows, done = helper.evaluations(group), helper.generations(group)
            checks.equal(int((rows["generation"] >= 0).sum()), stage["evaluations"], f"{what}, {name}: evaluations")
            checks.equal(int((rows["status"] == "raced_out").sum()), stage["raced_out"], f"{what}, {name}: dropped")
            checks.equal(done["cost"].tolist(), [g["cost"] for g in stage["generations"]], f"{what}, {name}: cost of generations")
            if len(done):
                checks.close(rows["spent"].iloc[-1], stage["cost_full_evaluations"], 1e-9, f"{what}, {name}: cost of rows")
            objective = helper.objectives_of(group)[0]
            checks.equal({row["baseline"]: row[objective] for _, row in rows[rows["baseline"] != ""].iterrows()}, stage["baselines"],
                         f"{what}, {name}: baselines")
            best = helper.best_id(group)
            checks.equal(best, stage["best"] and stage["best"]["id"], f"{what}, {name}: best")
            if best is not None:
                checks.equal(helper.factors(group)[best].tolist(), stage["best"]["factors"], f"{what}, {name}: factors of the best")
            fronts = helper.frontiers(group)
            last = fronts[fronts["row"] == len(done) - 1]["id"].tolist()
            checks.equal(last, [point["id"] for point in stage["frontier"]], f"{what}, {name}: last frontier")


def needles(program, checks, path):
    """A store that holds a needle run only: the helpers against inspect."""
    import store as helper
    program.json("needle", "--model", ROOT / "experiments" / "reference", "--rope", "none", "--rope", "yarn", "--length", "200,300", "--depths", 3,
                 "--trials", 2, "--keys", "10000-99999", "--store", path, "--json")
    run = program.json("inspect", "--store", path, "--json")["needle"][0]
    with helper.open_store(path) as job:
        checks.equal(helper.needle_names(job), ["main"], "names of the needle runs")
        checks.equal(helper.stage_names(job), [], "stages of a store of needles")
        try:
            helper.stage_of(job)
            checks.fail("a stage of a store of needles", "a LookupError", "none")
        except LookupError as error:
            checks.true("only needle runs" in str(error), "a stage of a store of needles", "a sentence", str(error))
        table = helper.needle_table(helper.needle_cells(job), ["rope", "length", "depth_percent"])
    checks.equal(len(table), len(run["results"]), "results of the needle run")
    for (_, row), result in zip(table.iterrows(), run["results"]):
        checks.equal((row["rope"], row["length"], row["depth_percent"], row["trials"], row["exact"]),
                     (result["rope"], result["length"], result["depth"], result["trials"], result["exact"]), "a result")
        checks.close(row["needle_ppl"], result["needle_ppl"], 1e-12 * result["needle_ppl"], "its needle PPL")
        checks.close(row["low"], result["accuracy_interval"][0], 1e-12, "its interval")


def test(program, checks, directory, arguments):
    books = sorted(NOTEBOOKS.glob("*.ipynb"))
    checks.equal([b.stem for b in books], ["factor_curves", "frontiers", "needles", "racing", "running_search", "stages"], "the notebooks")
    for book in books:
        stripped(checks, book)
    require_packages()
    for variable, place in (("MPLCONFIGDIR", "matplotlib"), ("IPYTHONDIR", "ipython"), ("JUPYTER_RUNTIME_DIR", "runtime")):
        os.environ[variable] = str(directory / place)
    os.environ.update(PYTHONDONTWRITEBYTECODE="1", PYDEVD_DISABLE_FILE_VALIDATION="1")
    model = rc.make_checkpoint(directory / "model", "llama", seed=41, layers=2)
    tokens = rc.write_raw(directory / "tokens.u16", rc.random_documents(43, 320, [9000])[0])
    raced, pair, empty, growing, hidden = (directory / f"{name}.h5" for name in ("raced", "pair", "empty", "growing", "needles"))
    search = ["search", "--model", model, "--tokens", tokens, "--target-length", 256, "--seed", 5, "--json"]
    program.json(*search, "--windows", 5, "--strategy", "paper-ga", "--budget", 100, "--racing", 0.6, "--store", raced)
    program.json(*search, "--windows", 3, "--strategy", "random", "--budget", 20, "--store", pair)
    program.json("repair", "--model", model, "--tokens", tokens, "--windows", 3, "--store", pair, "--length", "32,64", "--strategy", "nsga2",
                 "--budget", 64, "--json")
    shutil.copy(raced, empty)
    with h5py.File(empty, "r+") as f:
        stores.stage(f)["generations/generation"].resize((0,))
    for path in (raced, pair, empty):
        helpers(program, checks, path, path.stem)
    needles(program, checks, hidden)
    # Pictures: one in each, but where there is nothing to draw.
    pictures = {"factor_curves": {raced: 1, pair: 1, empty: 1}, "frontiers": {raced: 0, pair: 1, empty: 0}, "needles": {raced: 0, hidden: 2},
                "racing": {raced: 1, pair: 0, empty: 0}, "running_search": {raced: 1, pair: 1, empty: 1},
                "stages": {raced: 2, pair: 2, empty: 2}}
    said = {("frontiers", pair): "stages with several objectives: repair", ("needles", hidden): "needle runs: main"}
    for book in books:
        expected = pictures[book.stem]
        for (path, wanted), (count, text) in zip(expected.items(), execute(checks, book, list(expected))):
            checks.equal(count, wanted, f"{book.name} on {path.stem}: pictures")
            words = said.get((book.stem, path))
            if words:
                checks.true(words in text, f"{book.name} on {path.stem}: what it says", words, text[:300])
    # random: the strategy that nothing but its budget ends.
    writer = program.start(*search[:-1], "--windows", 20, "--strategy", "random", "--budget", 100000, "--store", growing)
    try:
        deadline = time.monotonic() + 60
        while not growing.exists() and time.monotonic() < deadline and writer.poll() is None:
            time.sleep(0.05)
        [(count, text)] = execute(checks, NOTEBOOKS / "running_search.ipynb", [growing])
        checks.equal(count, 1, "running_search on a store that grows: pictures")
        checks.true("running" in text, "running_search on a store that grows: status", "running", text[:300])
        checks.true(writer.poll() is None, "the search goes on", "running", writer.poll())
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    checks.true(not (NOTEBOOKS / "__pycache__").exists(), "nothing is left beside the notebooks", "no cache", "one")


if __name__ == "__main__":
    driver.main(test, __doc__, at_least=12)
