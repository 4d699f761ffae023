"""Target spacing, axis order and low resolution.

The rules are those that nnU-Net publishes (Isensee et al., Nature Methods 2021, and its version 2); the sequence of
floating-point operations is theirs too, because a plan changes where a ratio falls on a threshold.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from planners.schema.fingerprint import Fingerprint

ANISOTROPY = 3.0  # an axis is coarse where its spacing exceeds that of the others by this factor
COARSE_AXIS_PERCENTILE = 10
COARSENING = 1.03  # one step towards the low resolution
FEW_SLICES = 4  # an axis of fewer voxels holds no feature map that could be halved; other axes are planned with
LOW_RESOLUTION_BELOW = 0.25  # share of the median case that a patch must see, or a low resolution is planned
LOW_RESOLUTION_GAIN = 2.0  # times fewer voxels than the full resolution, or it is not worth a network


@dataclass(frozen=True)
class Grid:
    """A target spacing [mm] with the shape that the median case has there, in transposed axis order.

    `voxels` are those of the median case before its shape was rounded; a 2D grid keeps the count of the whole volume.
    """

    spacing_mm: tuple[float, ...]
    median_shape: tuple[float, ...]
    voxels: float

    def in_plane(self) -> "Grid":
        """The last two axes: what a 2D network sees."""
        return Grid(self.spacing_mm[1:], self.median_shape[1:], self.voxels)


def target_spacing(spacings_mm: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """The spacing [mm, array order] to resample to: the median, but finer along a coarse axis.

    `spacings_mm` and `shapes` are (cases, 3). Where one axis is coarse in both spacing and voxels, the median would
    blur the better cases, so the 10th percentile is taken, but never finer than the other axes.
    """
    target: np.ndarray = np.percentile(spacings_mm, 50, axis=0)
    shape = np.percentile(shapes, 50, axis=0)
    coarse = int(np.argmax(target))
    in_plane = np.delete(target, coarse).max()
    is_coarse = target[coarse] > ANISOTROPY * in_plane
    is_thin = shape[coarse] * ANISOTROPY < np.delete(shape, coarse).min()
    if is_coarse and is_thin:
        finer = np.percentile(spacings_mm[:, coarse], COARSE_AXIS_PERCENTILE)
        target[coarse] = finer if finer >= in_plane else in_plane + 1e-5
    return target


def axis_order(spacing_mm: Sequence[float] | np.ndarray, shape: Sequence[float] | np.ndarray = ()) -> tuple[int, int, int]:
    """The array axes with the coarsest first, the others in their order.

    >>> axis_order((1.0, 5.0, 1.0))
    (1, 0, 2)

    A single axis of few slices comes first whatever its spacing: a network that sees planes is to see whole ones.

    >>> axis_order((1.0, 1.5, 1.5), (1, 256, 256))
    (0, 1, 2)
    """
    few = [axis for axis, n in enumerate(shape) if n < FEW_SLICES]
    coarse = few[0] if len(few) == 1 else int(np.argmax(spacing_mm))
    first, second = (axis for axis in range(3) if axis != coarse)
    return coarse, first, second


def median_shape(shapes: np.ndarray, spacings_mm: np.ndarray, target_mm: np.ndarray) -> np.ndarray:
    """Median over the cases of the shape after resampling to `target_mm`; at least one voxel per axis."""
    resampled = np.rint(spacings_mm / target_mm * shapes)
    median = np.median(resampled, axis=0)
    return np.where(median == 0, 1.0, median)


def full_resolution(fingerprint: Fingerprint) -> tuple[tuple[int, int, int], Grid]:
    """Axis order of the plan and its full-resolution grid; a ValueError where no case was measured."""
    if not fingerprint.cases:
        raise ValueError(f"the fingerprint of {fingerprint.dataset!r} holds no case; measure the dataset first")
    spacings = np.array([case.spacing_mm for case in fingerprint.cases], dtype=np.float64)
    shapes = np.array([case.shape for case in fingerprint.cases], dtype=np.float64)
    if not (spacings > 0).all():
        case = fingerprint.cases[int(np.argmax((spacings <= 0).any(axis=1)))]
        raise ValueError(f"case {case.case!r} has spacing {case.spacing_mm} mm; every axis must be above zero")
    target = target_spacing(spacings, shapes)
    shape = median_shape(shapes, spacings, target)
    single = np.median(shapes, axis=0) == 1
    shape[single] = 1  # slices of different thickness are no voxels of each other
    order = axis_order(target, np.median(shapes, axis=0))
    ordered = tuple(float(shape[axis]) for axis in order)
    return order, Grid(tuple(float(target[axis]) for axis in order), ordered, math.prod(ordered))


def low_resolution(full: Grid, patch_of: Callable[[Grid], Sequence[int]]) -> Grid | None:
    """The finest coarser grid on which a patch sees a quarter of the median case; None where none is needed.

    `patch_of` gives the patch that fits the memory on a grid. None also where the grid that was found has not even half
    as many voxels less: a second network would then see nothing new.
    """
    low = full
    while math.prod(patch_of(low)) / low.voxels < LOW_RESOLUTION_BELOW:
        spacing = coarser(low.spacing_mm)
        shape = [old / new * n for old, new, n in zip(full.spacing_mm, spacing, full.median_shape, strict=True)]
        low = Grid(spacing, tuple(float(max(1, round(n))) for n in shape), math.prod(shape))
    return low if full.voxels / low.voxels >= LOW_RESOLUTION_GAIN else None


def coarser(spacing_mm: Sequence[float], factor: float = COARSENING) -> tuple[float, ...]:
    """Coarser by a factor: the axes that are more than twice as fine as the coarsest, or all axes if there are none."""
    coarsest = max(spacing_mm)
    fine = [coarsest / s > 2 for s in spacing_mm]
    return tuple(s * factor if f or not any(fine) else s for s, f in zip(spacing_mm, fine, strict=True))
