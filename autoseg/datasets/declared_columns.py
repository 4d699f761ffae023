"""Columns of the table that say of a case what no model may see: its patient, its site, its weight, and which labels were
annotated in it.

`read` gives the table of a path: `read_table`, or what was read of it before.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError, hint, listed, raise_faults
from autoseg.clinical.cells import category_text, clean, is_formula_error, is_missing, read_numbers
from autoseg.clinical.matching import MatchedRows, match_rows, no_column
from autoseg.clinical.table import Table, read_table
from autoseg.datasets.manifest import Manifest
from autoseg.workspace.names import DATASET_JSON

TableReader = Callable[[Path], Table]
Groups = tuple[dict[str, str] | None, dict[str, str] | None]

_ALL = "all"  # in a cell of the column that labels_present names


@dataclass(frozen=True)
class KnownGroups:
    """The patient and the site of the cases of which the table says them, and why it does not say them of the others.

    `groups` is as `group_of` gives it, of the cases `names` only.
    """

    names: tuple[str, ...]
    groups: Groups
    fault: UserError | None = None


def group_of(folder: Path, manifest: Manifest, names: Sequence[str], read: TableReader = read_table) -> Groups:
    """The patient and the site of each case, each None where no column is declared for it.

    A patient is one whatever the case of its letters. A case whose row leaves the patient empty is a group of its own, by
    its name; an unknown site is empty. Raises UserError where a case has no row or the patient is the error of a formula:
    one patient's cases could then be trained on and validated.
    """
    known = known_groups(folder, manifest, names, read)
    if known.fault is not None:
        raise known.fault
    return known.groups


def known_groups(folder: Path, manifest: Manifest, names: Sequence[str], read: TableReader = read_table) -> KnownGroups:
    """The groups of the cases that have a row with a patient that is no error of a formula. Raises UserError where a
    column is not there.
    """
    groups = manifest.groups
    columns = [column for column in (groups.patient, groups.site) if column]
    if not columns:
        return KnownGroups(tuple(names), (None, None))
    table = read(folder / manifest.conditions.table)
    matched = match_rows(names, table, manifest.conditions)
    cells = _own_columns(table, matched, names, columns, "groups")
    errors = _formula_errors(matched, table, groups.patient)
    known = tuple(name for name in names if name in matched.rows and name not in errors)
    spellings: dict[str, str] = {}
    patients = {}
    for name in known if groups.patient else ():
        text = category_text(cells[groups.patient][name] or name)
        patients[name] = spellings.setdefault(text.casefold(), text)
    sites = {name: category_text(cells[groups.site][name]) for name in known} if groups.site else None
    fault = None
    if matched.cases_left:
        fault = _no_row(matched, names, "groups")
    elif errors:
        fault = UserError(f"patients in the column {groups.patient!r} are the error of a formula", where=table.path,
                          found=listed(errors.values()), do="write the patients as text")
    return KnownGroups(known, (patients if groups.patient else None, sites), fault)


def table_warnings(folder: Path, manifest: Manifest, names: Sequence[str], read: TableReader = read_table
                   ) -> tuple[str, ...]:
    """What is odd about the rows and the patients of the table, where groups or labels_present use it.

    Raises what `known_groups` raises. Why groups are not known is no part of it.
    """
    groups = manifest.groups
    if not (groups.patient or groups.site or manifest.labels_present_column):
        return ()
    known = known_groups(folder, manifest, names, read).names
    table = read(folder / manifest.conditions.table)
    matched = match_rows(names, table, manifest.conditions)
    warnings = [*matched.warnings]
    if groups.patient:
        patients = _own_columns(table, matched, known, [groups.patient], "groups")[groups.patient]
        unknown = [name for name, text in patients.items() if not text]
        if unknown:
            warnings.append(f"{table.path}: the column {groups.patient!r} names no patient of {len(unknown)} of "
                            f"{len(names)} cases, and each counts as a patient of its own: {listed(unknown)}")
        spelled = sorted({category_text(text) for text in patients.values() if text})
        folded = Counter(text.casefold() for text in spelled)
        same = [text for text in spelled if folded[text.casefold()] > 1]
        if same:
            warnings.append(f"{table.path}: patients of the column {groups.patient!r} differ in case only, and count as "
                            f"one: {listed(same)}")
    return tuple(warnings)


def annotated_names(folder: Path, manifest: Manifest, cases: Sequence[str], read: TableReader = read_table
                    ) -> Mapping[str, tuple[str, ...]] | None:
    """The foreground names that were annotated in each of the training `cases`; None: all of them, everywhere.

    A case that dataset.json does not list has all of them. A column says `all`, or names separated by `;` or `,`; it must
    say it for every case, because nothing would read as "no such structure". Raises UserError or ManyFaults.
    """
    everything = manifest.labels.foreground
    if manifest.labels_present_column:
        return _annotated_in_table(folder, manifest, cases, read)
    if manifest.labels_present is None:
        return None
    strange = [name for name in manifest.labels_present if name not in set(cases)]
    if strange:
        raise UserError(f"'labels_present' names a case that is not there{hint(strange[0], cases)}",
                        where=folder / DATASET_JSON, found=listed(strange), do="correct the name or remove the entry")
    return {name: manifest.labels_present.get(name, everything) for name in cases}


def case_weights(folder: Path, manifest: Manifest, cases: Sequence[str], read: TableReader = read_table
                 ) -> Mapping[str, float] | None:
    """How often each training case is drawn, in proportion to the others; 0: never. None: no column says it.

    Raises UserError or ManyFaults, which name the cases without a row and those whose weight is not a number from 0.
    """
    column = manifest.case_weight_column
    if not column:
        return None
    table = read(folder / manifest.conditions.table)
    matched = match_rows(cases, table, manifest.conditions)
    cells = _own_columns(table, matched, cases, [column], "case_weight")[column]
    if matched.cases_left:
        raise _no_row(matched, cases, "case_weight")
    filled = {name: text for name, text in cells.items() if text}
    numbers = zip(filled, read_numbers(list(filled.values()), table.decimal_comma), strict=True)
    weights = {name: number for name, number in numbers if number is not None and number >= 0}
    raise_faults(folder, [str(UserError(f"the column {column!r} does not say how much the case weighs",
                                        where=f"{table.path}, case {name}", found=cells[name] or "nothing",
                                        expected="a number: 0 (never drawn in training), 1, 2.5, ..."))
                          for name in cells if name not in weights])
    return weights


def _annotated_in_table(folder: Path, manifest: Manifest, cases: Sequence[str], read: TableReader
                        ) -> dict[str, tuple[str, ...]]:
    column, known = manifest.labels_present_column, manifest.labels.foreground
    table = read(folder / manifest.conditions.table)
    matched = match_rows(cases, table, manifest.conditions)
    cells = _own_columns(table, matched, cases, [column], "labels_present")[column]
    annotated: dict[str, tuple[str, ...]] = {}
    faults = []
    for name, cell in cells.items():
        words = [clean(word) for word in cell.replace(",", ";").split(";") if clean(word)]
        annotated[name] = known if words == [_ALL] else tuple(label for label in known if label in words)
        strange = [word for word in words if word not in known and words != [_ALL]]
        if strange or not words:
            faults.append(str(UserError(f"the column {column!r} does not say which labels were annotated",
                                        where=f"{table.path}, case {name}",
                                        found=", ".join(strange) or "nothing",
                                        do="; ".join(filter(None, (f"write {_ALL!r}, or these names", matched.advice))),
                                        expected=f"some of {', '.join(known)}, separated by ';'")))
    raise_faults(folder, faults)
    return annotated


def _own_columns(table: Table, matched: MatchedRows, names: Sequence[str], columns: Sequence[str], key: str
                 ) -> dict[str, dict[str, str]]:
    """Columns of the dataset's own table that `key` of dataset.json names: the text of each case, empty where it is missing.

    Raises UserError or ManyFaults where a column is not there.
    """
    positions = {column: table.position(column) for column in columns}
    raise_faults(table.path, [str(no_column(table, column, key)) for column, place in positions.items() if place is None])
    cells: dict[str, dict[str, str]] = {}
    for column, place in positions.items():
        if place is not None:
            texts = {name: matched.rows[name].cells[place] if name in matched.rows else "" for name in names}
            cells[column] = {name: "" if is_missing(text) else text for name, text in texts.items()}
    return cells


def _formula_errors(matched: MatchedRows, table: Table, column: str) -> dict[str, str]:
    """The cases of which a spreadsheet failed to say who the patient is: what it says, and where."""
    place = table.position(column) if column else None
    if place is None:
        return {}
    return {name: f"{row.cells[place]!r} (case {name}, line {row.line})" for name, row in matched.rows.items()
            if is_formula_error(row.cells[place])}


def _no_row(matched: MatchedRows, names: Sequence[str], key: str) -> UserError:
    left = len(matched.cases_left)
    strange = f", while rows have no case: {listed(matched.ids_left)}" if matched.ids_left else ""
    return UserError(f"{left} of {len(names)} cases have no row, but {key!r} in {DATASET_JSON} depends on it",
                     where=matched.path, found=f"{listed(matched.cases_left)}{strange}",
                     expected=f"a row for every case, by the column {matched.column!r}",
                     do=matched.advice or "add the rows that are missing")
