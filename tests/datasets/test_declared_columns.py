"""Which cases belong together, and which labels a mask holds, from the table."""

import json

import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.datasets.dataset import read_manifest
from autoseg.datasets.declared_columns import annotated_names, group_of, known_groups, table_warnings

TABLE = "case,who,where,annotated\na,p1,X,liver\nb,1.0,--,all\nc,1,X,\"spleen, liver\"\nd,N/A,Y,spleen;\n"


@pytest.fixture
def dataset(tmp_path):
    """The folder and manifest of a dataset with a table."""

    def make(table=TABLE, **keys):
        (tmp_path / "clinical.csv").write_text(table)
        (tmp_path / "dataset.json").write_text(json.dumps({
            "channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "spleen": 2}, "file_ending": ".nii.gz",
            "conditions": {"table": "clinical.csv"}} | keys))
        return tmp_path, read_manifest(tmp_path)

    return make


def test_no_groups_are_none(dataset):
    assert group_of(*dataset(), ["a"]) == (None, None)


def test_cases_are_grouped_by_patient_and_site(dataset):
    patients, sites = group_of(*dataset(groups={"patient": "who", "site": "where"}), ["a", "b", "c", "d"])
    assert patients == {"a": "p1", "b": "1", "c": "1", "d": "d"}
    assert sites == {"a": "X", "b": "", "c": "X", "d": "Y"}


@pytest.mark.parametrize("groups", [{"patient": "who"}, {"site": "where"}])
def test_a_case_without_a_row_cannot_be_grouped(dataset, groups):
    place = dataset("case,who,where\n95,p1,X\n96,p1,X\n100,p2,Y\n", groups=groups)
    with pytest.raises(UserError, match=r"2 of 3 cases have no row, but 'groups' in dataset.json depends on it \(found: "
                                        r"095, 096, while rows have no case: 95, 96; .*95 looks like 095; 96 looks like "
                                        r'096: .*"match": "pattern", "pattern": "\^0\*'):
        group_of(*place, ["095", "096", "100"])
    assert known_groups(*place, ["095", "096", "100"]).names == ("100",)
    cases_left, rows_left = table_warnings(*place, ["095", "096", "100"])
    assert "2 of 3 cases have no row (095, 096); 95 looks like 095" in cases_left
    assert "2 rows without a case (95, 96)" in rows_left


def test_ids_that_lost_their_zeros_can_be_matched_by_a_pattern(dataset):
    conditions = {"table": "clinical.csv", "match": "pattern", "pattern": "^0*([0-9]+)$"}
    place = dataset("case,who\n95,p1\n96,p1\n100,p2\n", groups={"patient": "who"}, conditions=conditions)
    assert group_of(*place, ["095", "096", "100"])[0] == {"095": "p1", "096": "p1", "100": "p2"}
    assert table_warnings(*place, ["095", "096", "100"]) == ()


def test_scans_of_a_patient_level_table_are_grouped_by_its_ids(dataset):
    place = dataset("id,age\nT_01,50\nT_02,60\n", groups={"patient": "id"},
                    conditions={"table": "clinical.csv", "id": "id", "match": "prefix"})
    assert group_of(*place, ["T_01_1996", "T_01_1997", "T_02_1996"])[0] == {
        "T_01_1996": "T_01", "T_01_1997": "T_01", "T_02_1996": "T_02"}


def test_a_patient_who_is_not_named_is_told(dataset):
    (warning,) = table_warnings(*dataset(groups={"patient": "who"}), ["a", "b", "c", "d"])
    assert "the column 'who' names no patient of 1 of 4 cases, and each counts as a patient of its own: d" in warning


def test_a_patient_who_is_the_error_of_a_formula_is_an_error(dataset):
    place = dataset("case,who\na,p1\nb,#REF!\n", groups={"patient": "who"})
    with pytest.raises(UserError, match=r"error of a formula \(found: '#REF!' \(case b, line 3\)\); write the patients"):
        group_of(*place, ["a", "b"])
    known = known_groups(*place, ["a", "b"])
    assert (known.names, known.groups) == (("a",), ({"a": "p1"}, None))


def test_patients_that_differ_in_case_only_are_one_and_told(dataset):
    place = dataset("case,who\na,p1\nb,P1 \nc,p2\n", groups={"patient": "who"})
    assert group_of(*place, ["a", "b", "c"])[0] == {"a": "p1", "b": "p1", "c": "p2"}
    assert "differ in case only, and count as one: P1, p1" in table_warnings(*place, ["a", "b", "c"])[0]


def test_rows_without_a_case_are_told_where_only_groups_use_the_table(dataset):
    (warning,) = table_warnings(*dataset("case,who\na,p1\nb,p2\n", groups={"patient": "who"}), ["a"])
    assert warning.endswith("clinical.csv: 1 row without a case (b)")


def test_one_group_may_be_named_alone(dataset):
    patients, sites = group_of(*dataset(groups={"site": "where"}), ["a"])
    assert patients is None and sites == {"a": "X"}


def test_columns_of_groups_that_are_not_there_are_an_error(dataset):
    with pytest.raises(ManyFaults) as raised:
        group_of(*dataset(groups={"patient": "whom", "site": "town"}), ["a"])
    assert "there is no column 'whom', did you mean 'who'?" in raised.value.faults[0]
    assert "there is no column 'town'" in raised.value.faults[1]


def test_without_a_word_everything_was_annotated(dataset):
    assert annotated_names(*dataset(), ["a"]) is None


def test_a_case_that_is_not_listed_was_annotated_completely(dataset):
    assert annotated_names(*dataset(labels_present={"a": ["spleen"]}), ["a", "b"]) == {
        "a": ("spleen",), "b": ("liver", "spleen")}


def test_a_listed_case_that_is_not_there_is_an_error(dataset):
    with pytest.raises(UserError, match=r"names a case that is not there, did you mean 'case_01'\? \(found: case_1\)"):
        annotated_names(*dataset(labels_present={"case_1": ["spleen"]}), ["case_01"])


def test_a_column_says_what_was_annotated(dataset):
    assert annotated_names(*dataset(labels_present={"column": "annotated"}), ["a", "b", "c", "d"]) == {
        "a": ("liver",), "b": ("liver", "spleen"), "c": ("liver", "spleen"), "d": ("spleen",)}


def test_a_column_must_say_it_of_every_case(dataset):
    folder, manifest = dataset(TABLE + "e,p,X,--\nf,p,X,lever\n", labels_present={"column": "annotated"})
    with pytest.raises(ManyFaults) as raised:
        annotated_names(folder, manifest, ["a", "e", "f", "g"])
    assert ["found: nothing" in fault for fault in raised.value.faults] == [True, False, True]
    assert "case f: the column 'annotated' does not say which labels were annotated (found: lever" in raised.value.faults[1]


def test_a_column_of_annotations_that_is_not_there_is_an_error(dataset):
    with pytest.raises(UserError, match="there is no column 'annotatd', did you mean 'annotated'"):
        annotated_names(*dataset(labels_present={"column": "annotatd"}), ["a"])
