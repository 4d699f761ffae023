"""The user's own folds, ours, and what is wrong with either."""

import json
import logging

import pytest

from autoseg.base.errors import UserError
from autoseg.training.splits import choose_fold, read_splits
from autoseg.workspace.names import Workspace

NAME = "Dataset001_X"
TEN = [f"case_{i}" for i in range(10)]


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "raw" / NAME).mkdir(parents=True)
    return Workspace(tmp_path)


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


def test_below_five_cases_each_is_left_out_once_with_a_warning(workspace, caplog):
    logger = logging.getLogger("autoseg")
    logger.propagate = True
    splits = read_splits(workspace, NAME, TEN[:3])
    assert [len(split.validation) for split in splits] == [1, 1, 1]
    assert "only 3 cases" in caplog.text


def test_the_users_folds_win(workspace):
    own(workspace, [{"train": TEN[:8], "val": TEN[8:]}])
    assert read_splits(workspace, NAME, TEN)[0].validation == tuple(TEN[8:])


@pytest.mark.parametrize(("splits", "said"), [
    ([{"train": ["ghost"], "val": []}], "not in imagesTr"), ([{"train": TEN, "val": TEN[:1]}], "trains on"),
    ([{"training": TEN}], "nnU-Net's form"), ([{"train": [], "val": TEN}], "no training case")])
def test_wrong_folds_are_refused(workspace, splits, said):
    own(workspace, splits)
    with pytest.raises(UserError, match=said):
        read_splits(workspace, NAME, TEN)


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
