"""The same data, plan and seed give the same bits: whatever the workers, the clock, an interruption, or the other cases."""

import shutil
import time

import numpy as np
import pytest
import torch

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.base.runtime import Runtime
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.measure import measure
from autoseg.formats import read_label
from autoseg.planning.resolve import resolve_plan
from autoseg.prediction.folder import predict_folder
from autoseg.prediction.predictor import Predictor
from autoseg.preprocessing.run import preprocess_dataset
from autoseg.training import fold as fold_module
from autoseg.training.run import run_fold
from autoseg.training.validate import FoldResult
from autoseg.workspace.checkpoint import load_weights, read_facts
from autoseg.workspace.files import read_model, read_records, write_json
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.names import Workspace
from autoseg.workspace.provenance import PROVENANCE
from planners.schema.plan import Plan, Schedule
from tests_support import small_plan, write_spheres

CPU = Runtime(torch.device("cpu"), torch.float32)
DATASET, NAME = "Dataset001_Spheres", "3d_fullres"
# 6 iterations are foreseen: (1 - 0.22) of the time, 130 ms each.
BY_TIME = Schedule(budget_seconds=1.0, learning_rate=1e-2, decay="cosine", ema=0.9)


def foreseen_plan(step_seconds: float | None = 0.13) -> Plan:
    return small_plan(schedule=BY_TIME, step_seconds=step_seconds)


def prepared(home, workers: int = 1, step_seconds: float | None = 0.13) -> tuple[Workspace, Plan]:
    """A workspace with five prepared cases, and its plan for a deterministic training."""
    workspace = Workspace(home)
    write_spheres(home / "raw" / DATASET, n_cases=5)
    plan = foreseen_plan(step_seconds)
    write_json(workspace.plan(DATASET, plan.planner), plan)
    preprocess_dataset(Dataset.open(workspace.raw(DATASET)), plan, NAME, workspace.cases(DATASET, plan.planner, NAME),
                       workers=workers).raise_faults()
    return workspace, resolve_plan(workspace, DATASET, NAME, planner=plan.planner, deterministic=True)


def masks_of(folder) -> dict[str, np.ndarray]:
    return {path.name: read_label(path)[0] for path in sorted(folder.glob("*.nii.gz"))}


def assert_same(first: Workspace, second: Workspace) -> None:
    """Weights, masks and scores of fold 0, and the files of the weights."""
    one, two = (workspace.fold(DATASET, "budgeted", NAME, 0) for workspace in (first, second))
    assert one.checkpoint.read_bytes() == two.checkpoint.read_bytes()
    assert timeless(one) == timeless(two)
    weights, again = load_weights(one.checkpoint)[0], load_weights(two.checkpoint)[0]
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    masks, masks_again = masks_of(one.validation), masks_of(two.validation)
    assert masks.keys() == masks_again.keys() and len(masks) == 1
    assert all((masks[name] == masks_again[name]).all() for name in masks)


def timeless(fold: FoldFolder) -> list:
    """The scores of a fold and of its epochs, without what was measured of the machine."""
    measured = ("memory_bytes", "others_share")
    records = [{key: value for key, value in record.items() if "seconds" not in key and key not in measured}
               for record in read_records(fold.metrics)]
    return [*records, read_model(fold.result, FoldResult).scores]


def test_two_runs_with_other_numbers_of_workers_are_the_same(tmp_path):
    first, plan = prepared(tmp_path / "one")
    second, again = prepared(tmp_path / "two", workers=2)
    assert plan == again and plan.configurations[NAME].schedule.iterations == 6
    for workspace in (first, second):
        run_fold(workspace, plan, NAME, 0, CPU, seed=4)
    assert_same(first, second)


def test_a_slow_machine_trains_as_many_iterations(tmp_path, monkeypatch):
    first, plan = prepared(tmp_path / "one")
    second, _ = prepared(tmp_path / "two")
    run_fold(first, plan, NAME, 0, CPU)
    step = fold_module.train_step
    monkeypatch.setattr(fold_module, "train_step", lambda *args: (time.sleep(0.2), step(*args))[1])
    run_fold(second, plan, NAME, 0, CPU)
    assert_same(first, second)


def test_a_run_that_was_interrupted_goes_on_to_the_same_weights(tmp_path):
    first, plan = prepared(tmp_path / "one")
    second, _ = prepared(tmp_path / "two")
    run_fold(first, plan, NAME, 0, CPU)

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_fold(second, plan, NAME, 0, CPU, on_epoch=interrupt)
    run_fold(second, plan, NAME, 0, CPU)
    assert_same(first, second)


def test_a_mask_does_not_depend_on_the_other_cases(tmp_path):
    workspace, plan = prepared(tmp_path / "home")
    run_fold(workspace, plan, NAME, 0, CPU)
    model = workspace.model(DATASET, "budgeted", NAME).path
    images = workspace.raw(DATASET) / "imagesTr"
    pipeline.predict(images, tmp_path / "together", folder=model, device="cpu")
    together = masks_of(tmp_path / "together")
    assert len(together) == 5
    for name, mask in together.items():
        alone = tmp_path / name.removesuffix(".nii.gz")
        alone.mkdir()
        shutil.copy(images / name.replace(".nii.gz", "_0000.nii.gz"), alone)
        pipeline.predict(alone, tmp_path / "alone", folder=model, device="cpu")
        assert (masks_of(tmp_path / "alone")[name] == mask).all()


def test_a_mask_does_not_depend_on_the_order_of_files_or_on_what_was_predicted_before(tmp_path):
    workspace, plan = prepared(tmp_path / "home")
    run_fold(workspace, plan, NAME, 0, CPU)
    predictor = Predictor.open(folder=workspace.model(DATASET, "budgeted", NAME).path, device="cpu")
    images = sorted((workspace.raw(DATASET) / "imagesTr").iterdir())
    first = [predictor.predict_file(image).label_DHW for image in images]
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number, image in enumerate(reversed(images)):
        shutil.copy(image, renamed / f"case_{number}_0000.nii.gz")
    predict_folder(predictor, renamed, tmp_path / "masks", probabilities=True, uncertainty=True)
    for number, label in enumerate(reversed(first)):
        assert (read_label(tmp_path / "masks" / f"case_{number}.nii.gz")[0] == label).all()


def test_a_mask_is_the_same_file_again(tmp_path):
    workspace, plan = prepared(tmp_path / "home")
    run_fold(workspace, plan, NAME, 0, CPU)
    model, images = workspace.model(DATASET, "budgeted", NAME).path, workspace.raw(DATASET) / "imagesTr"
    for name in ("first", "second"):
        pipeline.predict(images, tmp_path / name, folder=model, device="cpu")
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir() if path.name != PROVENANCE}
                     for name in ("first", "second"))
    assert first == second and len(first) == 6  # five masks and labels.json


@pytest.mark.parametrize("names", [["ball_03", "ball_00", "ball_04", "ball_01", "ball_02"]])
def test_prepared_cases_and_measures_do_not_depend_on_workers_or_order(tmp_path, names):
    raw, plan = Dataset.open(write_spheres(tmp_path / DATASET, n_cases=5)), foreseen_plan()
    preprocess_dataset(raw, plan, NAME, tmp_path / "together", workers=3).raise_faults()
    for name in names:
        preprocess_dataset(raw, plan, NAME, tmp_path / "alone", workers=1, only=[name]).raise_faults()
    together, alone = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
                       for name in ("together", "alone"))
    assert together == alone and len(together) == 10
    assert measure(raw, DATASET, 1) == measure(raw, DATASET, 3)


def test_a_training_that_is_not_deterministic_says_nothing_of_the_clock_in_its_weights(tmp_path):
    workspace, _ = prepared(tmp_path)
    run_fold(workspace, small_plan(), NAME, 0, CPU)
    assert "seconds" not in read_facts(workspace.fold(DATASET, "budgeted", NAME, 0).checkpoint)


def test_the_same_command_again_finds_its_deterministic_training(tmp_path):
    workspace, plan = prepared(tmp_path)
    run_fold(workspace, plan, NAME, 0, CPU)
    assert resolve_plan(workspace, DATASET, NAME, planner="budgeted", deterministic=True) == plan
    assert resolve_plan(workspace, DATASET, NAME, planner="budgeted") == plan  # what was started is kept


def test_a_plan_that_foresees_no_iterations_says_how_to_give_them(tmp_path):
    with pytest.raises(UserError, match=r"--set schedule\.iterations=N"):
        prepared(tmp_path, step_seconds=None)


def test_torch_repeats_its_results_only_within_a_deterministic_runtime():
    with Runtime(torch.device("cpu"), torch.float32, deterministic=True).repeatable():
        assert torch.are_deterministic_algorithms_enabled()
    with CPU.repeatable():
        assert not torch.are_deterministic_algorithms_enabled()
