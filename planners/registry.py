"""One generic registry, used by every kind of part: networks, losses, normalisers, readers, planners."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from planners.schema.base import Frozen

T = TypeVar("T")


class NoOptions(Frozen):
    """The options of a part that has none."""


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered part: its name, what it is, and the type of its options."""

    name: str
    part: T
    options: type[Frozen]


class Registry(Generic[T]):
    """Name -> part, with the options type of each part.

    >>> LOSSES = Registry("loss")
    >>> @LOSSES.register("dice_ce", DiceOptions)
    ... class DiceCrossEntropy: ...
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}

    def register(self, name: str, options: type[Frozen] = NoOptions) -> Callable[[T], T]:
        """Decorator that files a class or function under `name`; a name is taken once."""

        def file(part: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice; choose another name")
            self._entries[name] = Entry(name, part, options)
            return part

        return file

    def names(self) -> list[str]:
        return sorted(self._entries)

    def entry(self, name: str) -> Entry[T]:
        if name not in self._entries:
            close = difflib.get_close_matches(name, self._entries, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise KeyError(f"unknown {self.kind} {name!r}{hint}; known: {', '.join(self.names())}")
        return self._entries[name]

    def get(self, name: str) -> T:
        return self.entry(name).part

    def options(self, name: str, values: Mapping[str, Any]) -> Frozen:
        """The part's options type filled with `values`; a wrong name or value raises a ValueError."""
        return self.entry(name).options(**values)
