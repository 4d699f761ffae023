"""Imported models of nnU-Net predict what nnU-Net's own arithmetic says (`nnunet_prediction`), with random weights."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import scipy.ndimage
import torch

import nnunet_layout as layout
from autoseg.formats import read_label
from autoseg.interop.nnunet_architecture import renamed, unet_of
from autoseg.interop.nnunet_model import Wanted, import_nnunet
from autoseg.nn.networks import NETWORKS, NetworkContext
from autoseg.prediction.predictor import Predictor
from autoseg.workspace.names import Workspace
from nnunet_prediction import predicted
from planners.schema.base import Part

ANISOTROPIC = {"strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]]}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
ORDER = (1, 2, 3)


def image(shape, n_channels=1, seed=0, *, scale=300.0) -> np.ndarray:
    """Smooth noise (C, z, y, x) with an empty margin, and a hole."""
    random = np.random.default_rng(seed)
    noise = np.stack([scipy.ndimage.gaussian_filter(random.normal(size=shape), 1.5) for _ in range(n_channels)])
    noise = (scale * noise / noise.std()).astype(np.float32)
    inside = np.zeros(shape, bool)
    inside[1:-1, 2:-1, 1:-2] = True
    inside[5:7, 5:7, 5:7] = False
    return noise * inside


def write_case(folder: Path, image_CDHW: np.ndarray, spacing_mm) -> Path:
    folder.mkdir(exist_ok=True)
    for c, channel in enumerate(image_CDHW):
        affine = np.diag([*spacing_mm[::-1], 1.0])
        nibabel.save(nibabel.Nifti1Image(channel.transpose(2, 1, 0), affine), folder / f"a_{c:04d}.nii.gz")
    return folder / "a_0000.nii.gz"


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float((a == b).mean())


@pytest.mark.parametrize(("block", "strides", "kernels", "bias"), [
    ("plain", [[1, 1, 1], [2, 2, 2], [1, 2, 2]], [[3, 3, 3]] * 3, True),
    ("residual", ANISOTROPIC["strides"], ANISOTROPIC["kernels"], True),
    ("plain", [[1, 1], [2, 2], [2, 2]], [[3, 3]] * 3, False), ("residual", [[1, 1], [2, 2], [2, 1]], [[3, 3]] * 3, False)])
def test_logits_of_a_patch_are_those_of_the_network_of_nnunet(block, strides, kernels, bias):
    arguments = layout.arguments_of(block, strides, kernels, bias=bias)
    theirs = layout.random_unet(arguments, 2, 3)
    n = len(strides[0])
    unet = unet_of(block, arguments, n)
    ours = NETWORKS.make(Part(name="unet"), NetworkContext(unet, 2, 3)).eval()
    own = {f"network.{name}": tensor for name, tensor in ours.state_dict().items()}
    weights = renamed(theirs.state_dict(), own, unet)
    ours.load_state_dict({name.removeprefix("network."): tensor for name, tensor in weights.items()})
    patch = torch.randn(1, 2, *(16,) * n)
    with torch.inference_mode():
        expected, given = theirs(patch), ours.decode(ours.encode(patch), every_stage=False)[0]
    assert torch.allclose(expected, given, atol=1e-4)


def both(tmp_path, configurations, all_plans, dataset, image_CDHW, spacing_mm, *, folds=1, axes=None, cascade=False):
    """What the last imported model predicts, and what nnU-Net's arithmetic says. The second stage of a cascade is given our
    first one in both: a random network makes a large difference of a single voxel.
    """
    n_channels = len(image_CDHW)
    regions = dataset.get("regions_class_order")
    n_labels = len({v for value in dataset["labels"].values() for v in (value if isinstance(value, list) else [value])})
    n_heads = len(regions) if regions else n_labels
    values = tuple(range(1, n_labels)) if cascade else ()
    networks = {}
    for name, configuration in configurations.items():
        n_inputs = n_channels + (len(values) if "previous_stage" in configuration else 0)
        arguments = configuration["architecture"]["arch_kwargs"]
        networks[name] = [layout.random_unet(arguments, n_inputs, n_heads, seed=7 * fold + 1) for fold in range(folds)]
        mirrored = tuple(range(len(configuration["patch_size"]))) if axes is None else axes
        layout.write_model(tmp_path / "results", all_plans, dataset, {
            f"fold_{fold}/checkpoint_final.pth": layout.checkpoint(network, all_plans, name, fold, axes=mirrored)
            for fold, network in enumerate(networks[name])}, name)
    imported = import_nnunet(tmp_path / "results", Workspace(tmp_path / "home"), Wanted())
    assert len(imported) == len(configurations)
    path = write_case(tmp_path / "images", image_CDHW, spacing_mm)
    ours = None
    for name, configuration in configurations.items():
        theirs = predicted(image_CDHW, spacing_mm, all_plans, configuration, networks[name], axes=mirrored, n_heads=n_heads,
                           previous_DHW=ours, regions=regions, values=values)
        folder = next(each.model.path for each in imported if each.model.configuration == name)
        ours = Predictor.open(folder=folder, device="cpu").predict_file(path).label_DHW
        assert agreement(ours, theirs) >= 0.999 and len(np.unique(theirs)) > 2
    return ours, theirs


def test_a_plain_network_on_another_grid_with_two_folds(tmp_path):
    configuration = layout.configuration()
    configuration = {"3d_fullres": configuration}
    ours, theirs = both(tmp_path, configuration, layout.plans(configuration), layout.dataset_json(), image((14, 26, 15)),
                        (1.3, 0.9, 1.2), folds=2)
    assert agreement(ours, theirs) >= 0.999


def test_a_residual_network_on_anisotropic_ct_whose_axes_are_exchanged(tmp_path):
    configuration = {"3d_fullres": layout.configuration("residual", (8, 16, 16), (4.0, 1.1, 1.1),
                                                        schemes=["CTNormalization"], **ANISOTROPIC)}
    all_plans = layout.plans(configuration, transpose=(1, 0, 2))
    ours, theirs = both(tmp_path, configuration, all_plans, layout.dataset_json(channels=["CT"]), image((24, 12, 22)),
                        (1.0, 5.0, 1.0), axes=(1, 2))
    assert agreement(ours, theirs) >= 0.999


def test_a_2d_network_with_masked_z_scores_of_two_channels(tmp_path):
    configuration = {"2d": layout.configuration("plain", (16, 16), (1.0, 1.0), masked=True,
                                                schemes=["ZScoreNormalization", "RescaleTo01Normalization"])}
    all_plans = layout.plans(configuration, transpose=(2, 0, 1), n_channels=2)
    ours, theirs = both(tmp_path, configuration, all_plans, layout.dataset_json(channels=["T1", "T2"]),
                        image((20, 22, 9), 2), (1.2, 1.1, 3.0))
    assert agreement(ours, theirs) >= 0.999


def test_regions_are_painted_in_their_order(tmp_path):
    configuration = {"3d_fullres": layout.configuration("residual")}
    ours, theirs = both(tmp_path, configuration, layout.plans(configuration),
                        layout.dataset_json(REGIONS, regions_class_order=list(ORDER)), image((14, 20, 14)), (1.0, 1.0, 1.0))
    assert agreement(ours, theirs) >= 0.999


@pytest.mark.parametrize("regions", [False, True])
def test_a_cascade_is_given_what_its_first_stage_says(tmp_path, regions):
    configurations = {"3d_lowres": layout.configuration("plain", spacing=(1.5, 1.5, 1.5), next_stage="3d_cascade_fullres"),
                      "3d_cascade_fullres": layout.configuration("residual", previous_stage="3d_lowres")}
    dataset = layout.dataset_json(REGIONS, regions_class_order=list(ORDER)) if regions else layout.dataset_json()
    ours, theirs = both(tmp_path, configurations, layout.plans(configurations), dataset, image((14, 22, 17)),
                        (1.0, 1.0, 1.0), axes=(2,), cascade=True)
    assert agreement(ours, theirs) >= 0.999


def test_spikes_are_kept_as_nnunet_keeps_them(tmp_path):
    configuration = {"3d_fullres": layout.configuration()}
    spiked = image((18, 18, 18))
    spiked[0, 8, 8, 8] = 1e6
    ours, theirs = both(tmp_path, configuration, layout.plans(configuration), layout.dataset_json(), spiked, (1.0, 1.0, 1.0),
                        axes=(0,))
    assert agreement(ours, theirs) >= 0.999


def test_other_forms_of_resampling_slices_are_taken_over(tmp_path):
    configuration = {"3d_fullres": layout.configuration("plain", (8, 16, 16), (4.0, 1.1, 1.1), **ANISOTROPIC)}
    for kind in ("data", "seg", "probabilities"):
        configuration["3d_fullres"][f"resampling_fn_{kind}_kwargs"]["force_separate_z"] = False
    layout.write_model(tmp_path / "results", layout.plans(configuration), layout.dataset_json(), {
        "fold_0/checkpoint_final.pth": layout.checkpoint(layout.random_unet(
            configuration["3d_fullres"]["architecture"]["arch_kwargs"], 1, 3), layout.plans(configuration), "3d_fullres")})
    (imported,) = import_nnunet(tmp_path / "results", Workspace(tmp_path / "home"), Wanted())
    rules = imported.model.read_plan().configurations["3d_fullres"].resampling
    assert rules.anisotropy_threshold > 1e6 and (rules.order_image, rules.order_label, rules.order_logits) == (3, 1, 1)


@pytest.mark.slow
def test_a_model_that_nnunet_has_trained_predicts_what_nnunet_has_predicted(shared_data, tmp_path):
    model = shared_data.parent / "models" / "nnunet_2.8.1_Dataset004"
    if not model.is_dir():
        pytest.skip(f"there is no model at {model}")
    (imported,) = import_nnunet(model, Workspace(tmp_path), Wanted())
    predictor = Predictor.open(folder=imported.model.path, device="cpu")
    for mask in sorted((model / "predicted").glob("*.nii.gz"))[-2:]:
        image_file = mask.name.replace(".nii.gz", "_0000.nii.gz")
        ours = predictor.predict_file(shared_data / "Dataset004_Hippocampus" / "imagesTr" / image_file).label_DHW
        assert agreement(ours, read_label(mask)[0]) >= 0.999
