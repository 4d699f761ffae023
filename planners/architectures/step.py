"""Seconds of a training step, layer by layer: convolutions by their FLOPs, all else by the bytes that it passes through.

A roofline (Williams et al. 2009) whose peaks depend on the channels, with what a weight and what a call cost beside it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from planners.schema.hardware import StepSpeed

# How many times a training step reads or writes each value of a map in memory, forward and backward, as `autoseg.nn` does.
PASSES = {
    "normalised": 13,  # group normalisation 3; product 3, two sums 2, the gradient of the input 5
    "normalised and rectified": 18,  # and the rectifier in place 2, its gradient 3
    "added and rectified": 9,  # sum 3, rectifier in place 2; its gradient 3, that of the sum 1
    "mixed": 4,  # by a matrix product: each side in the product itself and in both gradients, one of which is copied
    "activated": 8,  # bias 1, GELU 2; its gradient 3, those of the bias and of its sum 2
    "added": 4,
    "skip gated": 9,  # product 2; gradients of both sides 3, their sum over channels 1; and the skip is used again 3
    "joined": 4,  # copied; its gradient is read and, for one half, added to another
    "upsampled": 5,  # blocks are written in order, and their gradients back; the bias sums them
    "averaged": 3,
    "used again": 3,  # gradients of two uses are added
    "read by a head": 4,
    "scaled and added": 12,  # of a transformer's branch: scaled 2, left out in some samples 2, sum 3; gradients 5
    "turned": 12,  # queries and keys by their positions: two products and a sum for each half; the same backward
    "gated": 14,  # an activation 2 and a product 3; gradients 9
}
OPTIMISED = 14  # passes over the weights: norm, clipping, AdamW's two moments, moving average
RECOMPUTED = 3.5  # times the forward pass: as for weights, and scores are computed again (Dao et al. 2022)
# By number of axes: a depthwise convolution of 3 voxels along each axis reaches this share of the FLOP/s of a full one of
# `_RATED_AT` channels; larger kernels reach more, as the root of their taps (oneDNN, AVX2; benchmarks/step_cost.py).
DEPTHWISE_SHARE = {2: 0.25, 3: 0.1}
_RATED_AT = 16
BYTES = 4  # of a value in single precision

Passing = Literal["normalised", "normalised and rectified", "added and rectified", "mixed", "activated", "added",
                  "skip gated", "joined", "upsampled", "averaged", "used again", "read by a head", "scaled and added",
                  "turned", "gated"]


@dataclass(frozen=True)
class Convolution:
    """A convolution on one patch: `taps` is the product of the kernel's edges, `voxels` of the output's.

    `strided`: it writes fewer voxels than it reads. `first`: nobody wants the gradient of its input.
    """

    c_in: int
    c_out: int
    taps: int
    voxels: int
    strided: bool = False
    first: bool = False


@dataclass(frozen=True)
class Depthwise:
    """A convolution with one kernel per channel, on one patch."""

    channels: int
    taps: int
    voxels: int


@dataclass(frozen=True)
class Pass:
    """Element-wise work on a map of so many values, of one patch."""

    of: Passing
    values: int


@dataclass(frozen=True)
class Logits:
    """The logits of one patch that the loss compares."""

    values: int


@dataclass(frozen=True)
class Product:
    """A product of maps of one patch with each other, such as queries with keys; it has no weights."""

    flops: int  # forward
    channels: int


Layer = Convolution | Depthwise | Pass | Logits | Product


def step_seconds(layers: Iterable[Layer], dimensions: int, batch: int, speed: StepSpeed) -> float:
    """Seconds of a training step, optimiser included."""
    return sum(_seconds(layer, dimensions, batch, speed) for layer in layers)


def _seconds(layer: Layer, dimensions: int, batch: int, speed: StepSpeed) -> float:
    if isinstance(layer, Pass):
        return _passing(PASSES[layer.of], layer.values * batch, speed)
    if isinstance(layer, Logits):
        return layer.values * batch * speed.seconds_per_logit
    if isinstance(layer, Product):
        return (RECOMPUTED * layer.flops * batch / speed.convolving(dimensions, layer.channels) + speed.seconds_per_layer)
    if isinstance(layer, Depthwise):
        return _per_channel(layer, dimensions, batch, speed)
    weights = layer.c_in * layer.c_out * layer.taps
    flops = 2 * weights * layer.voxels * batch * (2 if layer.first else 3)
    rate = speed.convolving(dimensions, min(layer.c_in, layer.c_out)) * (speed.strided if layer.strided else 1)
    return (flops / rate + weights * speed.seconds_per_weight + _passing(OPTIMISED, weights, speed)
            + speed.seconds_per_layer)


def _per_channel(layer: Depthwise, dimensions: int, batch: int, speed: StepSpeed) -> float:
    flops = 3 * 2 * layer.channels * layer.taps * layer.voxels * batch
    rate = speed.convolving(dimensions, _RATED_AT) * DEPTHWISE_SHARE[dimensions] * math.sqrt(layer.taps / 3**dimensions)
    return flops / rate + speed.seconds_per_layer


def _passing(passes: int, values: int, speed: StepSpeed) -> float:
    return passes * values * BYTES / speed.passing(values * BYTES)
