"""One or several configurations as one predictor, and the choice that inference.json makes."""

import io
import json
import logging
import shutil
import sys

import numpy as np
import pytest
import torch

import autoseg
from autoseg.base.errors import UserError
from autoseg.base.runtime import Runtime
from autoseg.cli import predict as predict_command
from autoseg.formats import read_image, read_label, write_array
from autoseg.formats.files import digest
from autoseg.grids.components import components
from autoseg.nn.model import build_model
from autoseg.prediction import member
from autoseg.prediction.current_settings import check_current
from autoseg.prediction.folder import predict_folder
from autoseg.prediction.inference_settings import (
    FoldPostprocessing,
    InferenceSettings,
    Member,
    Postprocessing,
    QualityControl,
)
from autoseg.prediction.predictor import Predictor
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import read_model, write_json
from autoseg.workspace.names import Workspace
from planners.schema.labels import LabelSpec
from predict_phantoms import CASE, member_of, predictor_of
from tests_support import SPHERES, small_plan

CPU = Runtime(torch.device("cpu"), torch.float32)
DATASET, NAME = "Dataset001_Spheres", "3d_fullres"
REGIONS = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))
RULE = QualityControl(temperature=1.5, intercept=0.0, slope=1.0, review_below=2.0, correlation=0.7, n=12)


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
        dataset=DATASET, members=(member,), postprocessing=Postprocessing(keep_largest_of_all=True), quality_control=RULE))
    return workspace


def add_configuration(workspace, name, **changes):
    """A second configuration of the same planner with one fold; the member that names it."""
    plan = small_plan(mirror_axes=(), **changes)
    (configuration,) = plan.configurations.values()
    plan = plan.model_copy(update={"configurations": {name: configuration}})
    write_json(workspace.model(DATASET, plan.planner, name).plan, plan)
    torch.manual_seed(7)
    folder = workspace.fold(DATASET, plan.planner, name, 0)
    save_weights(folder.checkpoint, build_model(plan, configuration).state_dict(), {})
    write_json(folder.result, {"mean_dice": 0.4})
    return Member(planner=plan.planner, configuration=name, folds=("0",), digests=(digest(folder.checkpoint),))


@pytest.mark.parametrize("labels", [SPHERES, REGIONS])
def test_probabilities_of_different_grids_are_averaged_on_the_files(labels):
    fine, coarse = member_of(1, labels=labels), member_of(2, labels=labels, spacing_mm=(1.5, 2.0, 1.0))
    both = Predictor([fine, coarse]).predict(CASE, probabilities=True)
    mean = np.mean([Predictor([configuration]).predict(CASE, True).probabilities_KDHW.astype(np.float32)
                    for configuration in (fine, coarse)], axis=0)
    assert np.allclose(both.probabilities_KDHW, mean, atol=2e-3)
    if labels is SPHERES:
        clear = np.sort(mean, 0)[-1] - np.sort(mean, 0)[-2] > 5e-3
        assert np.array_equal(both.label_DHW[clear], mean.argmax(0)[clear])
    else:
        expected = np.where(mean[1] > 0.5, 2, np.where(mean[0] > 0.5, 1, 0))
        clear = (np.abs(mean - 0.5) > 5e-3).all(0)
        assert np.array_equal(both.label_DHW[clear], expected[clear])
        assert both.quality is None


def test_models_that_are_asked_one_by_one_for_their_uncertainty_predict_the_same():
    predictor = predictor_of(1, n_models=2)
    plain, with_maps = predictor.predict(CASE, True), predictor.predict(CASE, True, uncertainty=True)
    assert (plain.label_DHW == with_maps.label_DHW).mean() > 0.999  # logits are added in another order
    assert np.allclose(plain.probabilities_KDHW, with_maps.probabilities_KDHW, atol=2e-3)
    assert 0 <= with_maps.disagreement_DHW.min() <= with_maps.entropy_DHW.max() <= 1.001
    assert (with_maps.quality.predicted_dice, with_maps.quality.needs_review) == (None, None)
    assert 0 <= with_maps.quality.fold_agreement < 1


def test_one_fold_has_nobody_to_disagree_with():
    prediction = Predictor([member_of(1)], quality_control=RULE).predict(CASE, uncertainty=True)
    assert prediction.quality.fold_agreement is None
    assert prediction.disagreement_DHW.max() < 2e-3


def test_masks_are_postprocessed():
    configuration, huge = member_of(1), Postprocessing(minimum_ml={"sphere": 1000.0})
    before, after = (Predictor([configuration], steps).predict(CASE).label_DHW for steps in (None, huge))
    assert (before == 1).any()
    assert np.array_equal(after, np.where(before == 1, 0, before))


def test_members_of_other_labels_are_refused():
    with pytest.raises(ValueError, match="same labels"):
        Predictor([member_of(), member_of(labels=REGIONS)])


def test_the_choice_of_cross_validation_is_used_by_itself_and_logged(tmp_path, caplog, monkeypatch):
    workspace = trained_home(tmp_path, 0, 1)
    monkeypatch.setattr(logging.getLogger("autoseg"), "propagate", True)
    with caplog.at_level(logging.INFO):
        opened = Predictor.open(home=tmp_path, device="cpu")
    assert f"as {workspace.inference_settings(DATASET)} says: 3d_fullres (budgeted)" in caplog.text
    assert (opened.quality_control, opened.postprocessing.keep_largest_of_all, len(opened.models)) == (RULE, True, 2)
    assert Predictor.open(home=tmp_path, dataset=1, device="cpu").quality_control == RULE


def test_python_and_the_command_predict_the_same_voxels_where_a_pair_was_chosen(tmp_path):
    workspace = trained_home(tmp_path, 0, 1)
    (first,) = read_model(workspace.inference_settings(DATASET), InferenceSettings).members
    coarse = add_configuration(workspace, "3d_coarse", spacing_mm=(1.5, 2.0, 1.0))
    choice = InferenceSettings(dataset=DATASET, members=(first, coarse), quality_control=RULE,
                               postprocessing=Postprocessing(keep_largest=("sphere", "core"), minimum_ml={"core": 0.02}))
    write_json(workspace.inference_settings(DATASET), choice)
    write_array(tmp_path / "images" / "ball_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    home = ["--home", str(tmp_path), "--device", "cpu"]
    assert predict_command.main(["-i", str(tmp_path / "images"), "-o", str(tmp_path / "masks"), "-d", "1", *home]) == 0
    from_command, _ = read_label(tmp_path / "masks" / "ball.nii.gz")
    opened = Predictor.open(dataset=1, home=tmp_path, device="cpu")
    from_python = opened.predict_file(tmp_path / "images" / "ball_0000.nii.gz").label_DHW
    assert np.array_equal(from_python, from_command)
    (mask,) = autoseg.predict(tmp_path / "images", tmp_path / "others", dataset=1, home=tmp_path, device="cpu")
    assert np.array_equal(read_label(mask)[0], from_command)
    without = Predictor(opened.members).predict_file(tmp_path / "images" / "ball_0000.nii.gz").label_DHW
    assert not np.array_equal(without, from_command)  # the postprocessing is part of the choice
    for name in ("3d_fullres", "3d_coarse"):
        alone = Predictor.open(dataset=1, configuration=name, home=tmp_path, device="cpu")
        label = alone.predict_file(tmp_path / "images" / "ball_0000.nii.gz").label_DHW
        assert not np.array_equal(label, without)  # and so is the pair


@pytest.mark.parametrize("flag", [{"configuration": NAME}, {"planner": "budgeted"}, {"folds": [0]}])
def test_what_is_named_wins_over_the_choice(tmp_path, flag, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("autoseg"), "propagate", True)
    trained_home(tmp_path, 0, 1)
    opened = Predictor.open(home=tmp_path, device="cpu", **flag)
    assert (opened.quality_control, opened.postprocessing) == (None, Postprocessing())
    assert "inference.json has chosen are not applied" in caplog.text


def test_the_folder_of_the_chosen_model_predicts_as_was_chosen(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("autoseg"), "propagate", True)
    workspace = trained_home(tmp_path, 0, 1)
    folder = workspace.model(DATASET, "budgeted", NAME).path
    opened = Predictor.open(folder=folder, device="cpu")
    assert (opened.quality_control, opened.postprocessing.keep_largest_of_all) == (RULE, True)
    assert Predictor.open(folder=folder, folds=[1], device="cpu").quality_control is None
    assert "are not applied" in caplog.text


def test_a_fold_that_predicts_alone_writes_masks_with_its_own_postprocessing(tmp_path):
    """Islands go from the written mask, and from the digest that tells models apart; other weights have other islands."""
    workspace = trained_home(tmp_path, 0, 1)
    workspace.inference_settings(DATASET).unlink()
    folder, images = workspace.fold(DATASET, "budgeted", NAME, 0), tmp_path / "images"
    write_array(images / "ball_0000.nii.gz", CASE.image_CDHW, CASE.geometry)

    def predicted(target, *folds):
        arguments = ["-i", str(images), "-o", str(tmp_path / target), "-d", "1", "-f", *folds, "--home", str(tmp_path)]
        assert predict_command.main([*arguments, "--device", "cpu"]) == 0
        return read_label(tmp_path / target / "ball.nii.gz")[0], json.loads((tmp_path / target / "labels.json").read_text())

    before, plain = predicted("before", "0")
    component, n = components(before > 0)
    assert n > 1 and plain["postprocessing"] == Postprocessing().model_dump(mode="json")
    steps = Postprocessing(keep_largest_of_all=True)
    choice = FoldPostprocessing(digest=digest(folder.checkpoint), n_cases=12, postprocessing=steps)
    write_json(folder.postprocessing, choice)
    after, sidecar = predicted("after", "0")
    largest = 1 + np.argmax(np.bincount(component.ravel())[1:])
    assert np.array_equal(after, np.where(component == largest, before, 0))
    assert sidecar["postprocessing"] == steps.model_dump(mode="json") and sidecar["model"] != plain["model"]
    _, several = predicted("several", "0", "1")
    assert several["postprocessing"] == plain["postprocessing"]
    write_json(folder.postprocessing, choice.model_copy(update={"digest": "of other weights"}))
    again, sidecar = predicted("again", "0")
    assert np.array_equal(again, before) and sidecar["postprocessing"] == plain["postprocessing"]


def test_a_copy_of_a_fold_does_not_predict_and_a_fold_of_all_cases_that_does_not_is_named(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("autoseg"), "propagate", True)
    workspace = trained_home(tmp_path, 0, 1)
    model = workspace.model(DATASET, "budgeted", NAME).path
    for copy in ("fold_0_backup", "fold_all"):
        shutil.copytree(model / "fold_0", model / copy)
    assert len(Predictor.open(folder=model, device="cpu").models) == 2
    assert "fold all is finished, but does not predict beside the others; name it with -f" in caplog.text


def test_a_fold_that_was_trained_again_makes_the_choice_stale(tmp_path):
    workspace = trained_home(tmp_path, 0, 1)
    plan = small_plan(mirror_axes=())
    save_weights(workspace.fold(DATASET, "budgeted", NAME, 1).checkpoint,
                 build_model(plan, plan.configurations[NAME]).state_dict(), {})
    with pytest.raises(UserError, match=r"out of date.*fold 1 .* trained again.*autoseg_find_best_configuration.*-c"):
        Predictor.open(home=tmp_path, device="cpu")
    assert Predictor.open(home=tmp_path, device="cpu", configuration=NAME).models


def test_a_fold_that_is_gone_makes_the_choice_stale(tmp_path):
    workspace = trained_home(tmp_path, 0)
    workspace.fold(DATASET, "budgeted", NAME, 0).clear()
    with pytest.raises(UserError, match=r"out of date.*fold 0 .* is gone"):
        Predictor.open(home=tmp_path, device="cpu")


def test_other_folds_of_a_cascades_earlier_stage_make_the_choice_stale(tmp_path):
    workspace = trained_home(tmp_path, 0, 1)
    (first,) = read_model(workspace.inference_settings(DATASET), InferenceSettings).members
    cascade = first.model_copy(update={"previous": first})
    check_current(workspace, InferenceSettings(dataset=DATASET, members=(cascade,)))
    workspace.fold(DATASET, "budgeted", NAME, 2).path.mkdir(parents=True)
    write_json(workspace.fold(DATASET, "budgeted", NAME, 2).result, {"mean_dice": 0.5})
    with pytest.raises(UserError, match="has other finished folds than when it was chosen"):
        check_current(workspace, InferenceSettings(dataset=DATASET, members=(cascade,)))


def test_a_folder_gets_its_quality_and_its_maps(tmp_path):
    trained_home(tmp_path, 0, 1)
    for name in ("ball", "other"):
        write_array(tmp_path / "images" / f"{name}_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    opened, masks = Predictor.open(home=tmp_path, device="cpu"), tmp_path / "masks"
    predict_folder(opened, tmp_path / "images", masks, uncertainty=True)
    quality = json.loads((masks / "quality.json").read_text())
    assert (quality["review_below"], quality["correlation"], quality["n"]) == (2.0, 0.7, 12)
    assert [(case["name"], case["needs_review"]) for case in quality["cases"]] == [("ball", True), ("other", True)]
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
    opened, images, masks = Predictor.open(home=tmp_path, device="cpu"), tmp_path / "images", tmp_path / "masks"
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
    opened, masks = Predictor.open(home=tmp_path, device="cpu"), tmp_path / "masks"
    for name in ("ball", "other"):  # one file at a time into one folder
        predict_folder(opened, tmp_path / "images" / f"{name}_0000.nii.gz", masks)
    named = [case["name"] for case in json.loads((masks / "quality.json").read_text())["cases"]]
    assert named == ["ball", "other"]
    predict_folder(Predictor.open(home=tmp_path, device="cpu", configuration=NAME), tmp_path / "images" / "ball_0000.nii.gz",
                   masks)
    named = [case["name"] for case in json.loads((masks / "quality.json").read_text())["cases"]]
    assert named == ["other"]  # of the new mask of ball nothing is known


def test_a_single_file_is_predicted_as_a_folder_is(tmp_path):
    image = tmp_path / "ball_0000.nii.gz"
    write_array(image, CASE.image_CDHW, CASE.geometry)
    predictor = predictor_of()
    (mask,) = predict_folder(predictor, image, tmp_path / "masks")
    assert np.array_equal(predictor.predict_file(image).label_DHW, read_label(mask)[0])
    write_array(tmp_path / "other_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    with pytest.raises(UserError, match="one case was expected.*2 cases"):
        predictor.predict_file(tmp_path)


def test_without_quality_control_no_quality_is_written(tmp_path):
    write_array(tmp_path / "images" / "ball_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    predict_folder(predictor_of(), tmp_path / "images", tmp_path / "masks")
    assert not (tmp_path / "masks" / "quality.json").exists()


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("screen", "long_case", "shown"), [(Terminal, 4, True), (Terminal, 100, False),
                                                            (io.StringIO, 4, False)])
def test_a_long_case_has_a_progress_bar_of_its_own_on_a_terminal(screen, long_case, shown, monkeypatch):
    monkeypatch.setattr(member, "LONG_CASE", long_case)
    monkeypatch.setattr(sys, "stderr", screen())
    predictor_of().predict(CASE)  # four tiles
    assert (f"{CASE.name}, 3d_fullres" in sys.stderr.getvalue()) == shown
