"""Texts and JSON values as damaged as people and programs make them, seeded."""

import copy
import json
from typing import Any

import numpy as np

_VALUES: tuple[Any, ...] = (None, True, 0, 1, -1, 3.5, 1e308, 10**30, "", " ", "a", "0", "1", "²", "\0", "\ud800", "(",
                            "(a)",
                            "prefix", "pattern", "background", "ignore", "CT", "liver", "clinical.csv", [], [0], [1, 2],
                            ["a"], {}, {"0": "a"}, {"a": 1}, [[]], {"a": {"a": []}}, ["liver", "spleen"],
                            [["liver", "spleen"]], float("nan"))
_PIECES = (",", ";", "\t", "|", '"', "'", "\n", "\r", "\r\n", "\0", "\ufeff", "#VALUE!",
           "95.0", "1,5", "1e999", "2020-01-31",
           "case", "liver", " ", "\u200b", "²", "٣", "=", "sep=;", "--", "x" * 40, "9" * 50)
_SIGNS = ('"', "{", "}", "[", "]", ",", ":", "9" * 5000, "\\u0000", "[" * 2000)


def changed(rng: np.random.Generator, value: Any, times: int) -> Any:
    """A JSON value with some of its parts replaced, removed, renamed or copied elsewhere."""
    value = copy.deepcopy(value)
    for _ in range(times):
        places = list(_places(value))
        if not places:
            return value
        parent, key = places[rng.integers(len(places))]
        new = copy.deepcopy(_VALUES[rng.integers(len(_VALUES))])
        match rng.integers(4):
            case 0:
                del parent[key]
            case 1 if isinstance(parent, dict):
                parent[str(new)[:10]] = parent.pop(key)
            case 2:
                other, place = places[rng.integers(len(places))]
                parent[key] = copy.deepcopy(other[place]) if place in _keys(other) else new
            case _:
                parent[key] = new
    return value


def damaged_json(rng: np.random.Generator, value: Any) -> str:
    """The text of a changed value, itself changed in one case of four."""
    text = json.dumps(changed(rng, value, int(rng.integers(1, 5))), ensure_ascii=bool(rng.integers(2)))
    return damaged_text(rng, text, _SIGNS) if rng.random() < 0.25 else text


def damaged_text(rng: np.random.Generator, text: str, pieces: tuple[str, ...] = _PIECES) -> str:
    """A text of which some stretches are cut, doubled, or replaced by a piece."""
    for _ in range(rng.integers(1, 6)):
        start = int(rng.integers(len(text) + 1))
        end = min(len(text), start + int(rng.integers(6)))
        middle = (pieces[rng.integers(len(pieces))], "", text[start:end] * 2)[rng.integers(3)]
        text = text[:start] + middle + text[end:]
    return text


def _keys(parent: Any) -> Any:
    return parent if isinstance(parent, dict) else range(len(parent))


def _places(value: Any) -> Any:
    """Every container with each of its keys or positions."""
    if isinstance(value, dict | list):
        for key in list(_keys(value)):
            yield value, key
            yield from _places(value[key])
