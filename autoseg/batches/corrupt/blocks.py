"""Masked auto-encoding: most blocks of a patch are hidden, and only they count (He et al. 2022; in 3D Wald et al. 2024)."""

import math

import torch
from pydantic import Field

from autoseg.batches.corrupt.registry import CORRUPTIONS
from planners.schema.base import Frozen

_LARGEST_BLOCK = 16
_BLOCKS_PER_EDGE = 4  # of a patch that is too small for large blocks


class MaeOptions(Frozen):
    """`share` of the blocks is hidden. `block` is their edge in voxels; None: 16, or a quarter of the patch's edge where
    that is less, for each axis.
    """

    share: float = Field(default=0.75, gt=0, lt=1)
    block: int | None = Field(default=None, gt=0)


@CORRUPTIONS.register("mae", MaeOptions)
class HiddenBlocks:
    """Hidden voxels of all channels are 0, which is the mean of a normalised image."""

    def __init__(self, options: MaeOptions, patch: tuple[int, ...]):
        self._share = options.share
        self._edges = [options.block or max(1, min(_LARGEST_BLOCK, size // _BLOCKS_PER_EDGE)) for size in patch]

    def __call__(self, image_BCDHW: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self._hidden(image_BCDHW.shape[0], image_BCDHW.shape[2:], generator).to(image_BCDHW.device)
        return image_BCDHW.masked_fill(hidden, 0.0), hidden

    def _hidden(self, n_samples: int, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """The same number of blocks in each sample, (B, 1, *space)."""
        grid = [math.ceil(size / edge) for size, edge in zip(shape, self._edges, strict=True)]
        n_blocks = math.prod(grid)
        order = torch.rand(n_samples, n_blocks, generator=generator).argsort(1)
        n_hidden = min(n_blocks - 1, max(1, round(self._share * n_blocks)))
        hidden = (order < n_hidden).view(n_samples, 1, *grid)
        for axis, (size, edge) in enumerate(zip(shape, self._edges, strict=True), 2):
            hidden = hidden.repeat_interleave(edge, axis).narrow(axis, 0, size)
        return hidden
