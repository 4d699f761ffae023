"""A coarse pass first: what it calls background is not predicted again."""

import numpy as np
import torch
from torch import nn

from autoseg.base.runtime import Runtime
from autoseg.prediction import prepared
from autoseg.prediction.prepared import maybe_foreground
from autoseg.prediction.tiles import coarse, cover
from autoseg.prediction.window import predict_logits
from planners.schema.labels import LabelSpec
from predict_phantoms import CASE, predictor_of
from tests_support import small_plan

CPU = Runtime(torch.device("cpu"), torch.float32)
LABELS = LabelSpec(names={"background": (0,), "organ": (1,)})
MAYBE = maybe_foreground(LABELS)


class Bright(nn.Module):
    """Foreground is what is bright; it counts its passes."""

    def __init__(self):
        super().__init__()
        self.passes = 0

    def forward(self, image, present=None, conditions=None, absent=None):
        self.passes += len(image)
        return torch.cat([torch.zeros_like(image), 20 * image - 10], dim=1)


def predicted(image, **how):
    plan = small_plan(labels=LABELS, patch=(8, 8, 8), mirror_axes=(0, 1, 2))
    model = Bright()
    return predict_logits(model, image, plan.configurations["3d_fullres"], CPU, **how), model.passes


def test_coarse_tiles_are_a_part_of_the_tiles_and_cover_the_image():
    tiling = cover((20, 8, 17), (8, 8, 8))
    covered = torch.zeros(20, 8, 17)
    for tile in coarse(tiling):
        covered[tile.window] += 1
    assert covered.min() == 1
    assert [tile.start[0] for tile in coarse(tiling) if tile.start[2] == 0] == [0, 8, 12]  # of 0, 4, 8, 12
    assert {tile.start for tile in coarse(tiling)} < {tile.start for tile in tiling}


def test_only_what_overlaps_something_is_predicted_in_full():
    image = np.zeros((1, 40, 8, 8), np.float32)
    image[0, 2, 4, 4] = 1
    full, passes = predicted(image)
    seldom, fewer = predicted(image, maybe=MAYBE)
    assert passes == 9 * 8  # tiles at 0, 4, ..., 32
    assert fewer == 5 + 7  # 0, 8, ..., 32 once; only the first holds the voxel, seven copies of it are missing
    torch.testing.assert_close(seldom, full)


def test_where_everything_is_suspicious_everything_is_as_without():
    image = np.random.default_rng(0).random((1, 17, 12, 8), np.float32)
    full, passes = predicted(image)
    same, as_many = predicted(image, maybe=MAYBE)
    assert passes == as_many
    torch.testing.assert_close(same, full)


def test_where_nothing_is_nothing_is_predicted_twice():
    full, passes = predicted(np.zeros((1, 24, 24, 24), np.float32))
    empty, fewer = predicted(np.zeros((1, 24, 24, 24), np.float32), maybe=MAYBE)
    assert (passes, fewer) == (5**3 * 8, 3**3)
    torch.testing.assert_close(empty, full)


def test_suspicious_is_one_in_a_hundred():
    odds = torch.tensor([0.009, 0.011]).logit()
    assert MAYBE(torch.stack([torch.zeros(2), odds])).tolist() == [False, True]
    regions = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))
    assert maybe_foreground(regions)(torch.stack([odds, torch.full((2,), -9.0)])).tolist() == [False, True]


def test_the_switch_reaches_the_tiles(monkeypatch):
    asked = []
    monkeypatch.setattr(prepared, "predict_logits",
                        lambda *args, maybe=None, **more: asked.append(maybe) or predict_logits(*args, maybe=maybe, **more))
    predictor = predictor_of()
    predictor.members[0].skip_background = True
    label = predictor.predict(CASE).label_DHW
    assert asked[0] is not None
    assert (label == predictor_of().predict(CASE).label_DHW).all()
    assert asked[1:] == [None]
