"""SentencePiece BPE with byte fallback, read from a tokenizer.model and written down from its description (Kudo and Richardson, 2018):
spaces become U+2581, one is put in front, and the pair whose joint piece has the highest score is joined until there is none. Slow and
obvious on purpose; it shares no code with the program or with SentencePiece."""
from functools import lru_cache
from pathlib import Path
import struct

SPACE = "\u2581"
CONTROL, BYTE = 3, 6


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def _fields(data):
    """(number, value) of a protobuf message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
        elif wire == 2:
            size, at = _varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            size = 4 if wire == 5 else 8
            value, at = data[at:at + size], at + size
        yield number, value


class Tokenizer:
    def __init__(self, path):
        self.pieces, self.scores, self.bytes, kinds = [], {}, {}, []
        for number, value in _fields(Path(path).read_bytes()):
            if number != 1:
                continue
            piece = dict(_fields(value))
            text, kind = piece[1].decode(), piece.get(3, 1)
            index = len(self.pieces)
            self.pieces.append(text)
            kinds.append(kind)
            if kind == BYTE:
                self.bytes[int(text[3:5], 16)] = index
            elif kind not in (2, CONTROL):
                self.scores[text] = (struct.unpack("<f", piece[2])[0] if 2 in piece else 0.0, index)
        self.word = lru_cache(maxsize=None)(self._word)

    def _word(self, text):
        parts = list(text)
        while True:
            best, where = None, None
            for i in range(len(parts) - 1):
                found = self.scores.get(parts[i] + parts[i + 1])
                if found and (best is None or found[0] > best):
                    best, where = found[0], i
            if where is None:
                break
            parts[where:where + 2] = [parts[where] + parts[where + 1]]
        ids = []
        for part in parts:
            ids += [self.scores[part][1]] if part in self.scores else [self.bytes[b] for b in part.encode()]
        return ids

    def encode(self, text):
        words = (" " + text).replace(" ", "\n" + SPACE + "\0").split("\n" + SPACE + "\0")[1:] if text else []
        return [i for word in words for i in self.word(SPACE + word)]
