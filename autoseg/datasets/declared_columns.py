"""Columns of the table that say of a case what no model may see: its patient, its site, and which labels were annotated.

`read` gives the table of a path: `read_table`, or what was read of it before.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from autoseg.base.errors import UserError, hint, raise_faults
from autoseg.clinical.cells import category_text, clean, is_missing
from autoseg.clinical.conditions import listed, no_column, rows_of_cases
from autoseg.clinical.table import Table, read_table
from autoseg.datasets.manifest import Manifest
from autoseg.workspace.names import DATASET_JSON

TableReader = Callable[[Path], Table]
Groups = tuple[dict[str, str] | None, dict[str, str] | None]

_ALL = "all"  # in a cell of the column that labels_present names


def group_of(folder: Path, manifest: Manifest, names: Sequence[str], read: TableReader = read_table) -> Groups:
    """The patient and the site of each case, each None where no column is declared for it.

    A case of which the patient is not known is a group of its own, by its name; an unknown site is empty.
    """
    groups = manifest.groups
    if not (groups.patient or groups.site):
        return None, None
    columns = [column for column in (groups.patient, groups.site) if column]
    cells = _own_columns(read(folder / manifest.conditions.table), manifest, names, columns, "groups")
    patients = {name: category_text(cells[groups.patient][name] or name) for name in names} if groups.patient else None
    sites = {name: category_text(cells[groups.site][name]) for name in names} if groups.site else None
    return patients, sites


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


def _annotated_in_table(folder: Path, manifest: Manifest, cases: Sequence[str], read: TableReader
                        ) -> dict[str, tuple[str, ...]]:
    column, known = manifest.labels_present_column, manifest.labels.foreground
    table = read(folder / manifest.conditions.table)
    cells = _own_columns(table, manifest, cases, [column], "labels_present")[column]
    annotated: dict[str, tuple[str, ...]] = {}
    faults = []
    for name, cell in cells.items():
        words = [clean(word) for word in cell.replace(",", ";").split(";") if clean(word)]
        annotated[name] = known if words == [_ALL] else tuple(label for label in known if label in words)
        strange = [word for word in words if word not in known and words != [_ALL]]
        if strange or not words:
            faults.append(str(UserError(f"the column {column!r} does not say which labels were annotated",
                                        where=f"{table.path}, case {name}",
                                        found=", ".join(strange) or "nothing", do=f"write {_ALL!r}, or these names",
                                        expected=f"some of {', '.join(known)}, separated by ';'")))
    raise_faults(folder, faults)
    return annotated


def _own_columns(table: Table, manifest: Manifest, names: Sequence[str], columns: Sequence[str], key: str
                 ) -> dict[str, dict[str, str]]:
    """Columns of the dataset's own table: the text of each case, empty where it is missing."""
    rows = rows_of_cases(names, table, manifest.conditions.id)
    positions = {column: table.position(column) for column in columns}
    missing = [column for column, position in positions.items() if position is None]
    raise_faults(table.path, [str(no_column(table, column, key)) for column in missing])
    cells: dict[str, dict[str, str]] = {}
    for column, position in positions.items():
        if position is not None:
            texts = {name: rows[name].cells[position] if name in rows else "" for name in names}
            cells[column] = {name: "" if is_missing(text) else text for name, text in texts.items()}
    return cells
