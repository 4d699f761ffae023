"""Overlapping tiles that cover an image, and the weight of each tile at each voxel.

Starts and weights are those of nnU-Net (Isensee et al. 2021). The starts form a grid and the Gaussian is a product over
the axes, so the weights are normalised one axis at a time: at every voxel the tiles' weights add up to one, and the sum
of weighted logits needs no division.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F

TILE_STEP = 0.5  # from one tile to the next, as a share of the tile, at most
SIGMA = 1 / 8  # of the Gaussian, as a share of the tile


@dataclass(frozen=True)
class Tile:
    """Where a tile lies in the padded image, and the factors of its weights along the three axes."""

    window: tuple[slice, slice, slice]
    factors: tuple[torch.Tensor, torch.Tensor, torch.Tensor]

    @property
    def start(self) -> tuple[int, ...]:
        return tuple(side.start for side in self.window)

    def weight_DHW(self, device: torch.device | str = "cpu") -> torch.Tensor:
        z, y, x = (factor.to(device) for factor in self.factors)
        return z[:, None, None] * y[:, None] * x


@dataclass(frozen=True)
class Tiling:
    """A grid of tiles over an image, which is padded with zeros on both sides where a tile is larger.

    For each axis, `padding` is (before, after) and `weights` an array (tiles, voxels).
    """

    shape: tuple[int, int, int]  # of the image
    size: tuple[int, int, int]  # of a tile
    padding: tuple[tuple[int, int], ...]
    starts: tuple[tuple[int, ...], ...]
    weights: tuple[torch.Tensor, ...]

    def __len__(self) -> int:
        return int(np.prod([len(starts) for starts in self.starts]))

    def __iter__(self) -> Iterator[Tile]:
        for index in product(*(range(len(starts)) for starts in self.starts)):
            z, y, x = (slice(starts[i], starts[i] + size)
                       for i, starts, size in zip(index, self.starts, self.size, strict=True))
            along_z, along_y, along_x = (weights[i] for i, weights in zip(index, self.weights, strict=True))
            yield Tile((z, y, x), (along_z, along_y, along_x))

    @property
    def padded_shape(self) -> tuple[int, int, int]:
        depth, height, width = (size + sum(padding) for size, padding in zip(self.shape, self.padding, strict=True))
        return depth, height, width

    def padded(self, image_CDHW: torch.Tensor) -> torch.Tensor:
        """The image, or a padded copy of it."""
        if self.padded_shape == self.shape:
            return image_CDHW
        return F.pad(image_CDHW, [n for before_after in reversed(self.padding) for n in before_after])

    def unpadded(self, logits_KDHW: torch.Tensor) -> torch.Tensor:
        """A view of what the image covers."""
        inside = (slice(before, before + size) for (before, _), size in zip(self.padding, self.shape, strict=True))
        return logits_KDHW[(slice(None), *inside)]


def cover(shape: Sequence[int], patch: tuple[int, ...]) -> Tiling:
    """Tiles of size `patch` over an image; a 2D patch is a tile of one slice, at every slice of the first axis."""
    depth, height, width = shape
    z, y, x = (1, *patch) if len(patch) == 2 else patch
    size = (z, y, x)
    missing = [max(0, tile - extent) for tile, extent in zip(size, shape, strict=True)]
    padding = tuple((n // 2, n - n // 2) for n in missing)
    starts = tuple(tile_starts(extent + n, tile) for extent, n, tile in zip(shape, missing, size, strict=True))
    weights = tuple(torch.from_numpy(_normalised_weights(extent + n, tile, starts_))
                    for extent, n, tile, starts_ in zip(shape, missing, size, starts, strict=True))
    return Tiling((depth, height, width), size, padding, starts, weights)


def tile_starts(extent: int, tile: int) -> tuple[int, ...]:
    """First voxels of the fewest tiles that cover `extent` voxels, evenly spaced, at most TILE_STEP of a tile apart.

    >>> tile_starts(110, 64)
    (0, 23, 46)
    """
    last = extent - tile
    # A tile of one voxel cannot move by half of one.
    n_steps = ceil(last / max(1.0, tile * TILE_STEP))
    return (0, *(round(last / n_steps * i) for i in range(1, n_steps + 1)))


def coarse(tiling: Tiling) -> list[Tile]:
    """The fewest tiles of a tiling that still cover all of it: about one tile's length apart instead of half of one."""
    fewest = [set(_fewest(starts, size)) for starts, size in zip(tiling.starts, tiling.size, strict=True)]
    return [tile for tile in tiling if all(start in along for start, along in zip(tile.start, fewest, strict=True))]


def _fewest(starts: tuple[int, ...], size: int) -> list[int]:
    """
    >>> _fewest((0, 23, 46, 69), 64)
    [0, 46, 69]
    """
    fewest = [starts[0]]
    while fewest[-1] != starts[-1]:
        fewest.append(max(start for start in starts if start <= fewest[-1] + size))
    return fewest


def gaussian(tile: int) -> np.ndarray:
    """Importance of the voxels of a tile along one axis, 1 at voxel tile // 2; at the border exp(-8), never zero."""
    distance = np.arange(tile) - tile // 2
    return np.exp(-0.5 * (distance / (tile * SIGMA)) ** 2)


def _normalised_weights(extent: int, tile: int, starts: tuple[int, ...]) -> np.ndarray:
    importance = gaussian(tile)
    total = np.zeros(extent)
    for start in starts:
        total[start : start + tile] += importance
    return np.stack([importance / total[start : start + tile] for start in starts]).astype(np.float32)
