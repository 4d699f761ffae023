"""A training that bends: ended early, extended, resumed in between; no kill loses the finished model."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.base.runtime import Runtime
from autoseg.cli import train as command
from autoseg.training import fold as fold_module
from autoseg.training import run as run_module
from autoseg.training.bend import Finish
from autoseg.training.run import run_fold
from autoseg.training.validate import FoldResult
from autoseg.workspace import extension as extension_module
from autoseg.workspace.checkpoint import load_state, read_digest
from autoseg.workspace.files import read_model, read_records, write_json
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.locks import locked
from autoseg.workspace.names import Workspace
from orchestrate_folds import DATASET, prepared_spheres
from planners.rules.budget import ended_early, extended
from planners.schema.plan import ResolvedSchedule, Schedule
from tests_support import small_plan

NAME, TIME = "3d_fullres", 3.0


CPU = Runtime(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("bend") / "home"
    prepared_spheres(home)
    return home


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("bend_trained") / "home"
    shutil.copytree(prepared, home)
    train(home)
    return home


@pytest.fixture
def home(prepared, tmp_path) -> Path:
    return shutil.copytree(prepared, tmp_path / "home")


@pytest.fixture
def finished(trained, tmp_path) -> Path:
    """A home whose fold 0 is finished."""
    return shutil.copytree(trained, tmp_path / "home")


@pytest.fixture(autouse=True)
def short_extensions(monkeypatch):
    """Extensions have four iterations, whatever time they are asked for."""
    def resolved(schedule, throughput, spent):
        known = schedule.iterations or 4
        return ResolvedSchedule(**{**dict(schedule), "iterations": known, "budget_seconds": None, "iterations_per_epoch": 2})

    monkeypatch.setattr(fold_module, "resolve", resolved)


def folder(home) -> FoldFolder:
    return Workspace(home).fold(DATASET, "budgeted", NAME, 0)


def train(home, **options) -> FoldResult:
    return run_fold(Workspace(home), small_plan(), NAME, 0, CPU, **options)


def interrupt(monkeypatch, home, iteration: int, **options) -> None:
    """Train until before an iteration, counted from 0, and raise there what a kill would not let Python see."""
    step = fold_module.train_step
    count = iter(range(1000))

    def interrupted(*arguments):
        if next(count) == iteration:
            raise RuntimeError("killed")
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(fold_module, "train_step", interrupted)
        with pytest.raises(RuntimeError, match="killed"):
            train(home, **options)


def test_a_stopped_fold_ends_with_what_it_has(home, monkeypatch):
    interrupt(monkeypatch, home, 5)
    saved = load_state(folder(home).state)["train"]["iteration"]
    assert not pipeline.ask_to_finish(1, NAME, 0, home=home)
    result = train(home)
    assert (result.schedule.iterations, result.planned_iterations) == (saved, 6)
    assert folder(home).checkpoint.is_file() and result.scores is not None
    assert train(home) == result


def test_a_running_fold_ends_after_its_iteration(home, monkeypatch):
    step, count = fold_module.train_step, iter(range(1000))

    def asked(*arguments):
        if next(count) == 2:
            assert pipeline.ask_to_finish(1, NAME, 0, home=home)  # the lock says that it runs
        return step(*arguments)

    monkeypatch.setattr(fold_module, "train_step", asked)
    result = train(home)
    assert (result.schedule.iterations, result.planned_iterations) == (3, 6)
    assert [record["iteration"] for record in read_records(folder(home).metrics)][-1] == 3


def test_a_fold_that_is_killed_while_it_finishes_is_finished_by_the_plain_command(home, monkeypatch):
    interrupt(monkeypatch, home, 5)
    pipeline.ask_to_finish(1, NAME, 0, home=home)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_validated", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(home)
    assert train(home).planned_iterations == 6


def test_a_fold_that_was_never_started_cannot_be_finished(home, capsys):
    assert command.main(["1", NAME, "0", "--finish", "--home", str(home), "--device", "cpu"]) == 2
    assert "never started" in (said := capsys.readouterr().err) and "without --finish" in said
    assert not folder(home).path.exists()


def test_only_a_constant_rate_decays_before_an_early_end():
    schedule = ResolvedSchedule(iterations=1000, learning_rate=0.01, decay="stable", budget_seconds=60)
    early = ended_early(schedule, 400)
    assert early.iterations == 440 and early.decay_share == pytest.approx(40 / 440) and early.budget_seconds is None
    assert ended_early(schedule, 990).iterations == 990
    assert ended_early(schedule.model_copy(update={"decay": "cosine"}), 400).iterations == 400


def test_an_extension_has_a_fresh_schedule_of_a_lower_rate():
    schedule = extended(Schedule(iterations=1000, learning_rate=0.01, decay="stable", warmup_iterations=500), 60.0)
    assert (schedule.iterations, schedule.budget_seconds, schedule.learning_rate) == (None, 60.0, 0.005)
    assert (schedule.decay, schedule.warmup_iterations) == ("cosine", 30)


def test_an_extension_begins_with_the_averaged_weights_and_adds_up(finished, monkeypatch):
    home = finished
    before = train(home)
    weights, seen = read_digest(folder(home).checkpoint), []
    begin = fold_module.begin_from
    monkeypatch.setattr(fold_module, "begin_from", lambda state, path: (seen.append(read_digest(path)), begin(state, path)))
    after = train(home, extend_seconds=TIME)
    assert seen == [weights] and read_digest(folder(home).checkpoint) != weights
    assert after.schedule.iterations == 4 and after.training_seconds >= before.training_seconds
    (extension,) = after.extended
    assert (extension.seconds, extension.iterations_before, extension.mean_dice_before) == (TIME, 6, before.mean_dice)
    assert not folder(home).extension.path.exists() and folder(home).metrics_before_extend.is_file()
    assert train(home) == after and train(home, extend_seconds=TIME) == after  # the same command again
    assert len(train(home, extend_seconds=TIME + 1).extended) == 2


@pytest.mark.parametrize("iteration", [0, 3])
def test_a_killed_extension_keeps_the_finished_model_and_goes_on_without_its_flag(finished, monkeypatch, iteration):
    home = finished
    before = train(home)
    weights = folder(home).checkpoint.read_bytes()
    interrupt(monkeypatch, home, iteration, extend_seconds=TIME)
    assert folder(home).checkpoint.read_bytes() == weights and read_model(folder(home).result, FoldResult) == before
    with pytest.raises(UserError, match=r"extension of another time was started.*without --extend"):
        train(home, extend_seconds=TIME + 1)
    assert train(home).extended[0].seconds == TIME


@pytest.mark.parametrize("place", [1, 2, 3, 5])
def test_an_extension_that_is_killed_while_it_takes_its_place_is_completed(finished, monkeypatch, place):
    home = finished
    moved, replace = iter(range(1, 100)), os.replace

    def interrupted(old, new):
        if next(moved) == place:
            raise ZeroDivisionError
        replace(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(extension_module, "os", type("os", (), {"replace": staticmethod(interrupted)}))
        with pytest.raises(ZeroDivisionError):
            train(home, extend_seconds=TIME)
    assert folder(home).result.is_file() and folder(home).checkpoint.is_file()
    result = train(home)
    assert len(result.extended) == 1 and not folder(home).extension.path.exists()


def test_an_extension_is_finished_like_a_fold(finished, monkeypatch):
    home = finished
    interrupt(monkeypatch, home, 3, extend_seconds=TIME)
    pipeline.ask_to_finish(1, NAME, 0, home=home)
    result = train(home)
    assert (result.schedule.iterations, result.planned_iterations, len(result.extended)) == (2, 4, 1)


def test_what_is_not_finished_cannot_be_extended(home, monkeypatch, capsys):
    assert command.main(["1", NAME, "0", "--extend", "30m", "--home", str(home), "--device", "cpu"]) == 2
    assert "not finished, and cannot be extended" in (said := capsys.readouterr().err) and "--finish" in said
    interrupt(monkeypatch, home, 5)
    with pytest.raises(UserError, match=r"cannot be extended.*without --extend"):
        train(home, extend_seconds=TIME)


@pytest.mark.parametrize("flags", [["--finish", "--restart"], ["--extend", "30m", "--restart"],
                                   ["--finish", "--extend", "1m"], ["--extend", "0m"], ["--extend", "-3m"],
                                   ["1", "--finish"]])
def test_flags_that_contradict_each_other_are_refused(home, flags):
    options = ["1", NAME, "0", *flags, "--home", str(home), "--device", "cpu"]
    try:
        status = command.main(options)
    except SystemExit as error:
        status = error.code
    assert status == 2 and not folder(home).is_started


def test_a_request_to_a_process_that_works_elsewhere_says_so(home, monkeypatch, capsys):
    interrupt(monkeypatch, home, 5)
    with locked(folder(home).path):
        assert command.main(["1", NAME, "0", "--finish", "--home", str(home), "--device", "cpu"]) == 0
    assert "another process" in capsys.readouterr().out
    assert read_model(folder(home).finish, Finish) == Finish()


def test_a_damaged_request_is_a_request(home, monkeypatch):
    interrupt(monkeypatch, home, 5)
    folder(home).finish.write_text("{")
    assert train(home).planned_iterations == 6
    write_json(folder(home).finish, Finish())
