"""A convolution before a normalisation: its bias is kept and takes no part in training."""

import pytest
import torch

from autoseg.nn.networks.blocks import SLOPE, ConvBlock, ResidualBlock


@pytest.mark.parametrize("block", [ConvBlock, ResidualBlock])
def test_the_bias_before_a_normalisation_is_in_the_state_and_is_not_trained(block):
    made = block(2, 4, (3, 3))
    biases = [part.bias for part in made.modules() if isinstance(part, torch.nn.Conv2d) and part.bias is not None]
    assert biases and not any(bias.requires_grad for bias in biases)
    assert sum(name.endswith("bias") for name in made.state_dict()) > len(biases)


def test_that_bias_changes_nothing():
    torch.manual_seed(0)
    block, image = ConvBlock(2, 4, (3, 3)).double(), torch.randn(2, 2, 6, 5, dtype=torch.float64)
    before = block(image)
    torch.nn.init.constant_(block[0].bias, 3.0)
    torch.testing.assert_close(block(image), before)


def test_a_block_is_convolution_normalisation_and_rectifier():
    torch.manual_seed(0)
    block, image = ConvBlock(2, 4, (3, 3)).double(), torch.randn(2, 2, 6, 5, dtype=torch.float64)
    expected = torch.nn.functional.leaky_relu(torch.nn.functional.instance_norm(block[0](image)), SLOPE)
    torch.testing.assert_close(block(image), expected)
