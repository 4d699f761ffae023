"""Label maps on another grid: each voxel takes the label of the largest interpolated one-hot value. Needs no torch.

Where all samples that a voxel mixes have one label, so has the voxel; so votes are counted only at the borders between
labels, whatever the number of labels.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.grids.boxes import extent
from autoseg.grids.geometry import triple
from autoseg.grids.resize import Resize, axis_samples, nearest_index

# Voxels of a slab, and border voxels treated at a time: they bound the memory, not the result. A chunk fits the caches.
_SLAB_VOXELS = 2**22
_CHUNK_VOXELS = 2**12


@dataclass(frozen=True)
class _Axis:
    """What each new voxel of an axis mixes: the sample below and the one above (None: only one), the weight of the one
    below, and the nearest sample."""

    low: np.ndarray
    high: np.ndarray | None
    weight_low: np.ndarray
    nearest: np.ndarray

    @property
    def is_kept(self) -> bool:
        """Whether new and old samples are the same ones, from the first on."""
        return self.high is None and len(self.low) > 0 and bool((self.low == np.arange(len(self.low))).all())

    def range_of(self, new: slice) -> tuple[int, int]:
        """The first and the last old sample that a part of the new ones needs."""
        needed = [side[new] for side in (self.low, self.high, self.nearest) if side is not None]
        return min(int(side.min()) for side in needed), max(int(side.max()) for side in needed)

    def within(self, new: slice, first: int) -> "_Axis":
        """A part of the new samples, with the old ones counted from `first`."""
        return _Axis(self.low[new] - first, None if self.high is None else self.high[new] - first, self.weight_low[new],
                     self.nearest[new] - first)


def resample_label(label_DHW: np.ndarray, resize: Resize) -> np.ndarray:
    """The label map (whole numbers) on the new grid: each voxel takes the label of the largest interpolated one-hot value.

    Equal values go to the label of the nearest voxel if it is among them, else to the smallest. A UserError for a spline
    order above 1.
    """
    if resize.is_identity:
        return label_DHW
    # Across separate slices a vote is linear at most: a spline has negative weights.
    orders = (min(order, 1) if axis == resize.separate else order for axis, order in enumerate(resize.orders))
    axes = [_axis(n, m, order) for n, m, order in zip(resize.shape_in, resize.shape_out, orders, strict=True)]
    resampled_DHW = np.zeros(resize.shape_out, dtype=label_DHW.dtype)
    box = extent(label_DHW)
    if box is None:
        return resampled_DHW
    window = [_touched(axis, side) for axis, side in zip(axes, box, strict=True)]  # beyond it all is background
    if any(new.start == new.stop for new, _ in window):  # a coarse grid that passes over a thin box
        return resampled_DHW
    inside = label_DHW[tuple(old for _, old in window)]
    parts = triple(axis.within(new, old.start) for axis, (new, old) in zip(axes, window, strict=True))
    _vote(inside, parts, resampled_DHW[tuple(new for new, _ in window)])
    return resampled_DHW


def _axis(n: int, m: int, order: int) -> _Axis:
    return _Axis(*axis_samples(n, m, order), nearest_index(n, m))


def _touched(axis: _Axis, box: slice) -> tuple[slice, slice]:
    """The new samples that mix any of the old ones of `box`, and the old samples that they mix."""
    high = axis.low if axis.high is None else axis.high
    hit = np.flatnonzero((high >= box.start) & (axis.low < box.stop))
    if not hit.size:
        return slice(0, 0), slice(0, 0)
    start, stop = int(hit[0]), int(hit[-1]) + 1
    return slice(start, stop), slice(int(axis.low[start]), int(high[stop - 1]) + 1)


def _vote(label_DHW: np.ndarray, axes: tuple[_Axis, _Axis, _Axis], resampled_DHW: np.ndarray) -> None:
    """Fill `resampled_DHW`, slab by slab along the first axis."""
    depth, *in_plane = resampled_DHW.shape
    rows = max(1, _SLAB_VOXELS // math.prod(in_plane))
    for start in range(0, depth, rows):
        first, last = axes[0].range_of(slice(start, start + rows))
        slab = (axes[0].within(slice(start, start + rows), first), *axes[1:])
        samples_DHW = np.ascontiguousarray(label_DHW[first:last + 1])
        decided_DHW, agreed_DHW = samples_DHW, None
        for number in (2, 1, 0):
            decided_DHW, agreed_DHW = _meet(decided_DHW, agreed_DHW, slab[number], number)
        if agreed_DHW is not None:
            flat_N = decided_DHW.reshape(-1)
            for voxels_N in _chunks(np.flatnonzero(~agreed_DHW)):
                flat_N[voxels_N] = _elect(samples_DHW, slab, np.unravel_index(voxels_N, decided_DHW.shape))
        resampled_DHW[start:start + rows] = decided_DHW


def _meet(decided_DHW: np.ndarray, agreed_DHW: np.ndarray | None, axis: _Axis, number: int
          ) -> tuple[np.ndarray, np.ndarray | None]:
    """The decision along one more axis, and where all samples agree on it; None: they did everywhere so far."""
    if axis.is_kept:
        first = (slice(None),) * number + (slice(len(axis.low)),)
        return decided_DHW[first], None if agreed_DHW is None else agreed_DHW[first]
    low_DHW = decided_DHW.take(axis.low, number)
    low_agreed_DHW = None if agreed_DHW is None else agreed_DHW.take(axis.low, number)
    if axis.high is None:
        return low_DHW, low_agreed_DHW
    same_DHW: np.ndarray = low_DHW == decided_DHW.take(axis.high, number)
    if agreed_DHW is not None and low_agreed_DHW is not None:
        same_DHW &= low_agreed_DHW
        same_DHW &= agreed_DHW.take(axis.high, number)
    return low_DHW, same_DHW


def _chunks(voxels_N: np.ndarray) -> Iterator[np.ndarray]:
    return (voxels_N[start:start + _CHUNK_VOXELS] for start in range(0, len(voxels_N), _CHUNK_VOXELS))


def _elect(label_DHW: np.ndarray, axes: Sequence[_Axis], at: Sequence[np.ndarray]) -> np.ndarray:
    """The labels with the largest sums of weights at voxels of the new grid.

    Samples run in array order, the last axis fastest, and sums in the order of the samples, so that ties are exact.
    """
    n, (_, height, width) = len(at[0]), label_DHW.shape
    (z, weight_z), (y, weight_y), (x, weight_x) = (_sides(axis, voxels_N) for axis, voxels_N in zip(axes, at, strict=True))
    index_TN = (((z[:, None] * height + y) * width)[:, :, None] + x).reshape(-1, n)
    weight_TN = ((weight_z[:, None] * weight_y)[:, :, None] * weight_x).reshape(-1, n)
    samples_TN = label_DHW.ravel().take(index_TN)
    low, high = int(samples_TN.min()), int(samples_TN.max())
    few = high - low < len(samples_TN)  # then each value is counted once, else each sample's
    candidates_TN = np.arange(low, high + 1, dtype=samples_TN.dtype)[:, None] if few else samples_TN
    votes_TN = np.stack([_votes(samples_TN, weight_TN, candidate_N) for candidate_N in candidates_TN])
    most_N = votes_TN.max(axis=0)
    largest = np.iinfo(samples_TN.dtype).max
    smallest_N = np.where(votes_TN < most_N, largest, candidates_TN).min(axis=0)
    closest_N = label_DHW[tuple(axis.nearest[voxels_N] for axis, voxels_N in zip(axes, at, strict=True))]
    winner_N: np.ndarray = np.where(_votes(samples_TN, weight_TN, closest_N) == most_N, closest_N, smallest_N)
    return winner_N


def _sides(axis: _Axis, voxels_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The one or two samples that voxels mix along an axis, and their weights, each (1 or 2, N)."""
    below_N, weight_N = axis.low.take(voxels_N), axis.weight_low.take(voxels_N)
    if axis.high is None:
        return below_N[None], weight_N[None]
    return np.stack((below_N, axis.high.take(voxels_N))), np.stack((weight_N, 1.0 - weight_N))


def _votes(samples_TN: np.ndarray, weight_TN: np.ndarray, candidate_N: np.ndarray) -> np.ndarray:
    """The weights of the samples that are the candidate, added one after the other."""
    total_N: np.ndarray = np.where(samples_TN == candidate_N, weight_TN, 0.0).sum(axis=0)
    return total_N
