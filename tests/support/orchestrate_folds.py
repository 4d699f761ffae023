"""Trainings that only claim to have been, so that many folds take no time."""

from pathlib import Path

import pytest

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.datasets.dataset import Dataset
from autoseg.orchestrate.folds import FoldTask, begin_folds
from autoseg.preprocessing.run import preprocess_dataset
from autoseg.training import run as run_module
from autoseg.training.state import new_state
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import append_record, write_json
from autoseg.workspace.names import Workspace
from planners.schema.plan import Plan
from tests_support import small_plan, write_spheres

DATASET, NAME = "Dataset001_Spheres", "3d_fullres"


def pretend_to_train(monkeypatch: pytest.MonkeyPatch, bad: tuple = ()) -> list:
    """Instead of training, weights are drawn and written; the list of (configuration, fold) for which that was done.

    Folds in `bad` fail.
    """
    done = []

    def written(job, task, runtime, *_, **__):
        if job.fold in bad:
            raise UserError("this fold is bad", where=job.title)
        state = new_state(task, job.configuration, runtime, job.seed)
        write_json(job.folder.schedule, state.schedule)
        append_record(job.folder.metrics, {"iteration": 6, "iterations": 6, "seconds": 9.0, "seconds_left": 0.0,
                                           "train_loss": 1.0, "validation_dice": 0.5, "learning_rate": 1e-3})
        save_weights(job.folder.checkpoint, state.model.state_dict(), {"seconds": 9.0, "training": list(job.training)})
        done.append((job.name, job.fold))

    monkeypatch.setattr(run_module, "train_fold", written)
    monkeypatch.setattr(pipeline, "draw_validation", lambda *_: None)
    return done


def prepared_spheres(home: Path, n_cases: int = 5) -> tuple[Workspace, Plan]:
    """A planned and prepared dataset."""
    write_spheres(home / "raw" / DATASET, n_cases=n_cases)
    workspace, plan = Workspace(home), small_plan()
    write_json(workspace.plan(DATASET, "budgeted"), plan)
    raw = workspace.raw(DATASET)
    preprocess_dataset(Dataset.open(raw), plan, NAME, workspace.cases(DATASET, "budgeted", NAME)).raise_faults()
    return workspace, plan


def tasks_of(workspace: Workspace, plan: Plan, folds=(0, 1, 2)) -> list[FoldTask]:
    return begin_folds(workspace, plan, NAME, folds)
