"""From images to maps on their grid, pictures, explanations.json and the report."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from autoseg.cli import explain as command
from autoseg.explain.explanations import Explanations
from autoseg.formats import read_image, write_array, write_label
from autoseg.grids.geometry import Geometry
from autoseg.nn.model import build_model
from autoseg.nn.networks import NETWORKS, NetworkTraits
from autoseg.reporting.html.gather import gather
from autoseg.reporting.html.render import render
from autoseg.reporting.html.sections_explanations import explanations_section
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import read_model, write_json
from autoseg.workspace.names import Workspace
from explain_phantoms import FirstChannel, plan_with, two_boxes
from planners.registry import Entry, NoOptions
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec

DATASET, NAME = "Dataset001_Boxes", "3d_fullres"
SHAPE = (16, 16, 18)  # z, y, x
GRID = Geometry(SHAPE, (2.0, 1.0, 1.5), origin_mm=(10.0, -20.0, 5.0))
CT, PET = ChannelSpec(name="noNorm"), ChannelSpec(name="PET", required=False)
FAST = ["--samples", "1", "--draws", "2", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _stub(monkeypatch):
    monkeypatch.setitem(NETWORKS._entries, "first", Entry("first", FirstChannel, NoOptions, NetworkTraits()))


@pytest.fixture
def home(tmp_path):
    """A workspace with a fold that looks at the first channel, and two cases, of which one lacks the second."""
    plan = plan_with("first", mirror_axes=(), normalizers=(Part(name="none"),) * 2, spacing_mm=(2.0, 1.0, 1.5))
    plan = plan.model_copy(update={"dataset": DATASET, "channels": (CT, PET)})
    workspace = Workspace(tmp_path / "home")
    folder = workspace.fold(DATASET, plan.planner, NAME, 0)
    write_json(workspace.model(DATASET, plan.planner, NAME).plan, plan)
    torch.manual_seed(0)
    save_weights(folder.checkpoint, build_model(plan, plan.configurations[NAME]).state_dict(), {})
    write_json(folder.result, {"mean_dice": 0.5})
    images = two_boxes(SHAPE)
    for case, present in (("a", (0, 1)), ("b", (0,))):
        for channel in present:
            image_CDHW = 0.1 + images[channel][None].astype(np.float32)
            write_array(tmp_path / "imgs" / f"{case}_{channel:04}.nii.gz", image_CDHW, GRID)
    write_label(tmp_path / "labels" / "a.nii.gz", (images[0] > 0).astype(np.uint8), GRID)
    return tmp_path


def run(home, *more) -> int:
    return command.main(["-i", str(home / "imgs"), "--home", str(home / "home"), *FAST, *map(str, more)])


def test_maps_lie_on_the_grid_of_the_image_beside_pictures_and_what_is_said_of_them(home, capsys):
    assert run(home, "-o", home / "maps", "--labels", home / "labels") == 0
    known = read_model(home / "maps" / "explanations.json", Explanations)
    assert [case.case for case in known.cases] == ["a", "b"] and known.fold == "0"
    first, second = known.cases
    assert [record.method for record in first.maps] == ["gradcam", "smoothgrad"]
    for record in first.maps:
        file = nib.load(home / "maps" / record.file)
        image = file.get_fdata()
        assert image.shape[:3] == SHAPE[::-1] and image.max() == pytest.approx(1)
        np.testing.assert_allclose(file.affine, nib.load(home / "imgs" / "a_0000.nii.gz").affine)
        assert record.deletion is not None and record.shuffled and record.passed is not None
        picture, _ = read_image(home / "maps" / record.picture)
        assert picture.shape[0] in (3, 4) and picture.std() > 10
    assert nib.load(home / "maps" / first.maps[1].file).shape == (*SHAPE[::-1], 2)
    gradient_xyzc = nib.load(home / "maps" / first.maps[1].file).get_fdata()
    np.testing.assert_array_equal(gradient_xyzc[..., 0].T > 0, two_boxes(SHAPE)[0] > 0)  # where it is in the file
    assert first.maps[1].channels == ("noNorm", "PET") and first.maps[1].shares == (1.0, 0.0)
    assert {(row.kind, row.name) for row in first.occlusions} == {
        ("channel", "noNorm"), ("channel", "PET"), ("component", "lesion 1"), ("component", "lesion 2")}
    without = next(row for row in first.occlusions if row.name == "noNorm").effects[0]
    assert (without.dice_before, without.dice) == (1.0, 0.0)
    assert [row.kind for row in second.occlusions] == ["component", "component"]  # its only channel is not withheld
    assert "no Dice: the case has no label among those given" in second.remarks
    assert "4 maps of 2 cases" in capsys.readouterr().out


def test_maps_in_the_folder_of_the_fold_are_in_the_report(home):
    assert run(home, "--cases", "a", "--regions", "blocks", "--methods", "smoothgrad", "occlusion") == 0
    assert run(home, "--cases", "b", "--methods", "smoothgrad") == 0
    workspace = Workspace(home / "home")
    folder = workspace.fold(DATASET, "budgeted", NAME, 0).explanations
    known = read_model(folder / "explanations.json", Explanations)
    assert [case.case for case in known.cases] == ["a", "b"]  # the second command keeps what the first one found
    blocks = next(record for record in known.cases[0].maps if record.method == "occlusion")
    assert read_image(folder / blocks.file)[0].max() > 0
    section = explanations_section(gather(workspace, DATASET))
    assert section is not None and section.id == "explanations"
    figures = [figure for block in section.blocks if block.kind == "figures" for figure in block.figures]
    assert len(figures) == 3 and all(figure.uri.startswith("data:image/png") for figure in figures)
    text = render(gather(workspace, DATASET))
    assert "What it looks at" in text and ("FAILED its controls" in text or "Passed its controls" in text)


def test_a_report_without_explanations_has_no_such_section(home):
    assert explanations_section(gather(Workspace(home / "home"), DATASET)) is None


def test_one_voxel_is_explained(home):
    assert run(home, "-o", home / "maps", "--cases", "a", "--target", "voxel:4,5,6", "--methods", "smoothgrad") == 0
    found_xyzc = nib.load(home / "maps" / "a_smoothgrad_1_lesion.nii.gz").get_fdata()
    assert np.argwhere(found_xyzc > 0).tolist() == [[6, 5, 4, 0]]


@pytest.mark.parametrize(("options", "message"), [
    (["--layer", "neck"], "no such layer (found: neck; expected: encoder_0, bottleneck)"),
    (["--only", "liver"], "the model has no such label (found: liver; expected: lesion)"),
    (["--cases", "zz"], "there is no image of case zz (found: a, b)"),
    (["--target", "voxel:16,0,0", "--cases", "a"], "case a: the voxel lies outside the image (found: [16, 0, 0]; "
     "expected: z, y, x from [0, 0, 0] to [15, 15, 17])"),
    (["--target", "component:3", "--cases", "a"], "the prediction has no such component (found: lesion: 2"),
    (["--target", "lesion"], "the target is of no known form (found: lesion; expected: class, component:K"),
    (["-f", "3"], "fold 3 is not trained"), (["--labels", "{home}/none"], "none: there is no such folder")])
def test_what_does_not_exist_is_named(home, capsys, options, message):
    options = [option.replace("{home}", str(home)) for option in options]
    assert run(home, "-o", home / "maps", *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_case_that_lacks_its_image_does_not_stop_the_others(home, capsys):
    (home / "imgs" / "b_0000.nii.gz").unlink()
    write_array(home / "imgs" / "b_0001.nii.gz", two_boxes(SHAPE)[1][None].astype(np.float32), GRID)
    assert run(home, "-o", home / "maps", "--methods", "gradcam") == 2
    assert "b" in capsys.readouterr().err
    known = json.loads((home / "maps" / "explanations.json").read_text())
    assert [case["case"] for case in known["cases"]] == ["a"]


def test_a_cascade_is_refused_with_its_earlier_stage_named(home, capsys):
    workspace = Workspace(home / "home")
    model = workspace.model(DATASET, "budgeted", NAME)
    plan = model.read_plan()
    cascade = plan.configurations[NAME].model_copy(update={"previous": "3d_lowres"})
    for name, configuration in (("3d_lowres", plan.configurations[NAME]), ("3d_cascade_fullres", cascade)):
        folder = workspace.fold(DATASET, "budgeted", name, 0)
        stages = {"3d_lowres": plan.configurations[NAME], name: configuration}
        own = plan.model_copy(update={"configurations": stages})
        write_json(workspace.model(DATASET, "budgeted", name).plan, own)
        save_weights(folder.checkpoint, build_model(own, configuration).state_dict(), {})
        write_json(folder.result, {"mean_dice": 0.5})
    assert run(home, "-c", "3d_cascade_fullres") == 2
    assert "a cascade is not explained" in (error := capsys.readouterr().err) and "-c 3d_lowres" in error
