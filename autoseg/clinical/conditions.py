"""What is known of a patient beside the images: the clinical table, vectors and bags of tokens, read and checked.

A condition may be missing: a cell that says nothing, a case without a row, a case without a file. What is there must be
sound; all faults are raised at once. Values are as written: `clinical/encoders.py` makes numbers for a network.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autoseg.base.errors import ManyFaults, UserError, listed, raise_faults
from autoseg.clinical.cells import (
    category_text,
    could_be_thousands,
    is_date,
    is_formula_error,
    is_missing,
    read_numbers,
    unit_of,
)
from autoseg.clinical.matching import match_rows, no_column
from autoseg.clinical.outliers import far_from_others
from autoseg.clinical.table import Row, Table, read_table
from autoseg.formats.arrays import ENDING, array_files, read_features
from autoseg.formats.files import is_file, is_folder
from autoseg.workspace.names import DATASET_JSON
from planners.schema.conditions import ConditionSpec, ConditionTable

DEFAULT_TABLE = "clinical.csv"  # looked for beside the images to predict
_SHOWN_CELLS = 30
_EXAMPLES = 3


@dataclass(frozen=True)
class CaseConditions:
    """What is known of a patient beside the images; None, or no entry, where it is missing.

    `values` are of table columns: a float of a number column (not transformed), else the text. `vectors` are (E,) and
    `tokens` (T, E) float32.
    """

    values: Mapping[str, float | str | None] = field(default_factory=dict)
    vectors: Mapping[str, np.ndarray | None] = field(default_factory=dict)
    tokens: Mapping[str, np.ndarray | None] = field(default_factory=dict)


@dataclass(frozen=True)
class ConditionsOf:
    """The conditions of every case that was asked for, and what is odd about their files."""

    cases: Mapping[str, CaseConditions]
    warnings: tuple[str, ...] = ()


@dataclass
class _Reading:
    """One reading in progress. At prediction (`training` False) whole columns, tables and folders may be missing."""

    names: Sequence[str]
    training: bool
    read: Callable[[Path], Table] = read_table
    elsewhere: Collection[str] = ()  # columns that something else than the table says
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def fault(self, what: str, *, where: object, found: object, expected: object = None, do: str | None = None) -> None:
        self.faults.append(str(UserError(what, where=where, found=found, expected=expected, do=do)))


def read_conditions(folder: Path, table: ConditionTable, names: Sequence[str], *,
                    read: Callable[[Path], Table] = read_table) -> ConditionsOf:
    """The conditions of the training cases `names` of a raw dataset's `folder`.

    Raises UserError or ManyFaults with all faults: no table, an empty one, a declared column or the cases' column not in
    it, a case in two rows, no row of a case; text in a number column, a number that is not positive where its logarithm
    is asked for, a value that an ordinal column does not list; no folder of vectors, a file that is damaged or not
    finite, vectors of different widths. The expected width of vectors and tokens is that of the
    specification, else that of most files. Cases without a row or a file, and rows and files without a case, are
    warnings. `read` gives the table of a path; it may have been read before.
    """
    path = folder / table.table if _columns(table) else None
    return _read(_Reading(names, training=True, read=read), folder, table, path)


def read_conditions_to_predict(folder: Path, table: ConditionTable, names: Sequence[str], *,
                               table_path: Path | None = None, elsewhere: Collection[str] = ()) -> ConditionsOf:
    """The conditions of cases to predict, whose images lie in `folder`.

    The table is `table_path`, else the one of the declared name in the folder, else its `clinical.csv`; without any, and
    in columns that it lacks, everything is missing, which is a warning. Vectors and tokens lie in the declared
    sub-folders, if at all. What is there is checked as `read_conditions` does, and raises the same. Of the columns that are
    known from `elsewhere` no warning says that they are missing.
    """
    reading, path = _Reading(names, training=False, elsewhere=elsewhere), None
    if _columns(table):
        path = table_path or table_beside(folder, table.table)
        lacking = [spec.name for spec in _columns(table) if spec.name not in elsewhere]
        if path is None and lacking:
            reading.warnings.append(f"{folder}: no table ({_tables_beside(table.table)}): the columns {listed(lacking)} are "
                                    "missing in all cases")
    elif table_path is not None:
        reading.warnings.append(f"{table_path}: the model uses no column of a table")
    return _read(reading, folder, table, path)


def _read(reading: _Reading, folder: Path, table: ConditionTable, path: Path | None) -> ConditionsOf:
    values: dict[str, dict[str, float | str | None]] = {name: {} for name in reading.names}
    if path is not None:
        try:
            for column, cells in _read_columns(reading, path, table).items():
                for name in reading.names:
                    values[name][column] = cells.get(name)
        except (UserError, ManyFaults) as error:
            reading.faults += getattr(error, "faults", (str(error),))
    for spec in _columns(table):
        for case in values.values():
            case.setdefault(spec.name, None)
    arrays = {spec.name: _read_files(reading, folder, spec, spec.width)
              for spec in table.specs if spec.kind in ("vector", "tokens")}
    raise_faults(folder, reading.faults)
    bags = [spec.name for spec in table.specs if spec.kind == "tokens"]
    return ConditionsOf({name: CaseConditions(values=values[name],
                                              vectors={key: by_case[name] for key, by_case in arrays.items()
                                                       if key not in bags},
                                              tokens={key: arrays[key][name] for key in bags})
                         for name in reading.names}, tuple(reading.warnings))


def _read_columns(reading: _Reading, path: Path, table: ConditionTable) -> Mapping[str, Mapping[str, float | str]]:
    """The known values of each column by case."""
    content = reading.read(path)
    rows = _rows_of(reading, content, table)
    values: dict[str, Mapping[str, float | str]] = {}
    for spec in _columns(table):
        place = content.position(spec.name)
        if place is not None:
            values[spec.name] = _read_column(reading, content, spec, rows, place)
        elif reading.training:
            reading.faults.append(str(no_column(content, spec.name, "conditions")))
        elif spec.name not in reading.elsewhere:
            reading.warnings.append(f"{path}: there is no column {spec.name!r}: it is missing in all cases")
    if reading.training:
        reading.warnings += [f"{path}: the column {name!r} says nothing of any case" for name, cells in values.items()
                             if rows and not cells]
        reading.warnings += _spellings(path, table, values)
    return values


def _rows_of(reading: _Reading, content: Table, table: ConditionTable) -> Mapping[str, Row]:
    """The row of each case that has one. Raises what `match_rows` raises, and in training where no case has a row."""
    matched = match_rows(reading.names, content, table)
    if matched.rows or not reading.names:
        reading.warnings += matched.warnings
        return matched.rows
    nothing = UserError(f"no row names a case in the column {table.id!r}", where=content.path,
                        found=listed(matched.ids_left), expected=listed(reading.names), do=matched.advice or None)
    if reading.training:
        raise nothing
    reading.warnings.append(str(nothing))
    return {}


def _read_column(reading: _Reading, content: Table, spec: ConditionSpec, rows: Mapping[str, Row], place: int
                 ) -> Mapping[str, float | str]:
    """The known values of one column; what is wrong with them is noted, all rows at once."""
    ranks = ranks_of(spec)
    cells = {name: row.cells[place] for name, row in rows.items() if says_something(spec, row.cells[place])}

    def wrong(bad: Sequence[str], what: str, expected: str, do: str) -> None:
        shown = [f"{cells[name]!r} (case {name}, line {rows[name].line})" for name in bad[:_SHOWN_CELLS]]
        more = [f"and {len(bad) - _SHOWN_CELLS} more"] if len(bad) > _SHOWN_CELLS else []
        reading.fault(what, where=content.path, found=", ".join(shown + more), expected=expected, do=do)

    _warn_of_cells(reading, content, spec, rows, place)
    if spec.kind == "category":
        return {name: category_text(cell) for name, cell in cells.items()}
    if spec.kind == "ordinal":
        strange = [name for name, cell in cells.items() if category_text(cell) not in ranks]
        if strange:
            wrong(strange, f"values of the ordinal column {spec.name!r} are not in its order",
                  expected=", ".join(spec.order), do=f"correct these cells, or the order in {DATASET_JSON}")
        return {name: ranks.get(category_text(cell), cell) for name, cell in cells.items()}
    numbers = dict(zip(cells, read_numbers(list(cells.values()), content.decimal_comma), strict=True))
    texts = [name for name, number in numbers.items() if number is None]
    if texts:
        wrong(texts, f"text in the number column {spec.name!r}", expected="a number of one unit, or nothing where it is "
              "not known; 1,234 could be two numbers", do=f"correct these cells, or declare a category in {DATASET_JSON}")
    known = {name: number for name, number in numbers.items() if number is not None}
    if spec.transform == "log" and (low := [name for name, number in known.items() if number <= 0]):
        wrong(low, f"the column {spec.name!r} has no logarithm in some rows", expected="numbers above 0",
              do="write the smallest value that can be measured, or remove the transform")
    elif reading.training and known:
        _warn_of_far_numbers(reading, content, spec, known, rows)
    return known


def ranks_of(spec: ConditionSpec) -> dict[str, str]:
    """The ranks of an ordinal column as they are declared, by how they are compared; of another column none."""
    return {category_text(value): value for value in spec.order}


def says_something(spec: ConditionSpec, cell: str) -> bool:
    """Whether a cell of this column is known. A word that usually means missing, such as `none`, may be a declared rank."""
    return not is_missing(cell) or category_text(cell) in ranks_of(spec)


def _warn_of_far_numbers(reading: _Reading, content: Table, spec: ConditionSpec, numbers: Mapping[str, float],
                         rows: Mapping[str, Row]) -> None:
    """Codes such as 999 for "not known" would be learned from as numbers."""
    values = np.array(list(numbers.values()))
    mask = far_from_others(np.log(values) if spec.transform == "log" else values)
    far = [name for name, is_far in zip(numbers, mask, strict=True) if is_far]
    if far:
        examples = listed([f"{numbers[name]:g} (case {name}, line {rows[name].line})" for name in far], _EXAMPLES)
        log = "" if spec.transform == "log" else ", or declare the transform log where such values are true"
        reading.warnings.append(f"{content.path}: {len(far)} number{'s' * (len(far) > 1)} of the column {spec.name!r} "
                                f"{'lie' if len(far) > 1 else 'lies'} far from all others: {examples}; leave the cell empty "
                                f"where it is a code for 'not known'{log}")


def _warn_of_cells(reading: _Reading, content: Table, spec: ConditionSpec, rows: Mapping[str, Row], place: int) -> None:
    """What spreadsheets leave in cells: errors of formulas, and dates made of texts such as 1-2; and units of some cells."""
    cells = {name: row.cells[place] for name, row in rows.items()}
    errors = [name for name, cell in cells.items() if is_formula_error(cell)]
    dates = [name for name, cell in cells.items() if is_date(cell)] if spec.kind == "category" else []
    numbers = [name for name, cell in cells.items() if spec.kind == "number" and not is_missing(cell)]
    with_unit = [name for name in numbers if unit_of(cells[name]) not in ("", "%")]
    units = with_unit if len(with_unit) < len(numbers) and len({unit_of(cells[name]) for name in with_unit}) == 1 else []
    grouped = could_be_thousands([cells[name] for name in numbers]) if content.decimal_comma else []
    thousands = [name for name, is_grouped in zip(numbers, grouped, strict=False) if is_grouped]
    for names, what in ((errors, "hold the error of a formula and count as missing"),
                        (dates, "look like dates, which spreadsheets make of texts such as 1-2"),
                        (units, "have a unit and the others none: all count as of the same unit"),
                        (thousands, "are read with a decimal point, though cells are separated by semicolons")):
        if names:
            examples = listed([f"{cells[name]!r} (case {name}, line {rows[name].line})" for name in names], _EXAMPLES)
            reading.warnings.append(f"{content.path}: {len(names)} cells of the column {spec.name!r} {what}: {examples}")


def _spellings(path: Path, table: ConditionTable, values: Mapping[str, Mapping[str, float | str]]) -> list[str]:
    """Categories that differ in upper and lower case only are probably one."""
    warnings = []
    for spec in _columns(table):
        if spec.kind != "category":
            continue
        categories = sorted({str(value) for value in values.get(spec.name, {}).values()})
        folded = Counter(value.casefold() for value in categories)
        same = [value for value in categories if folded[value.casefold()] > 1]
        if same:
            warnings.append(f"{path}: the column {spec.name!r} has categories that differ in case only: {listed(same)}")
    return warnings


def _read_files(reading: _Reading, folder: Path, spec: ConditionSpec, width: int | None) -> dict[str, np.ndarray | None]:
    """The array of each case, None where it has none; damaged ones and those of another width are noted."""
    where = folder / spec.folder
    if reading.training and not is_folder(where):
        reading.fault(f"the folder of {spec.name!r} is missing", where=where, found=None,
                      expected=f"CASE{ENDING}, one file per case")
    arrays: dict[str, np.ndarray | None] = dict.fromkeys(reading.names)
    for name in reading.names:
        path = where / f"{name}{ENDING}"
        if is_file(path):
            try:
                arrays[name] = read_features(path, axes=1 if spec.kind == "vector" else 2)
            except UserError as error:
                reading.faults.append(str(error))
    widths = Counter(array.shape[-1] for array in arrays.values() if array is not None)
    expected = width or max(widths, key=lambda size: widths[size], default=0)
    for name, array in arrays.items():
        if array is not None and array.shape[-1] != expected:
            reading.fault(f"the width of {spec.name!r} is wrong", where=where / f"{name}{ENDING}",
                          found=f"{array.shape[-1]} features", expected=f"{expected}" + ("" if width else ", as most have"))
    if reading.training:
        _report_strays(reading, where)
    absent = [name for name, array in arrays.items() if array is None]
    if 0 < len(absent) < len(arrays) or (absent and not reading.training):
        reading.warnings.append(f"{where}: {len(absent)} of {len(arrays)} cases have no file ({listed(absent)})")
    return arrays


def _report_strays(reading: _Reading, where: Path) -> None:
    stems = [path.stem for path in array_files(where)]
    names = set(reading.names)
    strays = [stem for stem in stems if stem not in names]
    if is_folder(where) and names.isdisjoint(stems):
        reading.fault("no file is named after a case", where=where, found=listed(stems) or "no file",
                      expected=f"such as {next(iter(reading.names), 'CASE')}{ENDING}")
    elif strays:
        reading.warnings.append(f"{where}: {len(strays)} file{'s' * (len(strays) > 1)} without a case ({listed(strays)})")


def _columns(table: ConditionTable) -> list[ConditionSpec]:
    return [spec for spec in table.specs if spec.kind in ("number", "category", "ordinal")]


def table_beside(folder: Path, declared: str) -> Path | None:
    """The table of cases to predict whose images lie in `folder`, where nobody names it; None where there is none."""
    candidates = (folder / declared, folder / Path(declared).name, folder / DEFAULT_TABLE)
    return next((path for path in candidates if path.parent.is_relative_to(folder) and is_file(path)), None)


def _tables_beside(declared: str) -> str:
    return " or ".join(dict.fromkeys((declared, DEFAULT_TABLE)))
