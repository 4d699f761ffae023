"""The clinical table of an imported dataset: what the names of files, a file beside each case and a published table say."""

import csv
import io
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from autoseg.base.errors import UserError, listed
from autoseg.clinical.table import read_table
from autoseg.formats.files import read_text
from autoseg.interop.find import FoundCase
from autoseg.interop.recipe import NameColumn, RecipeTable

logger = logging.getLogger(__name__)

NAME, ID = "clinical.csv", "case"  # of the table that is written, and its column of the cases' names

Rows = dict[str, dict[str, str]]  # of each case, its cells by column


def rows_of(recipe: RecipeTable, cases: Sequence[FoundCase], table: Path | None) -> Rows:
    """What is known of each case. Raises UserError where a table or a file beside a case cannot be read."""
    published = {} if table is None else _published(recipe, table)
    rows: Rows = {}
    for case in cases:
        info = {} if case.info is None else read_info(case.info)
        row = {name: _cell(column, case.parts, info) for name, column in recipe.columns.items()}
        row |= {name: info.get(name, "") for name in recipe.info_columns}
        key = case.parts.get(recipe.id_part, "") if recipe.id_part else case.name
        rows[case.name] = row | published.get(key, {})
    lacking = [case.name for case in cases if table is not None and not rows[case.name].keys() - recipe.columns.keys()]
    if lacking:
        logger.warning("%s has no row of %d case%s (%s)", table, len(lacking), "s" * (len(lacking) > 1), listed(lacking))
    return rows


def as_csv(rows: Rows, identity: str = ID) -> str:
    """The rows as a table, with the column that names the cases first."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row if column != identity))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([identity, *columns])
    writer.writerows([name, *(row.get(column, "") for column in columns)] for name, row in rows.items())
    return text.getvalue()


def read_info(path: Path) -> dict[str, str]:
    """The values of a file of lines `key: value`.

    >>> read_info("Info.cfg")  # doctest: +SKIP
    {'ED': '1', 'ES': '12', 'Group': 'DCM'}
    """
    pairs = (line.partition(":") for line in read_text(path).splitlines())
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _published(recipe: RecipeTable, path: Path) -> Rows:
    """The rows of a published table by the text that names the case."""
    table = read_table(path)
    place = table.position(recipe.id)
    if place is None:
        raise UserError("the table lacks the column that names the cases", where=path, found=listed(table.columns),
                        expected=recipe.id, do="see whether another version of the dataset names it otherwise")
    counts = Counter(row.cells[place] for row in table.rows)
    if several := [name for name, n in counts.items() if n > 1]:
        logger.warning("%s has several rows of %s: the last one is taken", path, listed(several))
    return {row.cells[place]: dict(zip(table.columns, row.cells, strict=True)) for row in table.rows}


def _cell(column: NameColumn, parts: Mapping[str, str], info: Mapping[str, str]) -> str:
    text = parts.get(column.part, "")
    if column.among:
        return next((key for key in column.among if _number(info.get(key, "")) == _number(text) is not None), "")
    if column.from_number:
        number = _number(text)
        reached = [limit for limit in column.from_number if number is not None and number >= float(limit)]
        return column.from_number[max(reached, key=float)] if reached else ""
    return text


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
