"""Clinical tables as they come: CSV, TSV and XLSX -> rows of plain text, with the line that each row has in its file.

What people's files hold beside the table is left out: titles above it, blank rows, notes below it. Texts are read by the
module `csv`, workbooks by openpyxl: pandas does not say on which line a row starts, wants rows of one width, and fills all
rows of a sheet, however far apart its cells are.
"""

import csv
import datetime
import io
import re
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.base.errors import UserError
from autoseg.clinical.cells import clean

ENDINGS = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm")
_SHEETS = (".xlsx", ".xlsm")
_DELIMITERS = ("\t", ";", "|", ",")  # where two explain the file alike, the first: commas are also within cells
_SNIFFED_ROWS = 200
_LITERAL = re.compile(r'"[^"]*"|\\.')  # texts within the number format of a sheet
_MOST_BYTES = 2**28  # of a file, and of what a workbook unpacks to
_MOST_ROWS = 2**20  # of a sheet, as in Excel
_MOST_CELLS = 2**24


@dataclass(frozen=True)
class Row:
    """A row and the line of the file on which it starts (of a sheet: the number beside it)."""

    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of texts, white space trimmed; every row has one cell per column, empty where the file has none.

    `decimal_comma`: cells are separated by `;`, as programs do where the comma is the decimal sign.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    decimal_comma: bool = False

    def position(self, column: str) -> int | None:
        """The place of a column in each row; None where the table has no such column."""
        name = clean(column)
        return self.columns.index(name) if name in self.columns else None


def read_table(path: Path) -> Table:
    """The first table of a file: of a workbook, that of the first visible sheet with content.

    Text is UTF-8, UTF-16 or, where it is neither, that of Windows (cp1252); cells are separated by comma, semicolon, tab
    or `|`. Raises UserError: the file is missing, damaged or empty, two columns have one name, a row has more cells than
    there are columns, a quotation mark is never closed.
    """
    content = _content(path)
    if path.suffix.lower() in _SHEETS:
        return _table(path, _sheet_rows(path, content), decimal_comma=False)
    text = _decoded(path, content)
    delimiter = _delimiter(text)
    rows = _text_rows(path, text, delimiter)
    return _table(path, rows, decimal_comma=delimiter == ";")


def _content(path: Path) -> bytes:
    if path.suffix.lower() not in ENDINGS:
        raise UserError("the format of the table is not known", where=path, found=path.suffix or "no ending",
                        expected=", ".join(ENDINGS), do="save it as .xlsx or .csv")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _too_large(path)
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError("the file is missing", where=path) from None
    except (OSError, ValueError) as error:  # a name that no file can have is a ValueError
        raise UserError("the file cannot be opened", where=path, found=error) from None
    if not content.strip():
        raise _empty(path, "nothing")
    return content


def _decoded(path: Path, content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif content[1:40:2].count(0) > 10:
        encodings = ["utf-16-le"]
    elif content[0:40:2].count(0) > 10:
        encodings = ["utf-16-be"]
    else:
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise UserError("the file is not a text of rows and columns", where=path, do="save it as .xlsx or .csv")


def _delimiter(text: str) -> str:
    """The delimiter with which most rows have as many cells as the header, the more cells the better."""
    first = text[:6].lower()
    if first.startswith("sep=") and first[5:].isspace():  # Excel's own hint
        return first[4]
    best, best_delimiter = (0.0, 0), ","
    for delimiter in _DELIMITERS:
        widths = [len(row) for row in _first_rows(text, delimiter) if any(cell.strip() for cell in row)]
        header = next((width for width in widths if width > 1), 0)
        if header:
            alike = sum(width == header for width in widths) / len(widths)
            if (round(alike, 1), header) > best:
                best, best_delimiter = (round(alike, 1), header), delimiter
    return best_delimiter


def _first_rows(text: str, delimiter: str) -> list[list[str]]:
    rows = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True):
            rows.append(row)
            if len(rows) == _SNIFFED_ROWS:
                break
    except csv.Error:  # a cell beyond all bounds: this delimiter is not the one
        return []
    return rows


def _text_rows(path: Path, text: str, delimiter: str) -> list[Row]:
    _refuse_open_quote(path, text, delimiter)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    rows, line = [], 1
    try:
        for cells in reader:
            rows.append(Row(line, tuple(map(clean, cells))))
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError("the row cannot be read", where=f"{path}, line {line}", found=error) from None
    if rows and rows[0].cells and rows[0].cells[0].lower().startswith("sep="):
        rows = rows[1:]
    return rows


def _refuse_open_quote(path: Path, text: str, delimiter: str) -> None:
    """A quotation mark that is never closed would swallow the rows after it."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    line = 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error as error:
        if "end of data" in str(error):
            raise UserError("a quotation mark is never closed", where=f"{path}, line {line}",
                            do="close it, or write it twice where it is part of the text") from None


def _sheet_rows(path: Path, content: bytes) -> list[Row]:
    import openpyxl  # only where it is needed: its import takes longer than most commands

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(part.file_size for part in archive.infolist()) > _MOST_BYTES:
                raise _too_large(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and filters, which are not read
            book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
            for sheet in book.worksheets:
                if sheet.sheet_state == "visible":
                    sheet.reset_dimensions()  # what a file says of its size may be wrong
                    rows = _bounded(path, sheet.iter_rows())
                    if any(any(row.cells) for row in rows):
                        return rows
    except UserError:
        raise
    except Exception as error:  # of the archive, its XML or openpyxl: whatever a damaged workbook makes them raise
        raise UserError("the workbook cannot be read", where=path, found=error,
                        do="save it again as .xlsx, or as .csv") from None
    raise _empty(path, "no sheet with content")


def _bounded(path: Path, sheet: Iterable[Sequence[Any]]) -> list[Row]:
    """The rows of a sheet. A file of a few bytes may say that it has a cell in the last row, and one in the last column."""
    rows, n_cells = [], 0
    for number, row in enumerate(sheet, 1):
        cells = _trimmed(tuple(_plain(cell.value, cell.number_format) for cell in row))
        n_cells += len(cells)
        if number > _MOST_ROWS or n_cells > _MOST_CELLS:
            raise _too_large(path)
        rows.append(Row(number, cells))
    while rows and not rows[-1].cells:
        rows.pop()
    return rows


def _plain(value: object, shown_as: str) -> str:
    """The text of a cell: whole numbers without a fraction, dates as 2020-01-31, percentages as they are shown."""
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool) and "%" in _LITERAL.sub("", shown_as):
        return f"{100 * value:.12g}%"  # as a text of the same table has it
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    return clean(value.isoformat() if isinstance(value, datetime.date) else str(value))


def _table(path: Path, rows: Iterable[Row], decimal_comma: bool) -> Table:
    filled = [Row(row.line, _trimmed(row.cells)) for row in rows]
    several = any(len(row.cells) > 1 for row in filled)
    start = next((i for i, row in enumerate(filled) if len(row.cells) > several), None)  # titles have one cell
    if start is None:
        raise _empty(path, "nothing")
    columns = filled[start].cells
    _refuse_repeated(path, filled[start])
    body = _without_notes(filled[start + 1:], len(columns))
    if not body:
        raise _empty(path, "a header, but no row")
    for row in body:
        if len(row.cells) > len(columns):
            raise UserError("the row has more cells than the table has columns", where=f"{path}, line {row.line}",
                            found=f"{len(row.cells)}", expected=f"{len(columns)}",
                            do="put a cell that holds the delimiter in quotation marks")
    padded = tuple(Row(row.line, row.cells + ("",) * (len(columns) - len(row.cells))) for row in body)
    return Table(path, columns, padded, decimal_comma)


def _trimmed(cells: Sequence[str]) -> tuple[str, ...]:
    """Cells without the empty ones at the end."""
    n = len(cells)
    while n and not cells[n - 1]:
        n -= 1
    return tuple(cells[:n])


def _without_notes(rows: list[Row], width: int) -> list[Row]:
    """Rows without blank ones, and without what stands below the table: texts in the first column, or over-long rows."""
    end = len(rows)
    while end and width > 1 and (len(rows[end - 1].cells) <= 1 or len(rows[end - 1].cells) > width):
        end -= 1
    if not any(row.cells for row in rows[:end]):  # cases of which nothing but the name is known
        end = len(rows)
    after = rows[end:]
    # An over-long row is a note only where a blank row, or another note, parts it from the table.
    parted = next((i for i, row in enumerate(after) if len(row.cells) <= 1), len(after))
    return [row for row in (*rows[:end], *after[:parted]) if row.cells]


def _refuse_repeated(path: Path, header: Row) -> None:
    names = [name for name in header.cells if name]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UserError("columns have the same name", where=f"{path}, line {header.line}",
                        found=", ".join(map(repr, repeated)), do="give each its own name")


def _too_large(path: Path) -> UserError:
    return UserError("the table is too large", where=path,
                     expected=f"at most {_MOST_BYTES >> 20} MiB unpacked, {_MOST_ROWS} rows and {_MOST_CELLS} cells",
                     do="save the table alone, without empty rows and columns")


def _empty(path: Path, found: str) -> UserError:
    return UserError("the table is empty", where=path, found=found, expected="a row of column names and one row per case")
