"""The user's own folds, ours, and what is wrong with either."""

import json
import logging
import re

import pytest

from autoseg.base.errors import UserError
from autoseg.training.splits import check_splits, choose_fold, read_splits, write_partial_splits
from autoseg.workspace.names import Workspace

NAME = "Dataset001_X"
TEN = [f"case_{i}" for i in range(10)]


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "raw" / NAME).mkdir(parents=True)
    return Workspace(tmp_path)


@pytest.fixture
def heard(caplog, monkeypatch):
    """What was logged."""
    monkeypatch.setattr(logging.getLogger("autoseg"), "propagate", True)
    return caplog


def own(workspace, splits):
    (workspace.raw(NAME) / "splits_final.json").write_text(json.dumps(splits))


def test_five_folds_validate_every_case_once(workspace):
    splits = read_splits(workspace, NAME, TEN)
    assert sorted(name for split in splits for name in split.validation) == TEN
    assert len(splits) == 5


def test_folds_are_written_once_and_kept(workspace):
    first = read_splits(workspace, NAME, TEN)
    written = workspace.splits(NAME).read_text()
    assert read_splits(workspace, NAME, TEN) == first
    assert workspace.splits(NAME).read_text() == written


def test_other_cases_make_other_folds(workspace):
    read_splits(workspace, NAME, TEN)
    assert {*read_splits(workspace, NAME, TEN[:9])[0].train} < set(TEN[:9])


def test_below_five_cases_each_is_left_out_once_with_a_warning(workspace, heard):
    splits = read_splits(workspace, NAME, TEN[:3])
    assert [len(split.validation) for split in splits] == [1, 1, 1]
    assert "only 3 cases" in heard.text


def test_the_users_folds_win(workspace):
    own(workspace, [{"train": TEN[:8], "val": TEN[8:]}])
    assert read_splits(workspace, NAME, TEN)[0].validation == tuple(TEN[8:])


@pytest.mark.parametrize(("splits", "said"), [
    ([{"train": ["ghost"], "val": []}], "fold 0 names cases that are not in the dataset: ghost"),
    ([{"train": TEN, "val": TEN[:1]}], "fold 0 validates cases that it trains on: case_0"),
    ([{"train": TEN[:8] + TEN[:1], "val": TEN[8:]}], "fold 0 names cases twice: case_0"),
    ([{"train": TEN[:8], "val": TEN[8:] + TEN[9:]}], "fold 0 names cases twice: case_9"),
    ({"train": TEN, "val": []}, "cannot be read.*found: one object, not a list"),
    ([{"train": TEN}], "cannot be read.*found: fold 0 has no 'val'"),
    ([{"training": TEN}], r"cannot be read.*a list of \{\"train\""), ([{"train": "case_0", "val": []}], "cannot be read"),
    ([{"train": [1], "val": []}], "cannot be read"), ([7], "cannot be read"), ([], "there is no fold"),
    ([{"train": [], "val": TEN}], "no training case")])
def test_wrong_folds_are_refused(workspace, splits, said):
    own(workspace, splits)
    with pytest.raises(UserError, match=said):
        read_splits(workspace, NAME, TEN)
    (fault,), warnings = check_splits(workspace, NAME, TEN)
    assert re.search(said, fault) and warnings == []


@pytest.mark.parametrize(("splits", "groups", "said"), [
    ([{"train": TEN[:4], "val": TEN[4:5]}], None, "5 of 10 cases are in no fold, neither trained on nor validated: case_5, "
                                                  "case_6, case_7, ..."),
    ([{"train": TEN[:8], "val": TEN[8:]}], None, "8 of 10 cases are validated in no fold"),
    ([{"train": TEN[:8], "val": TEN[8:]}, {"train": TEN[1:9], "val": TEN[9:]}], None,
     "1 of 10 cases are validated in several folds: case_9"),
    ([{"train": TEN[:8], "val": TEN[8:]}, {"train": TEN[1:9], "val": TEN[9:]}], None,
     "fold 1 neither trains on nor validates 1 of 10 cases: case_0"),
    ([{"train": TEN, "val": []}], None, "fold 0 validates no case"),
    ([{"train": TEN[:5], "val": TEN[5:]}], {name: str(i // 2) for i, name in enumerate(TEN)},
     "fold 0 trains on and validates cases of the same patient, so that its scores will be too good: 2")])
def test_odd_folds_are_used_with_a_warning(workspace, heard, splits, groups, said):
    own(workspace, splits)
    assert len(read_splits(workspace, NAME, TEN, groups)) == len(splits)
    faults, warnings = check_splits(workspace, NAME, TEN, groups)
    assert faults == [] and any(said in warning for warning in warnings)
    assert said in heard.text and "splits_final.json" in heard.text


@pytest.mark.parametrize(("change", "said"), [
    (lambda splits: splits[0]["train"].append(splits[0]["validation"][0]), "fold 0 validates cases that it trains on"),
    (lambda splits: splits[1]["validation"].append("c99"), "fold 1 names cases that are not in the dataset: c99"),
    (lambda splits: splits[2]["train"].append(splits[2]["train"][0]), "fold 2 names cases twice")])
def test_our_own_folds_are_checked_as_a_users_are(workspace, change, said):
    read_splits(workspace, NAME, TEN)
    splits = json.loads(workspace.splits(NAME).read_text())
    change(splits)
    workspace.splits(NAME).write_text(json.dumps(splits))
    with pytest.raises(UserError, match=r"splits\.json: " + said):
        read_splits(workspace, NAME, TEN)
    assert said in check_splits(workspace, NAME, TEN)[0][0]


def test_a_case_taken_out_of_one_of_our_folds_is_told(workspace, heard):
    read_splits(workspace, NAME, TEN)
    splits = json.loads(workspace.splits(NAME).read_text())
    gone = splits[0]["train"].pop()
    workspace.splits(NAME).write_text(json.dumps(splits))
    assert gone not in read_splits(workspace, NAME, TEN)[0].train
    assert f"fold 0 neither trains on nor validates 1 of 10 cases: {gone}" in heard.text


def test_folds_that_are_made_anew_keep_the_old_ones(workspace, heard):
    old = read_splits(workspace, NAME, TEN[:9])
    read_splits(workspace, NAME, TEN)
    kept = json.loads(workspace.splits(NAME).with_name("splits_1.json").read_text())
    assert [tuple(split["train"]) for split in kept] == [split.train for split in old]
    assert "the cases changed since the folds were made" in heard.text and "splits_1.json" in heard.text


def test_of_two_files_with_other_folds_the_one_in_the_raw_folder_is_used_and_told(workspace, heard):
    own(workspace, [{"train": TEN[:8], "val": TEN[8:]}])
    workspace.prepared(NAME).mkdir(parents=True)
    (workspace.prepared(NAME) / "splits_final.json").write_text(json.dumps([{"train": TEN[1:], "val": TEN[:1]}]))
    assert read_splits(workspace, NAME, TEN)[0].validation == tuple(TEN[8:])
    assert "these folds are not used" in heard.text


def test_below_five_patients_each_is_left_out_once_with_a_warning(workspace, heard):
    assert len(read_splits(workspace, NAME, TEN, {name: str(i // 4) for i, name in enumerate(TEN)})) == 3
    assert "has only 3 patients: each of the 3 folds leaves one out" in heard.text


def test_cases_of_one_patient_have_no_folds(workspace):
    assert read_splits(workspace, NAME, TEN, dict.fromkeys(TEN, "p")) == ()
    assert not workspace.splits(NAME).exists()


@pytest.mark.parametrize("text", ["[]", "[1]", '{"train": 1}', '[{"train": ["a"]}]'])
def test_our_own_folds_that_somebody_broke_are_made_anew_or_refused(workspace, text):
    read_splits(workspace, NAME, TEN)
    workspace.splits(NAME).write_text(text)
    if text == "[]":
        assert len(read_splits(workspace, NAME, TEN)) == 5
        return
    with pytest.raises(UserError, match=r"splits\.json.*splits_final\.json"):
        read_splits(workspace, NAME, TEN)


def test_all_trains_on_every_case(workspace):
    split = choose_fold(read_splits(workspace, NAME, TEN), "all", TEN)
    assert (list(split.train), split.validation) == (TEN, ())


@pytest.mark.parametrize("fold", ["5", 7, "first", "-1"])
def test_an_unknown_fold_lists_the_known_ones(workspace, fold):
    with pytest.raises(UserError, match="folds 0, 1, 2, 3, 4"):
        choose_fold(read_splits(workspace, NAME, TEN), fold, TEN)


def test_a_single_case_can_only_be_trained_as_all(workspace):
    splits = read_splits(workspace, NAME, TEN[:1])
    assert choose_fold(splits, "all", TEN[:1]).train == ("case_0",)
    with pytest.raises(UserError, match="too few cases"):
        choose_fold(splits, 0, TEN[:1])


def test_few_cases_are_told_by_a_check(workspace):
    assert check_splits(workspace, NAME, TEN) == ([], [])
    assert "only one case" in check_splits(workspace, NAME, TEN[:1])[1][0]
    assert "only 2 cases: each of the 2 folds" in check_splits(workspace, NAME, TEN[:2])[1][0]
    assert "only one patient" in check_splits(workspace, NAME, TEN[:2], {name: "P" for name in TEN})[1][0]


def test_folds_of_the_cases_whose_patients_are_known_are_made_anew_when_all_are(workspace):
    known = {name: f"P{i // 2}" for i, name in enumerate(TEN[:6])}
    path = write_partial_splits(workspace, NAME, TEN[:6], known, None)
    partial = json.loads(path.read_text())
    assert {name for fold in partial for name in (*fold["train"], *fold["validation"])} == set(TEN[:6])
    patients_of = [[{known[name] for name in fold[side]} for side in ("train", "validation")] for fold in partial]
    assert not any(train & validation for train, validation in patients_of)
    patients = {name: f"P{i // 2}" for i, name in enumerate(TEN)}
    splits = read_splits(workspace, NAME, TEN, patients)
    assert sorted(name for split in splits for name in split.validation) == TEN
    assert json.loads(path.with_name("splits_1.json").read_text()) == partial


@pytest.mark.parametrize("known", [{}, {"case_0": "P", "case_1": "P"}])
def test_fewer_than_two_known_patients_have_no_fold_until_the_others_are_known(workspace, known):
    assert json.loads(write_partial_splits(workspace, NAME, list(known), known, None).read_text()) == []
    assert len(read_splits(workspace, NAME, TEN)) == 5


def test_folds_that_are_there_are_not_replaced_by_partial_ones(workspace):
    splits = read_splits(workspace, NAME, TEN)
    assert write_partial_splits(workspace, NAME, TEN[:6], None, None) is None
    assert read_splits(workspace, NAME, TEN) == splits
