"""What datasets are like besides one image and plain labels: cascades, regions, ignored voxels, flat images, missing
channels, paired sides. Each is prepared, trained for a moment and predicted; nothing may be lost on the way.
"""

import json

import numpy as np
import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.base.runtime import Runtime
from autoseg.datasets.dataset import Dataset, read_manifest
from autoseg.formats import read_label, write_array, write_label
from autoseg.prediction.folder import predict_folder
from autoseg.prediction.member import ConfigurationModel
from autoseg.prediction.models import FoldModel
from autoseg.prediction.predictor import Predictor
from autoseg.preprocessing.run import preprocess_dataset
from autoseg.training.run import run_fold
from autoseg.workspace.files import write_json
from autoseg.workspace.names import Workspace
from planners.schema.channels import ChannelSpec
from planners.schema.plan import Plan
from tests_support import small_plan, sphere_case, write_spheres

CPU = Runtime(torch.device("cpu"), torch.float32)
DATASET = "Dataset001_Spheres"


def prepare_all(workspace: Workspace, plan: Plan, *configurations: str) -> None:
    raw = workspace.raw(DATASET)
    for name in configurations:
        preprocess_dataset(Dataset.open(raw), plan, name, workspace.cases(DATASET, plan.planner, name)).raise_faults()


def train(workspace: Workspace, plan: Plan, configuration: str, fold=0):
    return run_fold(workspace, plan, configuration, fold, CPU)


def declare(folder, **changes) -> None:
    declared = json.loads((folder / "dataset.json").read_text())
    write_json(folder / "dataset.json", {**declared, **changes})


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    write_spheres(tmp_path / "raw" / DATASET, n_cases=5)
    return Workspace(tmp_path)


def cascade_plan() -> Plan:
    plan = small_plan()
    full = plan.configurations["3d_fullres"]
    low = full.model_copy(update={"spacing_mm": (2.0, 2.0, 2.0), "patch": (8, 8, 8)})
    cascade = full.model_copy(update={"data": "3d_fullres", "previous": "3d_lowres"})
    return plan.model_copy(update={"configurations": {"3d_fullres": full, "3d_lowres": low, "3d_cascade_fullres": cascade}})


def test_a_cascade_trains_on_out_of_fold_predictions_and_predicts_through_both_stages(workspace, tmp_path):
    plan = cascade_plan()
    prepare_all(workspace, plan, "3d_lowres", "3d_fullres")
    for fold in range(5):
        train(workspace, plan, "3d_lowres", fold)
    result = train(workspace, plan, "3d_cascade_fullres")
    assert result.scores.n_cases == 1
    predictor = Predictor.open(dataset=1, configuration="3d_cascade_fullres", home=workspace.home, device="cpu")
    (member,) = predictor.members
    assert member.previous is not None and len(member.previous.models) == 5
    masks = predict_folder(predictor, workspace.raw(DATASET) / "imagesTr", tmp_path / "masks")
    assert len(masks) == 5


def test_a_cascade_without_its_earlier_stage_names_what_is_missing(workspace):
    plan = cascade_plan()
    prepare_all(workspace, plan, "3d_lowres", "3d_fullres")
    train(workspace, plan, "3d_lowres", 0)
    with pytest.raises(UserError, match=r"needs a prediction of 3d_lowres for every case.*4 cases without.*autoseg_train"):
        train(workspace, plan, "3d_cascade_fullres")


def test_a_retrained_earlier_stage_is_noticed(workspace):
    plan = cascade_plan()
    prepare_all(workspace, plan, "3d_lowres", "3d_fullres")
    for fold in range(5):
        train(workspace, plan, "3d_lowres", fold)
    train(workspace, plan, "3d_cascade_fullres")
    joined = workspace.cases(DATASET, plan.planner, "3d_cascade_fullres") / "ball_00.json"
    before = joined.read_text()
    mask = next(workspace.model(DATASET, plan.planner, "3d_lowres").path.glob("fold_*/validation/ball_00.nii.gz"))
    label, geometry = read_label(mask)
    write_label(mask, 1 - np.minimum(label, 1), geometry)
    run_fold(workspace, plan, "3d_cascade_fullres", 0, CPU, restart=True)
    assert joined.read_text() != before


def test_regions_are_painted_in_their_order(workspace, tmp_path):
    raw = workspace.raw(DATASET)
    declare(raw, labels={"background": 0, "whole": [1, 2], "core": 2}, regions_class_order=[1, 2])
    plan = small_plan(labels=read_manifest(raw).labels)
    prepare_all(workspace, plan, "3d_fullres")
    result = train(workspace, plan, "3d_fullres")
    assert [label.name for label in result.scores.labels] == ["whole", "core"]
    predictor = Predictor.open(dataset=1, home=workspace.home, device="cpu")
    predict_folder(predictor, raw / "imagesTr", tmp_path / "masks")
    assert json.loads((tmp_path / "masks" / "labels.json").read_text())["labels"] == {"background": 0, "whole": 1, "core": 2}


def test_ignored_voxels_are_neither_predicted_nor_scored(workspace):
    raw = workspace.raw(DATASET)
    declare(raw, labels={"background": 0, "sphere": 1, "core": 2, "ignore": 3})
    for path in sorted((raw / "labelsTr").iterdir()):
        label, geometry = read_label(path)
        label[:8] = 3
        write_label(path, label, geometry)
    plan = small_plan(labels=read_manifest(raw).labels)
    prepare_all(workspace, plan, "3d_fullres")
    result = train(workspace, plan, "3d_fullres")
    assert [label.name for label in result.scores.labels] == ["sphere", "core"]
    mask = next(workspace.fold(DATASET, "budgeted", "3d_fullres", 0).validation.glob("*.nii.gz"))
    assert set(np.unique(read_label(mask)[0])) <= {0, 1, 2}


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_flat_images_train_and_predict_in_their_own_format(tmp_path, ending):
    raw = tmp_path / "raw" / DATASET
    write_json(raw / "dataset.json", {"channel_names": {"0": "MR_0"}, "numTraining": 5, "file_ending": ending,
                                      "labels": {"background": 0, "sphere": 1, "core": 2}})
    for index in range(5):
        case = sphere_case(f"flat_{index}", index)
        from autoseg.grids.geometry import Geometry

        geometry = Geometry((1, 18, 16), (999.0, 1.0, 1.0), dimensions=2)
        grey = np.clip(40 * (case.image_CDHW[:, 10:11] + 1), 0, 255).astype(np.uint8)
        write_array(raw / "imagesTr" / f"{case.name}_0000{ending}", grey, geometry)
        write_label(raw / "labelsTr" / f"{case.name}{ending}", case.label_DHW[10:11], geometry)
    workspace = Workspace(tmp_path)
    plan = small_plan(dimensions=2).model_copy(update={"file_ending": ending})
    prepare_all(workspace, plan, "2d")
    assert train(workspace, plan, "2d").scores.n_cases == 1
    predictor = Predictor.open(dataset=1, home=workspace.home, device="cpu")
    masks = predict_folder(predictor, raw / "imagesTr", tmp_path / "masks")
    assert read_label(masks[0])[0].shape == (1, 18, 16)


def test_a_case_that_lacks_an_optional_channel_is_trained_on_and_predicted(workspace, tmp_path):
    raw = workspace.raw(DATASET)
    declare(raw, channel_names={"0": "MR_0", "1": "MR_1"}, optional_channels=["MR_1"])
    for index in range(0, 5, 2):
        case = sphere_case(f"ball_{index:02}", index)
        write_array(raw / "imagesTr" / f"{case.name}_0001.nii.gz", case.image_CDHW, case.geometry)
    channels = read_manifest(raw).channels
    assert channels == (ChannelSpec(name="MR_0"), ChannelSpec(name="MR_1", required=False))
    plan = small_plan(n_channels=2).model_copy(update={"channels": channels})
    prepare_all(workspace, plan, "3d_fullres")
    train(workspace, plan, "3d_fullres")
    predictor = Predictor.open(dataset=1, home=workspace.home, device="cpu")
    assert len(predict_folder(predictor, raw / "imagesTr", tmp_path / "masks")) == 5


def test_paired_sides_are_swapped_when_a_prediction_is_mirrored(workspace):
    raw = workspace.raw(DATASET)
    declare(raw, labels={"background": 0, "left": 1, "right": 2}, paired_labels=[["left", "right"]])
    plan = small_plan(labels=read_manifest(raw).labels, pair_axis=2)
    prepare_all(workspace, plan, "3d_fullres")
    train(workspace, plan, "3d_fullres")
    predictor = Predictor.open(dataset=1, home=workspace.home, device="cpu")

    class OneSided(torch.nn.Module):
        """Calls the half of the image at low x left, the other right, as an anatomist would."""

        def forward(self, image, present=None, conditions=None, absent=None):
            logits = torch.zeros(len(image), 3, *image.shape[2:])
            half = image.shape[-1] // 2
            logits[:, 1, ..., :half] = 1
            logits[:, 2, ..., half:] = 1
            return logits

    case = sphere_case("x", 0, (16, 16, 16))
    seen = ConfigurationModel(predictor.plan, "3d_fullres", [FoldModel(OneSided())], CPU).predict_label(case)
    assert (seen[..., :8] == 1).all() and (seen[..., 8:] == 2).all()


def test_all_folds_of_a_model_are_ensembled(workspace):
    plan = small_plan()
    prepare_all(workspace, plan, "3d_fullres")
    for fold in (0, 1):
        train(workspace, plan, "3d_fullres", fold)
    assert len(Predictor.open(dataset=1, home=workspace.home, device="cpu").models) == 2
    assert len(Predictor.open(dataset=1, folds=[1], home=workspace.home, device="cpu").models) == 1


def test_the_fold_all_trains_on_every_case_and_has_no_score(workspace):
    plan = small_plan()
    prepare_all(workspace, plan, "3d_fullres")
    result = train(workspace, plan, "3d_fullres", "all")
    assert result.scores is None and result.mean_dice is None
    assert len(Predictor.open(dataset=1, home=workspace.home, device="cpu").models) == 1
