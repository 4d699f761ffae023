"""Elements of a DICOM header as plain values. What cannot be understood counts as not said."""

import functools
import math
import re
from collections.abc import Sequence
from typing import Any

_TEXTS = ("CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI")  # types of values that are read as text
_ESCAPE = b"\x1b"  # changes the character set


def text(dataset: Any, name: str) -> str:
    """An element as text; empty where it is missing."""
    value = _value(dataset, name)
    return "" if value is None else "\\".join(value) if isinstance(value, list) else str(value).strip()


def texts(dataset: Any, name: str) -> tuple[str, ...]:
    """An element of several values."""
    value = _value(dataset, name)
    if value is None or value == "":
        return ()
    return (str(value),) if isinstance(value, str) else tuple(map(str, value))


def number(dataset: Any, name: str) -> float | None:
    """A finite number; None where it is missing, or is none."""
    values = numbers(dataset, name, 1)
    return None if values is None else values[0]


def numbers(dataset: Any, name: str, n: int) -> tuple[float, ...] | None:
    """Exactly n finite numbers; None otherwise."""
    value = _value(dataset, name)
    if value is None or value == "":
        return None
    try:
        values = tuple(map(float, [value] if n == 1 else value))
    except (TypeError, ValueError):
        return None
    return values if len(values) == n and all(map(math.isfinite, values)) else None


def seconds_of_day(text: str) -> float | None:
    """A time of day without a date (PS3.5 6.2, TM: HHMMSS.FFFFFF, of which the end may be missing); None for anything else.

    >>> seconds_of_day("000130.5"), seconds_of_day("20200102000130")
    (90.5, None)
    """
    match = re.fullmatch(r"(\d{2})(?:(\d{2})(\d{2}(?:\.\d+)?)?)?", text.strip().replace(":", ""))
    return None if match is None else 3600.0 * int(match[1]) + 60.0 * int(match[2] or 0) + float(match[3] or 0)


def items(dataset: Any, name: str) -> Sequence[Any]:
    """The items of a sequence; none where it is missing."""
    return _value(dataset, name) or ()


def macro(groups: Sequence[Any], name: str) -> Any:
    """The first item of a functional group: of the frame, else of all frames; None where neither says it."""
    for group in groups:
        values = items(group, name) if group is not None else ()
        if values:
            return values[0]
    return None


def private(dataset: Any, group: int, element: int) -> str:
    """A private element as text, also where its type is unknown; of several values the first."""
    try:
        value = dataset[group, element].value
    except (KeyError, ValueError, TypeError):
        return ""
    if isinstance(value, bytes):
        value = value.decode("ascii", "ignore").strip("\0 ").split("\\")[0]
    elif not isinstance(value, str | int | float):
        value = value[0] if value else ""
    return str(value)


def _value(dataset: Any, name: str) -> Any:
    """The value of an element; None where it is missing. Plain text and whole numbers are taken from the bytes as they were
    read: pydicom's conversion takes most of the time of a listing.
    """
    tag, kind = _entry(name)
    if tag not in dataset:
        return None
    raw = dataset.get_item(tag)
    value = raw.value
    if isinstance(value, bytes) and (raw.VR or kind) == kind:
        if kind in _TEXTS and value.isascii() and _ESCAPE not in value:
            parts = [part.strip("\0 ") for part in value.decode("ascii").split("\\")]
            return parts[0] if len(parts) == 1 else parts
        if kind == "US" and len(value) == 2:
            return int.from_bytes(value, "little" if raw.is_little_endian else "big")
    try:
        return dataset.get(name)
    except (ValueError, TypeError, NotImplementedError):  # a number that is none
        return None


@functools.cache
def _entry(name: str) -> tuple[Any, str]:
    """The tag of an element and the type of its value, from the dictionary of the standard."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.tag import Tag

    tag = tag_for_keyword(name)
    if tag is None:
        raise ValueError(f"DICOM has no element {name}")
    return Tag(tag), dictionary_VR(tag)
