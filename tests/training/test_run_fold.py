"""From names to a finished fold: which plan is trained, what is refused, and that nothing is lost by a refusal."""

import pytest
import torch

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.base.runtime import Runtime
from autoseg.datasets.dataset import Dataset
from autoseg.planning import resolve
from autoseg.preprocessing.run import preprocess_dataset
from autoseg.training import run as run_module
from autoseg.training.run import run_fold, started_plan
from autoseg.training.state import new_state
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import write_json
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.names import Workspace
from planners.schema.plan import Plan, Schedule
from tests_support import small_plan, write_spheres

CPU = Runtime(torch.device("cpu"), torch.float32)
DATASET, NAME = "Dataset001_Spheres", "3d_fullres"
SECONDS = 1000.0  # that the training claims to have taken


@pytest.fixture(autouse=True)
def trainings(monkeypatch):
    """Instead of training, weights are drawn and written; the list of folds for which that was done."""
    done = []

    def written(job, task, runtime, *_, **__):
        state = new_state(task, job.configuration, runtime, job.seed)
        write_json(job.folder.schedule, state.schedule)
        save_weights(job.folder.checkpoint, state.model.state_dict(), {"seconds": SECONDS, "training": list(job.training)})
        done.append(job.fold)

    monkeypatch.setattr(run_module, "train_fold", written)
    return done


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    write_spheres(tmp_path / "raw" / DATASET, n_cases=5)
    workspace = Workspace(tmp_path)
    prepare(workspace, small_plan())
    return workspace


def prepare(workspace: Workspace, plan: Plan) -> None:
    write_json(workspace.plan(DATASET, plan.planner), plan)
    raw = workspace.raw(DATASET)
    preprocess_dataset(Dataset.open(raw), plan, NAME, workspace.cases(DATASET, plan.planner, NAME)).raise_faults()


def train(workspace, fold=0, plan=None, **options):
    return run_fold(workspace, plan or small_plan(), NAME, fold, CPU, **options)


def folder(workspace, fold=0) -> FoldFolder:
    return workspace.fold(DATASET, "budgeted", NAME, fold)


def test_a_refused_restart_removes_nothing(workspace):
    for fold in (0, 1):
        train(workspace, fold)
    with pytest.raises(UserError, match="started with another plan"):
        train(workspace, 0, small_plan(batch=3), restart=True)
    assert folder(workspace).result.is_file()


def test_the_result_names_the_cases_for_which_the_budget_left_no_time_to_mirror(workspace, monkeypatch):
    monkeypatch.setattr("autoseg.training.mirroring.affords_mirroring", lambda *known: False)
    result = train(workspace, plan=small_plan(schedule=Schedule(learning_rate=1e-2, budget_seconds=60.0)))
    assert result.unmirrored == tuple(case.name for case in result.scores.cases)
    assert any("without mirroring" in sentence for sentence in result.about_time())


def test_the_only_fold_may_begin_anew_with_another_plan(workspace, trainings):
    train(workspace)
    train(workspace, 0, small_plan(batch=3), restart=True)
    assert started_plan(workspace, DATASET, "budgeted", NAME).configurations[NAME].batch == 3
    assert trainings == [0, 0]


def test_other_labels_are_another_plan_although_the_network_is_the_same(workspace):
    train(workspace)
    plan = small_plan()
    swapped = plan.labels.model_copy(update={"names": {"background": (0,), "core": (1,), "sphere": (2,)}})
    with pytest.raises(UserError, match="started with another plan"):
        train(workspace, 1, plan.model_copy(update={"labels": swapped}))


def test_a_refused_training_leaves_no_plan_behind(workspace):
    with pytest.raises(UserError, match="unknown fold"):
        train(workspace, 9)
    assert not workspace.model(DATASET, "budgeted", NAME).plan.exists()


def test_the_plan_of_a_model_of_which_nothing_was_trained_does_not_count(workspace):
    write_json(workspace.model(DATASET, "budgeted", NAME).plan, small_plan(batch=3))
    assert started_plan(workspace, DATASET, "budgeted", NAME) is None


def test_cases_that_were_prepared_for_another_plan_are_refused(workspace):
    with pytest.raises(UserError, match=r"5 cases were prepared for another plan.*autoseg_plan_and_preprocess"):
        train(workspace, 0, small_plan(spacing_mm=(2.0, 2.0, 2.0)))


def test_changes_that_the_started_plan_already_has_resume_it(workspace, trainings, monkeypatch):
    train(workspace, 0, small_plan(batch=3))
    monkeypatch.setattr(resolve, "make_plan", lambda *_: pytest.fail("planned again"))
    for options in ({}, {"changes": ["batch=3"]}):
        pipeline.train(1, NAME, 0, home=workspace.home, device="cpu", **options)
    assert trainings == [0]
    with pytest.raises(UserError, match="started with another plan"):
        pipeline.train(1, NAME, 1, changes=["batch=2"], home=workspace.home, device="cpu")


def test_the_time_of_a_training_is_known_after_its_validation_was_interrupted(workspace, monkeypatch):
    validate = run_module.validate_fold
    monkeypatch.setattr(run_module, "validate_fold", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(workspace)
    monkeypatch.setattr(run_module, "validate_fold", validate)
    result = train(workspace)
    assert result.training_seconds == SECONDS
    assert SECONDS <= result.total_seconds < SECONDS + 60  # written to a tenth of a second


def test_probabilities_are_saved_where_they_are_asked_for(workspace):
    result = train(workspace, 0, save_probabilities=True)
    train(workspace, 1)
    assert all(folder(workspace, 0).probabilities(case.name).is_file() for case in result.scores.cases)
    assert not folder(workspace, 1).probabilities("x").parent.exists()


def test_a_fold_does_not_validate_what_it_was_trained_on(workspace):
    write_json(workspace.raw(DATASET) / "splits_final.json", [
        {"train": ["ball_00", "ball_01"], "val": ["ball_02"]}])
    train(workspace)
    folder(workspace).result.unlink()
    write_json(workspace.raw(DATASET) / "splits_final.json", [
        {"train": ["ball_00", "ball_02"], "val": ["ball_01"]}])
    with pytest.raises(UserError, match=r"folds were changed.*ball_01"):
        train(workspace)


def test_leading_zeros_do_not_make_another_fold(workspace, trainings):
    train(workspace, "00")
    assert train(workspace, 0).fold == 0
    assert trainings == [0]


def test_too_little_memory_is_told_with_what_to_do(workspace, monkeypatch):
    def exhausted(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(run_module, "train_fold", exhausted)
    with pytest.raises(UserError, match=r"too little memory.*Tried to allocate.*--memory"):
        train(workspace)
