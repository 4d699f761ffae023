"""Elements of a DICOM header as plain values. What cannot be understood counts as not said."""

import math
from collections.abc import Sequence
from typing import Any


def text(dataset: Any, name: str) -> str:
    """An element as text; empty where it is missing."""
    value = _value(dataset, name)
    return "" if value is None else str(value).strip()


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


def items(dataset: Any, name: str) -> Sequence[Any]:
    """The items of a sequence; none where it is missing."""
    return _value(dataset, name) or ()


def macro(groups: Sequence[Any], name: str) -> Any:
    """The first item of a functional group: of the frame, else of all frames; None where neither says it."""
    for group in groups:
        found = items(group, name) if group is not None else ()
        if found:
            return found[0]
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
    try:
        return dataset.get(name)
    except (ValueError, TypeError, NotImplementedError):  # a number that is none
        return None
