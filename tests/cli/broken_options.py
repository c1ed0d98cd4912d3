"""Impossible options, rope specs and exports."""
import re

from broken_cases import case, evaluate, search


# --- options ----------------------------------------------------------------------------------------------------------

def bare(*arguments):
    return lambda c: list(arguments)


def plus(*extra, **kwargs):
    return lambda c: evaluate(c, None, None, *extra, **kwargs)


def without(option, command=evaluate):
    def arguments(c):
        made = command(c)
        at = made.index(option)
        return made[:at] + made[at + 2:]
    return arguments


case("no-command", bare(), "")
case("unknown-command", bare("evaluat"), "evaluat")
case("unknown-option", plus("--lenght", "64"), "lenght")
case("stray-argument", plus("stray"), ("stray", "positional"))
case("option-without-value", plus("--seed"), "seed")
case("no-model", without("--model"), "model")
case("model-missing", lambda c: evaluate(c, c.directory / "no-such-model"), "no-such-model")
case("model-is-file", lambda c: evaluate(c, c.text), "good.txt")
case("no-text-no-tokens", without("--tokens"), ("text", "tokens"))
case("text-and-tokens", lambda c: evaluate(c, None, None, "--text", c.text), ("text", "tokens"))
for value in ("0", "-1", "abc", "1.5", "99999999999999999999"):
    case(f"windows {value}", plus(windows=value), "windows")
case("windows-too-many", plus(windows="100000"), re.compile(r"\b9\b"))  # 600 tokens in blocks of 63
case("windows-too-many-by-one", plus(windows="10"), re.compile(r"\b9\b"))
case("windows-huge", plus(windows="9223372036854775807"), re.compile(r"\b9\b|windows"))
for value in ("0", "1", "-64", "abc", "1e99", "64,abc", "64,1", "99999999999999999999", "64.5", ""):
    case(f"length {value!r}", plus(length=value), "length")
case("length-beyond-text", plus(length="1000000000000"), ("window", "length"))
case("length-beyond-documents", plus(length="700"), ("window", "length"))
for value in ("0", "-2", "100000000", "abc"):
    case(f"threads {value}", plus("--threads", value), "threads")
for value in ("-1", "abc", "1.5", "99999999999999999999999"):
    case(f"seed {value}", lambda c, value=value: search(c, seed=value), "seed")
for value in ("0", "-5", "abc"):
    case(f"budget {value}", lambda c, value=value: search(c, budget=value), "budget")
for value in ("banana", "stride", "stride:0", "stride:-1", "stride:abc", "stride:65", "half:3", ""):
    case(f"protocol {value!r}", plus("--protocol", value), ("protocol", "stride"))
case("backend-unknown", plus("--backend", "banana"), "banana")
case("backend-cuda", plus("--backend", "cuda"), ("built without cuda", "no cuda device"))
case("backend-cuda-in-f32", plus("--backend", "cuda", "--precision", "f32"), ("built without cuda", "f32", "no cuda device"))
case("attention-unknown", plus("--attention", "banana"), "banana")
case("attention-fp8-on-the-cpu", plus("--attention", "fp8", "--precision", "fp8", "--backend", "cpu"), "attention")
case("attention-fp8-in-bf16", plus("--attention", "fp8", "--precision", "bf16", "--backend", "cuda"), "needs --precision fp8")
case("attention-fp8-alone", plus("--attention", "fp8"), "needs --precision fp8")
case("precision-fp8", plus("--precision", "fp8", "--backend", "cpu"), "fp8")
for value in ("abc", "-1", "0,", "", "1.5", "99999"):
    case(f"devices {value!r}", plus("--devices", value), "devices")
case("devices-of-the-cpu", plus("--devices", "0", "--backend", "cpu"), ("devices", "cpu"))
case("devices-not-there", plus("--devices", "1000"), ("built without cuda", "device"))
case("precision-unknown", plus("--precision", "banana"), "banana")
case("strategy-unknown", lambda c: search(c, strategy="banana"), "paper-ga")
case("search-no-target", without("--target-length", search), "target-length")
case("search-target-abc", lambda c: search(c, target="abc"), "target-length")
case("search-target-1", lambda c: search(c, target="1"), ("target-length", "length"))
case("search-too-few-windows", lambda c: search(c, windows="50"), re.compile(r"\b4\b"))  # 600 tokens in blocks of 127
case("search-start-tokens-abc", lambda c: search(c, "--start-tokens", "abc"), "start-tokens")
case("config-file-missing", lambda c: evaluate(c, None, None, "--config", c.directory / "no-such.cfg"), "no-such.cfg")
case("config-file-is-a-text", lambda c: evaluate(c, None, None, "--config", c.file("job.cfg", "It is a truth. " * 5000)), "invalid line")
case("job-file-is-a-text", lambda c: ["progressive", "--config", c.file("job.cfg", "It is a truth. " * 5000)], "invalid line")
case("config-file-unknown-option", lambda c: evaluate(c, None, None, "--config", c.file("job.cfg", "lenght=64\n")), "lenght")


# --- rope specs -------------------------------------------------------------------------------------------------------

def rope(spec, says="", **kwargs):
    made = spec if callable(spec) else lambda c: spec
    case("rope " + (spec if isinstance(spec, str) else spec.__name__), lambda c: evaluate(c, rope=made(c), length="128"), says, **kwargs)


def table(name, content, options="", says=""):
    case(f"rope longrope:FILE {name}", lambda c: evaluate(c, rope=f"longrope:{c.file('table.csv', content)}{options}", length="128"), says)


EIGHT = "1\n1.5\n2\n2\n2\n2\n2\n2\n"
rope("banana", "banana")
rope("", "")
rope(":", "")
rope("yarn:banana=1", "banana")
rope("yarn:beta_fast", "")
rope("yarn:beta_fast=", "beta_fast")
rope("yarn:beta_fast=nan", "beta_fast")
rope("yarn:beta_fast=abc", "beta_fast")
rope("yarn:beta_fast=-1", "beta_fast")
rope("yarn:beta_slow=0", "beta_slow")
rope("yarn:factor=1e400", "factor")
rope("pi:factor=nan", "factor")
rope("pi:factor=inf", "factor")
rope("pi:factor=-2", "factor")
rope("pi:factor=0", "factor")
rope("pi:factor=2x", "factor")
rope("ntk:target_length=-5", "target_length")
rope("ntk:original_length=0", "original_length")
rope("longrope", "longrope")
rope("longrope:no-such-table.csv", "no-such-table.csv")
rope("store:no-such-store.h5", "no-such-store.h5")
table("seven-lines", "1\n" * 7, says=("7", "8"))
table("nine-lines", "1\n" * 9, says=("9", "8"))
table("empty", "", says="table.csv")
table("word", EIGHT.replace("1.5", "word"), says="table.csv")
table("two-columns", EIGHT.replace("1.5", "1.5 3"), says="table.csv")
table("nan", EIGHT.replace("1.5", "nan"), says="table.csv")
table("infinite", EIGHT.replace("1.5", "inf"), says="table.csv")
table("zero", EIGHT.replace("1.5", "0"), says="table.csv")
table("negative", EIGHT.replace("1.5", "-1.5"), says="table.csv")
table("beyond-double", EIGHT.replace("1.5", "1e999"), says="table.csv")
table("binary", "\0\1\2\3" * 100, says="table.csv")
table("bad-json", "[1, 2, 3", says="table.csv")
table("json-strings", '["1","1","1","1","1","1","1","1"]', says="table.csv")
table("start-tokens-negative", EIGHT, ":start_tokens=-1", says="start_tokens")
table("start-tokens-fraction", EIGHT, ":start_tokens=1.5", says="start_tokens")
table("attention-factor-nan", EIGHT, ":attention_factor=nan", says="attention_factor")
table("attention-factor-zero", EIGHT, ":attention_factor=0", says="attention_factor")
case("rope longrope:DIRECTORY", lambda c: evaluate(c, rope=f"longrope:{c.out}"), "out")


# --- export -----------------------------------------------------------------------------------------------------------

def export(*extra, to="hf", rope_="pi", out="exported", target="128"):
    return lambda c: ["export", "--to", to, "--model", c.base(), "--out", c.out / out,
                      *(["--rope", rope_] if rope_ else []), *(["--target-length", target] if target else []), *extra]


case("export-unknown-format", export(to="banana"), "banana")
case("export-no-format", lambda c: ["export", "--model", c.base(), "--rope", "pi", "--target-length", "128", "--out", c.out / "e"], "to")
case("export-no-out", lambda c: ["export", "--to", "hf", "--model", c.base(), "--rope", "pi", "--target-length", "128"], "out")
case("export-no-table", export(rope_=None), ("rope", "store"))
case("export-two-tables", lambda c: export("--store", c.store())(c), ("rope", "store"))
case("export-no-target", export(target=None), "target-length")
case("export-bad-target", export(target="abc"), "target-length")
case("export-bad-weights", export("--weights", "banana"), "banana")
case("export-bad-rope", export(rope_="banana"), "banana")
case("export-below-file", lambda c: ["export", "--to", "csv", "--model", c.base(), "--rope", "pi", "--target-length", "128", "--out",
                                     c.text / "t.csv"], "good.txt", (1, 2))
case("export-below-device", lambda c: ["export", "--to", "csv", "--model", c.base(), "--rope", "pi", "--target-length", "128", "--out",
                                       "/dev/full/t.csv"], "/dev/full", (1, 2))
