"""A table with a row per case: a column of image files for each channel, one of label files, and what is known beside them.

Nothing is guessed that could be meant in two ways: then one question names the flag that answers it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError, hint, listed
from autoseg.clinical.cells import is_missing
from autoseg.clinical.table import Table, read_table
from autoseg.datasets.case_files import broken_files
from autoseg.formats import known_ending
from autoseg.interop.find import FoundCase, SortedFiles
from autoseg.interop.foreign import (
    ForeignDataset,
    ReadOptions,
    listed_case,
    listed_labels,
    listed_recipe,
    without_held_out,
)
from autoseg.interop.neighbours.names import (
    NO_LABELS,
    case_name,
    names_of_files,
    repeated,
    splits_of,
    values_as_names,
)
from autoseg.interop.recipe import RecipeLabels, RecipeTable
from autoseg.training.splits import users_splits

_LABELS = {"label", "labels", "mask", "masks", "seg", "segmentation", "annotation", "ground_truth", "groundtruth", "gt"}
_IDS = {"case", "case_id", "caseid", "id", "name", "case_name"}
_PATIENTS = {"patient", "patient_id", "patientid", "subject", "subject_id", "participant", "participant_id"}
_FOLDS = {"fold", "split"}
_NO_LABEL = "none"  # said with --label: a dataset for pre-training
_FILES = 0.9  # share of the filled cells of a column that must name images, so that it is one of files


@dataclass(frozen=True)
class _Columns:
    """What each column of a table is. `channels` map a name to a column; empty texts: there is no such column."""

    channels: Mapping[str, str]
    label: str
    id: str
    group: str
    fold: str

    @property
    def used(self) -> set[str]:
        return {*self.channels.values(), self.label, self.id, self.fold}


def read_csv_table(source: Path, options: ReadOptions) -> ForeignDataset:
    """The dataset of a table (CSV, TSV, XLSX); paths in it are relative to its folder, or to `options.root`.

    A row without a label is held out. Raises UserError where the table cannot be read or asks a question.
    """
    table = read_table(source)
    columns = _columns(table, options)
    root = options.root or source.parent
    cells = [dict(zip(table.columns, row.cells, strict=True)) for row in table.rows]
    names = _names(table, cells, columns, root)
    cases, faults = list[FoundCase](), list[str]()
    folds = {name: row[columns.fold] for name, row in zip(names, cells, strict=True)} if columns.fold else {}
    splits, held_out = splits_of(folds)
    twice = repeated(names)
    for name, row, line in zip(names, cells, (row.line for row in table.rows), strict=True):
        images = [_path(root, row[column]) for column in columns.channels.values()]
        label = _path(root, row[columns.label]) if columns.label else None
        wrong = _faults(name, images, label, is_twice=name in twice)
        faults += [f"{source}, line {line}, case {name or '?'}: {fault}" for fault in wrong]
        if not wrong:
            has_none = bool(columns.label) and label is None
            cases.append(listed_case(name, images, label, held_out=has_none or name in held_out))
    labels, warnings = _labels([path for case in cases for _, path in case.labels])
    n_without = sum(not case.labels for case in cases) if columns.label else 0
    if n_without:
        warnings.append(f"{n_without} row{'s have' if n_without > 1 else ' has'} no label: held out, in imagesTs")
    ending = next((known for case in cases for files in case.images for path in files if (known := known_ending(path.name))),
                  ".nii.gz")
    others = [column for column in table.columns if column and column not in columns.used]
    rows = {name: {column: row[column] for column in others} for name, row in zip(names, cells, strict=True)}
    recipe = listed_recipe(options.name or source.stem, list(columns.channels), labels, ending)
    recipe = recipe.model_copy(update={"table": RecipeTable(patient=columns.group)})
    return ForeignDataset(recipe, SortedFiles(tuple(without_held_out(cases)), None, tuple(warnings)), rows,
                          splits=users_splits(options.splits) if options.splits else splits, faults=tuple(faults),
                          origin="csv", is_drafted=True)


def _columns(table: Table, options: ReadOptions) -> _Columns:
    files = [column for k, column in enumerate(table.columns) if column and _holds_files(table, k)]
    label = _label(table, files, options.labels)
    if options.channels:
        pairs = [text.partition("=")[::2] for text in options.channels]
        if twice := sorted(repeated(name for name, _ in pairs)):
            raise UserError(f"two channels are called {twice[0]!r}", found=" ".join(options.channels),
                            do="give each a name of its own")
        channels = {name: _known(table, column or name, "--channel") for name, column in pairs}
    else:
        channels = {column: column for column in files if column != label}
    if label and label in channels.values():
        raise UserError(f"the column {label!r} cannot be a channel and the label", where=table.path,
                        do="correct --channel or --label")
    if not channels:
        raise UserError("no column holds image files", where=table.path, found=listed(table.columns),
                        do="which is it? --channel NAME=COLUMN, once for each channel")
    case, group = _id(table, options.id), _group(table, options.group)
    return _Columns(channels, label, case, "" if group == case else group,  # a row per patient groups nothing
                    _one_of(table, options.fold, _FOLDS, "--fold", asked=False))


def _holds_files(table: Table, k: int) -> bool:
    cells = [row.cells[k] for row in table.rows if not is_missing(row.cells[k])]
    return bool(cells) and sum(known_ending(cell) is not None for cell in cells) >= _FILES * len(cells)


def _label(table: Table, files: Sequence[str], chosen: Sequence[str]) -> str:
    if len(chosen) > 1:
        raise UserError("a table has one column of labels", found=f"--label {' --label '.join(chosen)}", do="give one")
    if chosen:
        return "" if chosen[0] == _NO_LABEL else _known(table, chosen[0], "--label")
    fits = [column for column in files if _plain(column) in _LABELS]
    if len(fits) != 1:
        raise UserError("which column holds the labels?", where=table.path, found=listed(fits or files or table.columns),
                        do=f"say it with --label COLUMN; --label {_NO_LABEL} if there are none")
    return fits[0]


def _id(table: Table, chosen: str) -> str:
    """The column of the cases' names; empty where they follow from the files."""
    return _one_of(table, chosen, _IDS, "--id") or (
        _one_of(table, "", _PATIENTS, "--id") if _is_unique(table, _PATIENTS) else "")


def _group(table: Table, chosen: str) -> str:
    return _one_of(table, chosen, _PATIENTS, "--group", asked=False)


def _is_unique(table: Table, names: set[str]) -> bool:
    """Whether each column of these names has another text in every row."""
    places = [k for k, column in enumerate(table.columns) if _plain(column) in names]
    return bool(places) and all(len({row.cells[k] for row in table.rows}) == len(table.rows) for k in places)


def _one_of(table: Table, chosen: str, names: set[str], flag: str, *, asked: bool = True) -> str:
    """The column that was chosen, else the only one of these names; empty where there is none, or where it need not be
    `asked` which of several it is.
    """
    if chosen:
        return _known(table, chosen, flag)
    fits = [column for column in table.columns if _plain(column) in names]
    if len(fits) > 1 and asked:
        raise UserError("which column names the cases?", where=table.path, found=listed(fits),
                        do=f"say it with {flag} COLUMN")
    return fits[0] if len(fits) == 1 else ""


def _known(table: Table, column: str, flag: str) -> str:
    if table.position(column) is None:
        raise UserError(f"the table has no column {column!r}{hint(column, table.columns)}", where=table.path,
                        expected=listed(table.columns, len(table.columns)), do=f"correct {flag}")
    return column


def _names(table: Table, cells: Sequence[Mapping[str, str]], columns: _Columns, root: Path) -> list[str]:
    """The name of each row's case; empty where it has none."""
    if columns.id:
        return [case_name(row[columns.id]) for row in cells]
    first = next(iter(columns.channels.values()))
    texts = [row[columns.label] if columns.label and not is_missing(row[columns.label]) else row[first] for row in cells]
    return names_of_files([root / text for text in texts])


def _path(root: Path, cell: str) -> Path | None:
    return None if is_missing(cell) else root / Path(cell).expanduser()


def _faults(name: str, images: Sequence[Path | None], label: Path | None, *, is_twice: bool) -> list[str]:
    """Why a row cannot be imported."""
    if not name:
        return ["it has no name that can be one of files"]
    if is_twice:
        return ["several rows are of this case; give each a name of its own, or choose another column with --id"]
    if not any(images):
        return ["it names no image"]
    return broken_files((*images, label))


def _labels(paths: Sequence[Path]) -> tuple[RecipeLabels, list[str]]:
    if not paths:
        return listed_labels(NO_LABELS), []
    names, warnings = values_as_names(paths)
    return listed_labels(names), warnings


def _plain(column: str) -> str:
    return "_".join(column.lower().replace("-", " ").replace("_", " ").split())
