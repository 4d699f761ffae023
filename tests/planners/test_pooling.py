"""Strides and kernels, checked by hand."""

import pytest

from planners.rules.pooling import features, pooling, unet


def test_isotropic_patch_is_halved_down_to_four_voxels():
    shape = pooling((1, 1, 1), (128, 128, 128))
    assert shape.strides == ((1, 1, 1), *[(2, 2, 2)] * 5)
    assert shape.kernel_sizes == ((3, 3, 3),) * 6
    assert shape.divisor == (32, 32, 32)


def test_coarse_axis_waits_until_the_others_are_within_a_factor_of_two():
    shape = pooling((5, 1, 1), (16, 256, 256))  # in plane 1, 2, 4 mm; 5 / 4 < 2
    assert shape.strides == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2))
    assert shape.kernel_sizes == ((1, 3, 3), (1, 3, 3), *[(3, 3, 3)] * 5)
    assert shape.divisor == (4, 64, 64)


def test_twice_as_coarse_is_not_within_a_factor_of_two():
    assert pooling((2, 1, 1), (32, 32, 32)).strides[1] == (1, 2, 2)
    assert pooling((1.999, 1, 1), (32, 32, 32)).strides[1] == (2, 2, 2)


def test_kernel_once_grown_stays():
    shape = pooling((1, 1, 1), (8, 128, 128))  # the first axis stops at 4 voxels and is passed by the others
    assert shape.strides == ((1, 1, 1), (2, 2, 2), (1, 2, 2), (1, 2, 2), (1, 2, 2), (1, 2, 2))
    assert shape.kernel_sizes == ((3, 3, 3),) * 6


def test_kernel_of_the_bottleneck_is_three_on_a_coarse_axis_too():
    assert pooling((9, 1, 1), (4, 8, 8)).kernel_sizes == ((1, 3, 3), (3, 3, 3))


@pytest.mark.parametrize(("edge", "strides"), [(11, ((1, 1),)), (12, ((1, 1), (1, 2)))])
def test_an_axis_alone_is_halved_from_twelve_voxels_on(edge, strides):
    assert pooling((1, 1), (4, edge)).strides == strides


def test_patch_is_padded_to_what_the_strides_divide():
    shape = pooling((1, 1, 1), (50, 49, 45.5))  # 50 -> 25 -> 13 -> 7: three halvings
    assert shape.patch == (56, 56, 48)
    assert shape.divisor == (8, 8, 8)


def test_patch_too_small_to_halve_has_one_stage():
    shape = pooling((1, 1, 1), (7, 6, 5))
    assert (shape.patch, shape.strides, shape.kernel_sizes) == ((7, 6, 5), ((1, 1, 1),), ((3, 3, 3),))


def test_scale_of_the_spacing_does_not_matter():
    assert pooling((3, 0.7, 0.9), (40, 200, 160)) == pooling((3e-3, 0.7e-3, 0.9e-3), (40, 200, 160))


def test_features_double_up_to_the_maximum_of_two_and_three_dimensions():
    assert features(4, 16, 40) == (16, 32, 40, 40)
    assert unet(pooling((1, 1), (256, 256)), "plain", (2,), 2).features == (32, 64, 128, 256, 512, 512, 512)
    assert unet(pooling((1, 1, 1), (128, 128, 128)), "plain", (2,), 2).features == (32, 64, 128, 256, 320, 320)


def test_last_number_of_blocks_serves_all_deeper_stages():
    architecture = unet(pooling((1, 1, 1), (128, 128, 128)), "residual", (1, 3, 4, 6), 1, base_features=8, max_features=32)
    assert architecture.blocks_encoder == (1, 3, 4, 6, 6, 6)
    assert architecture.convs_decoder == (1, 1, 1, 1, 1)
    assert architecture.features == (8, 16, 32, 32, 32, 32)
