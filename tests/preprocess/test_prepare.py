"""A case prepared: order of the steps, crop, missing channels, spacing."""

import numpy as np
import pytest
from preprocess_plans import tiny_plan

from autoseg.data.case import Case
from autoseg.data.geometry import Geometry
from autoseg.preprocess.prepare import prepare


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
