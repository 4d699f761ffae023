"""Linear resampling of decisions: where all samples that a voxel mixes decide alike, so does the voxel.

A weighted mean with non-negative weights cannot change an argmax, nor the sign of a logit, on which all its samples
agree. So predictions are interpolated only at the borders between classes, whatever the number of classes. (Label maps:
`label_vote`.)
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from autoseg.grids.geometry import triple
from autoseg.grids.resize import Resize, axis_samples

# Voxels of a slab, and border voxels treated at a time: they bound the memory, not the result.
_SLAB_VOXELS = 2**22
_CHUNK_VOXELS = 2**17


@dataclass(frozen=True)
class Taps:
    """The two samples that each voxel of an axis mixes, and their weights (m,); one sample where order is 0."""

    low: torch.Tensor
    high: torch.Tensor | None
    weight_low: torch.Tensor
    weight_high: torch.Tensor | None

    @property
    def sides(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Each sample with its weight."""
        lower = [(self.low, self.weight_low)]
        return lower if self.high is None or self.weight_high is None else [*lower, (self.high, self.weight_high)]


def grid_taps(resize: Resize, device: torch.device, dtype: torch.dtype) -> tuple[Taps, Taps, Taps]:
    """The taps of all three axes; weights are of `dtype`."""
    return triple(_axis_taps(n, m, order, device, dtype) for n, m, order in
                  zip(resize.shape_in, resize.shape_out, resize.orders, strict=True))


def _axis_taps(n: int, m: int, order: int, device: torch.device, dtype: torch.dtype) -> Taps:
    low, high, weight_low = axis_samples(n, m, order)
    weight = torch.from_numpy(weight_low)
    below, weight_below = torch.tensor(low, device=device), weight.to(dtype).to(device)
    if high is None:
        return Taps(below, None, weight_below, None)
    return Taps(below, torch.from_numpy(high).to(device), weight_below, (1.0 - weight).to(dtype).to(device))


@dataclass(frozen=True)
class Slab:
    """Rows start:stop of the new grid: the decisions, and the voxels (N, 3) whose samples do not agree on one."""

    start: int
    stop: int
    decided_DHW: torch.Tensor
    open_N3: torch.Tensor


def resample_decisions(decided: Callable[[int, int], torch.Tensor], taps: tuple[Taps, Taps, Taps]) -> Iterator[Slab]:
    """The decisions on the new grid, slab by slab along the first axis.

    `decided(start, stop)` gives those rows (rows, H, W) of the old grid. They are asked for as they are needed, so that
    nothing of the size of either grid is held.
    """
    along, *in_plane = taps
    rows = max(1, _SLAB_VOXELS // math.prod(len(tap.low) for tap in in_plane))
    n = len(along.low)
    for start in range(0, n, rows):
        stop = min(n, start + rows)
        low, high = along.low[start:stop], None if along.high is None else along.high[start:stop]
        first = int(low[0])
        decision = decided(first, int((low if high is None else high)[-1]) + 1)
        agreed = None
        for axis in (2, 1):
            decision, agreed = _meet(decision, agreed, taps[axis], axis)
        rows_taps = Taps(low - first, None if high is None else high - first, along.weight_low, None)
        slab, agreed = _meet(decision, agreed, rows_taps, 0)
        yield Slab(start, stop, slab, (~agreed).nonzero())


def _meet(decision: torch.Tensor, agreed: torch.Tensor | None, taps: Taps, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The decision along one more axis, and where all samples agree on it; `agreed` None: they did everywhere so far."""
    low = decision.index_select(axis, taps.low)
    low_agreed = torch.ones_like(low, dtype=torch.bool) if agreed is None else agreed.index_select(axis, taps.low)
    if taps.high is None:
        return low, low_agreed
    low_agreed &= low == decision.index_select(axis, taps.high)
    if agreed is not None:
        low_agreed &= agreed.index_select(axis, taps.high)
    return low, low_agreed


def corners(slab: Slab, taps: tuple[Taps, Taps, Taps], stride: tuple[int, int, int]
            ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """The open voxels of a slab in chunks: (voxels (N, 3) in the slab, where their samples lie (N, T), weights).

    `stride` is that of the old grid in memory. Samples are in array order, the last axis fastest; weights (N, T) are
    products along z, y, x.
    """
    for voxels in torch.split(slab.open_N3, _CHUNK_VOXELS):
        index = torch.zeros((len(voxels), 1), dtype=torch.int64, device=voxels.device)
        weight = taps[0].weight_low.new_ones((len(voxels), 1))
        for axis, tap in enumerate(taps):
            at = voxels[:, axis] + (slab.start if axis == 0 else 0)
            index = torch.stack([index + side[at][:, None] * stride[axis] for side, _ in tap.sides], 2).flatten(1)
            weight = torch.stack([weight * factor[at][:, None] for _, factor in tap.sides], 2).flatten(1)
        yield voxels, index, weight


def in_memory(array_XDHW: torch.Tensor) -> torch.Tensor:
    """A view (..., N) of an array that may be a part of a larger one, without a copy: voxel (z, y, x) lies at the sum of
    index times stride.
    """
    shape, stride = array_XDHW.shape, array_XDHW.stride()
    last = sum((n - 1) * step for n, step in zip(shape[-3:], stride[-3:], strict=True))
    return array_XDHW.as_strided((*shape[:-3], last + 1), (*stride[:-3], 1))
