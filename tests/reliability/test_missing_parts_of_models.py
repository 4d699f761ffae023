"""Files of a trained model that were deleted: each command says which command mends it, and that command does."""

import shutil

import pytest
import torch

import autoseg
from autoseg.base.errors import UserError
from autoseg.training import run as run_module
from autoseg.workspace.checkpoint import load_weights
from autoseg.workspace.names import Workspace
from orchestrate_folds import DATASET, NAME

COMMAND = f"autoseg_train {DATASET} {NAME} 0 -p budgeted"


def fold(home):
    return Workspace(home).fold(DATASET, "budgeted", NAME, 0)


def predict(home):
    return autoseg.predict(home / "raw" / DATASET / "imagesTr", home / "masks", dataset=1, home=home, device="cpu")


def train(home, **options):
    return autoseg.train(1, NAME, 0, home=home, device="cpu", **options)


def test_deleted_weights_are_taken_from_the_saved_state(home, caplog, monkeypatch):
    before = load_weights(fold(home).checkpoint)[0]
    fold(home).checkpoint.unlink()
    with pytest.raises(UserError, match=rf"the weights of fold 0 are missing; .*{COMMAND}"):
        predict(home)
    train(home)
    assert "its weights are missing: they are taken from its saved state" in caplog.text
    after = load_weights(fold(home).checkpoint)[0]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert fold(home).is_finished and fold(home).postprocessing.is_file() and len(predict(home)) == 5


def test_without_a_state_the_fold_is_trained_again_and_no_former_mask_is_scored(home, caplog):
    for file in (fold(home).checkpoint, fold(home).state, fold(home).state.with_name("state_previous.pt")):
        file.unlink(missing_ok=True)
    mask = next(iter(fold(home).masks(".nii.gz").values()))
    mask.write_bytes(b"of the former weights")
    train(home)
    assert "its weights are missing: they are trained again" in caplog.text
    assert mask.read_bytes() != b"of the former weights" and fold(home).is_finished


def test_changed_data_are_refused_before_the_results_of_deleted_weights_are_removed(home):
    fold(home).checkpoint.unlink()
    label = next((home / "raw" / DATASET / "labelsTr").iterdir())
    shutil.copy(sorted((home / "raw" / DATASET / "labelsTr").iterdir())[-1], label)
    with pytest.raises(UserError, match="changed"):
        train(home)
    assert fold(home).result.is_file() and fold(home).validation.is_dir()


def test_a_deleted_plan_is_written_again(home, caplog):
    model = Workspace(home).model(DATASET, "budgeted", NAME)
    before = model.read_plan()
    model.plan.unlink()
    for configuration in (None, NAME):
        with pytest.raises(UserError, match=rf"the plan of the model is missing .*{COMMAND}"):
            autoseg.predict(home / "raw" / DATASET / "imagesTr", home / "masks", configuration=configuration, home=home)
    train(home)
    assert "is written again, as the folds were started with it" in caplog.text
    assert model.read_plan().configurations[NAME] == before.configurations[NAME] and len(predict(home)) == 5


def test_a_deleted_plan_does_not_let_another_one_in(home):
    Workspace(home).model(DATASET, "budgeted", NAME).plan.unlink()
    with pytest.raises(UserError, match="folds of this model were started with another plan"):
        train(home, changes=["batch=1"])


def test_a_choice_whose_inference_json_was_deleted_is_not_ignored(home):
    Workspace(home).selection(DATASET).write_text("{}")
    with pytest.raises(UserError, match=f"choose again with autoseg_find_best_configuration {DATASET}"):
        predict(home)
    assert len(autoseg.predict(home / "raw" / DATASET / "imagesTr", home / "masks", configuration=NAME, home=home,
                               device="cpu")) == 5


@pytest.mark.parametrize("file", ["schedule", "postprocessing", "validation", "metrics"])
def test_what_else_was_deleted_of_a_finished_fold_is_no_hindrance(home, file):
    path = getattr(fold(home), file)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    train(home)
    assert len(predict(home)) == 5 and fold(home).masks(".nii.gz")


def test_a_deleted_result_is_made_again_without_training(home, monkeypatch):
    fold(home).result.unlink()
    fold(home).schedule.unlink()
    monkeypatch.setattr(run_module, "train_fold", lambda *_, **__: pytest.fail("the weights are there"))
    assert train(home).mean_dice is not None
