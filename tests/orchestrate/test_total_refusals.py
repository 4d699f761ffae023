"""What a run within a total time refuses, and what it goes on by."""

import re

import pytest

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.cli import run as command
from autoseg.workspace.files import read_json, write_json
from autoseg.workspace.names import Workspace
from orchestrate_folds import DATASET
from pretended_race import THREE, held, plan_of, race_of


def test_a_model_that_was_trained_before_is_refused_before_anything_is_prepared(home, trainings, monkeypatch):
    pipeline.fingerprint(1, home=home, workers=1)
    planned = pipeline.plan(1, budget_seconds=1800.0, home=home, device="cpu")
    workspace = Workspace(home)
    write_json(workspace.model(DATASET, "budgeted", "2d").plan, planned)
    write_json(workspace.fold(DATASET, "budgeted", "2d", 1).schedule, {})
    prepared = []
    monkeypatch.setattr(pipeline, "preprocess", lambda *_, **__: prepared.append(True))
    with pytest.raises(UserError, match=r"folds of this model were started with another plan \(found: fold 1\)"):
        held(home, trainings)
    assert not prepared and not workspace.race(DATASET).exists()


def test_the_time_of_an_attempt_on_other_data_does_not_count(home, trainings, monkeypatch, caplog):
    def stopped(*_, **__):
        trainings.clock.seconds += 100.0
        raise KeyboardInterrupt

    def attempt():
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(pipeline, "preprocess", stopped)
            held(home, trainings)
        return read_json(Workspace(home).race_seconds(DATASET))["seconds"]

    caplog.set_level("INFO")
    assert (attempt(), attempt()) == (100, 200)
    assert "earlier starts have used 1 min 40 s of the total of 50 min 0 s" in caplog.text
    first, second = (home / "raw" / DATASET / "labelsTr" / f"ball_0{i}.nii.gz" for i in (0, 1))
    first.write_bytes(second.read_bytes())
    assert attempt() == 100


def test_a_total_that_is_too_short_says_the_least_that_makes_sense(home, trainings):
    with pytest.raises(UserError) as error:
        held(home, trainings, seconds=15.0)
    assert re.search(r"too short to train anything \(found: 15 s, of which 0 s are spent; expected: at least 1m for 2 folds "
                     r"of \S+ \(budgeted\), 100 iterations and a validation each\); give more time", str(error.value))
    assert trainings.done == []


def test_a_race_does_not_go_on_with_other_data(home, trainings):
    trainings.stop_at = 1
    with pytest.raises(KeyboardInterrupt):
        held(home, trainings)
    for folder, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        first, second = (home / "raw" / DATASET / folder / f"ball_0{i}{ending}" for i in (0, 1))
        first.write_bytes(second.read_bytes())
    with pytest.raises(UserError, match=r"started with other data \(found: changed since: images, labels or dataset.json\); "
                                        r"restore them, or race again after you have removed .*race.json"):
        held(home, trainings)


def test_a_race_does_not_go_on_with_other_folds_or_a_changed_plan_of_its_own(home, trainings):
    held(home, trainings)
    workspace = Workspace(home)
    plan = workspace.race_plan(DATASET, "budgeted")
    known = plan.read_text()
    plan.write_text(known.replace('"batch": 2', '"batch": 4'))
    with pytest.raises(UserError, match="changed since: .*race_plan_budgeted.json"):
        held(home, trainings)
    plan.write_text(known)
    splits = read_json(workspace.splits(DATASET))
    write_json(workspace.splits(DATASET), splits[1:] + splits[:1])
    with pytest.raises(UserError, match="changed since: the folds"):
        held(home, trainings)


def test_a_race_goes_on_by_its_own_plan_whatever_is_planned_meanwhile(home, trainings, configurations, monkeypatch):
    trainings.stop_at = 1
    with pytest.raises(KeyboardInterrupt):
        held(home, trainings, memory_bytes=2**33)
    trainings.stop_at = None
    for name, known in list(configurations.items()):  # speed is measured, and memory differs
        configurations[name] = known.model_copy(update={"step_seconds": 9.0, "batch": 4})
    pipeline.plan(1, budget_seconds=1800.0, home=home, device="cpu")
    planned = Workspace(home).plan(DATASET, "budgeted").read_text()
    held(home, trainings)
    assert race_of(home).winners == (THREE,)
    assert plan_of(home, "3d_fullres").configurations["3d_fullres"].batch == 2
    assert Workspace(home).plan(DATASET, "budgeted").read_text() == planned


def test_a_race_goes_on_only_as_it_was_started(home, trainings):
    held(home, trainings)
    with pytest.raises(UserError, match=r"other options \(found: a total of 50 min 0 s\); say the same again"):
        held(home, trainings, seconds=7200.0)
    with pytest.raises(UserError, match=r"found: the seed 0\)"):
        held(home, trainings, seed=1)
    with pytest.raises(UserError, match=r"found: no --memory\)"):
        held(home, trainings, memory_bytes=2**33)
    with pytest.raises(UserError, match=r"found: the folds 0, 1\)"):
        held(home, trainings, folds=("0",))
    with pytest.raises(UserError, match=r"found: the planners budgeted\)"):
        held(home, trainings, planners=("budgeted", "classic"))
    with pytest.raises(UserError, match=r"other configurations \(found: 2d \(budgeted\), 3d_fullres \(budgeted\)\)"):
        held(home, trainings, configurations=("2d",))


def test_without_validation_cases_nothing_can_race(home, trainings):
    with pytest.raises(UserError, match=r"no case is validated.*name one configuration with -c"):
        held(home, trainings, folds=("all",))


def test_a_total_is_no_budget_of_a_fold(home, capsys):
    with pytest.raises(SystemExit):
        command.main(["1", "--total", "2h", "--budget", "30m"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_cluster_and_several_planners_without_a_total_are_refused(home, capsys):
    assert command.main(["1", "--total", "2h", "--cluster", "auto", "--device", "cpu", "--home", str(home)]) == 2
    assert command.main(["1", "--planners", "budgeted", "classic", "--device", "cpu", "--home", str(home)]) == 2
    refusals = capsys.readouterr().err
    assert "a race runs on one machine" in refusals and "several planners need a total time" in refusals


def test_one_planner_or_several_are_named_not_both(home, trainings, capsys):
    with pytest.raises(SystemExit):
        command.main(["1", "--total", "2h", "-p", "classic", "--planners", "budgeted"])
    assert "--planners: not allowed with argument -p/--planner" in capsys.readouterr().err
    options = ["--total", "50m", "--folds", "0", "--device", "cpu", "--workers", "1", "--home", str(home)]
    assert command.main(["1", "-p", "classic", *options]) == 0
    assert {candidate.planner for candidate in race_of(home).candidates} == {"classic"}
