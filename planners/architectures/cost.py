"""The cost of a network on a patch, and the arithmetic of its layers.

A multiply-add is two FLOPs; what is element-wise is not counted in FLOPs.
"""

from dataclasses import dataclass

from pydantic import Field

from planners.architectures.step import Convolution, Depthwise, Layer, Logits, Pass, Passing
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


@dataclass(frozen=True)
class Counts:
    """What the layers of a network count, for one patch; counts add up.

    `remembered` are the values that are kept for the backward pass, `layers` what takes time in a training step.
    """

    parameters: int = 0
    flops: int = 0
    normalized: int = 0
    remembered: int = 0
    layers: tuple[Layer, ...] = ()

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.parameters + other.parameters, self.flops + other.flops, self.normalized + other.normalized,
                      self.remembered + other.remembered, self.layers + other.layers)


def cost_of(counts: Counts, batch: int, bytes_per_value: int) -> Cost:
    """The cost of a network whose layers have these counts together, on a batch of patches."""
    return Cost(parameters=counts.parameters, forward_flops=counts.flops, normalized_values=counts.normalized,
                training_flops=BACKWARD_AND_FORWARD * counts.flops * batch,
                activation_bytes=counts.remembered * batch * bytes_per_value)


def step_bytes(step: Cost, n_outputs: int, features: int, voxels: int, bytes_per_value: int, moments: int, averaged: bool,
               maps: int = 4) -> int:
    """The most memory that a training step holds, whose batch has so many `voxels` and whose finest maps so many `features`.

    The most is held early in the backward pass: all that was kept (of every output float32 log-probabilities, probabilities
    and one-hot truth besides), and either two more float32 maps of every output, within the loss, or `maps` of the finest
    stage: four are the gradients on either side of a normalisation and a rectifier. How near this is to what a GPU
    allocates, benchmarks/gpu.py measures.
    """
    half_copy = bytes_per_value if bytes_per_value < 4 else 0  # for autocast
    per_parameter = 4 * (2 + moments + averaged) + half_copy
    kept_for_loss, within_loss = 9 * n_outputs * voxels, 8 * n_outputs * voxels
    passing = maps * features * voxels * bytes_per_value
    return step.activation_bytes + per_parameter * step.parameters + kept_for_loss + max(within_loss, passing)


def passed(of: Passing, values: int) -> Counts:
    """Element-wise work that takes time and counts for nothing else."""
    return Counts(layers=(Pass(of, values),))


def convolution(c_in: int, c_out: int, taps: int, voxels: int, bias: bool = True, *, strided: bool = False,
                first: bool = False) -> Counts:
    """`taps` is the product of the kernel's edges, `voxels` of the output's."""
    weights = c_in * c_out * taps
    return Counts(parameters=weights + c_out * bias, flops=2 * weights * voxels,
                  layers=(Convolution(c_in, c_out, taps, voxels, strided, first),))


def head(c_in: int, n_outputs: int, voxels: int, compared: bool) -> Counts:
    """A convolution of kernel 1 that gives logits, `compared` by the loss or not."""
    values = n_outputs * voxels
    counts = convolution(c_in, n_outputs, 1, voxels) + Counts(remembered=values)
    if not compared:
        return counts
    return counts + passed("read by a head", c_in * voxels) + Counts(layers=(Logits(values),))


def normalized(c_in: int, c_out: int, taps: int, voxels: int, bias: bool = True, *, strided: bool = False) -> Counts:
    """Convolution and affine normalisation, which keeps its input."""
    values = c_out * voxels
    return (convolution(c_in, c_out, taps, voxels, bias, strided=strided) + passed("normalised", values)
            + Counts(parameters=2 * c_out, normalized=values, remembered=values))


def rectified(c_in: int, c_out: int, taps: int, voxels: int, *, strided: bool = False, first: bool = False) -> Counts:
    """Convolution, normalisation and a rectifier in place, which keeps its output; the next convolution shares that."""
    values = c_out * voxels
    return (convolution(c_in, c_out, taps, voxels, strided=strided, first=first)
            + passed("normalised and rectified", values)
            + Counts(parameters=2 * c_out, normalized=values, remembered=2 * values))


def residual_block(c_in: int, c_out: int, taps: int, voxels: int, shrinks: int) -> Counts:
    """Two convolutions; a shortcut that averages if strided, projects if the channels change; a rectifier on the sum.

    `shrinks` is how many voxels become one. The average keeps its input, which the first convolution keeps anyway; its
    output is kept by the projection only.
    """
    strided = shrinks > 1
    block = rectified(c_in, c_out, taps, voxels, strided=strided) + normalized(c_out, c_out, taps, voxels)
    block += Counts(remembered=c_out * voxels) + passed("added and rectified", c_out * voxels)
    block += passed("averaged", c_in * voxels * shrinks) if strided else passed("used again", c_in * voxels)
    if c_in != c_out:
        block += normalized(c_in, c_out, 1, voxels, bias=False) + Counts(remembered=c_in * voxels * strided)
    return block


def depthwise(channels: int, taps: int, voxels: int) -> Counts:
    """A convolution that has one kernel per channel."""
    return Counts(parameters=channels * (taps + 1), flops=2 * channels * taps * voxels,
                  layers=(Depthwise(channels, taps, voxels),))


def pointwise(c_in: int, c_out: int, voxels: int) -> Counts:
    """A convolution of kernel 1 between maps of many voxels: reading and writing them takes longer than its FLOPs."""
    return convolution(c_in, c_out, 1, voxels) + passed("mixed", (c_in + c_out) * voxels)


def ghost_block(c_in: int, c_out: int, taps: int, cheap_taps: int, voxels: int, *, strided: bool = False,
                first: bool = False) -> Counts:
    """Half of the channels by a convolution, the others from these by one kernel each, and both copied to one map."""
    given = -(-c_out // 2)
    cheap = c_out - given
    block = rectified(c_in, given, taps, voxels, strided=strided, first=first)
    block += depthwise(cheap, cheap_taps, voxels) + passed("normalised and rectified", cheap * voxels)
    block += Counts(parameters=2 * cheap, normalized=cheap * voxels, remembered=2 * cheap * voxels)
    return block + passed("joined", c_out * voxels) + Counts(remembered=c_out * voxels)


def mednext_block(c_in: int, c_out: int, taps: int, voxels: int, expansion: int, *, strided: bool = False) -> Counts:
    """A depthwise convolution, normalised; channels expanded, activated and compressed; a shortcut beside.

    Kept are both sides of the normalisation and of the activation, and the sum.
    """
    inner = expansion * c_in
    block = depthwise(c_in, taps, voxels) + passed("normalised", c_in * voxels)
    block += pointwise(c_in, inner, voxels) + passed("activated", inner * voxels)
    block += pointwise(inner, c_out, voxels) + passed("added", c_out * voxels)
    block += Counts(parameters=2 * c_in, normalized=c_in * voxels, remembered=(2 * (c_in + inner) + c_out) * voxels)
    if strided:
        return block + convolution(c_in, c_out, 1, voxels, strided=True)
    if c_in != c_out:
        return block + pointwise(c_in, c_out, voxels)
    return block + passed("used again", c_in * voxels)


def gate(c_skip: int, c_below: int, shrinks: int, voxels: int) -> Counts:
    """The gate of a skip of so many `voxels`, of which `shrinks` become one in the map below.

    Kept are the rectified sum, and the factor on the coarse grid and at the skip's resolution.
    """
    inner, coarse = max(1, c_skip // 2), voxels // shrinks
    counts = convolution(c_skip, inner, shrinks, coarse, bias=False, strided=True) + pointwise(c_below, inner, coarse)
    counts += pointwise(inner, 1, coarse) + passed("added and rectified", inner * coarse)
    counts += passed("skip gated", c_skip * voxels)
    return counts + Counts(remembered=(inner + 1) * coarse + voxels)
