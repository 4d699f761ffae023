"""Faults put into the earlier prediction of a cascade."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from autoseg.batches.augment.cascade import CascadeOptions, closed, corrupt, dilate, erode, opened
from batch_phantoms import seeded

ONLY_MORPHOLOGY = CascadeOptions(p_morphology=1, p_morphology_name=1, p_loss=0)
ONLY_LOSS = CascadeOptions(p_morphology=0, p_loss=1, p_loss_name=1)


def ball(radius, dimensions):
    steps = np.arange(-int(radius), int(radius) + 1)
    return sum(axis**2 for axis in np.meshgrid(*[steps] * dimensions)) <= radius**2


@pytest.mark.parametrize("shape", [(14, 15, 12), (20, 17)])
@pytest.mark.parametrize("radius", [1.0, 2.5, 4.0])
def test_morphology_is_that_of_scipy(shape, radius):
    mask = np.random.default_rng(0).random(shape) > 0.95
    element = ball(radius, len(shape))
    assert np.array_equal(dilate(torch.from_numpy(mask), radius), ndimage.binary_dilation(mask, element))
    assert np.array_equal(erode(torch.from_numpy(~mask), radius),
                          ndimage.binary_erosion(~mask, element, border_value=True))


def test_opening_removes_a_speck_and_closing_fills_a_hole():
    mask = torch.zeros(9, 9, dtype=torch.bool)
    mask[4, 4] = True
    assert not opened(mask, 1.0).any()
    assert closed(~mask, 1.0).all()


def test_what_one_name_gains_the_others_lose():
    masks = torch.zeros(20, 2, 16, 16)
    masks[:, 0, :, :8] = 1
    masks[:, 1, :, 8:] = 1
    before = masks.clone()
    corrupt(masks, ONLY_MORPHOLOGY, seeded(), exclusive=True)
    assert masks.sum(1).max() == 1 and not torch.equal(masks, before)


def test_regions_may_go_on_overlapping():
    masks = torch.zeros(20, 2, 16, 16)
    masks[:, 0, 2:14, 2:14] = 1
    masks[:, 1, 6:10, 6:10] = 1
    corrupt(masks, ONLY_MORPHOLOGY, seeded(), exclusive=False)
    assert masks.sum(1).max() == 2


def test_one_component_is_lost_each_being_as_likely():
    masks = torch.zeros(400, 1, 20, 20)
    masks[:, :, 2:7, 2:7] = 1
    masks[:, :, 15, 15] = 1
    corrupt(masks, ONLY_LOSS, seeded(), exclusive=True)
    large, small = masks[:, 0, 3, 3] == 0, masks[:, 0, 15, 15] == 0
    assert torch.equal(large, ~small)
    assert abs(small.sum() - 200) < 4 * 10


def test_voxels_that_touch_at_a_corner_are_one_component():
    masks = torch.zeros(1, 1, 8, 8, 8)
    masks[0, 0, 2, 2, 2] = masks[0, 0, 3, 3, 3] = 1
    corrupt(masks, ONLY_LOSS, seeded(), exclusive=True)
    assert masks.sum() == 0


def test_a_component_that_covers_much_of_the_patch_is_kept():
    masks = torch.ones(4, 1, 8, 8)
    corrupt(masks, ONLY_LOSS, seeded(), exclusive=True)
    assert masks.all()


def test_faults_are_as_frequent_as_in_nnunet():
    masks = torch.zeros(1000, 1, 12, 12)
    masks[:, :, 5:7, 5:7] = 1
    corrupt(masks, CascadeOptions(p_loss=0), seeded(), exclusive=True)
    # 0.4 * 0.5 of the samples are operated on; closing changes nothing of a lone square, the other three do.
    changed = int((masks.flatten(1).sum(1) != 4).sum())
    assert abs(changed - 150) < 4 * (1000 * 0.15 * 0.85) ** 0.5
    masks[:] = 0
    masks[:, :, 5:7, 5:7] = 1
    corrupt(masks, CascadeOptions(p_morphology=0), seeded(), exclusive=True)
    lost = int((masks.flatten(1).sum(1) == 0).sum())
    assert abs(lost - 100) < 4 * (1000 * 0.1 * 0.9) ** 0.5
