"""A dataset that changes after a training was started: what changed is named with both ways on, and each of them works."""

import logging
import os
import shutil

import numpy as np
import pytest
import torch

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.base.runtime import Runtime
from autoseg.datasets.dataset import Dataset
from autoseg.formats import read_label, write_label
from autoseg.prediction.trained_with import KEY, trained_with
from autoseg.preprocessing.run import preprocess_dataset
from autoseg.preprocessing.store import open_prepared
from autoseg.training import run as run_module
from autoseg.training.run import run_fold, start_model
from autoseg.training.state import new_state
from autoseg.workspace.checkpoint import read_facts, save_weights
from autoseg.workspace.files import read_json, write_json
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.names import Workspace
from tests_support import small_plan, write_spheres

CPU = Runtime(torch.device("cpu"), torch.float32)
DATASET, NAME = "Dataset001_Spheres", "3d_fullres"


class Trainings:
    """Instead of training, weights are drawn and written, or the training is stopped before them."""

    def __init__(self) -> None:
        self.trained_on: list[tuple[str, ...]] = []
        self.is_stopped = False

    def __call__(self, job, task, runtime, *_, **__) -> None:
        state = new_state(task, job.configuration, runtime, job.seed)
        write_json(job.folder.schedule, state.schedule)
        self.trained_on.append(job.training)
        if self.is_stopped:
            raise KeyboardInterrupt
        save_weights(job.folder.checkpoint, state.model.state_dict(), {
            "training": list(job.training), KEY: job.trained_with.model_dump(mode="json")})


@pytest.fixture(autouse=True)
def trainings(monkeypatch) -> Trainings:
    trainings = Trainings()
    monkeypatch.setattr(run_module, "train_fold", trainings)
    return trainings


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    write_spheres(tmp_path / "raw" / DATASET, n_cases=5)
    workspace = Workspace(tmp_path)
    prepare(workspace)
    return workspace


def prepare(workspace: Workspace) -> None:
    plan = small_plan()
    write_json(workspace.plan(DATASET, plan.planner), plan)
    preprocess_dataset(Dataset.open(workspace.raw(DATASET)), plan, NAME,
                       workspace.cases(DATASET, plan.planner, NAME)).raise_faults()


def train(workspace, fold=0, plan=None, **options):
    return run_fold(workspace, plan or small_plan(), NAME, fold, CPU, **options)


def stop(workspace, trainings) -> None:
    trainings.is_stopped = True
    with pytest.raises(KeyboardInterrupt):
        train(workspace)
    trainings.is_stopped = False


def folder(workspace, fold=0) -> FoldFolder:
    return workspace.fold(DATASET, "budgeted", NAME, fold)


def correct_labels(workspace, *names) -> None:
    for name in names:
        path = workspace.raw(DATASET) / "labelsTr" / f"{name}.nii.gz"
        label, geometry = read_label(path)
        write_label(path, np.where(label > 0, 3 - label, 0).astype(np.uint8), geometry)


def add_case(workspace, name="ball_99") -> None:
    raw = workspace.raw(DATASET)
    for image in raw.glob("imagesTr/ball_00_*"):
        shutil.copy(image, image.with_name(image.name.replace("ball_00", name)))
    shutil.copy(raw / "labelsTr" / "ball_00.nii.gz", raw / "labelsTr" / f"{name}.nii.gz")
    described = read_json(raw / "dataset.json")
    write_json(raw / "dataset.json", {**described, "numTraining": described["numTraining"] + 1})


def test_labels_corrected_since_other_folds_were_trained_are_named(workspace, trainings):
    train(workspace)
    correct_labels(workspace, "ball_00", "ball_03")
    with pytest.raises(UserError, match=r"since its cases were prepared.*labels of 2 cases \(ball_00, ball_03\).*"
                                        r"autoseg_plan_and_preprocess.*--as_started"):
        train(workspace, 1)
    assert len(trainings.trained_on) == 1


@pytest.mark.parametrize("restart", [False, True])
def test_the_only_fold_begins_with_corrected_labels_which_are_prepared_again(workspace, restart, caplog):
    if restart:
        train(workspace)
    correct_labels(workspace, "ball_00", "ball_03")
    logging.getLogger("autoseg").propagate = True
    train(workspace, restart=restart)
    assert "labels of 2 cases (ball_00, ball_03)" in caplog.text and "prepared again" in caplog.text
    prepared = open_prepared(workspace.cases(DATASET, "budgeted", NAME), "ball_00").label_DHW[:]
    corrected = read_label(workspace.raw(DATASET) / "labelsTr" / "ball_00.nii.gz")[0]
    assert [np.count_nonzero(prepared == value) for value in (1, 2)] == [np.count_nonzero(corrected == v) for v in (1, 2)]


def test_other_labels_in_dataset_json_are_not_prepared_but_named(workspace):
    raw = workspace.raw(DATASET)
    swapped = {"background": 0, "core": 1, "sphere": 2}
    write_json(raw / "dataset.json", {**read_json(raw / "dataset.json"), "labels": swapped})
    with pytest.raises(UserError, match="the labels that dataset.json declares"):
        train(workspace)


def test_cases_may_be_used_as_they_were_prepared(workspace, trainings):
    correct_labels(workspace, "ball_00")
    train(workspace, as_started=True)
    assert len(trainings.trained_on) == 1


def test_one_way_on_is_taken(workspace):
    with pytest.raises(UserError, match="give one of them"):
        train(workspace, restart=True, as_started=True)


def test_files_that_were_only_touched_are_the_same(workspace):
    for path in workspace.raw(DATASET).glob("*Tr/*"):
        os.utime(path, ns=(1, 1))
    train(workspace)


def test_a_stopped_training_does_not_go_on_with_other_labels(workspace, trainings):
    stop(workspace, trainings)
    correct_labels(workspace, "ball_01")
    prepare(workspace)
    for options in ({}, {"as_started": True}):
        with pytest.raises(UserError, match=r"started with has changed.*labels of 1 case \(ball_01\).*put them back"
                                            r".*--restart"):
            train(workspace, **options)
    train(workspace, restart=True)
    assert len(trainings.trained_on) == 2


def test_the_way_back_to_what_it_was_started_with(workspace, trainings):
    stop(workspace, trainings)
    for _ in range(2):  # exchanged, and exchanged again
        correct_labels(workspace, "ball_01")
        prepare(workspace)
    train(workspace)
    assert trainings.trained_on[0] == trainings.trained_on[1]


@pytest.mark.parametrize("seconds", [None, 30.0])
def test_a_stopped_training_of_given_iterations_goes_on(workspace, trainings, seconds):
    plan = small_plan()
    schedule = plan.configurations[NAME].schedule.model_copy(update={"iterations": 6, "budget_seconds": seconds})
    plan = small_plan(schedule=schedule)
    trainings.is_stopped = True
    with pytest.raises(KeyboardInterrupt):
        train(workspace, 0, plan)
    trainings.is_stopped = False
    train(workspace, 0, plan)
    assert len(trainings.trained_on) == 2


@pytest.mark.parametrize("finished", [True, False])
def test_cases_that_were_added_are_named_and_may_wait(workspace, trainings, finished):
    if finished:
        before = train(workspace)
    else:
        stop(workspace, trainings)
    add_case(workspace)
    prepare(workspace)
    with pytest.raises(UserError, match=r"1 case \(ball_99\) added.*--as_started.*--restart"):
        train(workspace)
    result = train(workspace, as_started=True)
    assert result == before if finished else trainings.trained_on[0] == trainings.trained_on[1]
    train(workspace, 1, as_started=True)
    assert "ball_99" not in {*trainings.trained_on[-1]}
    train(workspace, restart=True)
    assert "ball_99" in {*trainings.trained_on[-1], *(case.name for case in train(workspace).scores.cases)}


def test_splits_that_were_edited_after_a_training_was_started_are_named(workspace):
    train(workspace)
    splits = read_json(workspace.splits(DATASET))
    write_json(workspace.splits(DATASET), [splits[1], splits[0], *splits[2:]])
    with pytest.raises(UserError, match=r"folds were changed: 2 cases .* moved.*--as_started.*--restart"):
        train(workspace)
    assert train(workspace, as_started=True).fold == 0


def test_a_finished_fold_needs_neither_raw_nor_prepared_cases(workspace):
    result = train(workspace)
    shutil.rmtree(workspace.home / "prepared" / DATASET / f"budgeted_{NAME}")
    assert train(workspace) == result
    shutil.rmtree(workspace.raw(DATASET))
    assert train(workspace) == result
    assert pipeline.train(1, NAME, 0, planned=small_plan(), home=workspace.home, device="cpu") == result


def test_masks_that_were_deleted_are_made_again(workspace, trainings):
    train(workspace)
    masks = folder(workspace).masks(".nii.gz")
    before = {name: mask.read_bytes() for name, mask in masks.items()}
    shutil.rmtree(folder(workspace).validation)
    train(workspace)
    assert {name: mask.read_bytes() for name, mask in folder(workspace).masks(".nii.gz").items()} == before
    assert len(trainings.trained_on) == 1


def test_a_fold_that_begins_beside_another_sees_its_plan(workspace, monkeypatch):
    def beside(*_, **__):
        with pytest.raises(UserError, match=r"another plan.*fold 0.*different: batch"):
            train(workspace, 1, small_plan(batch=3))
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "train_fold", beside)  # nothing of fold 0 is saved yet
    with pytest.raises(KeyboardInterrupt):
        train(workspace, 0)
    assert not folder(workspace, 0).is_started
    start_model(workspace, small_plan(batch=3), NAME, [0])


def test_weights_say_what_they_were_trained_with(workspace):
    train(workspace)
    trained = trained_with(read_facts(folder(workspace).checkpoint), "")
    assert set(trained.cases) == {f"ball_0{i}" for i in range(5)}
    assert set(trained.cases["ball_00"]) == {"raw", "image", "label"}
    assert trained.plan.configurations[NAME].trains_like(small_plan().configurations[NAME])


def test_folds_that_are_made_anew_leave_a_copy_of_those_before(workspace):
    train(workspace)
    before = read_json(workspace.splits(DATASET))
    add_case(workspace)
    with pytest.raises(UserError, match="added"):
        train(workspace)
    assert read_json(workspace.splits(DATASET).with_name("splits_1.json")) == before
