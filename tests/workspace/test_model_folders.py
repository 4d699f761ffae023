"""The folders of models and folds, as the disk shows them."""

import pytest

from autoseg.base.errors import UserError
from autoseg.workspace.files import write_json, write_text
from autoseg.workspace.names import Workspace
from tests_support import small_plan

DATASET = "Dataset001_Spheres"


@pytest.fixture()
def workspace(tmp_path):
    return Workspace(tmp_path)


def finish(workspace, *folds, planner="budgeted", dices=None):
    model = workspace.model(DATASET, planner, "3d_fullres")
    write_json(model.plan, small_plan())
    for index, fold in enumerate(folds):
        write_json(model.fold(fold).result, {"mean_dice": None if dices is None else dices[index]})
    return model


def test_a_model_is_known_by_its_folder(workspace):
    model = finish(workspace, 0)
    assert workspace.models() == workspace.models(DATASET) == [model]
    assert (model.dataset, model.planner, model.configuration) == (DATASET, "budgeted", "3d_fullres")
    assert model.title == "3d_fullres (budgeted)" and model.read_plan() == small_plan()
    assert model.beside("2d") == workspace.model(DATASET, "budgeted", "2d")


def test_folds_are_in_the_order_of_their_numbers_and_all_is_last(workspace):
    model = finish(workspace, "all", 10, 2)
    assert [fold.name for fold in model.all_folds()] == ["2", "10", "all"]


def test_the_fold_of_all_cases_predicts_only_alone(workspace):
    assert finish(workspace, "all").folds == ("all",)
    assert finish(workspace, "all", 1).folds == ("1",)


def test_a_fold_is_started_then_trained_then_finished(workspace):
    fold = workspace.fold(DATASET, "budgeted", "3d_fullres", 3)
    assert not (fold.is_started or fold.is_trained or fold.is_finished)
    write_json(fold.schedule, {})
    assert fold.is_started and not fold.is_trained
    write_text(fold.checkpoint, "weights")
    assert fold.is_trained and not fold.is_finished
    write_json(fold.result, {})
    assert fold.is_finished and fold.mean_dice() is None
    fold.clear()
    assert not fold.is_started


def test_the_dice_of_a_model_is_the_mean_of_its_folds_that_have_one(workspace):
    assert finish(workspace, 0, 1, 2, dices=(0.5, None, 0.7)).mean_dice() == pytest.approx(0.6)
    assert finish(workspace, 0, planner="classic").mean_dice() == -1


def test_datasets_with_models_are_those_that_can_predict(workspace):
    write_json(workspace.model("Dataset002_Planned", "budgeted", "2d").plan, small_plan())
    finish(workspace, 0)
    write_json(workspace.inference_settings("Dataset003_Moved"), {})
    assert workspace.datasets_with_models() == [DATASET, "Dataset003_Moved"]


def test_plans_are_listed_by_their_planner(workspace):
    write_json(workspace.plan(DATASET, "mine"), small_plan())
    assert workspace.plans(DATASET) == {"mine": workspace.plan(DATASET, "mine")}


def test_a_model_without_a_plan_says_where_it_should_be(workspace):
    model = workspace.model(DATASET, "budgeted", "3d_fullres")
    assert not model.has_plan
    with pytest.raises(UserError, match=r"plan\.json: the file is missing"):
        model.read_plan()


def test_masks_are_known_by_their_case(workspace):
    fold = workspace.fold(DATASET, "budgeted", "3d_fullres", 0)
    write_text(fold.validation / "ball.nii.gz", "")
    assert fold.masks(".nii.gz") == {"ball": fold.validation / "ball.nii.gz"}
