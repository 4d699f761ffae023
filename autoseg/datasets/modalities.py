"""Which modality each case has in a channel that may hold several: a column of the table says it, or the user for all cases.

At prediction the table may be missing, and what is said for all cases fills its gaps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autoseg.base.errors import UserError, listed, raise_faults
from autoseg.clinical.cells import clean, is_missing
from autoseg.clinical.conditions import table_beside
from autoseg.clinical.matching import MatchedRows, match_rows, no_column
from autoseg.clinical.table import Table, read_table
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.manifest import Manifest
from planners.schema.channels import MODALITY_WORDS, ChannelSpec, modality_of_cell
from planners.schema.conditions import ConditionTable


@dataclass(frozen=True)
class KnownModalities:
    """The cases of which all modalities are known, with them, and a sentence for each fault of the others."""

    cases: tuple[CaseFiles, ...]
    faults: tuple[str, ...] = ()


def training_modalities(cases: Sequence[CaseFiles], folder: Path, manifest: Manifest,
                        read: Callable[[Path], Table] = read_table) -> tuple[CaseFiles, ...]:
    """The cases of a dataset with their modalities, as its table says them; unchanged where no channel has several.

    Raises UserError or ManyFaults where a column is not there, or does not say the modality of a case that has the channel.
    """
    if not manifest.modality_columns:
        return tuple(cases)
    table = read(folder / manifest.conditions.table)
    cells = _Cells(table, match_rows([files.name for files in cases], table, manifest.conditions))
    known = _known(cases, manifest.channels, manifest.modality_columns, cells)
    raise_faults(folder, known.faults)
    return known.cases


def modalities_to_predict(cases: Sequence[CaseFiles], channels: Sequence[ChannelSpec], columns: Mapping[str, str],
                          declared: ConditionTable, *, folder: Path, table: Path | None = None, said: str = ""
                          ) -> KnownModalities:
    """The cases to predict, whose images lie in `folder`, with their modalities.

    They are those of the `table`, else of the one of the declared name beside the images. `said` is the modality of all
    cases of which no table says it. Raises UserError where `said` is no known modality, and where nothing is `said` and
    there is no table, or none with the column.
    """
    if said and not modality_of_cell(said):
        raise UserError("the modality is not known", where="--modality", found=said, expected=MODALITY_WORDS)
    path = table or table_beside(folder, declared.table)
    if path is None and not said:
        raise UserError(f"the model takes several modalities in the channel {listed(columns)}, and nothing says which one "
                        "each case has", where=folder, expected=f"a table with the column {listed(set(columns.values()))}",
                        do="put it beside the images or name it with --table; or, where all cases have the same, say it "
                           "with --modality, such as --modality MR")
    cells = _Cells()
    if path is not None:
        content = read_table(path)
        cells = _Cells(content, match_rows([files.name for files in cases], content, declared))
    return _known(cases, channels, columns, cells, said)


@dataclass(frozen=True)
class _Cells:
    """What a table says of some cases; nothing without a table."""

    table: Table | None = None
    matched: MatchedRows | None = None

    def text(self, case: str, column: str) -> str:
        """The cell of a case; empty where it has no row, or its cell counts as missing."""
        row = None if self.matched is None else self.matched.rows.get(case)
        place = None if self.table is None else self.table.position(column)
        text = "" if row is None or place is None else row.cells[place]
        return "" if is_missing(text) else clean(text)

    def described(self, case: str, column: str) -> str:
        """The cell of a case and where it stands, in words."""
        row = None if self.matched is None else self.matched.rows.get(case)
        text = self.text(case, column)
        return f"case {case}, no row" if row is None else f"{repr(text) + ' ' if text else ''}(case {case}, line {row.line})"


# What can be wrong with what is said of a case: in words, what to do.
_PROBLEMS = {
    "silent": ("the column {column!r} does not say the modality of {n}", "fill in these cells"),
    "unknown": ("the column {column!r} names modalities that are not known", "correct these cells"),
    "against": ("the column {column!r} says another modality than --modality", "leave out --modality, or correct the table"),
}


def _problem(text: str, said: str) -> str:
    """The key of `_PROBLEMS`, empty where nothing is wrong with a cell beside what is said for all cases."""
    if not (text or said):
        return "silent"
    if not modality_of_cell(text or said):
        return "unknown"
    return "against" if said and modality_of_cell(text or said) != modality_of_cell(said) else ""


def _known(cases: Sequence[CaseFiles], channels: Sequence[ChannelSpec], columns: Mapping[str, str], cells: _Cells,
           said: str = "") -> KnownModalities:
    if cells.table is not None and not said:
        missing = [str(no_column(cells.table, column, "modality_column")) for column in dict.fromkeys(columns.values())
                   if cells.table.position(column) is None]
        raise_faults(cells.table.path, missing)
    known: list[CaseFiles] = []
    wrong: dict[tuple[str, str], list[str]] = {}  # by problem and column
    for files in cases:
        texts = {channel: cells.text(files.name, column) for channel, column in columns.items()}
        modalities = tuple(modality_of_cell(texts[channel.name] or said) if channel.name in columns else ""
                           for channel in channels)
        lacking = {channel.name for channel, path in zip(channels, files.images, strict=False) if path is None}
        problems = {(problem, columns[channel]) for channel, text in texts.items() if channel not in lacking
                    and (problem := _problem(text, said))}
        for problem, column in sorted(problems):
            wrong.setdefault((problem, column), []).append(cells.described(files.name, column))
        if not problems:
            known.append(replace(files, modalities=modalities))
    return KnownModalities(tuple(known), tuple(_fault(*key, shown, cells) for key, shown in wrong.items()))


def _fault(problem: str, column: str, cases: Sequence[str], cells: _Cells) -> str:
    what, do = _PROBLEMS[problem]
    advice = cells.matched.advice if cells.matched is not None and problem == "silent" else ""
    counted = f"{len(cases)} case{'s' * (len(cases) > 1)}"
    return str(UserError(what.format(column=column, n=counted), where=None if cells.table is None else cells.table.path,
                         found=listed(cases), expected=MODALITY_WORDS, do=advice or do))
