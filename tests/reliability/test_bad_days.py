"""A command that is killed, or whose write fails, leaves the old state; the same command again gives what it gives
undisturbed.

These are a seeded sample; `benchmarks/bad_day_sweep.py` tries every point of every command.
"""

import os
import random

import numpy as np
import pytest
import torch

if not hasattr(os, "fork"):
    pytest.skip("the system has no fork", allow_module_level=True)

from autoseg.base.errors import UserError
from autoseg.formats import write_array
from autoseg.formats.probabilities import write_probabilities
from autoseg.grids.geometry import Geometry
from autoseg.workspace.checkpoint import save_state, save_weights
from bad_day_stages import undisturbed
from bad_days import FAILED, FULL, KILLED, fault_after, points_of, run_child
from compared_trees import contents


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return undisturbed(tmp_path_factory.mktemp("prepared"), ("prepare",))["prepare"]


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return undisturbed(tmp_path_factory.mktemp("bad_days"))


def fault_at_a_point(stage, what) -> str:
    points = [at for at, kind in enumerate(points_of(stage.command, stage.before, stage.root), 1)
              if kind == "open" or (what != FULL and kind not in ("unlink", "rmdir"))]
    at = random.Random(f"{stage.name} {what}").choice(points)
    return fault_after(stage.command, stage.before, stage.root, stage.expected, at, what)


@pytest.mark.parametrize("what", [KILLED, FAILED, FULL])
def test_preparing_again_gives_what_it_gives_undisturbed(prepared, what):
    assert fault_at_a_point(prepared, what) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plan", "train", "choose", "predict", "evaluate", "report"])
@pytest.mark.parametrize("what", [KILLED, FAILED, FULL])
def test_the_same_command_again_gives_what_it_gives_undisturbed(stages, name, what):
    assert fault_at_a_point(stages[name], what) == ""


GRID = Geometry((12, 12, 12), (1.0, 1.0, 1.0))
RANDOM = np.random.default_rng(0).random((1, 12, 12, 12)).astype(np.float32)
FLAT = (RANDOM[:, :1] * 255).astype(np.uint8), Geometry((1, 12, 12), (1.0, 1.0, 1.0), dimensions=2)
TENSORS = {"a": torch.arange(9000.0)}
WRITERS = {"mask.png": lambda path: write_array(path, *FLAT),
           "p.b2nd": lambda path: write_probabilities(path, RANDOM, has_regions=True),
           "state.pt": lambda path: save_state(path, TENSORS),
           "checkpoint.safetensors": lambda path: save_weights(path, TENSORS, {})}


@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.nii", "mask.mha", "mask.mhd", "mask.nrrd", "mask.tif", *WRITERS])
def test_a_full_disk_is_told_with_the_final_place_by_every_writer(tmp_path, name):
    root = tmp_path / "results"
    path = root / name

    def write() -> int:
        try:
            WRITERS.get(name, lambda path: write_array(path, RANDOM, GRID))(path)
        except UserError as error:
            print(error)
            return 2
        return 0

    assert write() == 0
    before = contents(root)
    opened = [at for at, kind in enumerate(run_child(write, root).kinds, 1) if kind in ("open", "mkdir")]
    before_state = sorted(contents(root))  # a state has a predecessor from the second one on
    statuses = []
    for at in opened:
        outcome = run_child(write, root, at, FULL)
        statuses.append(outcome.status)
        if outcome.status:
            assert f"{root}/{path.stem.split('.')[0]}" in outcome.text and ".partial_" not in outcome.text
        assert sorted(contents(root)) == before_state and contents(root)[name] == before[name]
    assert 2 in statuses and set(statuses) <= {0, 2}
