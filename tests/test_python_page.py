"""The blocks of docs/reference/python.md run, one after the other, as a reader would type them."""

import re
from pathlib import Path

import numpy as np
import torch

from autoseg.formats import read_label, write_array
from autoseg.grids.geometry import Geometry
from autoseg.nn.model import build_model
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import write_json
from autoseg.workspace.folders import ModelFolder
from planners.schema.channels import ChannelSpec
from tests_support import small_plan, sphere_case

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "python.md"
PUBLIC = ("Predictor.open", "Volume", "UserError", "Cancelled")


def prepare(folder: Path) -> None:
    """A model of a CT that has learned nothing, in `liver`, and a CT."""
    plan = small_plan(mirror_axes=()).model_copy(update={"channels": (ChannelSpec(name="CT"),)})
    model = ModelFolder(folder / "Dataset001_Spheres" / "budgeted" / "3d_fullres")
    write_json(model.plan, plan)
    torch.manual_seed(0)
    save_weights(model.fold(0).checkpoint, build_model(plan, plan.configurations["3d_fullres"]).state_dict(), {})
    write_json(model.fold(0).result, {"mean_dice": 0.5})
    (folder / "liver").symlink_to(model.path, target_is_directory=True)
    write_array(folder / "ct.nii.gz", sphere_case("a", 3).image_CDHW, Geometry((20, 18, 16), (1.5, 0.9, 1.1)))


def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    names: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert "('CT',)" in printed and "100%" in printed and "cancelled" in printed and "no image with a grid" in printed
    assert np.array_equal(read_label(tmp_path / "mask.nii.gz")[0], names["result"].label.array)
    assert all(name in text for name in PUBLIC)
