"""Parameters, FLOPs and activation memory of a U-Net on a patch, by arithmetic.

Counted are the networks `plain_unet` and `residual_unet`: convolution, instance normalisation and leaky rectifier;
strided convolutions on the way down, transposed convolutions with kernel = stride on the way up, skips concatenated, a
1x1 head at every decoder stage. A multiply-add is two FLOPs; what is element-wise is not counted in FLOPs.
"""

import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from planners.schema.base import Frozen
from planners.schema.plan import Topology

NETWORKS = ("plain_unet", "residual_unet")
BACKWARD_AND_FORWARD = 3  # times the forward pass: gradients of the inputs and of the weights cost as much each


class Cost(Frozen):
    """What a network costs on a patch.

    `forward_flops` and `normalized_values` (the element-wise work: values that are normalised and rectified) are of one
    patch. `training_flops` and `activation_bytes` are of a batch: the latter is what automatic differentiation keeps
    from the forward to the backward pass, input and logits included, weights and loss excluded.
    """

    parameters: int = Field(ge=0)
    forward_flops: int = Field(ge=0)
    normalized_values: int = Field(ge=0)
    training_flops: int = Field(ge=0)
    activation_bytes: int = Field(ge=0)


def cost(topology: Topology, patch: Sequence[int], n_inputs: int, n_outputs: int, *, network: str = "plain_unet",
         batch: int = 1, bytes_per_value: int = 4) -> Cost:
    """The cost of `network` with this topology on a patch [voxels] that the strides divide.

    `bytes_per_value` is 4 in single precision and 2 under bf16 autocast. Raises ValueError for another network.
    """
    if network not in NETWORKS:
        raise ValueError(f"the cost of network {network!r} is not known; known: {', '.join(NETWORKS)}")
    voxels = stage_voxels(patch, topology.strides)
    encoder = _plain_encoder if network == "plain_unet" else _residual_encoder
    image = np.array([0, 0, 0, n_inputs * voxels[0]])
    total = image + encoder(topology, voxels, n_inputs) + _decoder(topology, voxels, n_outputs)
    parameters, flops, normalized, kept = (int(value) for value in total)
    return Cost(parameters=parameters, forward_flops=flops, normalized_values=normalized,
                training_flops=BACKWARD_AND_FORWARD * flops * batch, activation_bytes=kept * batch * bytes_per_value)


def training_bytes(topology: Topology, patch: Sequence[int], n_inputs: int, n_outputs: int, *, network: str = "plain_unet",
                   batch: int = 1, bytes_per_value: int = 4, moments: int = 1, averaged: bool = False) -> int:
    """The most memory that a training step holds at once, by arithmetic; workspaces of convolutions excluded.

    `moments` is how many values the optimiser keeps a parameter (SGD with momentum 1, AdamW 2); `averaged` adds a moving
    average. The most is held early in the backward pass: all that was kept (of every output float32 log-probabilities,
    probabilities and one-hot truth besides), and either two more float32 maps of every output, within the loss, or four
    maps of the first stage, the gradients on either side of a normalisation and a rectifier. How near this is to what a
    GPU allocates, benchmarks/gpu.py measures.
    """
    found = cost(topology, patch, n_inputs, n_outputs, network=network, batch=batch, bytes_per_value=bytes_per_value)
    a_parameter = 4 * (2 + moments + averaged) + (bytes_per_value if bytes_per_value < 4 else 0)  # half: a copy for autocast
    voxels = batch * stage_voxels(patch, topology.strides)[0]
    of_loss, in_loss = 9 * n_outputs * voxels, 8 * n_outputs * voxels
    passing = 4 * topology.features[0] * voxels * bytes_per_value
    return found.activation_bytes + a_parameter * found.parameters + of_loss + max(in_loss, passing)


def stage_voxels(patch: Sequence[int], strides: Sequence[Sequence[int]]) -> list[int]:
    """Voxels of the feature maps of every stage, full resolution first."""
    size, voxels = patch, []
    for stride in strides:
        size = [n // s for n, s in zip(size, stride, strict=True)]
        voxels.append(math.prod(size))
    return voxels


def convolution_values(topology: Topology, patch: Sequence[int], n_outputs: int, network: str) -> int:
    """nnU-Net's measure of memory: the values that the convolutions write for one patch.

    By its rules a single head counts, at full resolution, and so does the shortcut of every residual block that
    strides, though it may average without a convolution. The published planners' reference values are in this unit.
    """
    voxels = stage_voxels(patch, topology.strides)
    maps = [channels * n for channels, n in zip(topology.features, voxels, strict=True)]
    up = sum(n * (1 + convs) for n, convs in zip(reversed(maps[:-1]), topology.convs_decoder, strict=True))
    head = n_outputs * voxels[0] if len(maps) > 1 else 0
    blocks = topology.blocks_encoder
    if network == "plain_unet":
        return sum(n * count for n, count in zip(maps, blocks, strict=True)) + up + head
    down = sum(2 * n * count for n, count in zip(maps, blocks, strict=True))
    return maps[0] + down + sum(maps[1:]) + up + head


# Each part below is an array (parameters, FLOPs, normalised values, values kept for the backward pass).


def _convolution(c_in: int, c_out: int, taps: int, voxels: int, bias: bool = True) -> np.ndarray:
    """`taps` is the product of the kernel's edges, `voxels` of the output's."""
    weights = c_in * c_out * taps
    return np.array([weights + c_out * bias, 2 * weights * voxels, 0, 0])


def _normalized(c_in: int, c_out: int, taps: int, voxels: int, bias: bool = True) -> np.ndarray:
    """Convolution and affine normalisation, which keeps its input."""
    values = c_out * voxels
    return _convolution(c_in, c_out, taps, voxels, bias) + np.array([2 * c_out, 0, values, values])


def _rectified(c_in: int, c_out: int, taps: int, voxels: int) -> np.ndarray:
    """Convolution, normalisation and a rectifier in place, which keeps its output; the next convolution shares that."""
    return _normalized(c_in, c_out, taps, voxels) + np.array([0, 0, 0, c_out * voxels])


def _residual_block(c_in: int, c_out: int, taps: int, voxels: int, strided: bool) -> np.ndarray:
    """Two convolutions; a shortcut that averages if strided, projects if the channels change; a rectifier on the sum.

    The average keeps its input, which the first convolution keeps anyway; its output is kept by the projection only.
    """
    block = _rectified(c_in, c_out, taps, voxels) + _normalized(c_out, c_out, taps, voxels)
    block[3] += c_out * voxels
    if c_in != c_out:
        block += _normalized(c_in, c_out, 1, voxels, bias=False)
        block[3] += c_in * voxels * strided
    return block


def _plain_encoder(topology: Topology, voxels: Sequence[int], n_inputs: int) -> np.ndarray:
    total, c_in = np.zeros(4, dtype=np.int64), n_inputs
    for stage, c_out in enumerate(topology.features):
        taps = math.prod(topology.kernel_sizes[stage])
        for _ in range(topology.blocks_encoder[stage]):
            total += _rectified(c_in, c_out, taps, voxels[stage])
            c_in = c_out
    return total


def _residual_encoder(topology: Topology, voxels: Sequence[int], n_inputs: int) -> np.ndarray:
    c_in = topology.features[0]
    total = _rectified(n_inputs, c_in, math.prod(topology.kernel_sizes[0]), voxels[0])
    for stage, c_out in enumerate(topology.features):
        taps = math.prod(topology.kernel_sizes[stage])
        for block in range(topology.blocks_encoder[stage]):
            strided = block == 0 and max(topology.strides[stage]) > 1
            total += _residual_block(c_in, c_out, taps, voxels[stage], strided)
            c_in = c_out
    return total


def _decoder(topology: Topology, voxels: Sequence[int], n_outputs: int) -> np.ndarray:
    """Stages from the one above the bottleneck to full resolution, each with its head; the joined skip is a copy."""
    total = np.zeros(4, dtype=np.int64)
    below = topology.features[-1]
    for i, convs in enumerate(topology.convs_decoder):
        stage = len(topology.features) - 2 - i
        width, taps = topology.features[stage], math.prod(topology.kernel_sizes[stage])
        # kernel = stride: every voxel above meets one tap, so the work is that of the voxels below
        total += _convolution(below, width, math.prod(topology.strides[stage + 1]), voxels[stage + 1])
        c_in = 2 * width
        total[3] += c_in * voxels[stage]
        for _ in range(convs):
            total += _rectified(c_in, width, taps, voxels[stage])
            c_in = width
        total += _convolution(width, n_outputs, 1, voxels[stage])
        total[3] += n_outputs * voxels[stage]
        below = width
    return total
