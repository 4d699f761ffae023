"""Masked statistics, shared stems, weights and attention of fusions, on numbers that a reader can check."""

import math

import pytest
import torch

from autoseg.nn.fusion import FUSIONS, FusionContext
from autoseg.nn.fusion.masking import masked_mean
from autoseg.nn.fusion.stem import SharedStem
from planners.schema.base import Part


class OwnValues(torch.nn.Module):
    """A stem whose single feature is the image."""

    def forward(self, image_BCDHW, available):
        return image_BCDHW.unsqueeze(2)


def make(name, n_channels, **options):
    """A 2D fusion of the channels' own values."""
    fusion = FUSIONS.make(Part(name=name, options={"features": 1, **options}), FusionContext(n_channels, 2))
    fusion.stem = OwnValues()
    return fusion


def channels(*values):
    """One sample of one voxel."""
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


def available(*flags):
    return torch.tensor(flags).view(1, -1, 1, 1)


def test_a_masked_mean_is_of_what_is_available_and_zero_of_nothing():
    values = torch.tensor([[1.0, 5.0], [3.0, 7.0], [9.0, 9.0]])
    mask = torch.tensor([[True, False], [True, False], [False, False]])
    assert masked_mean(values, mask, dim=0).tolist() == [2.0, 0.0]
    assert masked_mean(values, None, dim=0).tolist() == pytest.approx([13 / 3, 7.0])


def test_a_stem_scales_and_shifts_what_one_kernel_finds_in_every_channel():
    stem = SharedStem(2, 2, features=1)
    with torch.no_grad():
        stem.kernel.zero_()[0, 0, 1, 1] = 1.0  # the voxel itself
        stem.scale.copy_(torch.tensor([[2.0], [-1.0]]))
        stem.shift.copy_(torch.tensor([[1.0], [0.5]]))
    image = torch.tensor([[3.0]]).expand(1, 2, 1, 1)
    # 2 * 3 + 1 = 7; -3 + 0.5 = -2.5, of which the leaky rectifier leaves a hundredth
    assert stem(image, None).flatten().tolist() == pytest.approx([7.0, -0.025])


def test_a_stem_reads_the_fill_where_a_channel_ends():
    stem = SharedStem(1, 2, features=1)
    with torch.no_grad():
        stem.kernel.fill_(1.0)
        stem.shift.zero_()
        stem.fill.fill_(10.0)
    image = torch.tensor([[[[1.0, float("nan")]]]])
    assert stem(image, torch.tensor([[[[True, False]]]])).flatten().tolist() == [11.0, 11.0]


def test_a_strided_stem_keeps_a_token_for_the_last_voxel_of_an_odd_axis():
    assert SharedStem(2, 3, features=4, stride=2)(torch.zeros(1, 2, 5, 6, 1), None).shape == (1, 2, 4, 3, 3, 1)


def test_weights_are_a_softmax_over_the_available_channels():
    fusion = make("weighted", 3)
    with torch.no_grad():
        fusion.weight.copy_(torch.tensor([0.0, math.log(2), math.log(5)]))
    image = channels(8.0, 16.0, 24.0)
    assert fusion(image, None).item() == pytest.approx((1 * 8 + 2 * 16 + 5 * 24) / 8)
    assert fusion(image, available(True, False, True)).item() == pytest.approx((1 * 8 + 5 * 24) / 6)
    assert fusion(image, available(False, True, False)).item() == pytest.approx(16)


def test_weights_start_equal():
    assert make("weighted", 2)(channels(2.0, 4.0), None).item() == pytest.approx(3)


def test_moments_are_of_the_available_channels():
    fusion = make("hemis", 3)
    # 1, 3, 8: mean 4, squared distances 9 + 1 + 16; 1, 3: mean 2, squared distances 1 + 1
    assert fusion(channels(1.0, 3.0, 8.0), None).flatten().tolist() == pytest.approx([4, 26 / 3])
    assert fusion(channels(1.0, 3.0, 8.0), available(True, True, False)).flatten().tolist() == pytest.approx([2, 1])


def test_one_channel_alone_has_no_variance():
    assert make("hemis", 3)(channels(1.0, 3.0, 8.0), available(False, True, False)).flatten().tolist() == [3, 0]


def test_a_voxel_takes_its_own_availability():
    image = torch.tensor([[[[1.0, 1.0]], [[5.0, 5.0]]]])
    seen = torch.tensor([[[[True, True]], [[True, False]]]])
    assert make("hemis", 2)(image, seen)[0, :, 0].tolist() == [[3, 1], [4, 0]]


def test_two_channels_attend_to_each_other_as_on_paper():
    fusion = make("attention", 2, heads=1)
    with torch.no_grad():
        fusion.gate.fill_(1.0)
        for layer in (fusion.to_qkv, fusion.project):  # queries, keys and values are the image
            layer.weight.fill_(1.0)
            layer.bias.zero_()
    image = channels(0.0, 1.0)
    # the first asks with 0 and weighs both alike; the second weighs e^0 and e^1; what comes out is the mean of the two
    answer = (0.5 + math.e / (1 + math.e)) / 2
    assert fusion(image, None).item() == pytest.approx(0.5 + answer)
    assert fusion(image, available(False, True)).item() == pytest.approx(1 + 1)


@pytest.mark.parametrize(("name", "options"), [("attention", {"features": 6, "heads": 4}), ("hemis", {"features": 0}),
                                               ("window", {"width": 6, "heads": 4}), ("weighted", {"heads": 2})])
def test_options_that_cannot_be_are_refused(name, options):
    with pytest.raises(ValueError, match=r"share|greater than 0|Extra inputs"):
        FUSIONS.options(name, options)


def test_concat_computes_no_gradient_of_an_image_that_lacks_nothing():
    fusion, image = FUSIONS.make(Part(name="concat"), FusionContext(2, 2)), torch.randn(1, 2, 3, 3)
    whole, without = (torch.tensor([[[[True]], [[second]]]]) for second in (True, False))
    assert not fusion(image, whole).requires_grad and fusion(image, without).requires_grad
