"""Impossible objectives, races, patience, spaces, bases and held-out text of a search; picks from a frontier."""
import random_checkpoint as rc
from broken_cases import VOCABULARY, case, search
from broken_options import EIGHT


def option(*extra, **kwargs):
    return lambda c: search(c, *extra, **kwargs)


for value in ("", "banana", "banana@64", "ppl@", "ppl@0", "ppl@1", "ppl@-64", "ppl@129", "ppl@64x", "ppl@99999999999999999999", "ppl@64,",
              "ppl@64,ppl@64", "ppl,ppl@128", "needle@129", "neddle@128", "key_ppl@128", "needle,needle@128"):
    case(f"objective {value!r}", option("--objective", value), "objective")
case("objective-needle-no-tokenizer", option("--objective", "needle@128"), "tokenizer.model")
for name, values in (("key-lsd", ("abc", "nan", "inf", "")), ("key-lcl", ("0", "1", "abc", "")), ("key-context", ("0", "3", "-1", "abc", "128")),
                     ("key-long", ("0", "-1", "abc", "8", "windows")),
                     ("key-rope", ("banana", ""))):
    for value in values:
        case(f"{name} {value!r}", option("--objective", "key-ppl", f"--{name}", value), "rope" if name == "key-rope" else name)
case("key-lsd-without-key-ppl", option("--key-lsd", "1"), "key-lsd")
case("task-without-needle", option("--task", "passkey"), "task")
case("objective-windows-too-many", option("--objective", "ppl@128,ppl@64", windows="9"), ("window", "length"))
for value in ("banana", "", "0", "0.5", "1", "1.5", "-0.9", "nan", "inf", "0.9x"):
    case(f"racing {value!r}", option("--racing", value), "racing")
for value in ("-1", "abc", "1.5", "99999999999999999999"):
    case(f"patience {value}", option("--patience", value), "patience")
for value in ("banana", "tolerant:", "tolerant:abc", "tolerant:-1", "tolerant:nan", ""):
    case(f"factors {value!r}", option("--factors", value, strategy="random"), "factors")
case("factors-free-paper-ga", option("--factors", "free"), "paper-ga")
for value in ("banana", ""):
    case(f"bounds {value!r}", option("--bounds", value, strategy="random"), "bounds")
case("bounds-other-paper-ga", option("--bounds", "longrope2"), "paper-ga")
for value in ("banana", "-1", "1.5", "9", "5000", ""):
    case(f"critical-dimension {value!r}", option("--critical-dimension", value, strategy="random"), "critical")
for value in ("banana", "-1", "1.5", "99999999999"):
    case(f"start-tokens {value}", option("--start-tokens", value), "start-tokens")
case("start-tokens-search-release-ga", option("--start-tokens", "search", strategy="release-ga"), "release-ga")
for value in ("banana", "0", "-1", "nan", "inf", ""):
    case(f"attention-factor {value!r}", option("--attention-factor", value), "attention")
case("attention-factor-search-paper-ga", option("--attention-factor", "search"), "paper-ga")

case("base-unknown", option("--base", "banana"), "banana")
case("base-missing-table", option("--base", "longrope:no-such.csv"), "no-such.csv")
case("base-missing-store", option("--base", "store:no-such.h5"), "no-such.h5")
case("base-short-table", lambda c: search(c, "--base", f"longrope:{c.file('t.csv', EIGHT[:-2])}"), ("7", "8"))
case("base-too-long", option("--base", "yarn:factor=16"), "base")
case("resume-other-base", lambda c: search(c, "--resume", "--base", "pi:factor=1.5", store=c.store_copy()), "base")
case("resume-other-racing", lambda c: search(c, "--resume", "--racing", "0.9", store=c.store_copy()), "option")
case("resume-other-factors", lambda c: search(c, "--resume", "--attention-factor", "1.5", store=c.store_copy()), "option")
case("resume-other-objective", lambda c: search(c, "--resume", "--objective", "ppl@64", store=c.store_copy()),
     ("objective", "window", "length"))


def tokens(c, seed, n):
    return rc.write_raw(c.file("held-out.u16", b""), rc.random_documents(seed, VOCABULARY, [n])[0])


case("holdout-text-and-tokens", lambda c: search(c, "--holdout-tokens", tokens(c, 8, 600), "--holdout-text", c.text), "holdout")
case("holdout-windows-alone", option("--holdout-windows", "2"), "holdout")
for value in ("0", "-1", "abc"):
    case(f"holdout-windows {value}", lambda c, value=value: search(c, "--holdout-tokens", tokens(c, 8, 600), "--holdout-windows", value),
         "holdout-windows")
case("holdout-tokens-missing", option("--holdout-tokens", "no-such.u16"), "no-such.u16")
case("holdout-same-file", lambda c: search(c, "--holdout-tokens", c.tokens), "the search does not see")
case("holdout-same-tokens", lambda c: search(c, "--holdout-tokens", rc.write_raw(c.file("copy.u16", b""), c.ids(600))),
     "the search does not see")
case("holdout-same-window", lambda c: search(c, "--holdout-tokens", rc.write_raw(c.file("longer.u16", b""), c.ids(600)[:300])),
     "window of the search")
case("holdout-too-short", lambda c: search(c, "--holdout-tokens", tokens(c, 8, 50)), "held-out")
case("holdout-too-few-windows", lambda c: search(c, "--holdout-tokens", tokens(c, 8, 600), "--holdout-windows", "50"), "held-out")
case("holdout-ids-outside", lambda c: search(c, "--holdout-tokens", rc.write_raw(c.file("large.u16", b""), [VOCABULARY] * 600)),
     str(VOCABULARY))


def pick(rule):
    return lambda c: ["inspect", "--json", "--store", c.store(), "--pick", rule]


for rule in ("banana", "", "short", "short:", "short:5", "short:x%", "short:-1%", "short:nan%", "ppl@64<=5", "ppl@64<=%", "knees"):
    case(f"pick {rule!r}", pick(rule), "pick")
case("pick-needs-two-objectives", pick("short:5%"), "several objectives")
case("pick-unknown-objective", pick("ppl@99<=5%"), "ppl@99")
