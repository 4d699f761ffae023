"""Which cases belong together, and which labels a mask holds, from the table."""

import json

import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.datasets.dataset import read_manifest
from autoseg.datasets.declared_columns import annotated_names, group_of

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
    patients, sites = group_of(*dataset(groups={"patient": "who", "site": "where"}), ["a", "b", "c", "d", "e"])
    assert patients == {"a": "p1", "b": "1", "c": "1", "d": "d", "e": "e"}
    assert sites == {"a": "X", "b": "", "c": "X", "d": "Y", "e": ""}


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
