"""A U-Net's shape, and its cost by arithmetic.

Counted are convolution, instance normalisation and leaky rectifier; strided convolutions on the way down, transposed
convolutions with kernel = stride on the way up, skips concatenated, a 1x1 head at every decoder stage.
"""

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import model_validator

from planners.architectures.cost import (
    Cost,
    Counts,
    convolution,
    cost_of,
    head,
    passed,
    rectified,
    residual_block,
    step_bytes,
)
from planners.architectures.step import step_seconds
from planners.schema.base import Frozen
from planners.schema.hardware import StepSpeed


class UNet(Frozen):
    """A U-Net's shape: one entry per stage, the first at full resolution; the decoder has one stage less.

    The blocks of its `encoder` are a plain convolution each, or residual: two convolutions beside a shortcut, behind a
    stem (He et al. 2015; Isensee et al. 2024). The decoder is plain.
    """

    kind: Literal["unet"] = "unet"
    encoder: Literal["plain", "residual"] = "plain"
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
        return f"{self.encoder} U-Net"

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
        encoder = _plain_encoder if self.encoder == "plain" else _residual_encoder
        image = Counts(remembered=n_inputs * voxels[0])
        return image + encoder(self, voxels, n_inputs) + _decoder(self, voxels, n_outputs)

    def training_bytes(self, patch: Sequence[int], n_inputs: int, n_outputs: int, *, batch: int = 1,
                       bytes_per_value: int = 4, moments: int = 1, averaged: bool = False) -> int:
        step = self.cost(patch, n_inputs, n_outputs, batch=batch, bytes_per_value=bytes_per_value)
        voxels = batch * self.voxels(patch)[0]
        return step_bytes(step, n_outputs, self.features[0], voxels, bytes_per_value, moments, averaged)


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
    if unet.encoder == "plain":
        return down + up + head
    stem, shortcuts = maps[0], sum(maps[1:])
    return stem + 2 * down + shortcuts + up + head


def _plain_encoder(unet: UNet, voxels: Sequence[int], n_inputs: int) -> Counts:
    total, c_in = Counts(), n_inputs
    for stage, c_out in enumerate(unet.features):
        taps = math.prod(unet.kernel_sizes[stage])
        for block in range(unet.blocks_encoder[stage]):
            total += rectified(c_in, c_out, taps, voxels[stage], strided=block == 0 and max(unet.strides[stage]) > 1,
                               first=stage == block == 0)
            c_in = c_out
    return total


def _residual_encoder(unet: UNet, voxels: Sequence[int], n_inputs: int) -> Counts:
    c_in = unet.features[0]
    total = rectified(n_inputs, c_in, math.prod(unet.kernel_sizes[0]), voxels[0], first=True)
    for stage, c_out in enumerate(unet.features):
        taps = math.prod(unet.kernel_sizes[stage])
        for block in range(unet.blocks_encoder[stage]):
            shrinks = math.prod(unet.strides[stage]) if block == 0 else 1
            total += residual_block(c_in, c_out, taps, voxels[stage], shrinks)
            c_in = c_out
    return total


def _decoder(unet: UNet, voxels: Sequence[int], n_outputs: int) -> Counts:
    """Stages from the one above the bottleneck to full resolution, each with its head; the joined skip is a copy."""
    total = Counts()
    below = unet.features[-1]
    for i, convs in enumerate(unet.convs_decoder):
        stage = len(unet.features) - 2 - i
        width, taps = unet.features[stage], math.prod(unet.kernel_sizes[stage])
        # kernel = stride: every voxel above meets one tap, so the work is that of the voxels below
        total += convolution(below, width, math.prod(unet.strides[stage + 1]), voxels[stage + 1])
        c_in = 2 * width
        total += passed("upsampled", width * voxels[stage]) + passed("joined", c_in * voxels[stage])
        total += Counts(remembered=c_in * voxels[stage])
        for _ in range(convs):
            total += rectified(c_in, width, taps, voxels[stage])
            c_in = width
        total += head(width, n_outputs, voxels[stage], compared=stage == 0 or i > 0)  # the loss leaves the coarsest out
        below = width
    return total
