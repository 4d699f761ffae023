"""A draft of what `dataset.json` could declare beside nnU-Net's keys, from what lies in a raw dataset's folder.

It is a proposal, made from names and values alone. What could do harm is refused, with the reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autoseg.base.errors import UserError, raise_faults
from autoseg.clinical.cells import is_missing
from autoseg.clinical.columns import Column, Verdict, judge_column
from autoseg.clinical.leakage import outcome_word
from autoseg.clinical.table import Table, read_table
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.manifest import Manifest
from autoseg.formats import Header, read_header
from autoseg.formats.arrays import array_files, array_folders, features_shape
from autoseg.formats.files import list_files
from autoseg.grids.geometry import Geometry

_TABLES = (".csv", ".tsv", ".xlsx", ".xlsm")
_USED = ("number", "category")  # verdicts that make a condition


@dataclass(frozen=True)
class InputsFound:
    """The keys to add to dataset.json, each column and folder with the verdict on it, and what else a person should know."""

    block: Mapping[str, Any]
    accepted: tuple[Verdict, ...] = ()
    refused: tuple[Verdict, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass
class _Draft:
    """Verdicts and remarks so far."""

    verdicts: list[Verdict] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def describe_inputs(folder: Path) -> InputsFound:
    """Draft the keys for the inputs of a raw dataset: optional channels, grids, the clinical table, vectors, tokens.

    Headers of images and the tables are read, no voxels; nothing is written. Raises UserError or ManyFaults where
    dataset.json is at fault or there are no training cases; other faults are remarks.
    """
    dataset = Dataset.open(folder)
    cases = dataset.scanned.cases
    if not cases:
        raise_faults(folder, dataset.scanned.faults)
    names = [case.name for case in cases]
    draft = _Draft()
    block = _channels(draft, cases, dataset.manifest)
    conditions, groups = _table(draft, folder, names)
    arrays = _arrays(draft, folder, names, set(conditions.get("columns", {})))
    if conditions or arrays:
        block["conditions"] = conditions | arrays
    if groups:
        block["groups"] = groups
    accepted = [verdict for verdict in draft.verdicts if verdict.accepted]
    refused = [verdict for verdict in draft.verdicts if not verdict.accepted]
    return InputsFound(block, tuple(accepted), tuple(refused), tuple(draft.remarks))


def _channels(draft: _Draft, cases: Sequence[CaseFiles], manifest: Manifest) -> dict[str, Any]:
    """Optional channels, and the reference channel where grids differ."""
    names = [channel.name for channel in manifest.channels]
    grids = [_grids(draft, case) for case in cases]
    if len(set(names)) < len(names) or any(several for _, _, several in grids):
        draft.remarks.append("channels share a name or a file: what is missing and whose grid differs was not looked at")
        return {}
    lacking = {name: [case.name for case in cases if k >= len(case.images) or case.images[k] is None]
               for k, name in enumerate(names)}
    optional = [name for name, without in lacking.items() if without]
    block: dict[str, Any] = {"optional_channels": optional} if optional else {}
    draft.remarks += [f"channel {name!r} is missing in {len(lacking[name])} of {len(cases)} cases" for name in optional]
    apart = {name: sum(label is not None and k in images and bool(images[k].difference(label))
                       for images, label, _ in grids) for k, name in enumerate(names)}
    off = [name for name, count in apart.items() if count]
    if not off:
        return block
    reference = next((name for name in names if name not in off and name not in optional), None)
    if reference is None:
        draft.remarks.append("grids differ, and the labels lie on that of no channel that every case has: resample the "
                             "labels to such a channel's grid")
        return block
    draft.remarks += [f"channel {name!r} is on another grid than the labels in {apart[name]} of {len(cases)} cases"
                      for name in off]
    draft.remarks.append("'regrid' trusts the files' world coordinates; write 'rigid', 'affine' or 'deformable' for a "
                         "channel before which the patient moved")
    return block | {"reference_channel": reference, "registration": dict.fromkeys(off, "regrid")}


def _grids(draft: _Draft, case: CaseFiles) -> tuple[dict[int, Geometry], Geometry | None, bool]:
    """The grid of each channel's file and of the label, and whether a file holds several channels."""
    images: dict[int, Geometry] = {}
    several = False
    for k, path in enumerate(case.images):
        header = None if path is None else _header(draft, path)
        if header is not None:
            images[k] = header.geometry
            several |= header.n_channels > 1
    label = None if case.label is None else _header(draft, case.label)
    return images, None if label is None else label.geometry, several


def _header(draft: _Draft, path: Path) -> Header | None:
    try:
        return read_header(path)
    except UserError as error:
        draft.remarks.append(str(error))
        return None


def _table(draft: _Draft, folder: Path, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The `conditions` of the table that names most cases, and the `groups` that its columns identify."""
    best: tuple[int, str, Table] | None = None
    others = []
    for path in list_files(folder):
        if path.suffix.lower() not in _TABLES or path.name.startswith("~$"):
            continue
        try:
            table = read_table(path)
        except UserError as error:
            draft.remarks.append(str(error))
            continue
        n_named, column = _id_column(table, set(names))
        if 2 * n_named < min(len(names), len(table.rows)) or n_named == 0:
            draft.remarks.append(f"{path.name}: no column holds the names of the cases")
        elif best is None or n_named > best[0]:
            others += [best[2].path] if best else []
            best = (n_named, column, table)
        else:
            others.append(path)
    if best is None:
        return {}, {}
    _, column, table = best
    draft.remarks += [f"{path.name} names cases, too: one table is read, so join them if both are wanted" for path in others]
    verdicts = [judge_column(values) for values in _columns(table, column, names)]
    draft.verdicts += verdicts
    columns = {verdict.name: {"kind": verdict.kind} for verdict in verdicts if verdict.kind in _USED}
    groups = {key: next(verdict.name for verdict in verdicts if verdict.group == key) for key in ("patient", "site")
              if any(verdict.group == key for verdict in verdicts)}
    if not (columns or groups):
        return {}, {}
    return {"table": table.path.name, "id": column} | ({"columns": columns} if columns else {}), groups


def _id_column(table: Table, names: set[str]) -> tuple[int, str]:
    """How many cases the best column names, and that column; the first of several."""
    counts = [len({row.cells[k] for row in table.rows} & names) if name else 0 for k, name in enumerate(table.columns)]
    best = max(range(len(counts)), key=counts.__getitem__)
    return counts[best], table.columns[best]


def _columns(table: Table, id_column: str, names: Sequence[str]) -> list[Column]:
    """The filled cells of every other column, of rows that name a case."""
    position = table.columns.index(id_column)
    rows = [row for row in table.rows if row.cells[position] in set(names)]
    return [Column(name, tuple(row.cells[k] for row in rows if not is_missing(row.cells[k])), len(names),
                   table.decimal_comma)
            for k, name in enumerate(table.columns) if name and k != position]


def _arrays(draft: _Draft, folder: Path, names: Sequence[str], taken: set[str]) -> dict[str, dict[str, str]]:
    """Folders of `CASE.npy`: vectors where the arrays have one axis, tokens where they have two."""
    parts: dict[str, dict[str, str]] = {}
    for place in array_folders(folder):
        relative = place.relative_to(folder).as_posix()
        verdict, part = _judge_folder(place, relative, set(names))
        if part:
            name = place.name if place.name not in taken else relative.replace("/", "_")
            taken.add(name)
            parts.setdefault(part, {})[name] = relative
            verdict = replace(verdict, name=name)
        draft.verdicts.append(verdict)
    return parts


def _judge_folder(place: Path, relative: str, names: set[str]) -> tuple[Verdict, str]:
    files = [path for path in array_files(place) if path.stem in names]
    if not files:
        return Verdict(relative, "", "no array is named after a case"), ""
    if outcome_word(place.name):
        return Verdict(relative, "", f"an outcome, by the word {outcome_word(place.name)!r}"), ""
    try:
        shapes = [features_shape(path) for path in files]
    except UserError as error:
        return Verdict(relative, "", str(error)), ""
    axes, widths = {len(shape) for shape in shapes}, {shape[-1:] for shape in shapes}
    if axes not in ({1}, {2}) or len(widths) > 1:
        return Verdict(relative, "", "its arrays are neither vectors of one width nor tokens of one width"), ""
    kind, part = ("vector", "vectors") if axes == {1} else ("tokens", "tokens")
    return Verdict(relative, kind, f"{len(files)} of {len(names)} cases, {shapes[0][-1]} features"), part
