import numpy as np
import pytest
import scipy.ndimage

from autoseg.grids.crop import anything, bounding_box, nonzero_mask

ALL = np.ones(1, dtype=bool)


def test_the_box_is_that_of_what_is_not_zero():
    image_CDHW = np.zeros((1, 6, 7, 8))
    image_CDHW[0, 2, 1, 3] = image_CDHW[0, 4, 5, 3] = -1
    assert bounding_box(nonzero_mask(image_CDHW, ALL)) == ((2, 5), (1, 6), (3, 4))


def test_a_box_of_nothing_is_everything():
    assert bounding_box(np.zeros((2, 3, 4), dtype=bool)) == ((0, 2), (0, 3), (0, 4))


def test_a_hole_is_filled_and_a_bay_is_not():
    image_CDHW = np.zeros((1, 7, 7, 7))
    image_CDHW[0, 1:6, 1:6, 1:6] = 1
    image_CDHW[0, 3, 3, 3] = 0  # closed
    image_CDHW[0, 1, 2, 2] = 0  # open to the border
    mask_DHW = nonzero_mask(image_CDHW, ALL)
    assert mask_DHW[3, 3, 3] and not mask_DHW[1, 2, 2] and not mask_DHW[0, 0, 0]
    assert mask_DHW.sum() == 5**3 - 1


def test_any_present_channel_counts_and_an_absent_one_does_not():
    image_CDHW = np.zeros((3, 1, 1, 4))
    image_CDHW[0, ..., 0] = image_CDHW[1, ..., 1] = image_CDHW[2, ..., 3] = 1
    present_C = np.array([True, True, False])
    assert anything(image_CDHW, present_C).ravel().tolist() == [True, True, False, False]
    assert bounding_box(nonzero_mask(image_CDHW, present_C)) == ((0, 1), (0, 1), (0, 2))


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_holes_are_those_that_scipy_fills(share):
    image_CDHW = np.zeros((1, 14, 15, 16))
    image_CDHW[0, 2:11, 3:12, 1:15] = np.random.default_rng(3).random((9, 9, 14)) < share
    np.testing.assert_array_equal(nonzero_mask(image_CDHW, ALL), scipy.ndimage.binary_fill_holes(image_CDHW[0] != 0))


def test_the_image_is_left_as_it_is():
    image_CDHW = np.random.default_rng(0).integers(0, 2, (2, 4, 4, 4))
    before = image_CDHW.copy()
    nonzero_mask(image_CDHW, np.ones(2, dtype=bool))
    np.testing.assert_array_equal(image_CDHW, before)


def test_what_is_absent_is_not_looked_at():
    image_CDHW = np.array([[0, 1, 0, 0], [np.nan, 0, 0, np.nan]]).reshape(2, 1, 1, 4)
    absent_CDHW = np.array([[False] * 4, [True, False, False, True]]).reshape(2, 1, 1, 4)
    assert anything(image_CDHW, np.ones(2, bool), absent_CDHW).ravel().tolist() == [False, True, False, False]
    assert bounding_box(nonzero_mask(image_CDHW, np.ones(2, bool), absent_CDHW)) == ((0, 1), (0, 1), (1, 2))
