"""Which row belongs to which case, and what is proposed where names differ."""

from pathlib import Path

import pytest

from autoseg.base.errors import UserError
from autoseg.clinical.matching import Match, best_match, match_rows
from autoseg.clinical.table import Row, Table
from planners.schema.conditions import ConditionTable


def table(*ids):
    return Table(Path("t.csv"), ("case", "age"), tuple(Row(line, (text, "1")) for line, text in enumerate(ids, 2)))


def matched(names, ids, **declared):
    return match_rows(names, table(*ids), ConditionTable(table="t.csv", **declared))


def lines(result):
    return {name: row.line for name, row in result.rows.items()}


def test_rows_are_matched_by_the_whole_name():
    result = matched(["a", "b_1"], ["b_1", "a", "b"])
    assert lines(result) == {"a": 3, "b_1": 2}
    assert result.cases_left == () and result.ids_left == ("b",)


@pytest.mark.parametrize(("case", "line"), [
    ("T_01", 2), ("T_01_1996", 2), ("T_01-b", 2), ("T_01.2", 2), ("T_01 x", 2), ("T_012", None), ("T_01_b_7", 3),
    ("xT_01", None), ("T", None)])
def test_the_longest_beginning_up_to_a_separator_counts(case, line):
    assert lines(matched([case], ["T_01", "T_01_b"], match="prefix")) == ({case: line} if line else {})


@pytest.mark.parametrize(("pattern", "case", "text"), [
    ("^sub-([0-9]+)", "sub-017_ses-2", "017"), ("0*([0-9]+)$", "case_0", "0"), ("_(.+)_", "a_B 1_c", "B 1"),
    ("^(?:a|b)(.)", "bx", "x"), ("^z(.*)", "z", None), ("nothing(x)", "a", None)])
def test_a_pattern_says_which_part_is_the_id(pattern, case, text):
    result = matched([case], ["017", "0", "B 1", "x"], match="pattern", pattern=pattern)
    assert {name: row.cells[0] for name, row in result.rows.items()} == ({case: text} if text else {})


@pytest.mark.parametrize("match", ["exact", "prefix"])
def test_two_rows_of_a_case_are_an_error(match):
    with pytest.raises(UserError, match=r"several rows \(found: a in lines 2, 4; expected: one row per (case|id)\)"):
        matched(["a"], ["a", "b", "a"], match=match)


@pytest.mark.parametrize(("case", "text"), [
    ("095", "95"), ("095", "95.0"), ("P-007", "P7"), ("STS_001", "sts_001"), ("STS_001", "STS-001"), ("case_0007", "7"),
    ("095", "'095"), ("a b", "a_b"), ("ct_01", "ct_01_0000.nii.gz"), ("ct_01", "CT_1.NRRD")])
def test_a_row_that_is_written_otherwise_is_proposed(case, text):
    result = matched([case, "z"], [text, "q"])
    assert result.rows == {} and f"{text} looks like {case}" in result.advice
    assert result.warnings == (f"t.csv: 2 of 2 cases have no row ({case}, z); {result.advice}",
                               f"t.csv: 2 rows without a case ({text}, q)")


@pytest.mark.parametrize(("names", "ids", "match"), [
    (["095", "096", "100"], ["95", "96", "100"], Match("pattern", "^0*([0-9]+)$")),
    (["T_01_1996", "T_01_1997", "T_02_x"], ["T_01", "T_02"], Match("prefix")),
    (["sub-01_ses-1", "sub-01_ses-2"], ["01"], Match("pattern", "^[^0-9]*([0-9]+)")),
    (["sub-01_ses-1", "sub-02_ses-2"], ["1", "2"], Match("pattern", "^[^0-9]*0*([0-9]+)")),
    (["sub-abc", "sub-def"], ["abc", "def"], Match("pattern", "^[A-Za-z]+[_-](.+)$")),
    (["a", "b"], ["a", "b"], Match("exact")), (["a", "b"], ["x", "y"], Match("exact"))])
def test_the_match_that_fits_most_cases_is_found(names, ids, match):
    assert best_match(names, dict.fromkeys(ids, 1))[0] == match


@pytest.mark.parametrize(("names", "ids"), [
    (["095", "95"], {"95": 1}),  # two cases of whole numbers, one row
    (["case_1", "case_2"], {"1": 2, "2": 1})])  # a number that two rows have
def test_a_match_that_is_not_sure_is_not_proposed(names, ids):
    assert best_match(names, ids)[0] == Match("exact")


def test_the_proposal_says_what_to_write_and_what_it_gives():
    advice = matched(["T_01_1996", "T_01_1997", "U_1"], ["T_01", "V"]).advice
    assert advice == ('with "match": "prefix" under conditions in dataset.json, 2 of 3 cases have a row (T_01 for '
                      'T_01_1996)')


@pytest.mark.parametrize(("ids", "words"), [(["2020-02-01", "3-Mar-2020"], "look like dates"),
                                            (["1.23E+11", "1,24e+11"], "shortened long numbers")])
def test_ids_that_a_spreadsheet_spoilt_are_told(ids, words):
    assert words in matched(["1-2", "b"], ids).advice


def test_nothing_is_advised_where_only_rows_or_only_cases_are_left():
    assert matched(["a"], ["a", "A"]).advice == matched(["a", "A"], ["a"]).advice == ""
