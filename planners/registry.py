"""One generic registry, used by every kind of part: networks, losses, normalisers, readers, planners."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from planners.schema.base import Frozen, Part

T = TypeVar("T")
TraitsT = TypeVar("TraitsT", bound=Frozen)
Context = TypeVar("Context")
Made = TypeVar("Made")


class NoOptions(Frozen):
    """The options of a part that has none."""


class NoTraits(Frozen):
    """The traits of a kind of part that has none."""


@dataclass(frozen=True)
class Entry(Generic[T, TraitsT]):
    """A registered part: its name, what it is, the type of its options, and what it can do."""

    name: str
    part: T
    options: type[Frozen]
    traits: TraitsT


class Registry(Generic[T, TraitsT]):
    """Name -> part, with the options type and the traits of each part.

    Traits say what a part can do, so that nobody has to test its name. Each kind of part has its own frozen type of
    traits, in which every trait has a default that is safe for a part that says nothing.

    >>> LOSSES: Registry[LossFactory, LossTraits] = Registry("loss", LossTraits)
    >>> @LOSSES.register("dice_ce", DiceOptions, sums_over_processes=True)
    ... class DiceCrossEntropy:
    ...     def __init__(self, options: DiceOptions, context: LossContext): ...
    >>> LOSSES.make(Part(name="dice_ce"), LossContext(regions=False, batch_dice=True))
    """

    def __init__(self, kind: str, traits: type[TraitsT]):
        self.kind = kind
        self._traits = traits
        self._entries: dict[str, Entry[T, TraitsT]] = {}

    def register(self, name: str, options: type[Frozen] = NoOptions, **traits: Any) -> Callable[[T], T]:
        """Decorator that files a class or function under `name`; a name is taken once, and a trait must be known."""
        known = self._traits.model_fields
        unknown = [trait for trait in traits if trait not in known]
        if unknown:
            raise ValueError(f"{self.kind} {name!r} states an unknown trait {unknown[0]!r}; "
                             f"known: {', '.join(known) or 'none'}")
        values = self._traits(**traits)

        def file(part: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice; choose another name")
            self._entries[name] = Entry(name, part, options, values)
            return part

        return file

    def names(self) -> list[str]:
        return sorted(self._entries)

    def entry(self, name: str) -> Entry[T, TraitsT]:
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

    def traits(self, name: str) -> TraitsT:
        """What a part can do; the safe defaults for a name that is not registered.

        A plan may name a part of a plug-in that only another stage needs and loads.
        """
        return self._entries[name].traits if name in self._entries else self._traits()

    def make(self: "Registry[Callable[[Any, Context], Made], TraitsT]", part: Part, context: Context) -> Made:
        """The part that a plan names: `factory(options, context)`, with the context that all parts of its kind are given."""
        return self.get(part.name)(self.options(part.name, part.options), context)
