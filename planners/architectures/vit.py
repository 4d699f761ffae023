"""A vision transformer's shape, and its cost by arithmetic.

Counted are tokens by a strided convolution; layers of attention and SwiGLU with layer scale; a decoder of transposed
convolutions, each followed by a convolution of kernel 3; a head of kernel 1 at full resolution.
"""

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from planners.architectures.cost import Cost, Counts, convolution, cost_of, head, passed, rectified, step_bytes
from planners.architectures.step import Product, step_seconds
from planners.schema.base import Frozen
from planners.schema.hardware import StepSpeed


class ViT(Frozen):
    """A transformer's shape: `token` is the edges of a token in voxels, powers of two; `depth` layers of so many `heads`.

    A decoder stage doubles the resolution; the last has `features` channels, each one before twice as many, up to
    `width`. `drop_path` is the share of samples in which training leaves a branch of the last layer out (less in the
    layers before), `layer_scale` the factor of every branch at the start (Wald et al. 2025, "Primus"; Dosovitskiy et al.
    2020).
    """

    kind: Literal["vit"] = "vit"
    token: tuple[int, ...] = Field(min_length=2, max_length=3)
    width: int = Field(gt=0)
    depth: int = Field(gt=0)
    heads: int = Field(gt=0)
    features: int = Field(default=16, gt=0)
    drop_path: float = Field(default=0.2, ge=0, lt=1)
    layer_scale: float = Field(default=0.1, gt=0)

    @model_validator(mode="after")
    def _check(self) -> "ViT":
        if any(edge < 1 or edge & (edge - 1) for edge in self.token) or max(self.token) < 2:
            raise ValueError(f"the edges of a token must be powers of two, and one of them above 1, got {list(self.token)}")
        if self.width % self.heads or self.width // self.heads < 2 * self.dimensions:
            raise ValueError(f"the width must be a multiple of the heads and leave each {2 * self.dimensions} channels or "
                             f"more, for its positions; got a width of {self.width} and {self.heads} heads")
        return self

    @property
    def title(self) -> str:
        return f"transformer of {self.depth} layers"

    @property
    def dimensions(self) -> int:
        return len(self.token)

    @property
    def divisor(self) -> tuple[int, ...]:
        return self.token

    @property
    def channels(self) -> tuple[int, ...]:
        return (self.width,)

    @property
    def hidden(self) -> int:
        """Channels within SwiGLU: with three matrices instead of two, 8/3 of the width cost as much as 4 (Shazeer 2020)."""
        return 8 * math.ceil(self.width / 3)

    @property
    def strides(self) -> tuple[tuple[int, ...], ...]:
        """How each decoder stage enlarges the axes, the coarsest first; a shorter edge is complete earlier."""
        halvings = [edge.bit_length() - 1 for edge in self.token]
        return tuple(tuple(2 if stage < n else 1 for n in halvings) for stage in range(max(halvings)))

    @property
    def decoder(self) -> tuple[int, ...]:
        """Channels of each decoder stage, the coarsest first."""
        stages = len(self.strides)
        return tuple(min(self.width, self.features * 2 ** (stages - 1 - stage)) for stage in range(stages))

    def voxels(self, patch: Sequence[int]) -> list[int]:
        return [math.prod(n // edge for n, edge in zip(patch, self.token, strict=True))]

    def faults(self, patch: Sequence[int]) -> list[str]:
        if len(patch) != self.dimensions:
            return [f"a token must have {len(patch)} axes, as the patch has"]
        if any(n % edge for n, edge in zip(patch, self.token, strict=True)):
            return [f"the patch {list(patch)} must be divisible by {list(self.token)}, the edges of its tokens"]
        if tuple(patch) == self.token:
            return [f"the patch {list(patch)} is a single token, which nothing can attend to"]
        return []

    def cost(self, patch: Sequence[int], n_inputs: int, n_outputs: int, *, batch: int = 1, bytes_per_value: int = 4
             ) -> Cost:
        """Under autocast the sums between layers stay in single precision."""
        cost = cost_of(self._counts(patch, n_inputs, n_outputs), batch, bytes_per_value)
        sums = 2 * self.depth * self.width * self.voxels(patch)[0] * batch
        return cost.model_copy(update={"activation_bytes": cost.activation_bytes + sums * (4 - bytes_per_value)})

    def step_seconds(self, patch: Sequence[int], n_inputs: int, n_outputs: int, *, batch: int, speed: StepSpeed) -> float:
        return step_seconds(self._counts(patch, n_inputs, n_outputs).layers, self.dimensions, batch, speed)

    def training_bytes(self, patch: Sequence[int], n_inputs: int, n_outputs: int, *, batch: int = 1,
                       bytes_per_value: int = 4, moments: int = 1, averaged: bool = False) -> int:
        step = self.cost(patch, n_inputs, n_outputs, batch=batch, bytes_per_value=bytes_per_value)
        return step_bytes(step, n_outputs, self.features, batch * math.prod(patch), bytes_per_value, moments, averaged)

    def _counts(self, patch: Sequence[int], n_inputs: int, n_outputs: int) -> Counts:
        """What the layers count together, for one patch."""
        tokens, width = self.voxels(patch)[0], self.width
        total = Counts(remembered=n_inputs * math.prod(patch))
        total += convolution(n_inputs, width, math.prod(self.token), tokens, first=True)
        for _ in range(self.depth):
            total += _attention(width, self.heads, tokens) + _swiglu(width, self.hidden, tokens)
        total += _layer_normalized(width, tokens)
        return total + _decoder(self, tokens, n_outputs)


def _layer_normalized(width: int, tokens: int) -> Counts:
    """Keeps its input and two statistics per token; what comes out is kept by the layer after it, and counted here."""
    values = width * tokens
    return (Counts(parameters=2 * width, normalized=values, remembered=2 * values + 2 * tokens)
            + passed("normalised", values))


def _scaled(width: int, tokens: int) -> Counts:
    """A branch is scaled, which keeps it, and added."""
    return Counts(parameters=width, remembered=width * tokens) + passed("scaled and added", width * tokens)


def _attention(width: int, heads: int, tokens: int) -> Counts:
    """Queries, keys, values and what attention gives are kept, and of the scores their sum alone: they are computed again.
    """
    products = Product(4 * tokens * tokens * width, width)  # queries by keys, and scores by values
    attending = Counts(flops=products.flops, remembered=(4 * width + heads) * tokens, layers=(products,))
    return (_layer_normalized(width, tokens) + convolution(width, 2 * width, 1, tokens, bias=False)
            + convolution(width, width, 1, tokens, bias=False) + passed("turned", 2 * width * tokens) + attending
            + convolution(width, width, 1, tokens) + _scaled(width, tokens))


def _swiglu(width: int, hidden: int, tokens: int) -> Counts:
    """Kept are the gate, its activation, what is gated, and the product."""
    return (_layer_normalized(width, tokens) + convolution(width, 2 * hidden, 1, tokens)
            + passed("gated", hidden * tokens) + Counts(remembered=4 * hidden * tokens)
            + convolution(hidden, width, 1, tokens) + _scaled(width, tokens))


def _decoder(vit: ViT, tokens: int, n_outputs: int) -> Counts:
    total, below, voxels = Counts(), vit.width, tokens
    for stride, width in zip(vit.strides, vit.decoder, strict=True):
        # kernel = stride: every voxel above meets one tap, so the work is that of the voxels below
        total += convolution(below, width, math.prod(stride), voxels)
        voxels *= math.prod(stride)
        total += passed("upsampled", width * voxels) + Counts(remembered=width * voxels)
        total += rectified(width, width, math.prod(2 * s - 1 for s in stride), voxels)
        below = width
    return total + head(below, n_outputs, voxels, compared=True)
