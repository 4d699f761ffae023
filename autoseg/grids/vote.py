"""Linear resampling of decisions: where all samples that a voxel mixes decide alike, so does the voxel.

A weighted mean with non-negative weights cannot change an argmax, nor the sign of a logit, on which all its samples
agree. So labels and predictions are interpolated only at the borders between classes, whatever the number of classes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from autoseg.base.errors import UserError
from autoseg.grids.crop import bounding_box
from autoseg.grids.geometry import triple
from autoseg.grids.resize import Resize, nearest_index

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
    """Samples and weights of linear (1) or nearest (0) resampling from n to m samples.

    The same arithmetic, in float64, as scipy.ndimage.zoom(grid_mode=True, mode="nearest"), whose samples beyond the
    border are the border's own; so even ties between labels fall as there.
    """
    if n == m or order == 0:
        return Taps(torch.from_numpy(nearest_index(n, m)).to(device), None, torch.ones(m, dtype=dtype, device=device),
                    None)
    if order != 1:
        raise UserError("labels are resampled with spline order 0 or 1", found=order, do="set order_label to 1")
    position = (np.arange(m) + 0.5) * (n / m) - 0.5
    below = np.floor(position)
    weight_low = 1.0 - (position - below)
    low, high = (np.clip(below + step, 0, n - 1).astype(np.int64) for step in (0, 1))
    weights = (torch.from_numpy(weight).to(dtype).to(device) for weight in (weight_low, 1.0 - weight_low))
    return Taps(torch.from_numpy(low).to(device), torch.from_numpy(high).to(device), *weights)


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


def touched(label_DHW: torch.Tensor, taps: tuple[Taps, Taps, Taps]) -> list[tuple[slice, slice]]:
    """Along each axis the new samples that mix any row with a label that is not 0, and the old samples that they mix."""
    sides = []
    for box, tap in zip(bounding_box((label_DHW != 0).cpu().numpy()), taps, strict=True):
        high = tap.low if tap.high is None else tap.high
        hit = ((high >= box[0]) & (tap.low < box[1])).nonzero()
        if not len(hit):  # a coarse grid that passes over a thin box
            return [(slice(0, 0), slice(0, 0))] * 3
        start, stop = int(hit[0]), int(hit[-1]) + 1
        sides.append((slice(start, stop), slice(int(tap.low[start]), int(high[stop - 1]) + 1)))
    return sides


def _within(tap: Taps, new: slice, old: slice) -> Taps:
    """The taps of a part of an axis, counted from where the part begins."""
    return Taps(tap.low[new] - old.start, None if tap.high is None else tap.high[new] - old.start, tap.weight_low[new],
                None if tap.weight_high is None else tap.weight_high[new])


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


def resample_label(label_DHW: torch.Tensor, resize: Resize) -> torch.Tensor:
    """The label map on the new grid: each voxel takes the label of the largest interpolated one-hot value.

    Equal values go to the label of the nearest voxel if it is among them, else to the smallest.
    """
    if resize.is_identity:
        return label_DHW
    # Across separate slices a vote is linear at most: a spline has negative weights.
    orders = triple(min(order, 1) if axis == resize.separate else order for axis, order in enumerate(resize.orders))
    taps = grid_taps(replace(resize, orders=orders), label_DHW.device, torch.float64)
    nearest = [torch.from_numpy(nearest_index(n, m)).to(label_DHW.device) for n, m in
               zip(resize.shape_in, resize.shape_out, strict=True)]
    resampled = label_DHW.new_zeros(resize.shape_out)
    window = touched(label_DHW, taps)  # beyond it all is background
    inside = tuple(old for _, old in window)
    taps = triple(_within(tap, *side) for tap, side in zip(taps, window, strict=True))
    nearest = [index[new] - old.start for index, (new, old) in zip(nearest, window, strict=True)]
    _resample_within(label_DHW[inside].contiguous(), taps, nearest, resampled[tuple(new for new, _ in window)])
    return resampled


def _resample_within(label_DHW: torch.Tensor, taps: tuple[Taps, Taps, Taps], nearest: Sequence[torch.Tensor],
                     resampled_DHW: torch.Tensor) -> None:
    if not resampled_DHW.numel():
        return
    flat = in_memory(label_DHW)
    for slab in resample_decisions(lambda start, stop: label_DHW[start:stop], taps):
        for voxels, index, weight in corners(slab, taps, triple(label_DHW.stride())):
            z, y, x = voxels.unbind(1)
            closest = label_DHW[nearest[0][z + slab.start], nearest[1][y], nearest[2][x]]
            slab.decided_DHW[z, y, x] = _elect(flat[index], weight, closest)
        resampled_DHW[slab.start:slab.stop] = slab.decided_DHW


def _elect(samples_NT: torch.Tensor, weight_NT: torch.Tensor, closest_N: torch.Tensor) -> torch.Tensor:
    """The label with the largest sum of weights; sums run in the order of the samples, so that ties are exact."""
    votes_NT = torch.stack([_votes(samples_NT, weight_NT, candidate) for candidate in samples_NT.unbind(1)], dim=1)
    most_N = votes_NT.amax(dim=1)
    smallest_N = samples_NT.masked_fill(votes_NT < most_N[:, None], torch.iinfo(samples_NT.dtype).max).amin(dim=1)
    return torch.where(_votes(samples_NT, weight_NT, closest_N) == most_N, closest_N, smallest_N)


def _votes(samples_NT: torch.Tensor, weight_NT: torch.Tensor, candidate_N: torch.Tensor) -> torch.Tensor:
    total = weight_NT.new_zeros(len(samples_NT))
    for sample_N, weight_N in zip(samples_NT.unbind(1), weight_NT.unbind(1), strict=True):
        total = total + weight_N * (sample_N == candidate_N)
    return total
