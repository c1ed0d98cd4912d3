"""A SentencePiece tokenizer.model written by hand (protobuf wire format): <unk>, <s>, </s>, 256 byte pieces and letters."""
import struct
from pathlib import Path


def _varint(n):
    out = bytearray()
    while True:
        n, low = n >> 7, n & 0x7F
        out.append(low | (0x80 if n else 0))
        if not n:
            return bytes(out)


def _field(number, payload):
    if isinstance(payload, int):
        return _varint(number << 3) + _varint(payload)
    if isinstance(payload, float):
        return _varint(number << 3 | 5) + struct.pack("<f", payload)
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _piece(text, score, kind):  # kinds: 1 normal, 2 unknown, 3 control, 6 byte
    return _field(1, _field(1, text.encode()) + _field(2, score) + _field(3, kind))


def write_tokenizer(path, extra_pieces=0):
    """A BPE model of 312 + extra_pieces pieces; BOS is 1. Extra pieces are common words, so their ids occur."""
    pieces = [_piece("<unk>", 0.0, 2), _piece("<s>", 0.0, 3), _piece("</s>", 0.0, 3)]
    pieces += [_piece(f"<0x{b:02X}>", 0.0, 6) for b in range(256)]
    letters = "\u2581abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    pieces += [_piece(c, -100.0 - i, 1) for i, c in enumerate(letters)]
    pieces += [_piece("e" * (2 + i), -1.0 - i, 1) for i in range(extra_pieces)]
    trainer = _field(3, 2) + _field(35, 1)  # model_type BPE, byte_fallback
    Path(path).write_bytes(b"".join(pieces) + _field(2, trainer) + _field(3, _field(1, b"identity")))
    return Path(path)
