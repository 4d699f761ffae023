"""Tables as people's programs write them."""

import datetime

import openpyxl
import pytest

from autoseg.base.errors import UserError
from autoseg.clinical.table import read_table


@pytest.fixture
def written(tmp_path):
    """A table from text or bytes."""

    def write(content, name="t.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return read_table(path)

    return write


def cells(table):
    return [row.cells for row in table.rows]


@pytest.fixture
def workbook(tmp_path):
    """A table from sheets of rows."""
    def write(hidden=(), **sheets):
        book = openpyxl.Workbook()
        book.remove(book.active)
        for name, rows in sheets.items():
            sheet = book.create_sheet(name)
            for row in rows:
                sheet.append(row)
            sheet.sheet_state = "hidden" if name in hidden else "visible"
        book.save(tmp_path / "t.xlsx")
        return read_table(tmp_path / "t.xlsx")

    return write


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(written, delimiter):
    table = written("case,age,sex\na,59,f\nb,61,m\n".replace(",", delimiter))
    assert table.columns == ("case", "age", "sex")
    assert cells(table) == [("a", "59", "f"), ("b", "61", "m")]
    assert table.decimal_comma == (delimiter == ";")


def test_a_decimal_comma_is_not_taken_for_the_delimiter(written):
    table = written("case;size\na;3,5\nb;4,25\n")
    assert cells(table) == [("a", "3,5"), ("b", "4,25")]


def test_a_comma_in_the_name_of_a_column_is_not_taken_for_the_delimiter(written):
    table = written('case;"size, mm"\na;3,5\nb;4,1\n')
    assert table.columns == ("case", "size, mm")


def test_excels_hint_of_the_delimiter_is_obeyed(written):
    table = written("sep=;\r\ncase;size, mm\r\na;3,5\r\n")
    assert table.columns == ("case", "size, mm") and table.rows[0].line == 3


def test_quoted_cells_may_hold_delimiters_quotes_and_line_breaks(written):
    table = written('case,"Outcome (recurrence, mets)",note\na,"x, ""y""","two\nlines"\nb,z,w\n')
    assert table.columns[1] == "Outcome (recurrence, mets)"
    assert cells(table) == [("a", 'x, "y"', "two lines"), ("b", "z", "w")]
    assert [row.line for row in table.rows] == [2, 4]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_encodings_are_found(written, encoding):
    table = written("case,Größe – mm,Zentrum\na,3,Köln\n", encoding=encoding)
    assert table.columns == ("case", "Größe – mm", "Zentrum")
    assert cells(table) == [("a", "3", "Köln")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system_are_read(written, end):
    assert cells(written(f"case,age{end}a,1{end}b,2")) == [("a", "1"), ("b", "2")]


def test_white_space_around_cells_and_in_column_names_is_trimmed(written):
    table = written("case , age  (years)\n a,\u00a059 \n")
    assert table.columns == ("case", "age (years)") and cells(table) == [("a", "59")]


def test_names_in_decomposed_letters_are_composed(written):
    assert written("case,Gro\u0308ße\na,1\n").position("Größe") == 1


def test_blank_rows_and_notes_below_the_table_are_left_out(written):
    table = written("case,age,sex\na,59,f\n,,\nb,61,m\n,,\nNED = no evidence of disease\nsee, the, paper, of, 2015\n")
    assert cells(table) == [("a", "59", "f"), ("b", "61", "m")]


def test_titles_above_the_table_are_left_out(written):
    table = written("Clinical data of the study\n\ncase,age\na,59\n")
    assert table.columns == ("case", "age") and table.rows[0].line == 4


def test_rows_that_stop_early_are_filled_with_nothing(written):
    assert cells(written("case,age,sex\na,59\nb\nc,61,m\n")) == [("a", "59", ""), ("b", "", ""), ("c", "61", "m")]


def test_cases_of_which_only_the_name_is_known_are_rows(written):
    assert cells(written("case,age\na,\nb,\n")) == [("a", ""), ("b", "")]


def test_a_delimiter_at_the_end_of_each_line_makes_no_column(written):
    assert written("case,age,\na,59,\n").columns == ("case", "age")


def test_a_table_of_one_column_is_read(written):
    assert cells(written("case\na\nb\n")) == [("a",), ("b",)]


@pytest.mark.parametrize("content", ["", "  \n\n", ",,,\n", "case,age\n", "case,age\n,\n", b"\xef\xbb\xbf"])
def test_an_empty_table_is_an_error(written, content):
    with pytest.raises(UserError, match=r"t\.csv: the table is empty"):
        written(content)


def test_columns_of_one_name_are_an_error(written):
    with pytest.raises(UserError, match=r"line 1: columns have the same name \(found: 'age'\)"):
        written("case,age,sex,age\na,1,f,2\n")


def test_columns_without_a_name_are_no_error(written):
    assert written(",case,,age\n0,a,x,59\n1,b,y,61\n").columns == ("", "case", "", "age")


def test_a_row_with_too_many_cells_is_an_error_with_its_line(written):
    with pytest.raises(UserError, match="line 3: the row has more cells than the table has columns"):
        written("case,age\na,59\nb,6,1\nc,60\n")


def test_a_quotation_mark_that_is_never_closed_is_an_error_with_its_line(written):
    with pytest.raises(UserError, match="line 3: a quotation mark is never closed"):
        written('case,note\na,x\nb,"y\nc,z\nd,w\n')


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match="the file is missing"):
        read_table(tmp_path / "nowhere.csv")


def test_an_unknown_format_is_an_error(written):
    with pytest.raises(UserError, match=r"the format of the table is not known \(found: \.xls;"):
        written("x", name="t.xls")


def test_binary_content_is_an_error(written):
    with pytest.raises(UserError, match="not a text of rows and columns"):
        written(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes([0, 1, 200]) * 30)


def test_a_damaged_workbook_is_an_error(written):
    with pytest.raises(UserError, match="the workbook cannot be read"):
        written(b"PK\x03\x04 not really", name="t.xlsx")


def test_a_workbook_gives_the_same_texts_as_a_text_file(workbook):
    table = workbook(Sheet=[["case", "age", "size", "when", "known", None],
                            ["a", 59.0, 3.5, datetime.date(2020, 1, 31), True],
                            ["b", 61, "3,5", datetime.datetime(2020, 1, 31, 12), None], []])
    assert table.columns == ("case", "age", "size", "when", "known")
    assert cells(table) == [("a", "59", "3.5", "2020-01-31", "True"), ("b", "61", "3,5", "2020-01-31T12:00:00", "")]


def test_a_percentage_of_a_workbook_is_that_of_its_text(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["case", "ki67", "share", "fat"])
    book.active.append(["a", 0.45, 0.123456, 30])
    for cell, shown_as in (("B2", "0%"), ("C2", "0.0%;[Red]-0.0%"), ("D2", '0" %"')):
        book.active[cell].number_format = shown_as
    book.save(tmp_path / "t.xlsx")
    assert cells(read_table(tmp_path / "t.xlsx")) == [("a", "45%", "12.3456%", "30")]


def test_the_first_visible_sheet_with_content_is_read(workbook):
    rows = [["case", "age"], ["a", 1]]
    table = workbook(hidden=["Codes"], Codes=[["x", "y"], [1, 2]], Empty=[], Data=rows, More=[["p", "q"], [1, 2]])
    assert table.columns == ("case", "age")


def test_rows_of_a_workbook_keep_their_numbers(workbook):
    table = workbook(Sheet=[["Clinical data"], [], ["case", "age"], ["a", 1], [], ["b", 2], ["* at diagnosis"]])
    assert [(row.line, row.cells) for row in table.rows] == [(4, ("a", "1")), (6, ("b", "2"))]


def test_errors_of_a_workbook_are_texts(workbook):
    table = workbook(Sheet=[["case", "age", "size"], ["a", "#DIV/0!", 3], ["b", 61, "#N/A"]])
    assert cells(table) == [("a", "#DIV/0!", "3"), ("b", "61", "#N/A")]


def test_texts_of_a_workbook_are_not_interpreted(workbook):
    table = workbook(Sheet=[["case", "code"], ["007", "1e3"], ["008", "NA"], ["009", "1_000"], ["010", "TRUE"]])
    assert cells(table) == [("007", "1e3"), ("008", "NA"), ("009", "1_000"), ("010", "TRUE")]


def test_an_empty_workbook_is_an_error(workbook):
    with pytest.raises(UserError, match="the table is empty"):
        workbook(Sheet=[])
