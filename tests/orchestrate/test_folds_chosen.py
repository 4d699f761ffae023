"""Several folds by one command: which they are, that a bad one does not end the others, and the table over them."""

import shutil

import pytest

from autoseg.base.errors import UserError
from autoseg.base.ranks import Ranks, join
from autoseg.cli import train
from autoseg.evaluation.types import CaseScore, LabelScore, LabelSummary, Mean, Scoring, Summary
from autoseg.orchestrate.folds import Outcome, choose_folds, fold_table
from autoseg.training.validate import FoldResult
from orchestrate_folds import DATASET, NAME, prepared_spheres, pretend_to_train, tasks_of
from planners.schema.plan import ResolvedSchedule


@pytest.fixture(scope="module")
def spheres(tmp_path_factory):
    return prepared_spheres(tmp_path_factory.mktemp("spheres"))


@pytest.fixture
def fresh(spheres, tmp_path):
    """A workspace of its own for a test that trains."""
    shutil.copytree(spheres[0].home, tmp_path / "home")
    return type(spheres[0])(tmp_path / "home")


@pytest.mark.parametrize(("words", "folds"), [
    (["all-folds"], [0, 1, 2, 3, 4]), (["0", "2"], [0, 2]), (["0,1,1"], [0, 1]), (["2", "all-folds"], [2, 0, 1, 3, 4]),
    (["all"], ["all"]), (["03"], [3]), (["0", "all"], [0, "all"])])
def test_folds_are_named_in_several_ways(spheres, words, folds):
    assert choose_folds(spheres[0], DATASET, words) == folds


@pytest.mark.parametrize("words", [["7"], ["0", "x"], ["0,9"], ["-1"]])
def test_an_unknown_fold_is_refused(spheres, words):
    with pytest.raises(UserError, match=r"unknown fold.*folds 0, 1, 2, 3, 4.*all-folds"):
        choose_folds(spheres[0], DATASET, words)


def test_torchrun_trains_one_fold_at_a_time(spheres):
    with join(Ranks(0, 2, 2)), pytest.raises(UserError, match="one fold at a time"):
        choose_folds(spheres[0], DATASET, ["all-folds"])


def test_a_bad_fold_does_not_end_the_others_and_is_listed_at_the_end(fresh, monkeypatch, capsys):
    done = pretend_to_train(monkeypatch, bad=(1,))
    arguments = ["1", NAME, "0,1,2", "--home", str(fresh.home), "--device", "cpu"]
    assert train.main(arguments) == 2
    printed = capsys.readouterr()
    assert done == [(NAME, 0), (NAME, 2)]
    assert "1 failed:\n  - 3d_fullres fold 1" in printed.err and "this fold is bad" in printed.err
    assert "mean over all 2 cases: Dice" in printed.out
    pretend_to_train(monkeypatch)
    assert train.main(arguments) == 0  # the two finished ones are read, the third is trained
    assert "mean over all 3 cases: Dice" in capsys.readouterr().out
    assert done == [(NAME, 0), (NAME, 2)]


def test_several_folds_begin_anew_together_with_another_plan(fresh, monkeypatch):
    done = pretend_to_train(monkeypatch)
    arguments = ["1", NAME, "0", "1", "--home", str(fresh.home), "--device", "cpu"]
    assert train.main(arguments) == 0
    assert train.main([*arguments, "--set", "batch=3"]) == 2
    assert train.main([*arguments, "--set", "batch=3", "--restart"]) == 0
    assert done == [(NAME, 0), (NAME, 1)] * 2
    assert train.main(["1", NAME, "2", "--set", "batch=3", "--home", str(fresh.home), "--device", "cpu"]) == 0


def test_a_fold_is_trained_by_the_plan_of_a_file(fresh, monkeypatch, tmp_path):
    done = pretend_to_train(monkeypatch)
    plan = tmp_path / "plan.json"
    plan.write_text(fresh.plan(DATASET, "budgeted").read_text().replace('"batch": 2', '"batch": 4'))
    assert train.main(["1", NAME, "0", "--plan", str(plan), "--home", str(fresh.home), "--device", "cpu"]) == 0
    assert done == [(NAME, 0)] and '"batch": 4' in fresh.model(DATASET, "budgeted", NAME).plan.read_text()


def result(fold: int, *dice: float | None) -> FoldResult:
    cases = [CaseScore(name=f"c{fold}{i}", labels=(LabelScore(name="ball", true_positives=1, false_positives=0,
                       false_negatives=0, truth_ml=1, predicted_ml=1, volume_error_ml=0, dice=value),))
             for i, value in enumerate(dice)]
    known = [value for value in dice if value is not None]
    mean = Mean(value=sum(known) / len(known), n=len(known))
    summary = Summary(scoring=Scoring(), n_cases=len(cases), foreground_means={"dice": mean}, cases=tuple(cases),
                      labels=(LabelSummary(name="ball", n_empty=0, means={"dice": mean}),))
    return FoldResult(dataset="d", planner="p", configuration="c", fold=fold, seed=0,
                      schedule=ResolvedSchedule(learning_rate=1, iterations=1),
                      training_seconds=50, total_seconds=60, mean_dice=mean.value, scores=summary)


def test_the_table_has_a_row_a_fold_and_the_mean_over_all_cases(spheres):
    tasks = tasks_of(*spheres)
    outcomes = [Outcome(tasks[0], result(0, 0.8, 0.8, 0.8)), Outcome(tasks[1], result(1, 0.4, None)),
                Outcome(tasks[2], None, "bad")]
    lines = fold_table(outcomes).splitlines()
    assert [line.split() for line in (lines[0], *lines[2:4])] == [["fold", "cases", "ball", "mean", "time"],
                                                                  ["0", "3", "0.800", "0.800", "60", "s"],
                                                                  ["1", "2", "0.400", "0.400", "60", "s"]]
    # (3 * 0.8 + 0.4) / 4, not the mean of the folds' means
    assert lines[4].startswith("mean over all 4 cases: Dice 0.700 (95 % interval ")
    assert lines[4].endswith("1 cases without foreground are left out")
    assert fold_table(outcomes[2:]) == ""
