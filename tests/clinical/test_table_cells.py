"""Cells: missing, numbers, categories, dates."""

import pytest

from autoseg.clinical.cells import category_text, is_date, is_missing, read_numbers


@pytest.mark.parametrize("text", ["", " ", "-", "--", "N/A", "n/a", "NA", "nan", "NaN", "None", "null", "?", "unknown",
                                  "Missing", "–", "—", "−", "[Not Available]", "#N/A",
                                  "#VALUE!", "#REF!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#NV", "#WERT!", "#¡VALOR!",
                                  "#####", "Err:502", "\u200b"])
def test_a_cell_that_says_nothing_is_missing(text):
    assert is_missing(text)


@pytest.mark.parametrize("text", ["0", "no", "-7", "Mets – lungs", "nano", "x?", "#3", "#", "#1 left"])
def test_a_cell_that_says_something_is_not(text):
    assert not is_missing(text)


@pytest.mark.parametrize(("text", "number"), [
    ("59", 59), ("-7", -7), ("–7", -7), ("+2", 2), ("3.5", 3.5), (".5", 0.5), ("3,5", 3.5), ("0,912", 0.912),
    ("12,25", 12.25),
    ("1.234", 1.234), ("1,234,567", 1234567), ("1,234.5", 1234.5), ("1.234,5", 1234.5), ("1 234,5", 1234.5),
    ("1'234", 1234), ("1e3", 1000), ("2.5E-2", 0.025), (">=90", 90), ("≥ 90", 90), (">90", 90), ("<5", 5), ("~3", 3),
    ("ca. 3", 3), ("59 y", 59), ("59 years", 59), ("45%", 45), ("3.1 ng/mL", 3.1), ("5 µg", 5)])
def test_a_number_is_read_however_it_is_written(text, number):
    assert read_numbers([text]) == [pytest.approx(number)]


@pytest.mark.parametrize("text", ["many", "3b", "T2", "59-61", "2020-01-31", "inf", "1e999", "12 34", "1,23,4", "1.2.3",
                                  "5 mg and more"])
def test_a_text_is_no_number(text):
    assert read_numbers([text]) == [None]


def test_a_comma_before_three_digits_is_read_as_the_rest_of_the_column():
    assert read_numbers(["1,234"]) == [None]
    assert read_numbers(["1,234", "3.5"]) == [1234, 3.5]
    assert read_numbers(["1,234", "3,5"]) == [1.234, 3.5]
    assert read_numbers(["1,234"], decimal_comma=True) == [1.234]


def test_a_point_before_three_digits_is_decimal_but_where_the_column_has_decimal_commas():
    assert read_numbers(["1.234", "59"]) == [1.234, 59]
    assert read_numbers(["1.234", "3,5"]) == [None, 3.5]


def test_different_units_in_a_column_are_no_numbers():
    assert read_numbers(["3 mm", "2 cm", "4"]) == [None, None, 4]
    assert read_numbers(["45 %", "0.3"]) == [None, 0.3]
    assert read_numbers(["59 y", "61 years", "60"]) == [59, 61, 60]


def test_a_numeric_category_is_one_however_it_is_written():
    assert {category_text(value) for value in ("1", "1.0", "1,0", " 01 ", "01", 1, 1.0, " 1.0 ")} == {"1"}
    assert category_text("2,50") == category_text(2.5) == "2.5" and category_text(1e-5) == "0.00001"
    assert category_text("100") == "100" and category_text("0.0") == "0" and category_text("1.5") == "1.5"
    assert category_text("grade  2") == "grade 2"


def test_a_code_that_python_could_read_as_a_number_stays_as_it_is():
    assert category_text("1_2") == "1_2" and category_text("1e3") == "1e3"


@pytest.mark.parametrize("text", ["2020-01-31", "31.01.2020", "1/31/20", "20200131", "3 Feb 2020", "2020-01-31T12:00:00"])
def test_a_date_is_seen(text):
    assert is_date(text)


@pytest.mark.parametrize("text", ["59", "3.5", "T1", "left thigh", "12345678"])
def test_what_is_no_date_is_not(text):
    assert not is_date(text)
