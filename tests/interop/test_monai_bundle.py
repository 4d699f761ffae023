"""A bundle runs in MONAI, which reads its files and writes nearly our masks; what it cannot do is refused."""

import json

import numpy as np
import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.formats import read_label, write_array
from autoseg.grids.geometry import Geometry
from autoseg.interop.monai_bundle import PROGRAM, export_bundle, inference, refuse
from autoseg.nn.model import build_model
from autoseg.prediction.predictor import Predictor
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import write_json
from autoseg.workspace.names import Workspace
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from tests_support import small_plan, sphere_case

DATASET = "Dataset001_Spheres"
LABELS = LabelSpec(names={"background": (0,), "sphere": (1,), "core": (3,)})


@pytest.fixture
def bundle(tmp_path):
    """Two folds of two channels with turned axes, and their bundle."""
    plan = small_plan(labels=LABELS, n_channels=2, mirror_axes=(), patch=(16, 16, 8),
                      normalizers=(Part(name="ct"), Part(name="zscore")))
    plan = plan.model_copy(update={"transpose": (1, 0, 2)})
    workspace = Workspace(tmp_path / "home")
    write_json(workspace.model(DATASET, "budgeted", "3d_fullres").plan, plan)
    for fold in range(2):
        torch.manual_seed(fold)
        folder = workspace.fold(DATASET, "budgeted", "3d_fullres", fold)
        save_weights(folder.checkpoint, build_model(plan, plan.configurations["3d_fullres"]).state_dict(), {})
        write_json(folder.result, {"mean_dice": 0.5})
    return workspace, export_bundle(workspace, 1, tmp_path / "bundle", licence="CC0-1.0")


def test_the_files_of_a_bundle_say_what_it_takes(bundle):
    _, folder = bundle
    said = json.loads((folder / "configs" / "metadata.json").read_text())
    assert said["network_data_format"]["inputs"]["image"]["spatial_shape"] == [8, 16, 16]
    assert said["copyright"] == "CC0-1.0" and (folder / PROGRAM).stat().st_size > 10_000
    settings = json.loads((folder / "configs" / "inference.json").read_text())
    assert settings["inferer"]["roi_size"] == [8, 16, 16] and "_0001.nii.gz" in settings["datalist"]


def test_the_program_gives_the_mean_logits_of_the_folds(bundle):
    workspace, folder = bundle
    program = torch.export.load(str(folder / PROGRAM)).module()
    image = torch.randn(3, 2, 8, 16, 16)  # x, y, z
    models = Predictor.open(home=workspace.home, device="cpu").models
    with torch.inference_mode():
        turned = image.permute(0, 1, 3, 4, 2)  # y, z, x, as the plan has them
        expected = sum(model.model(turned) for model in models) / 2
        assert torch.allclose(program(image), expected.permute(0, 1, 4, 2, 3), atol=1e-4)


@pytest.mark.parametrize(("spacing", "least"), [((1.0, 1.0, 1.0), 0.999), ((1.5, 1.0, 1.0), 0.97)])
def test_monai_runs_the_bundle_and_writes_nearly_our_mask(bundle, tmp_path, spacing, least):
    monai = pytest.importorskip("monai.bundle")
    pytest.importorskip("ignite")
    workspace, folder = bundle
    case = sphere_case("ball", 3, shape=(20, 18, 24))
    case.image_CDHW[:, :3] = 0  # is cropped
    geometry = Geometry((20, 18, 24), spacing)
    for number, factor in ((0, 1.0), (1, -2.0)):
        write_array(tmp_path / "images" / f"ball_{number:04d}.nii.gz", factor * case.image_CDHW, geometry)
    workflow = monai.ConfigWorkflow(
        config_file=str(folder / "configs" / "inference.json"), meta_file=str(folder / "configs" / "metadata.json"),
        workflow_type="infer", logging_file=False, bundle_root=str(folder), dataset_dir=str(tmp_path / "images"),
        output_dir=str(tmp_path / "masks"))
    workflow.initialize()
    workflow.run()
    (written,) = (tmp_path / "masks").glob("*.nii.gz")
    mask, grid = read_label(written)
    predictor = Predictor.open(home=workspace.home, device="cpu")
    expected = predictor.predict_file(tmp_path / "images").label_DHW
    assert grid.shape == geometry.shape and set(np.unique(mask)) == {0, 1, 3}
    assert (mask == expected).mean() > least


@pytest.mark.parametrize(("changes", "words"), [
    ({"labels": LabelSpec(names={"background": (0,), "all": (1, 2)}, region_order=(1,))}, "a region"),
    ({"n_channels": 2, "required": False}, "the channel 'MR_1', which may be missing,"),
    ({"dimensions": 2}, "a configuration of slices"), ({"normalizers": (Part(name="rescale01"),)}, "normaliser 'rescale01'"),
    ({"previous": "3d_lowres"}, "written as a MONAI bundle: the earlier stage"),
    ({"conditioning": Part(name="film")}, "written as a MONAI bundle: the conditioner 'film'")])
def test_what_a_bundle_cannot_do_is_named(changes, words):
    required = changes.pop("required", True)
    plan = small_plan(**changes)
    if not required:
        plan = plan.model_copy(update={"channels": (plan.channels[0], ChannelSpec(name="MR_1", required=False))})
    (configuration,) = plan.configurations.values()
    with pytest.raises(UserError, match=words):
        refuse(plan, configuration, "here")


def test_images_are_turned_to_the_orientation_of_the_plan_first():
    plan = small_plan().model_copy(update={"orientation": "LPS"})
    steps = inference(plan, plan.configurations["3d_fullres"])["preprocessing"]["transforms"]
    assert [step["_target_"] for step in steps[:3]] == ["LoadImaged", "Orientationd", "CropForegroundd"]
    assert steps[1]["axcodes"] == "LPS"
