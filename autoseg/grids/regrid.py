"""Values of one grid at the places of another, in mm: how a channel is brought to the grid of the reference channel.

Interpolation is linear. Where the other grid has less than half the spacing along an axis, its linear interpolant is
averaged over the extent of the new voxel (a box, which leaves a linear ramp as it is): reading single voxels of a fine
grid would turn its detail and noise into aliases. Beyond the outermost centres, half a voxel still belongs to an image
and has its edge values; farther out an image is absent, and its voxels are 0.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from autoseg.base.errors import UserError
from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import Transform, indices_of, points_of, world_of

# Voxels of the other grid under one of the new grid, along an axis, beyond which they are averaged.
_AVERAGED_BEYOND = 2.0
# A position this far (in voxels) outside the outermost centre is still inside; what exceeds a half is rounding of headers.
_EDGE = 0.5 + 1e-3
# Axes that are parallel but for this (in voxels, at the far end) are resampled one after the other.
_OFF_AXIS = 0.01
_SLAB_VOXELS = 2**20
_BLOCK_VOXELS = 2**17


@dataclass(frozen=True)
class _Line:
    """One axis of the new grid where it runs along one axis (`source`) of the other grid."""

    source: int
    positions: np.ndarray  # of the new voxels, in voxels of the other axis
    size: int  # of the other axis
    width: float  # of a new voxel, in voxels of the other axis

    @functools.cached_property
    def covered(self) -> slice:
        """The new voxels that lie within the other axis."""
        inside = np.flatnonzero(_within(self.positions, self.size))
        return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)

    @property
    def growth(self) -> float:
        covered: slice[int, int, None] = self.covered
        return (covered.stop - covered.start) / self.size


def regrid(moving_CDHW: np.ndarray, moving: Geometry, fixed: Geometry, transform: Transform | None = None,
           names: tuple[object, object] = ("the image", "the reference")) -> tuple[np.ndarray, np.ndarray]:
    """The image (C, D, H, W; float32) on the grid `fixed`, and where it is absent (D, H, W; bool).

    `moving` is the grid that the image has; `transform` (none: the identity) leads from the world of `fixed` to its.
    Raises UserError where the image covers no voxel of `fixed`; it calls the two by their `names`.
    """
    lines = _lines(moving, fixed, transform)
    if lines is None:
        image_CDHW, absent_DHW = _by_points(moving_CDHW, moving, fixed, transform)
    else:
        image_CDHW, absent_DHW = _by_lines(moving_CDHW, lines)
    if absent_DHW.all():
        raise no_overlap(moving, fixed, names)
    return image_CDHW, absent_DHW


def outside(moving: Geometry, fixed: Geometry, transform: Transform | None = None) -> np.ndarray:
    """Voxels (z, y, x; bool) of the grid `fixed` that an image on the grid `moving` does not cover."""
    lines = _lines(moving, fixed, transform)
    if lines is not None:
        return _outside_of(lines)
    absent_N = np.empty(math.prod(fixed.shape), dtype=bool)
    for part, index_3N in _slabs(moving, fixed, transform):
        absent_N[part] = ~_all_within(index_3N, moving.shape)
    return absent_N.reshape(fixed.shape)


def no_overlap(moving: Geometry, fixed: Geometry, names: tuple[object, object]) -> UserError:
    """The error of two images of which none covers a voxel of the other, with what each covers of the world."""
    return UserError(f"{names[0]} and {names[1]} do not overlap", found=_frame(moving), expected=f"within {_frame(fixed)}",
                     do="correct the header of the file that lies in the wrong place")


def _frame(geometry: Geometry) -> str:
    """What a grid covers of the world, in words."""
    corners = np.array(np.meshgrid(*((-0.5, n - 0.5) for n in geometry.shape))).reshape(3, -1).T
    points_mm = points_of(geometry, corners)
    sides = zip("xyz", points_mm.min(axis=0), points_mm.max(axis=0), strict=True)
    return ", ".join(f"{axis} {low:.0f} to {high:.0f}" for axis, low, high in sides) + " mm"


def _index_map(moving: Geometry, fixed: Geometry, matrix: np.ndarray | None) -> np.ndarray:
    """The matrix (3, 4) from indices (z, y, x) of `fixed` to those of `moving`; `matrix` (3, 4) is between their worlds."""
    chain = np.linalg.inv(_square(world_of(moving)))
    if matrix is not None:
        chain = chain @ _square(matrix)
    index_map: np.ndarray = (chain @ _square(world_of(fixed)))[:3]
    return index_map


def _square(matrix: np.ndarray) -> np.ndarray:
    return np.vstack([matrix, (0, 0, 0, 1)])


def _lines(moving: Geometry, fixed: Geometry, transform: Transform | None) -> Sequence[_Line] | None:
    """A line for each axis z, y, x of `fixed`, or None where the axes of the grids are not parallel."""
    if transform is not None and transform.displacement_mm is not None:
        return None
    index_map = _index_map(moving, fixed, None if transform is None else transform.matrix)
    scale, offset = index_map[:, :3], index_map[:, 3]
    turn = np.abs(scale) * np.array(moving.spacing_mm)[:, None] / np.array(fixed.spacing_mm)
    sources = turn.argmax(axis=0)
    if sorted(sources) != [0, 1, 2]:
        return None
    middle = (np.array(fixed.shape) - 1) / 2
    lines = []
    for axis, source in enumerate(sources):
        others = [other for other in range(3) if other != axis]
        if np.abs(scale[source, others]) @ middle[others] > _OFF_AXIS:
            return None
        start = offset[source] + scale[source, others] @ middle[others]
        lines.append(_Line(int(source), start + scale[source, axis] * np.arange(fixed.shape[axis]), moving.shape[source],
                           abs(float(scale[source, axis]))))
    return lines


def _outside_of(lines: Sequence[_Line]) -> np.ndarray:
    absent_DHW = np.ones([len(line.positions) for line in lines], dtype=bool)
    absent_DHW[tuple(line.covered for line in lines)] = False
    return absent_DHW


def _by_lines(moving_CDHW: np.ndarray, lines: Sequence[_Line]) -> tuple[np.ndarray, np.ndarray]:
    """Parallel axes: one after the other, those that shrink first, so that the later ones have less to do."""
    absent_DHW = _outside_of(lines)
    image_CDHW = np.zeros((len(moving_CDHW), *absent_DHW.shape), dtype=np.float32)
    if absent_DHW.all():
        return image_CDHW, absent_DHW
    taps = [_taps(line.positions[line.covered], line.size, line.width) for line in lines]
    for image_DHW, moving_DHW in zip(image_CDHW, moving_CDHW, strict=True):
        part = moving_DHW.transpose([line.source for line in lines])
        for axis in sorted(range(3), key=lambda axis: lines[axis].growth):
            part = _weighted(part, axis, *taps[axis])
        image_DHW[tuple(line.covered for line in lines)] = part
    return image_CDHW, absent_DHW


def _taps(positions_N: np.ndarray, size: int, width: float) -> tuple[np.ndarray, np.ndarray]:
    """The samples (T, N) of an axis of `size` that make up its values at `positions_N`, and their weights (T, N).

    Linear interpolation, or its mean over `width` around each position. What lies beyond the ends repeats them.
    """
    if width <= _AVERAGED_BEYOND:
        index_TN = np.floor(positions_N).astype(np.int64) + np.arange(2)[:, None]
        weight_TN = 1 - np.abs(positions_N - index_TN)
    else:
        first_N = np.ceil(positions_N - width / 2 - 1).astype(np.int64)
        index_TN = first_N + np.arange(math.ceil(width) + 2)[:, None]
        distance_TN = positions_N - index_TN
        weight_TN = (_hat_integral(distance_TN + width / 2) - _hat_integral(distance_TN - width / 2)) / width
    return np.clip(index_TN, 0, size - 1), weight_TN.astype(np.float32)


def _hat_integral(x: np.ndarray) -> np.ndarray:
    """Integral up to x of the hat function, which is 1 at 0 and falls to 0 at -1 and 1."""
    x = np.clip(x, -1, 1)
    return np.where(x < 0, (1 + x) ** 2 / 2, 1 - (1 - x) ** 2 / 2)


def _weighted(image_DHW: np.ndarray, axis: int, index_TN: np.ndarray, weight_TN: np.ndarray) -> np.ndarray:
    """Weighted sums of T samples along an axis, which gets N voxels; in blocks that stay in a core's cache."""
    shape = [index_TN.shape[1] if axis == other else n for other, n in enumerate(image_DHW.shape)]
    weight_TN = weight_TN.reshape(-1, *(shape[axis] if axis == other else 1 for other in range(3)))
    taps = [t for t, weight_N in enumerate(weight_TN) if weight_N.any()]
    total = np.zeros(shape, dtype=np.float32)
    rows = max(1, _BLOCK_VOXELS // max(1, math.prod(shape[1:])))
    for block in (slice(start, start + rows) for start in range(0, shape[0], rows)):
        for t in taps:
            if axis == 0:
                total[block] += image_DHW[index_TN[t, block]] * weight_TN[t, block]
            else:
                total[block] += np.take(image_DHW[block], index_TN[t], axis) * weight_TN[t]
    return total


def _by_points(moving_CDHW: np.ndarray, moving: Geometry, fixed: Geometry, transform: Transform | None
               ) -> tuple[np.ndarray, np.ndarray]:
    """Any axes and any transform: the position of every voxel, slab by slab so that memory stays bounded."""
    # How many voxels of `moving` one of `fixed` spans along each of its axes; a transform hardly changes that.
    widths = np.linalg.norm(_index_map(moving, fixed, None)[:, :3], axis=1)
    smoothed = [_smoothed(channel_DHW, widths) for channel_DHW in moving_CDHW]
    image_CN = np.zeros((len(smoothed), math.prod(fixed.shape)), dtype=np.float32)
    absent_N = np.empty(image_CN.shape[1], dtype=bool)
    for part, index_3N in _slabs(moving, fixed, transform):
        inside_N = _all_within(index_3N, moving.shape)
        absent_N[part] = ~inside_N
        index_3N = index_3N[:, inside_N]
        for channel_N, channel_DHW in zip(image_CN[:, part], smoothed, strict=True):
            channel_N[inside_N] = scipy.ndimage.map_coordinates(channel_DHW, index_3N, order=1, mode="nearest")
    return image_CN.reshape(-1, *fixed.shape), absent_N.reshape(fixed.shape)


def _smoothed(image_DHW: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Averaged on its own grid along the axes that are too fine."""
    image_DHW = image_DHW.astype(np.float32, copy=False)
    for axis in np.flatnonzero(widths > _AVERAGED_BEYOND):
        size = image_DHW.shape[axis]
        image_DHW = _weighted(image_DHW, int(axis), *_taps(np.arange(size), size, float(widths[axis])))
    return image_DHW


def _slabs(moving: Geometry, fixed: Geometry, transform: Transform | None) -> Iterator[tuple[slice, np.ndarray]]:
    """Parts of the flattened grid `fixed`, and the positions (3, N) of their voxels in voxels (z, y, x) of `moving`."""
    size = math.prod(fixed.shape)
    displaced = transform if transform is not None and transform.displacement_mm is not None else None
    index_map = _index_map(moving, fixed, None if transform is None else transform.matrix)
    for start in range(0, size, _SLAB_VOXELS):
        part = slice(start, min(size, start + _SLAB_VOXELS))
        index_3N = np.stack(np.unravel_index(np.arange(part.start, part.stop), fixed.shape))
        if displaced is not None:
            yield part, indices_of(moving, displaced.apply(points_of(fixed, index_3N.T))).T
        else:
            yield part, index_map[:, :3] @ index_3N + index_map[:, 3:]


def _all_within(index_3N: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    z_N, y_N, x_N = (_within(index_N, size) for index_N, size in zip(index_3N, shape, strict=True))
    within_N: np.ndarray = z_N & y_N & x_N
    return within_N


def _within(positions_N: np.ndarray, size: int) -> np.ndarray:
    within_N: np.ndarray = (positions_N >= -_EDGE) & (positions_N <= size - 1 + _EDGE)
    return within_N
