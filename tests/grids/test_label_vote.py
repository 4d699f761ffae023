"""Labels are resampled by votes; the fast path equals voting at every voxel."""

import numpy as np
import pytest
from skimage.transform import resize as skimage_resize

from autoseg.base.errors import UserError
from autoseg.grids import label_vote
from autoseg.grids.label_vote import resample_label
from autoseg.grids.resize import Resize


def resampled(label, shape, orders=(1, 1, 1), separate=None):
    label = np.asarray(label)
    return resample_label(label, Resize(label.shape, shape, orders, separate))


def everywhere(label, shape):
    """One-hot, linear, the largest wins; ties to the nearest voxel's label if it is among them, else the smallest."""
    values = np.unique(label)
    votes = np.stack([skimage_resize((label == value).astype(float), shape, 1, mode="edge", anti_aliasing=False)
                      for value in values])
    nearest = skimage_resize(label.astype(float), shape, 0, mode="edge", anti_aliasing=False)
    winner = values[votes.argmax(0)]
    for vote_DHW, value in zip(votes, values, strict=True):
        winner = np.where((vote_DHW == votes.max(0)) & (nearest == value), value, winner)
    return winner


def test_a_doubled_line_keeps_its_border():
    assert resampled(np.array([[[0, 0, 7, 7]]], dtype=np.int16), (1, 1, 8)).ravel().tolist() == [0] * 4 + [7] * 4


def test_no_value_between_two_labels_appears():
    out = resampled(np.array([[[0, 0, 2]]], dtype=np.int16), (1, 1, 7))
    assert set(out.ravel()) == {0, 2}


def test_a_tie_goes_to_the_nearest_voxel():
    # Two voxels become one: each has half of the votes, and the sample point's neighbour to the right is nearest.
    assert resampled(np.array([[[5, 3]]], dtype=np.int16), (1, 1, 1)).item() == 3
    assert resampled(np.array([[[3, 5]]], dtype=np.int16), (1, 1, 1)).item() == 5


def test_where_three_labels_meet_none_is_lost():
    corner = np.array([[[3, 1], [1, 1]], [[2, 2], [2, 3]]], dtype=np.int16)  # 1: 3/8, 2: 3/8, 3: 2/8
    assert resampled(corner, (1, 1, 1)).item() == 1  # the nearest voxel's label, 3, lost: the smallest of the tied


@pytest.mark.parametrize("before, after", [((8, 9, 10), (13, 20, 7)), ((6, 6, 6), (12, 12, 12)),
                                           ((10, 8, 9), (5, 4, 3)), ((1, 12, 12), (1, 7, 30))])
def test_the_fast_path_equals_voting_everywhere(before, after):
    label = np.random.default_rng(2).integers(-1, 4, before).astype(np.int16)
    np.testing.assert_array_equal(resampled(label, after), everywhere(label, after))


def test_separate_slices_are_taken_from_the_nearest_one():
    label = np.random.default_rng(3).integers(0, 3, (3, 6, 6)).astype(np.int16)
    out = resampled(label, (6, 9, 9), (0, 1, 1), separate=0)
    for new in range(6):
        np.testing.assert_array_equal(out[new], everywhere(label[new // 2], (9, 9)))


def test_small_slabs_and_chunks_change_nothing(monkeypatch):
    label = np.random.default_rng(4).integers(0, 5, (9, 9, 9)).astype(np.int16)
    whole = resampled(label, (14, 13, 12))
    monkeypatch.setattr(label_vote, "_SLAB_VOXELS", 200)
    monkeypatch.setattr(label_vote, "_CHUNK_VOXELS", 17)
    np.testing.assert_array_equal(resampled(label, (14, 13, 12)), whole)


def test_many_labels_cost_no_accuracy():
    label = np.random.default_rng(5).permutation(1000).reshape(10, 10, 10).astype(np.int16)
    np.testing.assert_array_equal(resampled(label, (30, 30, 30))[1::3, 1::3, 1::3], label)


def test_a_spline_of_labels_is_refused():
    with pytest.raises(UserError, match="order_label"):
        resampled(np.zeros((2, 2, 2), np.int16), (3, 3, 3), (3, 3, 3))
