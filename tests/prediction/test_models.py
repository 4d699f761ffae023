"""Which model predicts, and what is refused before it does."""

import json

import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.base.runtime import Runtime
from autoseg.formats import write_array
from autoseg.nn.model import build_model
from autoseg.prediction.folder import predict_folder
from autoseg.prediction.member import ConfigurationModel
from autoseg.prediction.models import FoldModel
from autoseg.prediction.predictor import Predictor
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import write_json
from autoseg.workspace.folders import FoldFolder
from planners.schema.base import Part
from tests_support import small_plan, sphere_case

CPU = Runtime(torch.device("cpu"), torch.float32)


def write_model(folder, **changes):
    """The folder of a model with one finished fold that has learned nothing."""
    plan = small_plan(**changes)
    fold = FoldFolder(folder / "fold_0")
    save_weights(fold.checkpoint, build_model(plan, plan.configurations["3d_fullres"]).state_dict(), {})
    write_json(fold.result, {"mean_dice": 0.5})
    write_json(folder / "plan.json", plan)
    return folder


def test_a_folder_of_another_name_says_which_it_needs(tmp_path):
    folder = write_model(tmp_path / "my_best")
    with pytest.raises(UserError, match="bears the name of its configuration.*3d_fullres"):
        Predictor.open(folder=folder, device="cpu")


def test_a_link_of_any_name_leads_to_its_model(tmp_path):
    folder = write_model(tmp_path / "3d_fullres")
    (tmp_path / "my_best").symlink_to(folder)
    assert Predictor.open(folder=tmp_path / "my_best", device="cpu").name == "3d_fullres"


def test_a_normaliser_of_a_plugin_that_is_not_loaded_is_named(tmp_path):
    folder = write_model(tmp_path / "3d_fullres", normalizers=(Part(name="mine"),))
    with pytest.raises(UserError, match="unknown normalizer 'mine'.*--plugin"):
        Predictor.open(folder=folder, device="cpu")


def test_masks_never_replace_images(tmp_path):
    plan, case = small_plan(), sphere_case("ball", 0)
    image = tmp_path / "images" / "ball.nii.gz"
    write_array(image, case.image_CDHW, case.geometry)
    before = image.read_bytes()
    model = FoldModel(build_model(plan, plan.configurations["3d_fullres"]).eval())
    predictor = Predictor([ConfigurationModel(plan, "3d_fullres", [model], CPU)])
    with pytest.raises(UserError, match=r"replace the images.*ball\.nii\.gz.*-o"):
        predict_folder(predictor, image, tmp_path / "images")
    assert image.read_bytes() == before
    masks = predict_folder(predictor, str(image), str(tmp_path / "masks"))
    assert json.loads((tmp_path / "masks" / "labels.json").read_text())["masks"] == [mask.name for mask in masks]
