"""Mutations of bytes and of texts, each decided by a `random.Random`."""

import random
import re
import struct

_ODD_BYTES = (0, 1, 0x7F, 0x80, 0xFF)
_ODD_WORDS = (0, 1, -1, 2**15 - 1, -2**15, 2**16 - 1, 2**31 - 1, -2**31, 2**32 - 1)
_ODD_FLOATS = (0.0, -1.0, 1e-38, 1e38, float("inf"), float("-inf"), float("nan"))
_ODD_TOKENS = ("null", "true", "-1", "0", "1e999", "-0.0", "NaN", "Infinity", "9" * 30, "9" * 5000, '""', "[]", "{}",
               '"\\u0000"', "[" * 200, "[" * 100_000, "#VALUE!", '"', ",", ";", "\t", "\r", "\0", "\ufeff", "=1+1", "1,5",
               "32767 32767 32767", "%d", "LIST", "../../x", "\U0001f600", "1" * 400, "0.1.2", "\n\n")
_TOKEN = re.compile(rb'"[^"\n]*"|[-+.\w]+|[^\w\s]')


def mutated(content: bytes, chance: random.Random, header_bytes: int, is_text: bool) -> bytes:
    """The content with one to four changes, most of them within the header."""
    for _ in range(chance.choice((1, 1, 1, 2, 2, 4))):
        if not content:
            break
        change = _token if is_text and chance.random() < 0.7 else chance.choice((_bit, _byte, _word, _float, _cut, _slice))
        near = chance.random() < 0.85
        content = change(content, chance, min(len(content), header_bytes) if near else len(content))
    return content


def _bit(content: bytes, chance: random.Random, end: int) -> bytes:
    at = chance.randrange(end)
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1:]


def _byte(content: bytes, chance: random.Random, end: int) -> bytes:
    at = chance.randrange(end)
    return content[:at] + bytes([chance.choice((*_ODD_BYTES, chance.randrange(256)))]) + content[at + 1:]


def _word(content: bytes, chance: random.Random, end: int) -> bytes:
    size, at = chance.choice((2, 4, 8)), chance.randrange(end)
    number = chance.choice(_ODD_WORDS) & (2 ** (8 * size) - 1)
    return content[:at] + number.to_bytes(size, chance.choice(("little", "big"))) + content[at + size:]


def _float(content: bytes, chance: random.Random, end: int) -> bytes:
    at = chance.randrange(end) & ~3
    return content[:at] + struct.pack("<f", chance.choice(_ODD_FLOATS)) + content[at + 4:]


def _cut(content: bytes, chance: random.Random, end: int) -> bytes:
    return content[:chance.randrange(end)]


def _slice(content: bytes, chance: random.Random, end: int) -> bytes:
    """A piece is removed, doubled or brought elsewhere."""
    start = chance.randrange(end)
    piece, at = content[start:start + chance.randrange(1, 64)], chance.randrange(end)
    kind = chance.randrange(3)
    if kind == 0:
        return content[:start] + content[start + len(piece):]
    return content[:at] + piece * (1 if kind == 1 else 50) + content[at:]


def _token(content: bytes, chance: random.Random, end: int) -> bytes:
    """A word, number or sign is replaced by an odd one or by another of the same text."""
    tokens = list(_TOKEN.finditer(content, 0, end))
    if not tokens:
        return _byte(content, chance, end)
    token, other = chance.choice(tokens), chance.choice(tokens).group()
    new = other if chance.random() < 0.3 else chance.choice(_ODD_TOKENS).encode()
    return content[:token.start()] + new + content[token.end():]
