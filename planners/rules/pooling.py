"""Strides and kernels of a U-Net from spacing and patch: fine axes are pooled first, until voxels are isotropic."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from planners.architectures.unet import Block, UNet

MIN_EDGE = 4  # voxels of the deepest feature map along a pooled axis
BASE_FEATURES = 32
MAX_FEATURES = {2: 512, 3: 320}  # by number of axes


@dataclass(frozen=True)
class Pooling:
    """Strides and kernels of each stage, the patch padded to what the strides divide, and the divisor of each axis."""

    patch: tuple[int, ...]
    divisor: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[tuple[int, ...], ...]

    @property
    def stages(self) -> int:
        return len(self.strides)


def pooling(spacing_mm: Sequence[float], patch: Sequence[float]) -> Pooling:
    """Halve, as long as feature maps stay above `MIN_EDGE`, the axes that are within a factor of two of the finest.

    A kernel is 1 across an axis until its spacing is within a factor of two of the finest, and 3 from then
    on; the bottleneck's is 3 everywhere.
    """
    return _pooling(_octaves(tuple(spacing_mm)), tuple(patch))


@functools.lru_cache(maxsize=64)
def _octaves(spacing_mm: tuple[float, ...]) -> tuple[tuple[int, ...], ...]:
    """For each pair of axes the whole number e with: spacing ratio below 2**e, but not below 2**(e - 1).

    Doubling a spacing adds one to its e, exactly. So strides and kernels depend on the spacing through these numbers alone,
    and the many grids that a search tries share few of them.
    """
    return tuple(tuple(math.frexp(a / b)[1] for b in spacing_mm) for a in spacing_mm)


@functools.lru_cache(maxsize=4096)
def _pooling(octaves: tuple[tuple[int, ...], ...], patch: tuple[float, ...]) -> Pooling:
    size = list(patch)
    axes = range(len(patch))
    kernel, halvings = [1] * len(patch), [0] * len(patch)
    kernels, strides = [], [(1,) * len(patch)]

    def near_finest(axis: int, among: Sequence[int]) -> bool:
        return all(octaves[axis][other] + halvings[axis] - halvings[other] <= 1 for other in among)

    while True:
        long = [axis for axis in axes if size[axis] >= 2 * MIN_EDGE]
        halved = [axis for axis in long if near_finest(axis, long)]
        # a stage for one axis alone has to be worth it
        if not halved or (len(halved) == 1 and size[halved[0]] < 3 * MIN_EDGE):
            break
        kernel = [3 if near_finest(axis, axes) else kernel[axis] for axis in axes]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in halved else 1 for axis in axes))
        size = [math.ceil(size[axis] / strides[-1][axis]) for axis in axes]
        halvings = [halvings[axis] + (axis in halved) for axis in axes]
    divisor = tuple(2**n for n in halvings)
    padded = tuple(math.ceil(p / d) * d for p, d in zip(patch, divisor, strict=True))
    return Pooling(padded, divisor, tuple(strides), (*kernels, (3,) * len(patch)))


def features(stages: int, base: int, maximum: int) -> tuple[int, ...]:
    """Channels of each stage: doubled from `base` on, up to `maximum`.

    >>> features(6, 32, 320)
    (32, 64, 128, 256, 320, 320)
    """
    return tuple(min(maximum, base * 2**stage) for stage in range(stages))


def unet(shape: Pooling, block: Block, blocks_encoder: Sequence[int], convs_decoder: int,
         base_features: int = BASE_FEATURES, max_features: int | None = None) -> UNet:
    """The U-Net with these strides and kernels.

    `blocks_encoder` has one entry per stage, and its last entry is for all deeper ones; every decoder stage has
    `convs_decoder`.
    """
    n = shape.stages
    maximum = MAX_FEATURES[len(shape.patch)] if max_features is None else max_features
    blocks = tuple(blocks_encoder[min(stage, len(blocks_encoder) - 1)] for stage in range(n))
    return UNet(block=block, strides=shape.strides, kernel_sizes=shape.kernel_sizes,
                features=features(n, base_features, maximum), blocks_encoder=blocks,
                convs_decoder=(convs_decoder,) * (n - 1))
