"""What an architecture answers, by hand."""

import pytest

from planners.architectures.unet import UNet

SMALL = UNet(strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)), kernel_sizes=((1, 3, 3), (3, 3, 3), (3, 3, 3)), features=(4, 8, 16),
             blocks_encoder=(1, 1, 1), convs_decoder=(1, 1))


def test_the_divisor_is_the_product_of_the_strides():
    assert (SMALL.dimensions, SMALL.divisor) == (3, (2, 4, 4))


def test_each_feature_map_has_its_voxels_and_channels():
    assert SMALL.voxels((4, 8, 8)) == [256, 64, 8]
    assert SMALL.channels == (4, 8, 16)


@pytest.mark.parametrize(("patch", "fault"), [
    ((4, 8, 8), None), ((4, 6, 8), r"the patch [4, 6, 8] must be divisible by [2, 4, 4]"),
    ((2, 4, 4), "the patch [2, 4, 4] leaves a single voxel"), ((8, 8), "must all have 2 axes")])
def test_a_patch_that_does_not_fit_is_told_why(patch, fault):
    faults = SMALL.faults(patch)
    assert (fault is None and faults == []) or (len(faults) == 1 and fault in faults[0])


def test_a_residual_encoder_costs_more_than_a_plain_one():
    residual = SMALL.model_copy(update={"block": "residual"})
    assert (SMALL.title, residual.title) == ("plain U-Net", "residual U-Net")
    assert residual.cost((4, 8, 8), 1, 2).parameters > SMALL.cost((4, 8, 8), 1, 2).parameters


def test_lengths_that_do_not_agree_are_refused():
    with pytest.raises(ValueError, match=r"a U-Net of 1 strides needs .* got \(1, 2, 1\) and 0"):
        UNet(strides=((1, 1),), kernel_sizes=((3, 3),), features=(4, 8), blocks_encoder=(1,), convs_decoder=())
