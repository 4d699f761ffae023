"""A draft of what `dataset.json` could declare beside nnU-Net's keys, from what lies in a raw dataset's folder.

It is a proposal, made from names and values alone. What could do harm is refused, with the reason.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autoseg.base.errors import UserError, raise_faults
from autoseg.clinical.cells import is_missing
from autoseg.clinical.columns import Column, Verdict, judge_column
from autoseg.clinical.leakage import outcome_word
from autoseg.clinical.matching import MATCHES, Match, best_match, ids_of_cases
from autoseg.clinical.outcome_draft import draft_outcomes
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
    conditions, groups, outcomes = _table(draft, folder, names)
    arrays = _arrays(draft, folder, names, set(conditions.get("columns", {})))
    if conditions or arrays:
        block["conditions"] = conditions | arrays
    if groups:
        block["groups"] = groups
    if outcomes:
        block["outcomes"] = outcomes
        draft.remarks.append("outcomes are never inputs; autoseg_outcome fits models of them: check what counts as an event")
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


def _table(draft: _Draft, folder: Path, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    """The `conditions` of the table that names most cases, and the `groups` and `outcomes` that its columns seem to be."""
    best: tuple[int, str, Table, Match] | None = None
    others = []
    for path in list_files(folder):
        if path.suffix.lower() not in _TABLES or path.name.startswith("~$"):
            continue
        try:
            table = read_table(path)
        except UserError as error:
            draft.remarks.append(str(error))
            continue
        n_named, column, match = _id_column(table, names)
        if not n_named:
            draft.remarks.append(f"{path.name}: no column holds the names of the cases")
        elif best is None or n_named > best[0]:
            others += [best[2].path] if best else []
            best = (n_named, column, table, match)
        else:
            others.append(path)
    if best is None:
        return {}, {}, {}
    _, column, table, match = best
    draft.remarks += [f"{path.name} names cases, too: one table is read, so join them if both are wanted" for path in others]
    ids = ids_of_cases(names, _counted(table, column), match)
    filled = _columns(table, column, set(ids.values()), len(names))
    verdicts = [judge_column(values) for values in filled]
    draft.verdicts += verdicts
    outcomes = draft_outcomes(filled)
    columns = {verdict.name: {"kind": verdict.kind} for verdict in verdicts if verdict.kind in _USED}
    groups = {key: next(verdict.name for verdict in verdicts if verdict.group == key) for key in ("patient", "site")
              if any(verdict.group == key for verdict in verdicts)}
    if len(set(ids.values())) < len(ids):  # a row per patient, of whom there are several scans
        groups = {"patient": column} | groups
    if not (columns or groups or outcomes):
        return {}, {}, {}
    _remark_on_ids(draft, table, ids, match, len(names))
    block = {"table": table.path.name, "id": column} | ({} if match == MATCHES[0] else match.keys)
    return block | ({"columns": columns} if columns else {}), groups, outcomes


def _remark_on_ids(draft: _Draft, table: Table, ids: Mapping[str, str], match: Match, n_cases: int) -> None:
    """Says which cases have no row, and by which part of a name the others have theirs."""
    name = table.path.name
    if match != MATCHES[0]:
        case, text = next(iter(ids.items()))
        draft.remarks.append(f"{name}: its ids are parts of the names of cases, such as {text} of {case}; check that they "
                             "fit")
    if len(ids) < n_cases:
        draft.remarks.append(f"{name}: {n_cases - len(ids)} of {n_cases} cases have no row")


def _id_column(table: Table, names: Sequence[str]) -> tuple[int, str, Match]:
    """How many cases the best column names, that column, and how: by whole names where it can be, else by parts of them.

    No case where every column names fewer than half of the cases, or of the rows; numbers in names, which also a short list
    of codes has, count from half of the cases on.
    """
    few = max(1, min(len(names), len(table.rows)) / 2)
    counted = {column: _counted(table, column) for column in table.columns if column}
    for matches, enough in ((MATCHES[:1], few), (MATCHES[:2], few), (MATCHES, len(names) / 2)):
        fits = {column: best_match(names, ids, matches) for column, ids in counted.items()}
        best = max(fits, key=lambda column: len(fits[column][1]), default="")
        if best and len(fits[best][1]) >= enough:
            match, ids = best_match(names, counted[best])
            return len(ids), best, match
    return 0, "", MATCHES[0]


def _counted(table: Table, column: str) -> Counter[str]:
    """How many rows have each text in a column."""
    position = table.columns.index(column)
    return Counter(row.cells[position] for row in table.rows if row.cells[position])


def _columns(table: Table, id_column: str, ids: Collection[str], n_cases: int) -> list[Column]:
    """The filled cells of every other column, of rows that belong to a case."""
    position = table.columns.index(id_column)
    rows = [row for row in table.rows if row.cells[position] in ids]
    return [Column(name, tuple(row.cells[k] for row in rows if not is_missing(row.cells[k])), min(n_cases, len(rows)),
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
