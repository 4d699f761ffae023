"""A U-Net's shape, and its cost by arithmetic.

Counted are convolution, instance normalisation and leaky rectifier; strided convolutions on the way down, transposed
convolutions with kernel = stride on the way up, skips concatenated, a 1x1 head at every decoder stage.
"""

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from planners.architectures.cost import (
    Cost,
    Counts,
    convolution,
    cost_of,
    gate,
    ghost_block,
    head,
    mednext_block,
    passed,
    rectified,
    residual_block,
    step_bytes,
)
from planners.architectures.step import step_seconds
from planners.schema.base import Frozen, formerly
from planners.schema.hardware import StepSpeed

Block = Literal["plain", "residual", "ghost", "mednext"]
_CHEAP_EDGE = 3  # of a Ghost block's depthwise kernel, at most


class UNet(Frozen):
    """A U-Net's shape: one entry per stage, the first at full resolution; the decoder has one stage less.

    Its `block` is a plain convolution; residual: two convolutions beside a shortcut, behind a stem, in the encoder alone
    (He et al. 2015; Isensee et al. 2024); ghost: half of the channels by a convolution, the others from these by one small
    kernel each (Han et al. 2020); or mednext: a depthwise convolution, then `expansion` times as many channels (Roy et al.
    2023). With gated `skip`s the decoder says which voxels of a skip it reads (Oktay et al. 2018).
    """

    kind: Literal["unet"] = "unet"
    block: Block = Field(default="plain", validation_alias=formerly("block", "encoder"))
    skip: Literal["plain", "gated"] = "plain"
    expansion: int = Field(default=2, gt=0)  # only mednext reads it
    strides: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    features: tuple[int, ...]
    blocks_encoder: tuple[int, ...]
    convs_decoder: tuple[int, ...]

    @model_validator(mode="after")
    def _check(self) -> "UNet":
        n = len(self.strides)
        lengths = (len(self.kernel_sizes), len(self.features), len(self.blocks_encoder), len(self.convs_decoder) + 1)
        if any(length != n for length in lengths):
            raise ValueError(f"a U-Net of {n} strides needs as many kernels, features and encoder blocks and one "
                             f"decoder entry less, got {lengths[:3]} and {len(self.convs_decoder)}")
        return self

    @property
    def title(self) -> str:
        name = {"ghost": "Ghost", "mednext": "MedNeXt"}.get(self.block, self.block)
        return f"{name} U-Net" + (" with gated skips" if self.skip == "gated" else "")

    @property
    def dimensions(self) -> int:
        return len(self.strides[0])

    @property
    def divisor(self) -> tuple[int, ...]:
        return tuple(math.prod(strides) for strides in zip(*self.strides, strict=True))

    @property
    def channels(self) -> tuple[int, ...]:
        return self.features

    def voxels(self, patch: Sequence[int]) -> list[int]:
        edges, voxels = list(patch), []
        for stride in self.strides:
            edges = [n // s for n, s in zip(edges, stride, strict=True)]
            voxels.append(math.prod(edges))
        return voxels

    def faults(self, patch: Sequence[int]) -> list[str]:
        n = len(patch)
        if any(len(axes) != n for axes in (*self.strides, *self.kernel_sizes)):
            return [f"strides and kernel_sizes must all have {n} axes, as the patch has"]
        if any(edge % 2 == 0 for kernel in self.kernel_sizes for edge in kernel):
            return ["kernel_sizes must be odd, so that a convolution keeps the size of its input"]
        if any(edge % divisor for edge, divisor in zip(patch, self.divisor, strict=True)):
            return [f"the patch {list(patch)} must be divisible by {list(self.divisor)}, the product of its strides"]
        if tuple(patch) == self.divisor:
            return [f"the patch {list(patch)} leaves a single voxel to the deepest stage"]
        return []

    def cost(self, patch: Sequence[int], n_inputs: int, n_outputs: int, *, batch: int = 1, bytes_per_value: int = 4
             ) -> Cost:
        return cost_of(self._counts(patch, n_inputs, n_outputs), batch, bytes_per_value)

    def step_seconds(self, patch: Sequence[int], n_inputs: int, n_outputs: int, *, batch: int, speed: StepSpeed) -> float:
        return step_seconds(self._counts(patch, n_inputs, n_outputs).layers, self.dimensions, batch, speed)

    def _counts(self, patch: Sequence[int], n_inputs: int, n_outputs: int) -> Counts:
        """What the layers count together, for one patch."""
        voxels = self.voxels(patch)
        image = Counts(remembered=n_inputs * voxels[0])
        return image + _encoder(self, voxels, n_inputs) + _decoder(self, voxels, n_outputs)

    def training_bytes(self, patch: Sequence[int], n_inputs: int, n_outputs: int, *, batch: int = 1,
                       bytes_per_value: int = 4, moments: int = 1, averaged: bool = False) -> int:
        step = self.cost(patch, n_inputs, n_outputs, batch=batch, bytes_per_value=bytes_per_value)
        voxels = batch * self.voxels(patch)[0]
        kept = self.expansion if self.block == "mednext" else 1  # times as many channels inside a block
        return step_bytes(step, n_outputs, self.features[0], voxels, bytes_per_value, moments, averaged, max(4, 2 * kept))


def convolution_values(unet: UNet, patch: Sequence[int], n_outputs: int) -> int:
    """nnU-Net's measure of memory: the values that the convolutions write for one patch.

    By its rules a single head counts, at full resolution, and so does the shortcut of every residual block that
    strides, though it may average without a convolution. The published planners' reference values are in this unit.
    """
    voxels = unet.voxels(patch)
    maps = [channels * n for channels, n in zip(unet.features, voxels, strict=True)]
    up = sum(n * (1 + convs) for n, convs in zip(reversed(maps[:-1]), unet.convs_decoder, strict=True))
    head = n_outputs * voxels[0] if len(maps) > 1 else 0
    down = sum(n * count for n, count in zip(maps, unet.blocks_encoder, strict=True))
    if unet.block != "residual":
        return down + up + head
    stem, shortcuts = maps[0], sum(maps[1:])
    return stem + 2 * down + shortcuts + up + head


def _encoder(unet: UNet, voxels: Sequence[int], n_inputs: int) -> Counts:
    total, c_in = _stem(unet, voxels[0], n_inputs)
    for stage, c_out in enumerate(unet.features):
        for block in range(unet.blocks_encoder[stage]):
            shrinks = math.prod(unet.strides[stage]) if block == 0 else 1
            total += _block(unet, stage, c_in, voxels[stage], shrinks=shrinks, first=stage == block == 0)
            c_in = c_out
    return total


def _stem(unet: UNet, voxels: int, n_inputs: int) -> tuple[Counts, int]:
    """What comes before the first block, and the channels that it gives."""
    width = unet.features[0]
    if unet.block == "residual":
        return rectified(n_inputs, width, math.prod(unet.kernel_sizes[0]), voxels, first=True), width
    if unet.block == "mednext":
        return convolution(n_inputs, width, 1, voxels, first=True) + Counts(remembered=width * voxels), width
    return Counts(), n_inputs


def _block(unet: UNet, stage: int, c_in: int, voxels: int, *, shrinks: int = 1, first: bool = False,
           decoder: bool = False) -> Counts:
    """A block of a stage; that of a residual U-Net's decoder is plain."""
    kernel, c_out, strided = unet.kernel_sizes[stage], unet.features[stage], shrinks > 1
    taps = math.prod(kernel)
    if unet.block == "residual" and not decoder:
        return residual_block(c_in, c_out, taps, voxels, shrinks)
    if unet.block == "mednext":
        return mednext_block(c_in, c_out, taps, voxels, unet.expansion, strided=strided)
    if unet.block == "ghost":
        cheap = math.prod(min(edge, _CHEAP_EDGE) for edge in kernel)
        return ghost_block(c_in, c_out, taps, cheap, voxels, strided=strided, first=first)
    return rectified(c_in, c_out, taps, voxels, strided=strided, first=first)


def _decoder(unet: UNet, voxels: Sequence[int], n_outputs: int) -> Counts:
    """Stages from the one above the bottleneck to full resolution, each with its head; the joined skip is a copy."""
    total = Counts()
    below = unet.features[-1]
    for i, convs in enumerate(unet.convs_decoder):
        stage = len(unet.features) - 2 - i
        width, shrinks = unet.features[stage], math.prod(unet.strides[stage + 1])
        # kernel = stride: every voxel above meets one tap, so the work is that of the voxels below
        total += convolution(below, width, shrinks, voxels[stage + 1])
        if unet.skip == "gated":
            total += gate(width, below, shrinks, voxels[stage])
        c_in = 2 * width
        total += passed("upsampled", width * voxels[stage]) + passed("joined", c_in * voxels[stage])
        total += Counts(remembered=c_in * voxels[stage])
        for _ in range(convs):
            total += _block(unet, stage, c_in, voxels[stage], decoder=True)
            c_in = width
        total += head(width, n_outputs, voxels[stage], compared=stage == 0 or i > 0)  # the loss leaves the coarsest out
        below = width
    return total
