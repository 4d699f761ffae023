"""Coded concepts (SNOMED CT) of structures by their names: `concepts.json`.

Names are those of TotalSegmentator, with synonyms; sides are codes of their own, so that `kidney_left`, `left kidney` and
`Kidney L` are the same. A name that is not in the table is coded as an anatomical structure;
its label alone says what it is.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.workspace.files import read_model
from planners.schema.base import Frozen, versioned

SCHEME = "SCT"
_TABLE = Path(__file__).parent / "concepts.json"
_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}
_UNKNOWN = "anatomy"


class ConceptTable(Frozen):
    """Codes with their meanings: categories (CID 7150), sides (CID 244), and by name the category and the code of
    structures.
    """

    schema_version: int = versioned(1)
    categories: dict[str, tuple[str, str]]
    laterality: dict[str, tuple[str, str]]
    other_names: dict[str, str]
    structures: dict[str, tuple[str, str, str]]


@dataclass(frozen=True)
class Code:
    """A coded concept of SNOMED CT."""

    value: str
    meaning: str


@dataclass(frozen=True)
class Concept:
    """What a segment is: its category, its type, and its side where the name says one."""

    category: Code
    kind: Code
    side: Code | None = None


def concept_of(name: str) -> Concept:
    """The concept of a structure.

    >>> concept_of("kidney_left").kind.meaning
    'Kidney'
    """
    table = concept_table()
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    sides = {_SIDES[word] for word in words if word in _SIDES}
    without_side = [word for word in words if word not in _SIDES]
    known = _known(table, words)
    side = None
    if known is None and len(sides) == 1:
        known, side = _known(table, without_side), Code(*table.laterality[sides.pop()])
    if known is None:
        category = Code(*table.categories[_UNKNOWN])
        return Concept(category, category)
    kind, value, meaning = known
    return Concept(Code(*table.categories[kind]), Code(value, meaning), side)


@functools.cache
def concept_table() -> ConceptTable:
    """The table that comes with the package."""
    return read_model(_TABLE, ConceptTable)


def _known(table: ConceptTable, words: Sequence[str]) -> tuple[str, str, str] | None:
    name = "_".join(words)
    return table.structures.get(table.other_names.get(name, name))
