"""The foreground index: what is sampled, and that no component is forgotten."""

import numpy as np

from autoseg.preprocessing import foreground
from autoseg.preprocessing.foreground import ANNOTATED, VOXELS_PER_CLASS, case_generator, sample_foreground
from planners.schema.labels import LabelSpec

PLAIN = LabelSpec(names={"background": (0,), "liver": (1,), "tumour": (2,)})


def sample(label, labels=PLAIN, name="case"):
    return sample_foreground(label, labels, case_generator(name))


def test_a_small_class_is_kept_whole():
    label = np.zeros((4, 5, 6), dtype=np.int16)
    label[1:3, 2:4, 1] = 2
    voxels, lesions = sample(label)
    np.testing.assert_array_equal(voxels["tumour"], np.argwhere(label == 2))
    assert lesions["tumour"].tolist() == [1] * 4


def test_a_class_without_voxels_is_left_out():
    voxels, lesions = sample(np.zeros((3, 3, 3), dtype=np.int16))
    assert voxels == {} and lesions == {}


def test_corners_touch_and_gaps_separate():
    label = np.zeros((4, 4, 4), dtype=np.int16)
    label[0, 0, 0] = label[1, 1, 1] = label[3, 3, 3] = 1
    _, lesions = sample(label)
    assert lesions["liver"].tolist() == [1, 1, 2]


def test_every_sampled_voxel_has_its_class_and_component():
    label = np.zeros((20, 40, 40), dtype=np.int16)
    label[2:18, 3:37, 3:37] = 1
    label[5:7, 10:12, 10:12] = 2
    voxels, _ = sample(label)
    assert len(voxels["liver"]) == VOXELS_PER_CLASS < np.count_nonzero(label == 1)
    assert (label[tuple(voxels["liver"].T)] == 1).all()
    assert len(np.unique(voxels["liver"], axis=0)) == VOXELS_PER_CLASS


def test_a_small_lesion_beside_a_large_one_keeps_twenty_voxels():
    label = np.zeros((40, 60, 60), dtype=np.int16)
    label[:30] = 1
    label[35:38, 10:13, 10:13] = 1  # 27 voxels, of 108,027: the draw alone would find two or three
    label[35:37, 40:42, 40:42] = 1  # 8 voxels
    voxels, lesions = sample(label)
    counts = np.bincount(lesions["liver"])[1:]
    assert counts[1] >= foreground.VOXELS_PER_COMPONENT and counts[2] == 8
    assert counts.sum() == len(voxels["liver"]) <= VOXELS_PER_CLASS + 28
    for lesion, (z, y, x) in ((2, (36, 11, 11)), (3, (36, 41, 41))):
        mine = voxels["liver"][lesions["liver"] == lesion]
        assert np.abs(mine - (z, y, x)).max() <= 1


def test_regions_join_their_labels():
    label = np.zeros((3, 6, 6), dtype=np.int16)
    label[1, 1:3, 1:3] = 1
    label[1, 3:5, 1:3] = 2
    regions = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))
    voxels, lesions = sample(label, regions)
    assert len(voxels["whole"]) == 8 and set(lesions["whole"]) == {1}
    np.testing.assert_array_equal(voxels["core"], np.argwhere(label == 2))


def test_with_an_ignore_label_annotated_voxels_are_indexed_too():
    label = np.full((2, 4, 4), 3, dtype=np.int16)
    label[0, 0] = (0, 1, 2, 0)
    labels = PLAIN.model_copy(update={"ignore": 3})
    voxels, lesions = sample(label, labels)
    assert set(voxels) == {"liver", "tumour", ANNOTATED} == set(lesions)
    np.testing.assert_array_equal(voxels[ANNOTATED], [(0, 0, x) for x in range(4)])


def test_the_sample_depends_on_the_name_alone():
    label = np.ones((20, 40, 40), dtype=np.int16)
    first, again, other = (sample(label, name=name)[0]["liver"] for name in ("a", "a", "b"))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
