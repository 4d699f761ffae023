"""Changes single values of a configuration by name: `schedule.iterations=5000`."""

import difflib
import json
from typing import Any

from pydantic import ValidationError

from planners.schema.base import complaints_of
from planners.schema.plan import FORMER_ARCHITECTURE_FIELDS, FORMER_FIELDS, Configuration

_FREE = ("options", "class_weights")  # a part's own keys, and names of labels: others check them


def override(configuration: Configuration, assignments: list[str]) -> Configuration:
    """The configuration with each `path.to.key=value` applied; values are JSON, or else text.

    Raises ValueError for an assignment that is not one, an unknown key (the known ones are listed) or a wrong value.

    >>> override(configuration, ["schedule.iterations=200", "loss.options.ce_weight=0.5"])
    """
    data = configuration.model_dump(mode="json")
    for assignment in assignments:
        path, sign, text = assignment.partition("=")
        if not sign:
            raise ValueError(f"{assignment!r} is not of the form key=value")
        _assign(data, _present_names(path.strip().split(".")), _value(text), assignment)
    try:
        return Configuration.model_validate(data)
    except ValidationError as error:
        raise ValueError(f"{' '.join(assignments)}: {complaints_of(error)}") from None


def _present_names(keys: list[str]) -> list[str]:
    """The keys as this version calls them."""
    first = FORMER_FIELDS.get(keys[0], keys[0])
    others = keys[1:]
    if first == "architecture" and others:
        others = [FORMER_ARCHITECTURE_FIELDS.get(others[0], others[0]), *others[1:]]
    return [first, *others]


def _assign(data: dict[str, Any], keys: list[str], value: Any, assignment: str) -> None:
    for depth, key in enumerate(keys):
        free = depth > 0 and keys[depth - 1] in _FREE
        if not isinstance(data, dict) or (key not in data and not free):
            known = sorted(data) if isinstance(data, dict) else []
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(f"{assignment!r}: unknown key {key!r}{hint}; known: {', '.join(known) or 'none'}")
        if depth == len(keys) - 1:
            data[key] = value
        else:
            data = data[key]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
