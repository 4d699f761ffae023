"""Which structures of RTSTRUCT and SEG become which labels: a small table that people write."""

import fnmatch
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from autoseg.base.errors import UserError, hint, listed
from autoseg.clinical.table import read_table
from autoseg.workspace.files import read_edited_json
from planners.schema.base import Frozen, complaints_of

_RESERVED = ("background", "ignore")  # dataset.json means something else by them


class StructureTable(Frozen):
    """Labels in the order of their values (from 1), each with the names of the structures that it is made of.

    Names are compared without regard to case, white space and underscores; `*` stands for any text. Several structures of
    one label in one case are joined. `priority`: of two labels that overlap the one that is named earlier is kept, and any
    label that is not named comes last. `regions`: each of these labels lies within the one before it, and a voxel of the
    later one counts for all before it.
    """

    labels: dict[str, tuple[str, ...]] = Field(min_length=1)
    priority: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "StructureTable":
        for key, names in (("priority", self.priority), ("regions", self.regions)):
            for name in names:
                if name not in self.labels:
                    raise ValueError(f"{key} names {name!r}, which is no label{hint(name, self.labels)}; labels: "
                                     f"{', '.join(self.labels)}")
            if len(set(names)) < len(names):
                raise ValueError(f"{key} names a label twice: {', '.join(names)}")
        if len(self.regions) == 1:
            raise ValueError("regions needs two labels or more: the outer one first")
        for label, structures in self.labels.items():
            if not label.strip() or label.strip().lower() in _RESERVED:
                raise ValueError(f"a label cannot be called {label!r}")
            if not structures or not all(map(folded, structures)):
                raise ValueError(f"the label {label!r} names no structure")
        owner: dict[str, str] = {}
        for label, structures in self.labels.items():
            for structure in structures:
                if owner.setdefault(folded(structure), label) != label:
                    raise ValueError(f"the structure {structure!r} is of two labels, {owner[folded(structure)]!r} and "
                                     f"{label!r}")
        return self

    @property
    def values(self) -> dict[str, int]:
        """The value of each label; of nested ones the outer one comes first, as `dataset.json` needs it."""
        order = [*self.regions, *(name for name in self.labels if name not in self.regions)]
        return {name: number for number, name in enumerate(order, start=1)}

    def label_of(self, structure: str) -> str | None:
        """The label of a structure, None where it is not chosen; a name without `*` comes first. Raises UserError where
        names with `*` of two labels fit.
        """
        name = folded(structure)
        exact = [label for label, names in self.labels.items() if name in map(folded, names)]
        if exact:
            return exact[0]
        fits = [label for label, names in self.labels.items() if any(fnmatch.fnmatchcase(name, folded(n)) for n in names)]
        if len(fits) > 1:
            raise UserError(f"the structure {structure!r} fits two labels", found=" and ".join(fits),
                            do="name the structure in full for the label that it belongs to")
        return fits[0] if fits else None

    def chosen(self, structures: Iterable[str]) -> dict[str, str]:
        """The label of each structure that has one."""
        labels = {structure: self.label_of(structure) for structure in structures}
        return {structure: label for structure, label in labels.items() if label is not None}

    def declared(self) -> dict[str, Any]:
        """The keys of `dataset.json` that say which value is which label."""
        values = self.values
        if not self.regions:
            return {"labels": {"background": 0, **values}}
        nested = [values[name] for name in self.regions]
        entries: dict[str, Any] = {"background": 0, **values}
        entries |= {name: nested[number:] for number, name in enumerate(self.regions[:-1])}
        return {"labels": entries, "regions_class_order": list(values.values())}


def folded(name: str) -> str:
    """A structure's name as it is compared.

    >>> folded("GTV_Mass ") == folded("gtv mass")
    True
    """
    return "".join(name.replace("_", " ").split()).casefold()


def read_structures(path: Path) -> StructureTable:
    """The table of a file: JSON with the keys of `StructureTable`, or a table (CSV, TSV, XLSX) with the columns `structure`
    and `label`, one structure per row. Raises UserError where it is no such table.
    """
    if path.suffix.lower() == ".json":
        data = read_edited_json(path)
        if not isinstance(data, dict):
            raise UserError("the table of structures is no JSON object", where=path,
                            expected='{"labels": {"tumour": ["GTV"]}}')
        if isinstance(data.get("labels"), dict):
            data["labels"] = {label: [names] if isinstance(names, str) else names
                              for label, names in data["labels"].items()}
        return _valid(data, path)
    table = read_table(path)
    places = {column: table.position(column) for column in ("structure", "label")}
    if missing := [column for column, place in places.items() if place is None]:
        raise UserError("the table of structures lacks a column", where=path, found=listed(table.columns),
                        expected=" and ".join(missing))
    pairs = [(row.cells[places["structure"] or 0], row.cells[places["label"] or 0]) for row in table.rows]
    if empty := next((row.line for row, (structure, label) in zip(table.rows, pairs, strict=True)
                      if bool(structure) != bool(label)), None):
        raise UserError("a row names a structure or a label, not both", where=f"{path}, line {empty}")
    return _of_pairs([pair for pair in pairs if all(pair)], path)


def parse_structures(texts: Sequence[str]) -> StructureTable:
    """The table of texts such as `GTV_Mass=tumour`; a text without `=` keeps the name. Raises UserError."""
    pairs = []
    for text in texts:
        structure, _, label = text.rpartition("=") if "=" in text else (text, "", text)
        if not structure.strip() or not label.strip():
            raise UserError("a structure and its label are expected", where="--structure", found=repr(text),
                            expected="'GTV_Mass=tumour'")
        pairs.append((structure.strip(), label.strip()))
    return _of_pairs(pairs, "--structure")


def with_overlaps(table: StructureTable, priority: str | None, regions: str | None) -> StructureTable:
    """The table with what flags say of overlaps, as names of labels apart by commas."""
    own = {key: [part.strip() for part in text.split(",") if part.strip()]
           for key, text in (("priority", priority), ("regions", regions)) if text is not None}
    return _valid({**table.model_dump(), **own}, "--priority and --regions")


def counted(structures: Mapping[str, Iterable[str]]) -> list[tuple[str, int]]:
    """The structures of all cases, each in its most frequent spelling with the number of cases, the most frequent first."""
    spellings: dict[str, Counter[str]] = {}
    for names in structures.values():
        for name in {folded(name): name for name in names}.values():
            spellings.setdefault(folded(name), Counter())[name] += 1
    rows = [(names.most_common(1)[0][0], names.total()) for names in spellings.values()]
    return sorted(rows, key=lambda row: (-row[1], row[0].casefold()))


def _of_pairs(pairs: Iterable[tuple[str, str]], where: object) -> StructureTable:
    labels: dict[str, list[str]] = {}
    for structure, label in pairs:
        labels.setdefault(label, []).append(structure)
    return _valid({"labels": labels}, where)


def _valid(data: dict[str, Any], where: object) -> StructureTable:
    try:
        return StructureTable.model_validate(data)
    except ValidationError as error:
        said = complaints_of(error).removeprefix(": ").replace("Value error, ", "")
        raise UserError("the structures cannot be read", where=where, found=said) from None
