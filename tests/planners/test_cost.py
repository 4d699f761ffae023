"""The cost of networks: by hand, and against torch."""

from typing import get_args

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from autoseg.nn.networks import NETWORKS, NetworkContext
from planners.architectures.unet import Block, UNet, convolution_values
from planners.rules.pooling import pooling, unet
from planners.schema.base import Part

SMALL = UNet(strides=((1, 1), (2, 2)), kernel_sizes=((3, 3), (3, 3)), features=(2, 4), blocks_encoder=(1, 1),
                 convs_decoder=(1,))
RESIDUAL = SMALL.model_copy(update={"block": "residual"})


def test_cost_of_a_two_stage_plain_unet_by_hand():
    found = SMALL.cost((8, 8), n_inputs=1, n_outputs=3)
    # stage 0, stage 1, upsampling, decoder, head: weights + biases + normalisation
    assert found.parameters == (18 + 2 + 4) + (72 + 4 + 8) + (32 + 2) + (72 + 2 + 4) + (6 + 3)
    assert found.forward_flops == 2 * (18 * 64 + 72 * 16 + 32 * 16 + 72 * 64 + 6 * 64)
    assert found.normalized_values == 2 * 64 + 4 * 16 + 2 * 64
    # the image; two maps a convolution; the joined skip; the logits
    assert found.activation_bytes == 4 * (64 + 2 * found.normalized_values + 4 * 64 + 3 * 64)


def test_cost_of_a_batch_in_half_precision():
    one = SMALL.cost((8, 8), 1, 3)
    four = SMALL.cost((8, 8), 1, 3, batch=4, bytes_per_value=2)
    assert four.training_flops == 4 * one.training_flops == 12 * one.forward_flops
    assert four.activation_bytes == 2 * one.activation_bytes
    assert (four.parameters, four.forward_flops) == (one.parameters, one.forward_flops)


def test_memory_of_a_training_step_by_hand():
    found = SMALL.cost((8, 8), 1, 3, batch=2, bytes_per_value=2)
    # weights, gradients, two moments, their average and the half-precision copy; 3 outputs and 2 features of 2 * 64 voxels
    weights = (4 + 4 + 8 + 4 + 2) * found.parameters
    assert SMALL.training_bytes((8, 8), 1, 3, batch=2, bytes_per_value=2, moments=2, averaged=True) == (
        found.activation_bytes + weights + 9 * 3 * 128 + max(8 * 3 * 128, 4 * 2 * 128 * 2))


def test_values_that_convolutions_write_by_hand():
    # encoder, decoder with its upsampling, one head
    assert convolution_values(SMALL, (8, 8), 3) == (128 + 64) + 2 * 128 + 3 * 64
    # stem, two convolutions a block, one shortcut
    assert convolution_values(RESIDUAL, (8, 8), 3) == 128 + 2 * (128 + 64) + 64 + 2 * 128 + 3 * 64


def test_values_that_convolutions_write_agree_with_the_published_calibration():
    patch = (128, 128, 128)
    architecture = unet(pooling((1, 1, 1), patch), "residual", (1, 3, 4, 6), 1)
    deeper_heads = 3 * sum(architecture.voxels(patch)[1:-1])  # the published number counts these too
    assert convolution_values(architecture, patch, 3) + deeper_heads == 558_319_104


CASES = [(block, skip, *case) for block, skip in (*((block, "plain") for block in get_args(Block)), ("plain", "gated"))
         for case in (((1, 1, 1), (16, 24, 16), 4), ((5, 1, 1), (8, 32, 32), 2), ((1, 1), (64, 96), 3))]


@pytest.mark.parametrize(("block", "skip", "spacing_mm", "patch", "batch"), CASES)
def test_cost_is_what_torch_counts(block, skip, spacing_mm, patch, batch):
    shape = pooling(spacing_mm, patch)
    blocks = (1, 3) if block == "residual" else (2,)
    architecture = unet(shape, block, blocks, 2, base_features=5, max_features=12).model_copy(update={"skip": skip})
    network = NETWORKS.make(Part(name="unet"), NetworkContext(architecture, n_inputs=2, n_outputs=3))
    image = torch.randn(batch, 2, *shape.patch)
    found = architecture.cost(shape.patch, 2, 3, batch=batch)

    assert found.parameters == sum(p.numel() for p in network.parameters())
    with FlopCounterMode(display=False) as counter:
        kept_bytes, logits = _kept_bytes(network, image)
    assert found.forward_flops * batch == counter.get_total_flops()
    # normalisation keeps two statistics a channel besides, which is all the difference
    assert found.activation_bytes <= kept_bytes <= 1.02 * found.activation_bytes
    if block in ("ghost", "mednext"):
        return  # torch counts the gradient of a depthwise convolution's weights as that of a full one
    with FlopCounterMode(display=False) as counter:
        sum(one.sum() for one in logits).backward()
    # no gradient is computed for the image, which is all the difference
    assert 0.95 * 2 / 3 * found.training_flops < counter.get_total_flops() <= 2 / 3 * found.training_flops


def _kept_bytes(network, image) -> tuple[int, list[torch.Tensor]]:
    """Bytes of all storages that autograd keeps, weights excluded, and the logits."""
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network.decode(network.encode(image), every_stage=True)
    kept |= {one.untyped_storage().data_ptr(): one.untyped_storage() for one in logits}
    return sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in weights), logits
