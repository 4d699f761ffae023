"""The weight of a case, from a column of the table."""

import json

import pytest

from autoseg.base.errors import AutosegError, ManyFaults, UserError
from autoseg.datasets.dataset import read_manifest
from autoseg.datasets.declared_columns import case_weights


def place(folder, cells, **keys):
    (folder / "clinical.csv").write_text("case,weight,age\n" + "".join(
        f"{name},{cell},50\n" for name, cell in cells.items()))
    (folder / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz",
        "conditions": {"table": "clinical.csv"}, "case_weight": {"column": "weight"}} | keys))
    return folder, read_manifest(folder)


def test_a_weight_is_a_number_from_0(tmp_path):
    assert case_weights(*place(tmp_path, {"a": "1", "b": "2.5", "c": "0"}), ["a", "b", "c"]) == {"a": 1, "b": 2.5, "c": 0}


def test_without_a_column_there_are_no_weights(tmp_path):
    folder, manifest = place(tmp_path, {"a": "1"})
    assert case_weights(folder, manifest.model_copy(update={"case_weight_column": ""}), ["a"]) is None


@pytest.mark.parametrize("cell", ["-1", "", "heavy", "nan", "inf", "1e999", "n/a", "-0.5"])
def test_a_cell_that_is_no_weight_names_its_case(tmp_path, cell):
    with pytest.raises(ManyFaults, match=r"case bad_case.*0 \(never drawn in training\)") as raised:
        case_weights(*place(tmp_path, {"a": "1", "bad_case": cell, "worse": cell}), ["a", "bad_case", "worse"])
    assert "worse" in str(raised.value) and "case a:" not in str(raised.value)


def test_a_case_without_a_row_is_named(tmp_path):
    with pytest.raises(UserError, match=r"1 of 2 cases have no row, but 'case_weight'.*found: b"):
        case_weights(*place(tmp_path, {"a": "1"}), ["a", "b"])


def test_a_column_that_is_not_there_is_named(tmp_path):
    with pytest.raises(AutosegError, match="wieght"):
        case_weights(*place(tmp_path, {"a": "1"}, case_weight={"column": "wieght"}), ["a"])


@pytest.mark.parametrize("keys", [{"conditions": {}}, {"case_weight": "weight"}, {"case_weight": {"colum": "weight"}},
                                  {"case_weight": {"column": ""}}, {"case_weight": 3}, {"case_weight": {"column": 3}},
                                  {"case_weights": {"column": "weight"}}])
def test_a_wrong_declaration_is_a_fault_of_dataset_json(tmp_path, keys):
    with pytest.raises(AutosegError, match=r"dataset.json, line 1, column [0-9]+: .*(case_weight|valid string)"):
        place(tmp_path, {"a": "1"}, **keys)
