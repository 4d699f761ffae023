"""Several configurations as one predictor, and the choice that inference.json makes."""

import json
import logging

import numpy as np
import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.base.runtime import Runtime
from autoseg.formats import read_image, write_array
from autoseg.formats.files import digest
from autoseg.nn.model import build_model
from autoseg.prediction.current_settings import check_current
from autoseg.prediction.ensemble import Ensemble
from autoseg.prediction.folder import predict_folder
from autoseg.prediction.inference_settings import InferenceSettings, Member, Postprocessing, QualityControl
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import read_model, write_json
from autoseg.workspace.names import Workspace
from planners.schema.labels import LabelSpec
from predict_phantoms import CASE, predictor_of
from tests_support import SPHERES, small_plan

CPU = Runtime(torch.device("cpu"), torch.float32)
DATASET, NAME = "Dataset001_Spheres", "3d_fullres"
REGIONS = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))
TRUST = QualityControl(temperature=1.5, intercept=0.0, slope=1.0, review_below=2.0, correlation=0.7, n=12)


def trained_home(home, *folds):
    """A workspace with folds that have learned nothing, and an inference.json that names them all."""
    workspace, plan = Workspace(home), small_plan(mirror_axes=())
    write_json(workspace.model(DATASET, plan.planner, NAME).plan, plan)
    digests = []
    for fold in folds:
        torch.manual_seed(fold)
        folder = workspace.fold(DATASET, plan.planner, NAME, fold)
        save_weights(folder.checkpoint, build_model(plan, plan.configurations[NAME]).state_dict(), {})
        write_json(folder.result, {"mean_dice": 0.5})
        digests.append(digest(folder.checkpoint))
    member = Member(planner=plan.planner, configuration=NAME, folds=tuple(map(str, folds)), digests=tuple(digests))
    write_json(workspace.inference_settings(DATASET), InferenceSettings(
        dataset=DATASET, members=(member,), postprocessing=Postprocessing(keep_largest_of_all=True), quality_control=TRUST))
    return workspace


@pytest.mark.parametrize("labels", [SPHERES, REGIONS])
def test_probabilities_of_different_grids_are_averaged_on_the_files(labels):
    fine, coarse = predictor_of(1, labels=labels), predictor_of(2, labels=labels, spacing_mm=(1.5, 2.0, 1.0))
    both = Ensemble([fine, coarse]).predict(CASE, probabilities=True)
    mean = np.mean([one.predict(CASE, True).probabilities_KDHW.astype(np.float32) for one in (fine, coarse)], axis=0)
    assert np.allclose(both.probabilities_KDHW, mean, atol=2e-3)
    if labels is SPHERES:
        clear = np.sort(mean, 0)[-1] - np.sort(mean, 0)[-2] > 5e-3
        assert np.array_equal(both.label_DHW[clear], mean.argmax(0)[clear])
    else:
        expected = np.where(mean[1] > 0.5, 2, np.where(mean[0] > 0.5, 1, 0))
        clear = (np.abs(mean - 0.5) > 5e-3).all(0)
        assert np.array_equal(both.label_DHW[clear], expected[clear])
        assert both.quality is None


def test_one_configuration_alone_predicts_as_it_does_without_an_ensemble():
    alone = predictor_of(1, n_models=2)
    one, other = alone.predict(CASE, True), Ensemble([alone]).predict(CASE, True, uncertainty=True)
    assert (one.label_DHW == other.label_DHW).mean() > 0.999  # logits are added in another order
    assert np.allclose(one.probabilities_KDHW, other.probabilities_KDHW, atol=2e-3)
    assert 0 <= other.disagreement_DHW.min() <= other.entropy_DHW.max() <= 1.001
    assert (other.quality.predicted_dice, other.quality.needs_review) == (None, None)
    assert 0 <= other.quality.fold_agreement < 1


def test_one_fold_has_nobody_to_disagree_with():
    found = Ensemble([predictor_of(1)], quality_control=TRUST).predict(CASE, uncertainty=True)
    assert found.quality.fold_agreement is None
    assert found.disagreement_DHW.max() < 2e-3


def test_masks_are_postprocessed():
    alone, huge = predictor_of(1), Postprocessing(minimum_ml={"sphere": 1000.0})
    before, after = alone.predict(CASE).label_DHW, Ensemble([alone], huge).predict(CASE).label_DHW
    assert (before == 1).any()
    assert np.array_equal(after, np.where(before == 1, 0, before))


def test_members_of_other_labels_are_refused():
    with pytest.raises(ValueError, match="same labels"):
        Ensemble([predictor_of(), predictor_of(labels=REGIONS)])


def test_the_choice_of_cross_validation_is_used_by_itself_and_told(tmp_path, caplog, monkeypatch):
    workspace = trained_home(tmp_path, 0, 1)
    monkeypatch.setattr(logging.getLogger("autoseg"), "propagate", True)
    with caplog.at_level(logging.INFO):
        opened = Ensemble.open(home=tmp_path, device="cpu")
    assert f"as {workspace.inference_settings(DATASET)} says: 3d_fullres (budgeted)" in caplog.text
    assert (opened.quality_control, opened.postprocessing.keep_largest_of_all, len(opened.models)) == (TRUST, True, 2)
    assert Ensemble.open(home=tmp_path, dataset=1, device="cpu").quality_control == TRUST


@pytest.mark.parametrize("flag", [{"configuration": NAME}, {"planner": "budgeted"}, {"folds": [0]}])
def test_what_is_named_wins_over_the_choice(tmp_path, flag):
    trained_home(tmp_path, 0, 1)
    opened = Ensemble.open(home=tmp_path, device="cpu", **flag)
    assert (opened.quality_control, opened.postprocessing) == (None, Postprocessing())
    folder = Workspace(tmp_path).model(DATASET, "budgeted", NAME).path
    assert Ensemble.open(folder=folder, device="cpu").quality_control is None


def test_a_fold_that_was_trained_again_makes_the_choice_stale(tmp_path):
    workspace = trained_home(tmp_path, 0, 1)
    plan = small_plan(mirror_axes=())
    save_weights(workspace.fold(DATASET, "budgeted", NAME, 1).checkpoint,
                 build_model(plan, plan.configurations[NAME]).state_dict(), {})
    with pytest.raises(UserError, match=r"out of date.*fold 1 .* trained again.*autoseg_find_best_configuration.*-c"):
        Ensemble.open(home=tmp_path, device="cpu")
    assert Ensemble.open(home=tmp_path, device="cpu", configuration=NAME).models


def test_a_fold_that_is_gone_makes_the_choice_stale(tmp_path):
    workspace = trained_home(tmp_path, 0)
    workspace.fold(DATASET, "budgeted", NAME, 0).clear()
    with pytest.raises(UserError, match=r"out of date.*fold 0 .* is gone"):
        Ensemble.open(home=tmp_path, device="cpu")


def test_other_folds_of_a_cascades_earlier_stage_make_the_choice_stale(tmp_path):
    workspace = trained_home(tmp_path, 0, 1)
    (member,) = read_model(workspace.inference_settings(DATASET), InferenceSettings).members
    cascade = member.model_copy(update={"previous": member})
    check_current(workspace, InferenceSettings(dataset=DATASET, members=(cascade,)))
    workspace.fold(DATASET, "budgeted", NAME, 2).path.mkdir(parents=True)
    write_json(workspace.fold(DATASET, "budgeted", NAME, 2).result, {"mean_dice": 0.5})
    with pytest.raises(UserError, match="has other finished folds than when it was chosen"):
        check_current(workspace, InferenceSettings(dataset=DATASET, members=(cascade,)))


def test_a_folder_gets_its_quality_and_its_maps(tmp_path):
    trained_home(tmp_path, 0, 1)
    for name in ("ball", "other"):
        write_array(tmp_path / "images" / f"{name}_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    opened, masks = Ensemble.open(home=tmp_path, device="cpu"), tmp_path / "masks"
    predict_folder(opened, tmp_path / "images", masks, uncertainty=True)
    quality = json.loads((masks / "quality.json").read_text())
    assert (quality["review_below"], quality["correlation"], quality["n"]) == (2.0, 0.7, 12)
    assert [(one["name"], one["needs_review"]) for one in quality["cases"]] == [("ball", True), ("other", True)]
    assert 0 <= quality["cases"][0]["predicted_dice"] <= 1
    for what in ("entropy", "disagreement"):
        image, geometry = read_image(masks / f"ball_{what}.nii.gz")
        assert geometry.difference(CASE.geometry) == ""
        assert 0 <= image.min() <= image.max() <= 1.001
    assert json.loads((masks / "labels.json").read_text())["postprocessing"]["keep_largest_of_all"]
    (masks / "other.nii.gz").unlink()
    predict_folder(opened, tmp_path / "images", masks, keep_existing=True)
    assert json.loads((masks / "quality.json").read_text()) == quality


def test_what_several_processes_note_is_collected_into_one_quality_report(tmp_path):
    trained_home(tmp_path, 0, 1)
    for name in ("ball", "other"):
        write_array(tmp_path / "images" / f"{name}_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    opened, images, masks = Ensemble.open(home=tmp_path, device="cpu"), tmp_path / "images", tmp_path / "masks"
    for name in ("ball", "other"):
        predict_folder(opened, images, masks, only=[name])
    assert not (masks / "quality.json").exists()
    predict_folder(opened, images, masks, keep_existing=True)
    together = json.loads((masks / "quality.json").read_text())
    predict_folder(opened, images, tmp_path / "alone")
    assert together == json.loads((tmp_path / "alone" / "quality.json").read_text())
    assert not (masks / "quality").exists()


def test_what_was_said_of_a_mask_stays_with_it_and_goes_with_it(tmp_path):
    trained_home(tmp_path, 0, 1)
    for name in ("ball", "other"):
        write_array(tmp_path / "images" / f"{name}_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    opened, masks = Ensemble.open(home=tmp_path, device="cpu"), tmp_path / "masks"
    for name in ("ball", "other"):  # one file at a time into one folder
        predict_folder(opened, tmp_path / "images" / f"{name}_0000.nii.gz", masks)
    named = [one["name"] for one in json.loads((masks / "quality.json").read_text())["cases"]]
    assert named == ["ball", "other"]
    predict_folder(Ensemble.open(home=tmp_path, device="cpu", configuration=NAME), tmp_path / "images" / "ball_0000.nii.gz",
                   masks)
    named = [one["name"] for one in json.loads((masks / "quality.json").read_text())["cases"]]
    assert named == ["other"]  # of the new mask of ball nothing is known


def test_a_single_file_is_predicted_as_a_folder_is(tmp_path):
    image = tmp_path / "ball_0000.nii.gz"
    write_array(image, CASE.image_CDHW, CASE.geometry)
    alone = predictor_of()
    assert np.array_equal(Ensemble([alone]).predict_file(image).label_DHW, alone.predict_file(image).label_DHW)
    write_array(tmp_path / "other_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    with pytest.raises(UserError, match="one case was expected.*2 cases"):
        Ensemble([alone]).predict_file(tmp_path)


def test_without_trust_no_quality_is_written(tmp_path):
    write_array(tmp_path / "images" / "ball_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    predict_folder(predictor_of(), tmp_path / "images", tmp_path / "masks")
    assert not (tmp_path / "masks" / "quality.json").exists()
