"""Graphs of ONNX give the logits of the models, the script beside them their masks; what they cannot do is refused."""

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.formats.files import digest
from autoseg.grids.geometry import Geometry
from autoseg.interop.onnx_export import DESCRIPTION, SCRIPT, export_onnx, onnx_bytes, refuse_unsupported
from autoseg.nn.model import build_model
from autoseg.prediction.inference_settings import InferenceSettings, Member, Postprocessing
from autoseg.prediction.predictor import Predictor
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import write_json
from autoseg.workspace.names import Workspace
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from tests_support import small_plan, sphere_case

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

DATASET = "Dataset001_Spheres"
REGIONS = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))
PAIRED = LabelSpec(names={"background": (0,), "left": (1,), "right": (2,)}, paired=(("left", "right"),))


def finished(home, plan, folds=(0, 1)):
    """Folds that have learned nothing."""
    workspace, (name,) = Workspace(home), plan.configurations
    write_json(workspace.model(DATASET, plan.planner, name).plan, plan)
    for fold in folds:
        torch.manual_seed(fold)
        folder = workspace.fold(DATASET, plan.planner, name, fold)
        save_weights(folder.checkpoint, build_model(plan, plan.configurations[name]).state_dict(), {})
        write_json(folder.result, {"mean_dice": 0.5})
    return workspace


def logits_of(content, **given):
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {name: tensor.numpy() for name, tensor in given.items()})[0]


def script(folder, *arguments):
    return subprocess.run([sys.executable, str(folder / SCRIPT), *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """A fold in three dimensions, turned axes, mirrored with a pair of labels, and its graph."""
    home = tmp_path_factory.mktemp("volumes")
    plan = small_plan(labels=PAIRED, pair_axis=2).model_copy(update={"transpose": (1, 0, 2)})
    workspace = finished(home, plan, folds=(0,))
    export_onnx(workspace, 1, home / "graphs")
    return workspace, home / "graphs"


def test_a_graph_gives_the_logits_of_its_fold_for_any_batch(volumes):
    workspace, folder = volumes
    models = Predictor.open(home=workspace.home, device="cpu").models
    for fold, model in enumerate(models):
        for n in (1, 3):
            image = torch.randn(n, 1, 16, 16, 16)
            with torch.inference_mode():
                expected = model.model(image).numpy()
            found = logits_of(str(folder / f"fold_{fold}.onnx"), image=image)
            assert np.abs(found - expected).max() < 1e-3


def test_a_graph_names_no_folder_of_the_machine_that_wrote_it(volumes):
    for path in volumes[1].iterdir():
        content = path.read_bytes()
        assert str(Path(torch.__file__).parent).encode() not in content
        assert str(Path(__file__).parents[2]).encode() not in content and b"stack_trace" not in content


def test_the_script_predicts_our_mask_with_numpy_and_onnxruntime_alone(volumes, tmp_path):
    workspace, folder = volumes
    case = sphere_case("ball", 3, shape=(20, 18, 24))
    case.image_CDHW[:, :2] = 0  # is cropped
    np.save(tmp_path / "image.npy", case.image_CDHW[0])
    result = script(folder, tmp_path / "image.npy", tmp_path / "mask.npy", "--spacing", 1, 1, 1)
    assert result.returncode == 0, result.stderr
    mask = np.load(tmp_path / "mask.npy")
    expected = Predictor.open(home=workspace.home, device="cpu").predict(case).label_DHW
    assert mask.shape == expected.shape and mask.dtype == expected.dtype and len(np.unique(expected)) == 3
    assert (mask == expected).mean() > 0.9999
    source = (folder / SCRIPT).read_text()
    imported = {line.split()[1] for line in source.splitlines() if line.strip().startswith(("import ", "from "))}
    assert imported <= {*sys.stdlib_module_names, "numpy", "onnxruntime"}


@pytest.mark.parametrize(("arguments", "words"), [
    (["image.npy", "mask.npy", "--spacing", 2, 1, 1], "resample the images first"),
    (["image.npy", "image.npy", "mask.npy", "--spacing", 1, 1, 1], "expected 1 channels"),
    (["flat.npy", "mask.npy", "--spacing", 1, 1, 1], "expected three axes"),
    (["none.npy", "mask.npy", "--spacing", 1, 1, 1], "No such file"),
    (["missing", "mask.npy", "--spacing", 1, 1, 1], "one of them at least")])
def test_the_script_refuses_what_the_model_does_not_take(volumes, tmp_path, arguments, words):
    np.save(tmp_path / "image.npy", np.zeros((4, 4, 4)))
    np.save(tmp_path / "flat.npy", np.zeros((4, 4)))
    result = script(volumes[1], *(tmp_path / a if str(a).endswith(".npy") else a for a in arguments))
    assert result.returncode != 0 and words in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "mask.npy").exists()


@pytest.mark.slow
def test_slices_of_two_folds_and_regions_with_a_channel_that_may_be_missing(tmp_path):
    plan = small_plan(2, labels=REGIONS, n_channels=2, mirror_axes=(0,),
                      normalizers=(Part(name="ct"), Part(name="rescale01")))
    plan = plan.model_copy(update={"channels": (ChannelSpec(name="CT"), ChannelSpec(name="MR", required=False))})
    workspace = finished(tmp_path, plan)
    export_onnx(workspace, 1, tmp_path / "graphs")
    predictor = Predictor.open(home=tmp_path, device="cpu")
    image, present = torch.randn(3, 2, 16, 16), torch.tensor([[True, False]] * 3)
    with torch.inference_mode():
        expected = predictor.models[0].model(image, present).numpy()
    found = logits_of(str(tmp_path / "graphs" / "fold_0.onnx"), image=image, present=present)
    assert np.abs(found - expected).max() < 1e-3
    whole = sphere_case("ball", 3, shape=(16, 14, 24))
    case = replace(whole, label_DHW=None, image_CDHW=whole.image_CDHW[:, 7:10],
                   geometry=Geometry((3, 14, 24), (7.0, 1.0, 1.0)))
    np.save(tmp_path / "ct.npy", case.image_CDHW[0])
    result = script(tmp_path / "graphs", tmp_path / "ct.npy", "missing", tmp_path / "mask.npy", "--spacing", 7, 1, 1)
    assert result.returncode == 0, result.stderr
    both = replace(case, image_CDHW=np.concatenate([case.image_CDHW, np.zeros_like(case.image_CDHW)]),
                   present_C=np.array([True, False]))
    assert (np.load(tmp_path / "mask.npy") == predictor.predict(both).label_DHW).mean() > 0.999


@pytest.mark.parametrize(("changes", "words"), [
    ({"previous": "3d_lowres"}, "the earlier stage '3d_lowres' of a cascade"),
    ({"conditioning": Part(name="film")}, "the conditioner 'film'"),
    ({"preprocess": Part(name="macenko")}, "the preprocessor 'macenko'"),
    ({"normalizers": (Part(name="zscore_masked"),)}, "the normaliser 'zscore_masked' of channel 'MR_0'")])
def test_a_part_that_is_not_supported_is_named(changes, words):
    plan = small_plan(**changes)
    with pytest.raises(UserError, match=words):
        refuse_unsupported(plan, plan.configurations["3d_fullres"], "here")


def test_a_network_that_torch_cannot_write_is_named(monkeypatch):
    from autoseg.nn.networks import NETWORKS
    from planners.registry import NoOptions

    class Choosing(torch.nn.Module):
        def __init__(self, options, context):
            super().__init__()
            self.unet = NETWORKS.make(Part(name="unet"), context)

        def encode(self, image):
            return self.unet.encode(image if image.mean() > 0 else -image)

        def decode(self, features, every_stage):
            return self.unet.decode(features, every_stage)

    monkeypatch.setattr(NETWORKS, "_entries", dict(NETWORKS._entries))
    NETWORKS.register("choosing", NoOptions)(Choosing)
    plan = small_plan(network=Part(name="choosing"))
    configuration = plan.configurations["3d_fullres"]
    with pytest.raises(UserError, match=r"network 'choosing' with fusion 'concat' is not supported.*--format zip"):
        onnx_bytes(build_model(plan, configuration), plan, configuration, "here")


def test_several_configurations_are_refused_and_postprocessing_is_named(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("autoseg"), "propagate", True)
    plan = small_plan()
    workspace = finished(tmp_path, plan, folds=(0,))
    weights = digest(workspace.fold(DATASET, "budgeted", "3d_fullres", 0).checkpoint)
    member = Member(planner="budgeted", configuration="3d_fullres", folds=("0",), digests=(weights,))
    settings = InferenceSettings(dataset=DATASET, members=(member, member))
    write_json(workspace.inference_settings(DATASET), settings)
    with pytest.raises(UserError, match=r"of one configuration, and several were chosen together.*choose one with -c"):
        export_onnx(workspace, 1, tmp_path / "graphs")
    monkeypatch.setattr("autoseg.interop.onnx_export.onnx_bytes", lambda *_: b"graph")
    write_json(workspace.inference_settings(DATASET), settings.model_copy(update={
        "members": (member,), "postprocessing": Postprocessing(keep_largest_of_all=True)}))
    export_onnx(workspace, 1, tmp_path / "graphs")
    assert "the postprocessing that was chosen is no part of the graphs" in caplog.text
    written = json.loads((tmp_path / "graphs" / DESCRIPTION).read_text())
    assert written["graphs"] == ["fold_0.onnx"] and written["spacing_mm"] == [1.0, 1.0, 1.0]


def test_without_the_packages_the_command_to_install_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"pip install 'autoseg-pipeline\[onnx\]'"):
        export_onnx(Workspace(tmp_path), 1, tmp_path / "graphs")


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"block": "residual"}, {"block": "ghost"}, {"block": "mednext"}, {"skip": "gated"}])
@pytest.mark.parametrize("n", [2, 3])
def test_every_block_keeps_its_logits(changes, n):
    plan = small_plan(n)
    (configuration,) = plan.configurations.values()
    configuration = configuration.model_copy(update={
        "architecture": configuration.architecture.model_copy(update=changes)})
    same_logits(plan, configuration)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["weighted", "hemis", "attention", "window"])
def test_every_fusion_keeps_its_logits_where_a_channel_is_missing(fusion):
    plan = small_plan(n_channels=2, fusion=Part(name=fusion))
    plan = plan.model_copy(update={"channels": (ChannelSpec(name="CT"), ChannelSpec(name="MR", required=False))})
    same_logits(plan, plan.configurations["3d_fullres"], present=torch.tensor([[True, False]] * 3))


def same_logits(plan, configuration, present=None):
    torch.manual_seed(1)
    model = build_model(plan, configuration).eval()
    image = torch.randn(3, len(plan.channels), *configuration.patch)
    with torch.inference_mode():
        expected = model(image, present).numpy()
    given = {"image": image} if present is None else {"image": image, "present": present}
    assert np.abs(logits_of(onnx_bytes(model, plan, configuration, "here"), **given) - expected).max() < 1e-3
