"""Broken inputs of `export`: GGUFs that lie, outputs in the way, a disk that fails."""
import struct

import numpy as np

import gguf_maker
from broken_cases import case
from broken_stores import file_size_limit


def sound(c):
    """The sound GGUF's bytes, made once."""
    path = c.directory / "sound.gguf"
    if not path.exists():
        gguf_maker.make(c.base(), path)
    return path.read_bytes()


def gguf(edit, **made):
    """`export --to gguf` on a GGUF that edit(bytes) spoiled, or that was made otherwise."""
    def command(c):
        path = c.file("in.gguf", edit(sound(c)))
        if made:
            gguf_maker.make(c.base(), path, **made)
            path.write_bytes(edit(path.read_bytes()))
        return ["export", "--to", "gguf", "--gguf", path, "--model", c.base(), "--rope", "pi", "--target-length", "512", "--out",
                c.out / "new.gguf", "--verify"]
    return command


def put(at, form, *values):
    def edit(raw):
        raw = bytearray(raw)
        struct.pack_into(form, raw, at, *values)
        return bytes(raw)
    return edit


def after(needle, form, *values, skip=0):
    """Writes behind the first `needle`."""
    return lambda raw: put(raw.index(needle) + len(needle) + skip, form, *values)(raw)


def same(raw):
    return raw


HUGE = 2**63 - 1
case("gguf-empty", gguf(lambda raw: b""), "in.gguf")
case("gguf-magic", gguf(lambda raw: b"GGML" + raw[4:]), "GGUF")
case("gguf-text", gguf(lambda raw: b"it is a truth universally acknowledged"), "GGUF")
for version in (0, 1, 2, 4, 0x03000000, 2**32 - 1):
    case(f"gguf-version-{version}", gguf(put(4, "<I", version)), "version")
for count in (5, 10**6, HUGE, 2**64 - 1):
    case(f"gguf-tensor-count-{count}", gguf(put(8, "<Q", count)), "in.gguf")
    case(f"gguf-key-count-{count}", gguf(put(16, "<Q", count)), "in.gguf")
for length in (0, 2**31, HUGE, 2**64 - 1):
    case(f"gguf-key-length-{length}", gguf(put(24, "<Q", length)), "key")
case("gguf-key-not-utf8", gguf(put(32, "<B", 0xFF)), "UTF-8")
case("gguf-key-type", gguf(after(b"general.architecture", "<I", 77)), "general.architecture")
case("gguf-string-length", gguf(after(b"general.architecture", "<Q", 2**62, skip=4)), "general.architecture")
for name, content in (("array-count", struct.pack("<IQ", 4, HUGE)), ("array-of-arrays", struct.pack("<IQ", 9, 1)),
                      ("array-of-nothing-known", struct.pack("<IQ", 200, 1)), ("string-array-count", struct.pack("<IQ", 8, HUGE))):
    # as a value of 12 bytes: a u64 and the type's successor field, read as an array
    case(f"gguf-{name}", gguf(lambda raw, content=content: raw.replace(struct.pack("<I", 10) + b"marker--", struct.pack("<I", 9) + content),
                              extra_keys={"x": (10, struct.unpack("<Q", b"marker--")[0])}), "'x'")
for alignment in (0, 3, 33, 2**31):
    case(f"gguf-alignment-{alignment}", gguf(same, extra_keys={"general.alignment": (4, alignment)}), "alignment")
case("gguf-alignment-type", gguf(same, extra_keys={"general.alignment": (10, 32)}), "alignment")
case("gguf-alignment-other", gguf(same, extra_keys={"general.alignment": (4, 64)}), "in.gguf")
NORM = b"output_norm.weight"
case("gguf-dims-0", gguf(after(NORM, "<I", 0)), "output_norm")
case("gguf-dims-5", gguf(after(NORM, "<I", 5)), "output_norm")
for extent in (0, 65, 2**62, 2**64 - 1):
    case(f"gguf-extent-{extent}", gguf(after(NORM, "<Q", extent, skip=4)), ("output_norm", "output.weight"))
for kind in (4, 5, 31, 43, 2**32 - 1):
    case(f"gguf-tensor-type-{kind}", gguf(after(NORM, "<I", kind, skip=12)), "output_norm")
case("gguf-tensor-type-q4", gguf(after(NORM, "<I", 12, skip=12)), "output_norm")  # rows of 64 split a block of 256
for offset in (0, 31, 32, HUGE, 2**64 - 1):
    case(f"gguf-offset-{offset}", gguf(after(NORM, "<Q", offset, skip=16)), "output_norm")
case("gguf-tensor-twice", gguf(lambda raw: raw.replace(b"blk.0.attn_norm.weight", b"blk.1.attn_norm.weight")), "twice")
case("gguf-tensor-not-utf8", gguf(lambda raw: raw.replace(NORM, b"output_norm.weigh\xff")), "UTF-8")
case("gguf-tensor-name-too-long", gguf(same, extra_tensors={"n" * 64: ([1], 0, b"\0" * 4)}), "63")
case("gguf-leftover", gguf(lambda raw: raw + b"\0" * 64), "in.gguf")
for part in range(1, 40):
    case(f"gguf-cut-{part}", gguf(lambda raw, part=part: raw[:len(raw) * part // 40]), "in.gguf")
for name, value in (("llama.block_count", 3), ("llama.embedding_length", 65), ("llama.attention.head_count", 8), ("llama.rope.dimension_count", 8),
                    ("llama.attention.head_count_kv", 1), ("llama.attention.key_length", 8)):
    case(f"gguf-other-{name}", gguf(same, extra_keys={name: (4, value)}), name)
case("gguf-other-theta", gguf(same, extra_keys={"llama.rope.freq_base": (6, 5e5)}), "freq_base")
case("gguf-theta-nan", gguf(same, extra_keys={"llama.rope.freq_base": (6, float("nan"))}), "freq_base")
case("gguf-theta-type", gguf(same, extra_keys={"llama.rope.freq_base": (12, 1e4)}), "freq_base")
case("gguf-block-count-negative", gguf(same, extra_keys={"llama.block_count": (5, -2)}), "block_count")
case("gguf-block-count-text", gguf(same, extra_keys={"llama.block_count": (8, "2")}), "block_count")
case("gguf-architecture-number", gguf(same, extra_keys={"general.architecture": (4, 1)}), "general.architecture")
case("gguf-architecture-gemma", gguf(same, extra_keys={"general.architecture": (8, "gemma\n\x1b[31m")}), "gemma")
case("gguf-split", gguf(same, extra_keys={"split.count": (2, 3)}), "split")
case("gguf-is-a-directory", lambda c: ["export", "--to", "gguf", "--gguf", c.base(), "--model", c.base(), "--rope", "pi", "--target-length",
                                       "512", "--out", c.out / "new.gguf"], "regular file")
case("gguf-missing", lambda c: ["export", "--to", "gguf", "--gguf", c.directory / "none.gguf", "--model", c.base(), "--rope", "pi",
                                "--target-length", "512", "--out", c.out / "new.gguf"], "none.gguf")


def fuzzed(seed):
    """Random bytes in the header: any outcome but a crash, a hang or several lines."""
    def edit(raw):
        rng = np.random.default_rng([9, seed])
        raw, end = bytearray(raw), raw.index(NORM) + 64
        for _ in range(int(rng.integers(1, 5))):
            raw[int(rng.integers(0, end))] = int(rng.choice([0, 1, 2, 8, 9, 127, 128, 255, int(rng.integers(0, 256))]))
        return bytes(raw)
    return edit


for seed in range(60):
    case(f"gguf-fuzz-{seed}", gguf(fuzzed(seed)), "", (0, 2))


def export(kind, *extra, out="new"):
    return lambda c: ["export", "--to", kind, "--model", c.base(), "--rope", "pi", "--target-length", "256", "--out", c.out / out, *extra]


for kind in ("vllm", "sglang", "hf", "json"):
    case(f"disk-full-export-{kind}-0", export(kind), "", (1,), **file_size_limit(0))
    case(f"disk-full-export-{kind}-700", export(kind), "", (1,), **file_size_limit(700))
for size in (0, 700, 5000, 100000):
    case(f"disk-full-export-gguf-{size}", gguf(same), "", (1,), **file_size_limit(size))
case("export-length-abc", export("vllm", "--tokens", "none.u16", "--length", "abc"), "length")
case("export-length-1", export("vllm", "--tokens", "none.u16", "--length", "1"), "length")
case("export-length-without-text", export("vllm", "--length", "64"), "--text")
case("export-length-beyond-text", lambda c: export("vllm", "--tokens", c.tokens, "--length", "100000")(c), "window")
case("export-text-too-short", lambda c: export("vllm", "--tokens", c.tokens, "--windows", "5000")(c), "window")
case("export-text-missing", export("vllm", "--tokens", "none.u16"), "none.u16")
case("export-text-and-tokens", lambda c: export("vllm", "--tokens", c.tokens, "--text", c.text)(c), "exclude")
case("export-with-banana", export("hf", "--with", "banana"), "banana")
case("export-with-without-text", export("hf", "--with", "transformers"), "--text")
case("export-with-other-engine", lambda c: export("hf", "--with", "llama.cpp", "--tokens", c.tokens)(c), "llama.cpp does not read")
case("export-with-python-missing", lambda c: export("hf", "--with", "transformers", "--tokens", c.tokens, "--python", "no-such-python")(c),
     "no-such-python")
case("export-with-engine-missing", lambda c: export("hf", "--with", "transformers", "--tokens", c.tokens, "--python", "/bin/false")(c),
     "transformers must be importable")
