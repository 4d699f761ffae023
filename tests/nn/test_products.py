"""Convolutions that are matrix products on a CPU: torch's own values and gradients."""

import pytest
import torch

from autoseg.nn.networks.blocks import CONV, TRANSPOSED, upsampled, voxelwise

LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def compare(product, layer, n):
    image = torch.randn(2, 6, *(5, 4, 3)[:n], dtype=torch.float64).to(memory_format=LAST[n]).requires_grad_()
    mine, theirs = product(layer, image), layer(image)
    torch.testing.assert_close(mine, theirs)
    of = (image, *layer.parameters())
    weights = torch.randn_like(theirs)
    for one, other in zip(torch.autograd.grad(mine, of, weights), torch.autograd.grad(theirs, of, weights), strict=True):
        torch.testing.assert_close(one, other)
    return mine


@pytest.mark.parametrize("kernel", [(2, 2), (1, 2), (2, 2, 2), (1, 2, 2), (2, 1, 4)])
def test_a_voxel_becomes_a_block(kernel):
    n = len(kernel)
    layer = TRANSPOSED[n](6, 3, kernel, kernel).double().to(memory_format=LAST[n])
    assert compare(upsampled, layer, n).is_contiguous(memory_format=LAST[n])


@pytest.mark.parametrize("n", [2, 3])
def test_heads_are_contiguous(n):
    layer = CONV[n](6, 3, (1,) * n).double().to(memory_format=LAST[n])
    assert compare(voxelwise, layer, n).is_contiguous()
