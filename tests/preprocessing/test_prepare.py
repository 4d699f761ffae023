"""A case prepared: order of the steps, crop, missing channels, spacing."""

import dataclasses

import numpy as np
import pytest

from autoseg.datasets.case import Case
from autoseg.grids.geometry import Geometry
from autoseg.preprocessing.prepare import prepare
from preprocess_plans import tiny_plan


def case(image, label=None, spacing_mm=(1.0, 1.0, 1.0), present=None):
    image = np.asarray(image, dtype=np.float32)
    present = np.ones(len(image), dtype=bool) if present is None else np.array(present)
    return Case("one", image, present, Geometry(image.shape[1:], spacing_mm), label)


def prepared(case, plan):
    return prepare(case, plan, plan.configurations["tiny"])


def ball(shape=(8, 10, 12)):
    """An image that is zero at the border, and a label in its middle."""
    image = np.zeros((1, *shape), dtype=np.float32)
    image[0, 1:-2, 2:-3, 3:-4] = np.random.default_rng(0).uniform(1, 9, (shape[0] - 3, shape[1] - 5, shape[2] - 7))
    label = np.zeros(shape, dtype=np.int16)
    label[3:5, 4:6, 5:7] = 2
    return image, label


def test_the_zero_border_is_cut_off_and_remembered():
    image, label = ball()
    out = prepared(case(image, label), tiny_plan())
    assert out.box == ((1, 6), (2, 7), (3, 8)) and out.cropped_shape == (5, 5, 5)
    assert out.image_CDHW.shape == (1, 5, 5, 5) and out.image_CDHW.dtype == np.float32
    np.testing.assert_array_equal(out.label_DHW, label[1:6, 2:7, 3:8])
    assert out.geometry == Geometry((8, 10, 12), (1.0, 1.0, 1.0))


def test_normalising_comes_after_cropping_and_before_resampling():
    image, label = ball()
    crop = image[0, 1:6, 2:7, 3:8]
    out = prepared(case(image, label), tiny_plan())
    np.testing.assert_allclose(out.image_CDHW[0], (crop - crop.mean()) / crop.std(), atol=1e-5)
    finer = prepared(case(image, label), tiny_plan((0.5, 0.5, 0.5)))
    assert finer.image_CDHW.shape == (1, 10, 10, 10)
    assert finer.image_CDHW.max() <= out.image_CDHW.max() and finer.image_CDHW.min() >= out.image_CDHW.min()


def test_axes_are_transposed_with_their_spacing():
    image, label = ball()
    out = prepared(case(image, label, (3.0, 2.0, 1.0)), tiny_plan((1.0, 3.0, 2.0), transpose=(2, 0, 1)))
    assert out.box == ((3, 8), (1, 6), (2, 7)) and out.spacing_mm == (1.0, 3.0, 2.0)
    np.testing.assert_array_equal(out.label_DHW, label[1:6, 2:7, 3:8].transpose(2, 0, 1))


def test_a_2d_configuration_leaves_the_slices_as_they_are():
    image, label = ball()
    out = prepared(case(image, label, (4.0, 1.0, 1.0)), tiny_plan((0.5, 0.5)))
    assert out.image_CDHW.shape == (1, 5, 10, 10) and out.spacing_mm == (4.0, 0.5, 0.5)
    for z in range(5):  # each slice is what it would be on its own
        np.testing.assert_array_equal(out.label_DHW[z][::2, ::2], label[z + 1, 2:7, 3:8])


def test_a_missing_channel_is_zero_and_never_read():
    image, label = ball()
    both = np.concatenate([image, np.full_like(image, np.nan)])
    out = prepared(case(both, label, present=(True, False)), tiny_plan((0.7, 0.7, 0.7), normalizers=("zscore",) * 2))
    assert out.present_C.tolist() == [True, False]
    assert not out.image_CDHW[1].any() and np.isfinite(out.image_CDHW).all()
    assert out.box == ((1, 6), (2, 7), (3, 8))


def test_the_masked_normalizer_sees_the_non_zero_region_and_the_label():
    image = np.zeros((1, 1, 4, 4), dtype=np.float32)
    image[0, 0, 0] = (1, 3, 1, 3)
    image[0, 0, 3, 3] = 2
    label = np.zeros((1, 4, 4), dtype=np.int16)
    label[0, 3, 0] = 1
    out = prepared(case(image, label), tiny_plan(normalizers=("zscore_masked",)))
    inside = np.array([1, 3, 1, 3, 2, 0])
    assert out.image_CDHW[0, 0, 1, 1] == 0
    assert out.image_CDHW[0, 0, 3, 0] == pytest.approx((0 - inside.mean()) / inside.std(), abs=1e-5)


def test_the_background_outside_is_stored_as_zero():
    image = np.zeros((1, 4, 8, 8), dtype=np.float32)
    image[0, :, :4] = 1
    image[0, 0, 0, 0] = image[0, 3, 7, 7] = 5
    label = np.zeros((4, 8, 8), dtype=np.int16)
    label[1:3, 1:3, 1:3] = 1
    out = prepared(case(image, label), tiny_plan((0.6, 0.6, 0.6)))
    assert set(np.unique(out.label_DHW)) == {0, 1}


def test_without_a_label_there_is_no_foreground():
    out = prepared(case(ball()[0]), tiny_plan())
    assert out.label_DHW is None and out.foreground == {}


def test_the_index_is_of_the_resampled_label():
    image, label = ball()
    out = prepared(case(image, label), tiny_plan((0.5, 0.5, 0.5)))
    np.testing.assert_array_equal(out.foreground["tumour"], np.argwhere(out.label_DHW == 2))
    assert len(out.foreground["tumour"]) == 64 - 8  # a corner of the doubled cube has .75 ** 3 < .5 of the votes


def test_the_case_is_left_unchanged():
    image, label = ball()
    before = image.copy(), label.copy()
    prepared(case(image, label), tiny_plan((0.8, 0.8, 0.8), normalizers=("zscore_masked",)))
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(label, before[1])


def two_fields_of_view():
    """The ball, and a second channel that ends after column 6 of 12 and holds NaN where it is absent."""
    image, label = ball()
    second = image[0] * 3 + 1
    second[image[0] == 0] = 0
    absent = np.zeros((2, *label.shape), dtype=bool)
    absent[1, :, :, 6:] = True
    second[absent[1]] = np.nan
    one = case(np.stack([image[0], second]), label)
    return dataclasses.replace(one, absent_CDHW=absent)


def test_a_channel_is_normalised_by_the_voxels_that_it_has():
    made = two_fields_of_view()
    out = prepared(made, tiny_plan(normalizers=("zscore",) * 2))
    assert out.box == ((1, 6), (2, 7), (3, 8))
    np.testing.assert_array_equal(out.absent_CDHW[1], made.absent_CDHW[1, 1:6, 2:7, 3:8])
    assert not out.absent_CDHW[0].any() and not out.image_CDHW[out.absent_CDHW].any()
    seen = made.image_CDHW[1, 1:6, 2:7, 3:6]
    np.testing.assert_allclose(out.image_CDHW[1, :, :, :3], (seen - seen.mean()) / seen.std(), atol=1e-5)


def test_the_other_channel_and_the_label_do_not_notice():
    made, plan = two_fields_of_view(), tiny_plan((0.7, 0.7, 0.7), normalizers=("zscore",) * 2)
    alone = prepared(case(made.image_CDHW[:1], made.label_DHW), tiny_plan((0.7, 0.7, 0.7)))
    both = prepared(made, plan)
    np.testing.assert_array_equal(both.image_CDHW[0], alone.image_CDHW[0])
    np.testing.assert_array_equal(both.label_DHW, alone.label_DHW)


def test_absence_is_resampled_with_the_image():
    """Three of five columns are there: of ten finer ones the first six, and of a coarser grid the half-seen is absent."""
    finer = prepared(two_fields_of_view(), tiny_plan((0.5, 0.5, 0.5), normalizers=("zscore",) * 2))
    assert finer.absent_CDHW.shape == finer.image_CDHW.shape == (2, 10, 10, 10)
    assert finer.absent_CDHW[1, 0, 0].tolist() == [False] * 6 + [True] * 4
    assert not finer.image_CDHW[finer.absent_CDHW].any() and np.isfinite(finer.image_CDHW).all()
    assert finer.image_CDHW[1, :, :, :6].any(axis=(0, 1)).all()
    turned = prepared(two_fields_of_view(), tiny_plan((0.5, 0.5, 0.5), normalizers=("zscore",) * 2, transpose=(2, 1, 0)))
    assert turned.absent_CDHW[1, :, 0, 0].tolist() == [False] * 6 + [True] * 4


def test_in_2d_absence_is_resampled_in_its_slices():
    made = two_fields_of_view()
    made.absent_CDHW[1, 3] = True  # a whole slice, the third of the crop
    out = prepared(made, tiny_plan((0.5, 0.5), normalizers=("zscore",) * 2))
    assert out.absent_CDHW.shape == (2, 5, 10, 10)
    assert out.absent_CDHW[1].all(axis=(1, 2)).tolist() == [False, False, True, False, False]


def test_absence_that_the_crop_cuts_away_is_none():
    image, label = ball()
    absent = np.zeros(image.shape, dtype=bool)
    absent[..., -2:] = True
    out = prepared(dataclasses.replace(case(image, label), absent_CDHW=absent), tiny_plan())
    assert out.absent_CDHW is None
    np.testing.assert_array_equal(out.image_CDHW, prepared(case(image, label), tiny_plan()).image_CDHW)


def test_a_channel_without_any_voxel_in_the_crop_is_zero_and_absent():
    image, label = ball()
    absent = np.stack([np.zeros(label.shape, dtype=bool), np.ones(label.shape, dtype=bool)])
    both = np.concatenate([image, np.full_like(image, np.nan)])
    out = prepared(dataclasses.replace(case(both, label), absent_CDHW=absent),
                   tiny_plan((0.8, 0.8, 0.8), normalizers=("zscore", "zscore_masked")))
    assert out.absent_CDHW[1].all() and not out.image_CDHW[1].any()
