"""A run within a total time: the race is held, stopped and gone on with; only the winner gets every fold."""


import pytest
import torch

from autoseg import pipeline
from autoseg.base.errors import ManyFaults, UserError
from autoseg.base.runtime import Runtime
from autoseg.cli import run as command
from autoseg.orchestrate import total as total_module
from autoseg.orchestrate.stopwatch import Stopwatch, running
from autoseg.selection.gather import gather, read_cross_validation
from autoseg.training import run as run_module
from autoseg.workspace.files import read_json
from autoseg.workspace.names import Workspace
from orchestrate_folds import DATASET
from pretended_race import THREE, TOTAL, TWO, Clock, held, plan_of, race_of


def test_the_loser_is_dropped_and_the_winner_gets_the_rest_on_every_fold(home, trainings):
    result = held(home, trainings)
    assert trainings.done == [("3d_fullres", 0, "rung_0"), ("2d", 0, "rung_0"), ("3d_fullres", 0, "rung_1"),
                              ("2d", 0, "rung_1"), ("3d_fullres", 0, None), ("3d_fullres", 1, None)]
    race = race_of(home)
    assert result.race == race and race.winners == (THREE,)
    assert race.planned_fold_seconds == pytest.approx(0.98 * TOTAL / 2.5)
    # Two folds share what the loser left; what the winner had trained counts for its fold 0.
    assert race.fold_seconds == pytest.approx((0.98 * TOTAL - race.lost_seconds) / 2, rel=0.01)
    assert race.fold_seconds > race.planned_fold_seconds
    schedule = plan_of(home, "3d_fullres").configurations["3d_fullres"].schedule
    assert schedule.budget_seconds == race.fold_seconds and schedule.decay == "stable"


def test_the_race_is_held_up_to_the_last_rung_where_nobody_is_behind(home, trainings):
    trainings.dice = {"2d": 0.8, "3d_fullres": 0.8}
    held(home, trainings)
    race = race_of(home)
    assert len(race.rungs) == 3
    assert race.lost_seconds <= 0.5 * race.planned_fold_seconds
    assert race.fold_seconds == pytest.approx(race.planned_fold_seconds, rel=0.02)
    assert race.pair is not None and not race.pair.accepted


def test_an_ensemble_that_is_better_for_the_same_time_is_trained(home, trainings):
    trainings.dice, trainings.pair = {"2d": 0.8, "3d_fullres": 0.8}, 0.9
    held(home, trainings)
    race = race_of(home)
    assert set(race.winners) == {TWO, THREE} and race.lost_seconds == 0 and race.dropped == {}
    assert {(name, fold) for name, fold, rung in trainings.done if rung is None} == {
        (name, fold) for name in ("2d", "3d_fullres") for fold in (0, 1)}


@pytest.mark.parametrize("stop_at", [0, 2, 4, *(pytest.param(at, marks=pytest.mark.slow) for at in (1, 3))])
def test_stopped_at_any_moment_the_same_command_goes_on(home, trainings, stop_at):
    trainings.dice = {"2d": 0.8, "3d_fullres": 0.8}
    trainings.stop_at = stop_at
    with pytest.raises(KeyboardInterrupt):
        held(home, trainings)
    spent = read_json(Workspace(home).race_seconds(DATASET))["seconds"]
    trainings.stop_at = None
    held(home, trainings)
    assert len(set(trainings.done)) == len(trainings.done) == 8  # nothing was done twice
    assert race_of(home).spent_seconds >= spent
    done = list(trainings.done)
    held(home, trainings)
    assert trainings.done == done  # and what is finished stays


def test_what_only_the_race_kept_is_removed_and_the_paused_loser_stays(home, trainings):
    held(home, trainings)
    loser = Workspace(home).fold(DATASET, "budgeted", "2d", 0)
    assert loser.is_started and not loser.race.exists()


def test_the_loser_is_no_unfinished_model(home, trainings):
    held(home, trainings, folds=("all-folds",))
    workspace = Workspace(home)
    contenders, faults = gather(workspace, read_cross_validation(workspace, DATASET))
    assert [contender.member.configuration for contender in contenders] == ["3d_fullres"]
    (fault,) = faults
    assert fault.startswith("2d (budgeted): dropped in the race, since it is certainly behind, also with what it still "
                            "gains: the whole 95 % interval of the expected difference is below 0; to train it nevertheless")


def test_a_candidate_that_fails_is_out_of_the_race(home, trainings):
    trainings.bad = ("3d_fullres",)
    held(home, trainings)
    assert race_of(home).winners == (TWO,)
    assert race_of(home).dropped == {THREE: "it failed: the loss is nan"}


def test_what_the_user_can_mend_drops_nobody(home, trainings, monkeypatch):
    def locked_by_another(*_, **__):
        raise UserError("another process works here")

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "train_fold", locked_by_another)
        with pytest.raises(UserError, match="another process works here"):
            held(home, trainings)
    held(home, trainings)
    assert race_of(home).winners == (THREE,)


def test_a_candidate_that_does_not_fit_the_memory_is_out_of_the_race(home, trainings, monkeypatch):
    train_fold = trainings.train_fold

    def exhausted(job, *arguments, **options):
        if job.name == "3d_fullres":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return train_fold(job, *arguments, **options)

    monkeypatch.setattr(run_module, "train_fold", exhausted)
    held(home, trainings)
    assert race_of(home).winners == (TWO,)
    assert "too little memory" in race_of(home).dropped[THREE]


def test_a_candidate_whose_predictions_are_not_finite_is_out_of_the_race(home, trainings, monkeypatch):
    load_model = run_module.load_model

    def broken(plan, configuration, *arguments):
        model = load_model(plan, configuration, *arguments)
        if configuration.dimensions == 3:
            for parameter in model.model.parameters():
                parameter.data.fill_(torch.nan)
        return model

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "load_model", broken)
        trainings.stop_at = 2
        with pytest.raises(KeyboardInterrupt):
            held(home, trainings)
    trainings.stop_at = None
    held(home, trainings)
    assert race_of(home).winners == (TWO,)
    assert "logits are not finite" in race_of(home).dropped[THREE]


def test_where_all_fail_each_says_why_and_the_same_command_tries_again(home, trainings):
    trainings.bad = ("2d", "3d_fullres")
    with pytest.raises(ManyFaults, match=r"every configuration failed; mend what is listed below and start the same command "
                                         r"again, or race again after(?s:.*)2d \(budgeted\): the loss is nan"):
        held(home, trainings)
    trainings.bad = ()
    held(home, trainings)
    assert race_of(home).winners == (THREE,)


def test_memory_is_given_back_after_every_candidate(home, trainings, monkeypatch):
    released = []
    monkeypatch.setattr(Runtime, "release_cache", lambda _: released.append(len(trainings.done)))
    held(home, trainings)
    assert released == [1, 2, 3, 4]  # two candidates at two rungs


def test_only_what_a_pair_may_still_be_tested_with_is_kept(home, trainings):
    trainings.dice = {"2d": 0.8, "3d_fullres": 0.8}
    trainings.stop_at = 5  # both reached two rungs, and one the third
    with pytest.raises(KeyboardInterrupt):
        held(home, trainings)
    folders = [Workspace(home).fold(DATASET, "budgeted", name, 0).race for name in ("2d", "3d_fullres")]
    assert sorted(path.name for folder in folders for path in folder.iterdir()) == ["rung_1", "rung_1", "rung_2"]


def test_a_planner_that_is_left_out_prepares_nothing(home, trainings, monkeypatch):
    prepared = []
    preprocess = pipeline.preprocess

    def noted(dataset, *, planner, configurations, **options):
        prepared.append((planner, configurations))
        return preprocess(dataset, planner=planner, configurations=configurations, **options)

    costs = {"budgeted": 1.0, "classic": 1e6}
    monkeypatch.setattr(total_module, "least_fold_seconds", lambda plan, *_: costs[plan.planner])
    monkeypatch.setattr(pipeline, "preprocess", noted)
    held(home, trainings, planners=("budgeted", "classic"))
    assert prepared == [("budgeted", ["3d_fullres", "2d"])]


def test_no_configurations_are_not_all_of_them(home):
    pipeline.fingerprint(1, home=home, workers=1)
    pipeline.plan(1, home=home, device="cpu")
    assert pipeline.preprocess(1, configurations=[], home=home, workers=1) == []


@pytest.mark.slow
def test_a_cascade_on_what_is_left_out_is_not_prepared(home, trainings, configurations, monkeypatch):
    volume = configurations["3d_fullres"]
    configurations.update({"3d_lowres": volume, "3d_cascade_fullres": volume.model_copy(update={"previous": "3d_lowres"})})
    costs = {"3d_lowres": 1e6}
    monkeypatch.setattr(total_module, "least_fold_seconds", lambda plan, name, *_: costs.get(name, 1.0))
    held(home, trainings)
    names = ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres")
    assert [Workspace(home).cases(DATASET, "budgeted", name).exists() for name in names] == [True, True, False, False]


def test_one_candidate_needs_no_race_and_keeps_the_planners_schedule(home, trainings):
    held(home, trainings, configurations=("2d",))
    assert trainings.done == [("2d", 0, None), ("2d", 1, None)]
    schedule = plan_of(home, "2d").configurations["2d"].schedule
    assert schedule.decay == "cosine" and schedule.budget_seconds == pytest.approx(0.49 * TOTAL, rel=0.01)


def test_a_cascade_on_the_winner_shares_what_is_left(home, trainings, configurations):
    volume = configurations["3d_fullres"]
    configurations.update({"3d_lowres": volume, "3d_cascade_fullres": volume.model_copy(
        update={"previous": "3d_lowres", "data": "3d_fullres"})})
    trainings.dice["3d_lowres"] = 0.9
    held(home, trainings, folds=("all-folds",))
    race = race_of(home)
    assert race.winners == ("3d_lowres (budgeted)",)
    whole = [(name, fold) for name, fold, rung in trainings.done if rung is None]
    assert whole == [("3d_lowres", fold) for fold in range(5)] + [("3d_cascade_fullres", fold) for fold in range(5)]
    assert race.fold_seconds == pytest.approx((0.98 * TOTAL - race.lost_seconds) / 10, rel=0.1)


def test_the_command_prints_the_race(home, trainings, capsys):
    options = ["--total", "50m", "--folds", "0", "--device", "cpu", "--workers", "1", "--home", str(home)]
    assert command.main(["1", *options]) == 0
    assert "race:\n  after 1/8 of a fold's time" in capsys.readouterr().out


def test_a_stopwatch_counts_on_where_it_was_stopped(tmp_path):
    clock, path = Clock(), tmp_path / "seconds.json"
    with pytest.raises(KeyboardInterrupt), running(Stopwatch(path, clock)):
        clock.seconds = 7.0
        raise KeyboardInterrupt
    clock.seconds = 100.0  # nobody counts this
    again = Stopwatch(path, clock)
    clock.seconds = 103.0
    assert again.seconds == 10
