"""JSON with the place of every key and value, so that a fault can be shown by line and column."""

import json
from dataclasses import dataclass, field
from typing import Any

from autoseg.workspace.files import parse_json

Path = tuple[str | int, ...]

_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder()


@dataclass
class JsonText:
    """The data of a JSON text; paths into it are tuples of keys and indices, `()` is the whole."""

    text: str
    data: Any = None
    repeated: list[tuple[Path, int]] = field(default_factory=list)  # keys given twice, and where the second one is
    _keys: dict[Path, int] = field(default_factory=dict)
    _values: dict[Path, int] = field(default_factory=dict)

    def key(self, path: Path) -> str:
        """Line and column of a key; of its value where the path is no key."""
        return self.at(self._keys.get(path, self._nearest(path)))

    def value(self, path: Path) -> str:
        """Line and column of a value; of the nearest one around it where the text has no such path."""
        return self.at(self._nearest(path))

    def at(self, offset: int) -> str:
        """Line and column of a character, counted from 1."""
        line = self.text.count("\n", 0, offset) + 1
        return f"line {line}, column {offset - (self.text.rfind(chr(10), 0, offset) + 1) + 1}"

    def _nearest(self, path: Path) -> int:
        while path not in self._values:
            path = path[:-1]
        return self._values[path]


def parse(text: str) -> JsonText:
    """Parse and locate. Raises json.JSONDecodeError as `parse_json` does."""
    located = JsonText(text, parse_json(text))
    try:
        _walk(located, _skip(text, 0), ())
    except RecursionError:  # earlier than Python's own reader
        raise json.JSONDecodeError("too many nested brackets", text, 0) from None
    return located


def _walk(located: JsonText, at: int, path: Path) -> int:
    """Note the places of the value that starts at `at`, which is known to be valid; where it ends."""
    text = located.text
    located._values[path] = at
    if text[at] not in "{[":
        return _DECODER.raw_decode(text, at)[1]
    is_object, n = text[at] == "{", 0
    at = _skip(text, at + 1)
    while text[at] not in "}]":
        child: Path = (*path, n)
        if is_object:
            key, end = _DECODER.raw_decode(text, at)
            child = (*path, key)
            if child in located._keys:
                located.repeated.append((child, at))
            located._keys[child] = at
            at = _skip(text, _skip(text, end) + 1)
        at = _skip(text, _walk(located, at, child))
        n += 1
        if text[at] == ",":
            at = _skip(text, at + 1)
    return at + 1


def _skip(text: str, at: int) -> int:
    while text[at:at + 1] and text[at] in _SPACE:
        at += 1
    return at
