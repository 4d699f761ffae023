"""Which axes are resampled how, and that three products equal scikit-image's resize."""

import numpy as np
import pytest
import torch
from skimage.transform import resize as skimage_resize

from autoseg.grids.resample import resample_image, resample_rows, value_limits
from autoseg.grids.resize import Resize, axis_matrix, plan_resize, separate_axis, target_shape
from planners.schema.plan import Resampling

RULES = Resampling()


def test_a_shape_keeps_its_extent_and_halves_round_to_even():
    assert target_shape((10, 512, 512), (5.0, 0.7, 0.7), (2.5, 1.4, 1.4)) == (20, 256, 256)
    assert target_shape((5, 7, 1), (1.0, 1.0, 1.0), (2.0, 2.0, 9.0)) == (2, 4, 1)


@pytest.mark.parametrize("before, after, axis", [
    ((5, 1, 1), (1, 1, 1), 0),        # thick slices in the file
    ((1, 1, 1), (1, 1, 5), 2),        # thick slices in the plan
    ((5, 1, 1), (1, 6, 1), 0),        # the file decides
    ((3, 1, 1), (1, 1, 1), None),     # exactly three times is not beyond it
    ((1, 1, 1), (0.5, 0.5, 1), None),
    ((0.2, 1, 1), (1, 1, 1), None),   # two coarse axes: no slices
])
def test_the_axis_across_slices(before, after, axis):
    assert separate_axis(before, after, 3.0) == axis


def test_the_axis_across_slices_gets_its_own_order():
    resize = plan_resize(((4, 8, 8), (8, 9, 9)), (5.0, 1.0, 1.0), (2.5, 0.9, 0.9), 3, RULES)
    assert resize.orders == (0, 3, 3) and resize.separate == 0


def test_a_linear_matrix_by_hand():
    np.testing.assert_allclose(axis_matrix(2, 4, 1), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    np.testing.assert_allclose(axis_matrix(4, 2, 1), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])


def test_rows_of_a_matrix_sum_to_one_so_that_constants_stay():
    for order in (0, 1, 3):
        np.testing.assert_allclose(axis_matrix(13, 29, order).sum(1), 1, atol=1e-12)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("before, after", [((9, 14, 11), (13, 9, 21)), ((8, 8, 8), (16, 8, 3)), ((1, 5, 7), (1, 9, 4))])
def test_products_equal_skimage(order, before, after):
    image = np.random.default_rng(0).normal(size=before)
    expected = skimage_resize(image, after, order, mode="edge", anti_aliasing=False, clip=True)
    ours = resample_image(torch.tensor(image[None], dtype=torch.float32), Resize(before, after, (order,) * 3))
    np.testing.assert_allclose(ours[0].numpy(), expected, atol=5e-6)


def test_a_spline_does_not_leave_the_range_of_the_image():
    step = torch.zeros(1, 4, 8, 8)
    step[..., 4:] = 1
    out = resample_image(step, Resize((4, 8, 8), (4, 8, 23), (3, 3, 3)))
    assert out.min() == 0 and out.max() == 1


def test_separate_slices_are_clipped_each_to_its_own_range():
    image = torch.zeros(1, 2, 8, 8)
    image[:, 0, :, 4:] = 1
    image[:, 1, :, 4:] = 5
    out = resample_image(image, Resize((2, 8, 8), (4, 8, 23), (0, 3, 3), separate=0))
    assert out.amax((0, 2, 3)).tolist() == [1, 1, 5, 5]


def test_equal_shapes_return_the_image_itself():
    image = torch.rand(2, 3, 4, 5)
    assert resample_image(image, Resize((3, 4, 5), (3, 4, 5), (3, 3, 3))) is image


def test_wide_ranges_are_computed_in_double_precision():
    image = np.random.default_rng(1).uniform(-1000, 30000, size=(12, 30, 30)).astype(np.float32)
    expected = skimage_resize(image.astype(float), (12, 47, 41), 3, mode="edge", anti_aliasing=False)
    ours = resample_image(torch.from_numpy(image[None]), Resize((12, 30, 30), (12, 47, 41), (3, 3, 3)))
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours[0].numpy(), expected, rtol=1e-6, atol=2e-3)


@pytest.mark.parametrize("orders, separate", [((3, 3, 3), None), ((1, 1, 1), None), ((0, 1, 1), 0), ((1, 0, 1), 1)])
def test_rows_of_a_slab_equal_those_of_the_whole(orders, separate):
    image = torch.randn(2, 11, 9, 10)
    resize = Resize((11, 9, 10), (17, 12, 8), orders, separate)
    whole = resample_image(image, resize)
    for start, stop in ((0, 5), (5, 6), (6, 17)):
        rows = resample_rows(image, resize, value_limits(image, resize), start, stop)
        torch.testing.assert_close(rows, whole[:, start:stop])
