"""Patch and batch sizes, checked by hand."""

import math

import pytest

from planners.rules.patch import fit_patch, largest_batch, largest_patch, smaller
from planners.rules.pooling import pooling
from planners.rules.spacing import Grid


def grid(spacing_mm, shape) -> Grid:
    return Grid(spacing_mm, shape, math.prod(shape))


def test_largest_patch_has_the_volume_of_a_cube_of_256_and_equal_millimetres():
    assert largest_patch(grid((1, 1, 1), (999, 999, 999))) == (256, 256, 256)
    assert largest_patch(grid((4, 1, 1), (999, 999, 999))) == (102, 406, 406)  # 256 * 4**(1/3) = 406.4


def test_largest_patch_of_two_dimensions_has_the_area_of_a_square_of_2048():
    assert largest_patch(grid((4, 1), (9999, 9999))) == (1024, 4096)


def test_largest_patch_is_no_larger_than_the_median_case():
    assert largest_patch(grid((1, 1, 1), (999, 100, 45.5))) == (256, 100, 45.5)


def test_patch_shrinks_along_the_axis_on_which_it_sees_most():
    image = grid((1, 1, 1), (128, 200, 256))
    assert smaller(pooling(image.spacing_mm, (128, 128, 128)), image).patch == (112, 128, 128)


def test_last_of_equal_axes_shrinks_first_and_no_valid_size_is_skipped():
    image = grid((1, 1, 1), (999, 999, 999))
    shape = pooling(image.spacing_mm, (256, 256, 256))  # 64 divides it; 192 = 6 * 32 is divided by 32, and so is 224
    assert smaller(shape, image).patch == (256, 256, 224)


def test_fitting_patch_is_the_first_that_fits():
    image = grid((1, 1, 1), (999, 999, 999))
    tried = []

    def fits(shape) -> bool:
        tried.append(math.prod(shape.patch))
        return tried[-1] <= 128**3

    assert math.prod(fit_patch(image, fits).patch) == tried[-1] <= 128**3
    assert sorted(tried, reverse=True) == tried
    assert all(voxels > 128**3 for voxels in tried[:-1])


def test_no_patch_fits_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match=r"no patch fits.*allow more memory"):
        fit_patch(grid((1, 1, 1), (20, 20, 20)), lambda shape: False)


def test_batch_sees_no_more_than_its_share_of_the_dataset():
    assert largest_batch(grid((1, 1), (20, 50)), (10, 10), n_cases=10, share=0.05) == 5
