"""Trackers follow a training by its records, go on in the same run, and never stop it."""

import importlib.machinery
import signal
import sys
import threading
import types
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.base.stopping import Stopped
from autoseg.formats import write_array
from autoseg.grids.geometry import Geometry
from autoseg.orchestrate.folds import FoldTask, attempt
from autoseg.orchestrate.processes import _command
from autoseg.tracking import TRACKERS, TrackedRun, follow
from autoseg.tracking.follow import FollowedFold, Following, check_trackers, numbers_of, tracked
from autoseg.workspace.files import append_record, read_model, write_json, write_text
from autoseg.workspace.folders import FoldFolder
from planners.registry import NoOptions
from planners.schema.base import Part
from tests_support import small_plan

RUN = TrackedRun("Dataset001 3d fold 0", "Dataset001", {"batch": 2, "labels": "sphere, core"}, Path())

PICTURE, FLAT = np.full((3, 1, 8, 8), 200, np.uint8), Geometry((1, 8, 8), (999.0, 1.0, 1.0), dimensions=2)


class Noted:
    """A tracker that writes down what it is told, in order."""

    calls: list[tuple]
    told: threading.Event
    fails_at = ""

    def __init__(self, options, run):
        self.run = run
        type(self).last = self

    def _note(self, *call):
        self.calls.append(call)
        if call[0] == self.fails_at:
            raise ConnectionError("no server")
        self.told.set()

    def start(self):
        self._note("start", self.run.run_id, self.run.step)
        return self.run.run_id or f"run {len(self.calls)}"

    def metrics(self, step, values):
        self._note("metrics", step, dict(values))

    def picture(self, path):
        self._note("picture", path.name)

    def model(self, path):
        self._note("model", path.name)

    def end(self, status):
        self._note("end", status)


@pytest.fixture
def noted(monkeypatch):
    """A registered tracker `noted`, which looks at the records all the time."""
    monkeypatch.setattr(TRACKERS, "_entries", dict(TRACKERS._entries))
    monkeypatch.setattr(follow, "_SECONDS", 0.01)
    kind = type("OfThisTest", (Noted,), {"calls": [], "told": threading.Event()})
    TRACKERS.register("noted")(kind)
    return kind


def fold_in(folder) -> FollowedFold:
    return FollowedFold(small_plan(), "3d_fullres", 0, FoldFolder(folder / "3d_fullres" / "fold_0"), 3)


def train(fold: FollowedFold, *iterations: int, finish=True, then=None) -> None:
    for iteration in iterations:
        append_record(fold.folder.metrics, {"epoch": iteration, "iteration": iteration, "train_loss": 1 / iteration,
                                            "validation_dice_by_label": {"sphere": 0.5, "core": None}})
        if then is not None:
            then()
    if finish:
        fold.folder.path.mkdir(parents=True, exist_ok=True)
        write_array(fold.folder.curves, PICTURE, FLAT)
        write_text(fold.folder.checkpoint, "weights")
        write_json(fold.folder.result, {"mean_dice": 0.75})


def test_a_run_is_told_its_epochs_as_they_end_and_its_result(tmp_path, noted):
    fold = fold_in(tmp_path)
    with tracked(["noted"], fold):
        train(fold, 5, finish=False)
        assert noted.told.wait(30)  # before the training is over
        train(fold, 10)
    values = {"epoch": 5.0, "train_loss": 0.2, "validation_dice_by_label/sphere": 0.5}
    assert noted.calls[:2] == [("start", None, 0), ("metrics", 5, values)]
    assert [call[:2] for call in noted.calls[2:]] == [("metrics", 10), ("metrics", 10), ("picture", "curves.png"),
                                                      ("model", "checkpoint.safetensors"), ("end", "finished")]
    assert noted.calls[3][2] == {"mean_dice": 0.75}
    parameters = noted.last.run.parameters
    assert (parameters["seed"], parameters["batch"], parameters["network.name"]) == (3, 2, "unet")
    assert noted.last.run.folder == fold.folder.path / "tracking" / "noted"


def test_a_training_that_goes_on_goes_on_in_the_same_run_without_telling_an_epoch_twice(tmp_path, noted):
    fold = fold_in(tmp_path)
    with suppress(Stopped), tracked(["noted"], fold):
        train(fold, 5, 10, finish=False)
        raise Stopped(signal.SIGTERM)
    assert noted.calls[-1] == ("end", "stopped")
    del noted.calls[:]
    with tracked(["noted"], fold):
        train(fold, 15)
    assert noted.calls[:2] == [("start", "run 1", 10), ("metrics", 15, numbers_of({"epoch": 15, "train_loss": 1 / 15,
                               "validation_dice_by_label": {"sphere": 0.5}}))]
    del noted.calls[:]
    with tracked(["noted"], fold):
        pass
    assert noted.calls == []  # all was told


def test_a_restart_is_a_new_run_and_nothing_of_the_old_one_is_told(tmp_path, noted):
    fold = fold_in(tmp_path)
    with suppress(UserError), tracked(["noted"], fold):
        train(fold, 5, 10, finish=False)
        raise UserError("the disk is full")
    assert noted.calls[-1] == ("end", "failed")
    del noted.calls[:]
    with tracked(["noted"], fold):
        fold.folder.clear()
        train(fold, 3)
    assert noted.calls[0] == ("start", None, 0) and noted.calls[1][:2] == ("metrics", 3)


def test_a_finished_fold_that_nothing_followed_is_told_as_a_whole(tmp_path, noted):
    fold = fold_in(tmp_path)
    train(fold, 5, 10)
    with tracked(["noted"], fold):
        pass
    assert [call[0] for call in noted.calls] == ["start", "metrics", "metrics", "metrics", "picture", "model", "end"]
    assert read_model(fold.folder.tracked, Following).runs["noted"].ended


@pytest.mark.parametrize("where", ["start", "metrics", "picture", "end"])
def test_a_tracker_that_fails_is_said_once_and_the_training_ends_well(tmp_path, noted, where, caplog):
    noted.fails_at = where
    fold, done = fold_in(tmp_path), []
    with tracked(["noted"], fold):
        train(fold, 5, 10)
        done.append(True)
    assert done and [record.message for record in caplog.records] == [
        "the tracker noted failed and follows no more: ConnectionError: no server; the training goes on"]


def test_a_tracker_that_hangs_is_left_behind(tmp_path, noted, monkeypatch, caplog):
    hanging = threading.Event()
    monkeypatch.setattr(follow, "_SECONDS_TO_END", 0.05)
    monkeypatch.setattr(noted, "start", lambda self: hanging.wait(30))
    fold = fold_in(tmp_path)
    with tracked(["noted"], fold):
        train(fold, 5)
    hanging.set()
    assert "was not done after" in caplog.text


def test_a_fold_that_was_refused_is_no_run(tmp_path, noted):
    with suppress(UserError), tracked(["noted"], fold_in(tmp_path)):
        raise UserError("unknown fold")
    assert noted.calls == [] and not list(tmp_path.iterdir())


def test_every_fold_has_its_tracker_in_whatever_process_it_is_trained(tmp_path, noted, monkeypatch):
    fold = fold_in(tmp_path)
    task = FoldTask(fold.planned, tmp_path / "plan.json", "3d_fullres", 0, fold.folder, trackers=("noted", "tensorboard"))
    assert _command(task, "cpu", tmp_path, 0)[-4:] == ["--tracker", "noted", "--tracker", "tensorboard"]
    monkeypatch.setattr(pipeline, "train", lambda *words, **named: train(fold, 5))
    assert attempt(replace(task, trackers=("noted",)), "cpu", tmp_path, 0).fault == ""
    assert [call[0] for call in noted.calls][:2] == ["start", "metrics"] and noted.calls[-1] == ("end", "finished")


def test_a_tracker_that_is_not_known_or_not_installed_is_named_before_the_training(monkeypatch):
    with pytest.raises(UserError, match="did you mean 'mlflow'"):
        check_trackers(["mlflwo"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs wandb, which is not installed; pip install 'autoseg-pipeline\[wandb\]'"):
        check_trackers(["wandb"])


def told(name: str, run: TrackedRun, picture: Path, status="finished") -> str:
    """A whole run of one of the trackers that are here; its id."""
    tracker = TRACKERS.make(Part(name=name), run)
    run_id = tracker.start()
    tracker.metrics(run.step + 5, {"train_loss": 0.5, "validation_dice_by_label/left (cm)": 0.25})
    tracker.picture(picture)
    tracker.model(picture)
    tracker.end(status)
    return run_id


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "curves.png"
    write_array(path, PICTURE, FLAT)
    return path


def test_tensorboard_holds_numbers_pictures_and_parameters(tmp_path, picture):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = TrackedRun(RUN.name, RUN.dataset, RUN.parameters, tmp_path / "runs")
    first = told("tensorboard", run, picture, "stopped")
    told("tensorboard", TrackedRun(RUN.name, RUN.dataset, RUN.parameters, tmp_path / "runs", first, 5), picture)
    events = EventAccumulator(str(tmp_path / "runs"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train_loss")] == [(5, 0.5), (10, 0.5)]
    assert [image.width for image in events.Images("curves")] == [8, 8]
    assert b"| batch | 2 |" in events.Tensors("parameters/text_summary")[0].tensor_proto.string_val[0]


def test_mlflow_holds_the_run_in_the_folder_and_goes_on_with_it(tmp_path, picture, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = TrackedRun(RUN.name, RUN.dataset, RUN.parameters, tmp_path / "store")
    first = told("mlflow", run, picture, "stopped")
    again = TrackedRun(RUN.name, RUN.dataset, RUN.parameters, tmp_path / "store", first, 5)
    assert told("mlflow", again, picture) == first
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "store").as_uri())
    kept = client.get_run(first)
    assert kept.info.status == "FINISHED" and kept.info.run_name == RUN.name and kept.data.params["batch"] == "2"
    assert [(point.step, point.value) for point in client.get_metric_history(first, "train_loss")] == [(5, 0.5), (10, 0.5)]
    assert kept.data.metrics["validation_dice_by_label/left _cm_"] == 0.25
    assert {file.path for file in client.list_artifacts(first, "pictures")} == {"pictures/curves.png"}


def test_wandb_is_offline_writes_no_links_and_goes_on_with_its_run(tmp_path, picture, monkeypatch):
    calls: list[tuple] = []

    def noting(name, answer=None):
        return lambda *words, **named: (calls.append((name, words, named)), answer)[1]

    opened = types.SimpleNamespace(id="abc", log=noting("log"), log_artifact=noting("log_artifact"), finish=noting("finish"))
    stub = types.ModuleType("wandb")
    stub.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    stub.init, stub.Settings, stub.Image = noting("init", opened), dict, noting("Image", "image")
    stub.Artifact = lambda name, type: types.SimpleNamespace(add_file=noting("add_file"))
    monkeypatch.setitem(sys.modules, "wandb", stub)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    check_trackers(["wandb"])
    assert told("wandb", RUN, picture) == "abc"
    assert TRACKERS.make(Part(name="wandb"), TrackedRun("a", "b", {}, tmp_path, "abc", 5)).start() == "abc"
    (_, _, first), (_, _, again) = (call for call in calls if call[0] == "init")
    assert first["mode"] == "offline" and first["settings"]["symlink"] is False and first["id"] is None
    assert again["id"] == "abc" and again["resume"] == "allow"
    assert ("log", ({"train_loss": 0.5, "validation_dice_by_label/left (cm)": 0.25},), {"step": 5}) in calls
    assert ("finish", (), {"exit_code": 0}) in calls
    monkeypatch.setenv("WANDB_MODE", "online")
    TRACKERS.make(Part(name="wandb"), RUN).start()
    assert calls[-1][2]["mode"] == "online"


@pytest.mark.parametrize("name", sorted(TRACKERS.names()))
def test_every_tracker_has_the_whole_port_and_says_what_it_needs(name):
    part, traits = TRACKERS.get(name), TRACKERS.traits(name)
    assert all(callable(getattr(part, verb)) for verb in ("start", "metrics", "picture", "model", "end"))
    assert traits.module and traits.extra and TRACKERS.options(name, {}) == NoOptions()
