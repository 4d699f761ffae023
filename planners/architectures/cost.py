"""The cost of a network on a patch, and the arithmetic of its layers.

A multiply-add is two FLOPs; what is element-wise is not counted in FLOPs.
"""

import numpy as np
from pydantic import Field

from planners.schema.base import Frozen

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


# Counts of a layer: (parameters, FLOPs, normalised values, values kept for the backward pass). Counts add up.
Counts = np.ndarray


def cost_of(counts: Counts, batch: int, bytes_per_value: int) -> Cost:
    """The cost of a network whose layers have these counts together, on a batch of patches."""
    parameters, flops, normalized, remembered = (int(value) for value in counts)
    return Cost(parameters=parameters, forward_flops=flops, normalized_values=normalized,
                training_flops=BACKWARD_AND_FORWARD * flops * batch, activation_bytes=remembered * batch * bytes_per_value)


def remembered(values: int) -> Counts:
    """Values that nothing computes, and that the backward pass needs: an image, a copy."""
    return np.array([0, 0, 0, values])


def convolution(c_in: int, c_out: int, taps: int, voxels: int, bias: bool = True) -> Counts:
    """`taps` is the product of the kernel's edges, `voxels` of the output's."""
    weights = c_in * c_out * taps
    return np.array([weights + c_out * bias, 2 * weights * voxels, 0, 0])


def normalized(c_in: int, c_out: int, taps: int, voxels: int, bias: bool = True) -> Counts:
    """Convolution and affine normalisation, which keeps its input."""
    values = c_out * voxels
    return convolution(c_in, c_out, taps, voxels, bias) + np.array([2 * c_out, 0, values, values])


def rectified(c_in: int, c_out: int, taps: int, voxels: int) -> Counts:
    """Convolution, normalisation and a rectifier in place, which keeps its output; the next convolution shares that."""
    return normalized(c_in, c_out, taps, voxels) + remembered(c_out * voxels)


def residual_block(c_in: int, c_out: int, taps: int, voxels: int, strided: bool) -> Counts:
    """Two convolutions; a shortcut that averages if strided, projects if the channels change; a rectifier on the sum.

    The average keeps its input, which the first convolution keeps anyway; its output is kept by the projection only.
    """
    block = rectified(c_in, c_out, taps, voxels) + normalized(c_out, c_out, taps, voxels)
    block += remembered(c_out * voxels)
    if c_in != c_out:
        block += normalized(c_in, c_out, 1, voxels, bias=False) + remembered(c_in * voxels * strided)
    return block
