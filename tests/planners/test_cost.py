"""The cost of networks: by hand, and against torch."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from autoseg.nn.networks import NETWORKS
from planners.architectures.cost import convolution_values, cost, stage_voxels, training_bytes
from planners.rules.topology import pooling, unet
from planners.schema.plan import Topology

SMALL = Topology(strides=((1, 1), (2, 2)), kernel_sizes=((3, 3), (3, 3)), features=(2, 4), blocks_encoder=(1, 1),
                 convs_decoder=(1,))


def test_cost_of_a_two_stage_plain_unet_by_hand():
    found = cost(SMALL, (8, 8), n_inputs=1, n_outputs=3)
    # stage 0, stage 1, upsampling, decoder, head: weights + biases + normalisation
    assert found.parameters == (18 + 2 + 4) + (72 + 4 + 8) + (32 + 2) + (72 + 2 + 4) + (6 + 3)
    assert found.forward_flops == 2 * (18 * 64 + 72 * 16 + 32 * 16 + 72 * 64 + 6 * 64)
    assert found.normalized_values == 2 * 64 + 4 * 16 + 2 * 64
    # the image; two maps a convolution; the joined skip; the logits
    assert found.activation_bytes == 4 * (64 + 2 * found.normalized_values + 4 * 64 + 3 * 64)


def test_cost_of_a_batch_in_half_precision():
    one = cost(SMALL, (8, 8), 1, 3)
    four = cost(SMALL, (8, 8), 1, 3, batch=4, bytes_per_value=2)
    assert four.training_flops == 4 * one.training_flops == 12 * one.forward_flops
    assert four.activation_bytes == 2 * one.activation_bytes
    assert (four.parameters, four.forward_flops) == (one.parameters, one.forward_flops)


def test_memory_of_a_training_step_by_hand():
    found = cost(SMALL, (8, 8), 1, 3, batch=2, bytes_per_value=2)
    # weights, gradients, two moments, their average and the half-precision copy; 3 outputs and 2 features of 2 * 64 voxels
    weights = (4 + 4 + 8 + 4 + 2) * found.parameters
    assert training_bytes(SMALL, (8, 8), 1, 3, batch=2, bytes_per_value=2, moments=2, averaged=True) == (
        found.activation_bytes + weights + 9 * 3 * 128 + max(8 * 3 * 128, 4 * 2 * 128 * 2))


def test_values_that_convolutions_write_by_hand():
    # encoder, decoder with its upsampling, one head
    assert convolution_values(SMALL, (8, 8), 3, "plain_unet") == (128 + 64) + 2 * 128 + 3 * 64
    # stem, two convolutions a block, one shortcut
    assert convolution_values(SMALL, (8, 8), 3, "residual_unet") == 128 + 2 * (128 + 64) + 64 + 2 * 128 + 3 * 64


def test_values_that_convolutions_write_agree_with_the_published_calibration():
    patch = (128, 128, 128)
    topology = unet(pooling((1, 1, 1), patch), (1, 3, 4, 6), 1)
    deeper_heads = 3 * sum(stage_voxels(patch, topology.strides)[1:-1])  # the published number counts these too
    assert convolution_values(topology, patch, 3, "residual_unet") + deeper_heads == 558_319_104


def test_network_of_unknown_cost_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match="'transformer' is not known; known: plain_unet, residual_unet"):
        cost(SMALL, (8, 8), 1, 2, network="transformer")


CASES = [(name, *case) for name in ("plain_unet", "residual_unet")
         for case in (((1, 1, 1), (16, 24, 16), 1), ((5, 1, 1), (8, 32, 32), 2), ((1, 1), (64, 96), 3))]


@pytest.mark.parametrize(("name", "spacing_mm", "patch", "batch"), CASES)
def test_cost_is_what_torch_counts(name, spacing_mm, patch, batch):
    shape = pooling(spacing_mm, patch)
    topology = unet(shape, (1, 3) if name == "residual_unet" else (2,), 2, base_features=4, max_features=12)
    network = NETWORKS.get(name)(topology, 2, 3)
    image = torch.randn(batch, 2, *shape.patch)
    found = cost(topology, shape.patch, 2, 3, network=name, batch=batch)

    assert found.parameters == sum(p.numel() for p in network.parameters())
    with FlopCounterMode(display=False) as counter:
        kept_bytes, logits = _kept_bytes(network, image)
    assert found.forward_flops * batch == counter.get_total_flops()
    # normalisation keeps two statistics a channel besides, which is all the difference
    assert found.activation_bytes <= kept_bytes <= 1.02 * found.activation_bytes
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
