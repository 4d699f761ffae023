"""Postprocessing of label maps that are drawn by hand."""

import numpy as np
import pytest

from autoseg.grids.geometry import Geometry
from autoseg.prediction.inference_settings import Postprocessing
from autoseg.prediction.postprocess import apply
from planners.schema.labels import LabelSpec

PLAIN = LabelSpec(names={"background": (0,), "liver": (1,), "tumour": (2,)})
REGIONS = LabelSpec(names={"background": (0,), "whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)},
                    region_order=(1, 2, 3))


def rows(*text: str) -> np.ndarray:
    """A single slice: a digit a voxel."""
    return np.array([[[int(c) for c in line] for line in text]], np.uint8)


def done(label, labels=PLAIN, spacing=(1.0, 1.0, 1.0), **steps):
    return apply(Postprocessing(**steps), label, labels, Geometry(label.shape, spacing))


def test_nothing_is_done_by_default():
    label = rows("0120")
    assert done(label) is label


def test_what_changes_nothing_returns_the_same_map():
    label = rows("0110")
    assert done(label, keep_largest=("liver",), fill_holes=("liver",), minimum_ml={"liver": 0.002}) is label


def test_the_given_map_is_left_as_it_is():
    label = rows("1101")
    done(label, keep_largest=("liver",))
    assert np.array_equal(label, rows("1101"))


def test_the_largest_component_of_all_counts_labels_together():
    assert np.array_equal(done(rows("1120011"), keep_largest_of_all=True), rows("1120000"))


def test_the_largest_component_of_one_label_leaves_the_others():
    assert np.array_equal(done(rows("1101022"), keep_largest=("liver",)), rows("1100022"))


def test_a_shared_corner_joins():
    label = rows("1000", "0100", "0001")
    assert np.array_equal(done(label, keep_largest=("liver",)), rows("1000", "0100", "0000"))


def test_holes_of_a_slice_are_filled_and_other_labels_keep_theirs():
    label = rows("11111", "10201", "11111")
    assert np.array_equal(done(label, fill_holes=("liver",)), rows("11111", "11211", "11111"))


def test_a_notch_is_no_hole():
    label = rows("111", "100", "111")
    assert np.array_equal(done(label, fill_holes=("liver",)), label)


def test_a_cavity_of_a_volume_is_filled():
    label = np.ones((3, 3, 3), np.int16)
    label[1, 1, 1] = 0
    assert done(label, fill_holes=("liver",)).all()
    label[0, 1, 1] = 0  # now it is open
    assert np.array_equal(done(label, fill_holes=("liver",)), label)


def test_components_below_a_volume_go_and_those_of_it_stay():
    label = rows("1101011")  # voxels of 2 x 1 x 0.5 mm
    assert np.array_equal(done(label, spacing=(2.0, 1.0, 0.5), minimum_ml={"liver": 0.002}), rows("1100011"))


def test_steps_follow_each_other_in_their_order():
    """The ring is filled before its volume counts: 8 voxels alone would be too few."""
    label = rows("1110", "1010", "1110")
    assert np.array_equal(done(label, fill_holes=("liver",), minimum_ml={"liver": 0.009}), rows("1110", "1110", "1110"))


def test_what_is_no_core_any_more_is_still_tumour():
    label = rows("1221131")
    assert np.array_equal(done(label, REGIONS, keep_largest=("core",)), rows("1221111"))


def test_a_component_of_the_whole_goes_with_all_within():
    assert np.array_equal(done(rows("1231002"), REGIONS, keep_largest=("whole",)), rows("1231000"))


def test_a_hole_of_the_core_becomes_core():
    label = rows("2222", "2102", "2222")
    assert np.array_equal(done(label, REGIONS, fill_holes=("core",)), rows("2222", "2222", "2222"))


def test_an_empty_map_stays_empty():
    label = np.zeros((2, 3, 4), np.uint8)
    assert done(label, keep_largest_of_all=True, fill_holes=("tumour",), minimum_ml={"liver": 1.0}) is label


def test_a_name_that_is_no_foreground_is_refused():
    with pytest.raises(ValueError, match="no foreground is named spleen; named: liver, tumour"):
        done(rows("1"), keep_largest=("spleen",))
