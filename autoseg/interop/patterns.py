"""Patterns of file names with named parts, as recipes have them."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path

_PART = re.compile(r"\{(\w+)(?::([^{}]*))?\}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern, for whole paths. Raises re.error where a part's expression is none.

    >>> compiled("{case}/{case}_t1.nii").fullmatch("/data/a/a_t1.nii").groupdict()
    {'case': 'a'}
    """
    expression, seen, end = "", set[str](), 0
    for part in _PART.finditer(pattern):
        expression += re.escape(pattern[end:part.start()])
        name, own = part.groups()
        expression += f"(?P={name})" if name in seen else f"(?P<{name}>{own or '[^/]+?'})"
        seen.add(name)
        end = part.end()
    return re.compile(f"(?:.*/)?{expression}{re.escape(pattern[end:])}")


def parts_of_path(pattern: str, path: Path) -> dict[str, str] | None:
    """The named parts of a path that fits a pattern; None where it does not."""
    match = compiled(pattern).fullmatch(path.as_posix())
    return None if match is None else match.groupdict()


def filled(template: str, parts: Mapping[str, str]) -> str | None:
    """A template with its named parts filled in, as the name of a file; None where a part is not known.

    >>> filled("{set}_{case}", {"set": "a b", "case": "1"})
    'a-b_1'
    """
    try:
        text = template.format_map(parts)
    except KeyError:
        return None
    return _NOT_IN_NAMES.sub("-", text).strip("-.") or None


def plain(pattern: str) -> str:
    """A pattern as people read it, without the expressions.

    >>> plain("{case:[0-9]+}/{file}.dcm")
    '{case}/{file}.dcm'
    """
    return _PART.sub(r"{\1}", pattern)
