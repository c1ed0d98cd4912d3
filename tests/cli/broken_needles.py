"""Impossible needle runs."""
import tokenizer_model

from broken_cases import case


def tokenised(c):
    """A sound checkpoint with a tokenizer that writes digits and punctuation as bytes, made once."""
    if not hasattr(c, "tokenised_model"):
        c.tokenised_model = c.model(lambda d: tokenizer_model.write_tokenizer(d / "tokenizer.model"))
    return c.tokenised_model


def needle(*extra, length="700", model=tokenised):
    return lambda c: ["needle", "--model", model(c), "--length", length, "--depths", "2", "--trials", "1", "--json",
                      *(word(c) if callable(word) else word for word in extra)]


def depths(value):
    return lambda c: ["needle", "--model", tokenised(c), "--length", "700", "--depths", value]


for value in ("0", "102", "-1", "abc", "50,101", "50,,", "50,-1", "nan%", ""):
    case(f"needle-depths {value!r}", depths(value), "depths")
case("needle-depths-twice", depths("50,50"), "twice")
case("needle-spacing", needle("--depth-spacing", "banana"), "banana")
for value in ("0", "abc", "99999999"):
    case(f"needle-trials {value}", lambda c, value=value: ["needle", "--model", tokenised(c), "--length", "700", "--trials", value], "trials")
for value in ("0", "abc", "60,700"):
    case(f"needle-length {value}", needle(length=value), "length")
case("needle-length-twice", needle(length="700,700"), "twice")
case("needle-task", needle("--task", "banana"), "niah-single-1")
case("needle-haystack", needle("--haystack", "banana"), "haystack")
case("needle-haystack-without-text", needle("--haystack", "text"), "needs documents")
for value in ("5", "9-1", "-5", "a-b", "1-99999999999999999999"):
    case(f"needle-keys {value}", needle("--keys", value), "keys")
case("needle-keys-of-niah", needle("--keys", "1-9", "--task", "niah"), "keys")
case("needle-text-of-passkey", needle("--needle", "Rex is a dog."), "niah only")
case("needle-without-question", needle("--task", "niah", "--needle", "Rex is a dog."), "question")
case("needle-answer-elsewhere", needle("--task", "niah", "--answer", "Rex"), "found in the needle")
case("needle-answer-empty", needle("--task", "niah", "--answer", ""), "answer")
case("needle-new-tokens-and-none", needle("--new-tokens", "4", "--no-generate"), "exclude")
case("needle-new-tokens", needle("--new-tokens", "0"), "new-tokens")
case("needle-no-tokenizer", needle(model=lambda c: c.base()), "tokenizer.model")
case("needle-no-model", lambda c: ["needle", "--length", "700"], "model")
case("needle-unknown-rope", needle("--rope", "banana"), "banana")
case("needle-resume-nothing", needle("--resume"), "store")
case("needle-resume-missing", needle("--resume", "--store", lambda c: c.out / "no-such.h5"), "no-such.h5")
case("needle-run-name", needle("--store", lambda c: c.out / "new.h5", "--run", "a/b"), "a/b")
case("needle-store-is-text", needle("--store", lambda c: c.text), "not a longrope store")
case("needle-text-and-tokens", needle("--text", lambda c: c.text, "--tokens", lambda c: c.tokens), "exclude")
case("needle-document-too-short", needle("--tokens", lambda c: c.tokens, length="1500"), "must have at least")
case("needle-store-missing-folder", needle("--store", lambda c: c.directory / "no-such-folder" / "n.h5"), "no-such-folder", (1, 2))
