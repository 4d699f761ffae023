"""Boxes around what is not zero."""

import numpy as np
import pytest

from autoseg.grids.boxes import box_of_values, boxes_of_values, extent, joint_box, occupied


def marked(*voxels):
    label_DHW = np.zeros((5, 6, 7), np.int16)
    for voxel in voxels:
        label_DHW[voxel] = 2
    return label_DHW


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int16, np.uint8])
def test_the_extent_is_that_of_what_is_not_zero(dtype):
    assert extent(marked((1, 2, 3), (3, 2, 6)).astype(dtype)) == (slice(1, 4), slice(2, 3), slice(3, 7))


def test_the_extent_of_nothing_is_none():
    assert extent(np.zeros((2, 3), bool)) is None


def test_values_that_are_negative_are_not_zero_either():
    assert extent(np.array([[0, -1], [1, 0]])) == (slice(0, 2), slice(0, 2))


def test_what_several_maps_occupy_holds_all_of_them():
    assert occupied(marked((1, 2, 3)), marked((4, 0, 3)), marked()) == (slice(1, 5), slice(0, 3), slice(3, 4))


def test_maps_of_background_occupy_one_voxel():
    assert occupied(marked(), marked()) == (slice(0, 1),) * 3


def test_the_joint_box_holds_both():
    assert joint_box([(slice(1, 3), slice(0, 1), slice(4, 5)), (slice(2, 6), slice(5, 6), slice(0, 9))]) == (
        slice(1, 6), slice(0, 6), slice(0, 9))


def test_a_region_lies_in_the_box_of_all_its_values():
    label_DHW = marked((1, 2, 3))
    label_DHW[4, 5, 6] = 7
    boxes = boxes_of_values(label_DHW)
    assert set(boxes) == {2, 7} and boxes[7] == (slice(4, 5), slice(5, 6), slice(6, 7))
    assert box_of_values(boxes, (2, 3, 7)) == (slice(1, 5), slice(2, 6), slice(3, 7))
    assert box_of_values(boxes, (1,)) is None
