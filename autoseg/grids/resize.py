"""Which grid becomes which, and which spline order each axis gets; the rules are nnU-Net's. Needs no torch.

An image whose slices are more than `anisotropy_threshold` times thicker than its pixels is resampled in plane first, then
across slices with `order_z`.
"""

import functools
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import scipy

from autoseg.base.errors import UserError
from autoseg.grids.geometry import triple
from planners.schema.plan import Configuration, Resampling

SplineOrder = Literal[0, 1, 2, 3, 4, 5]
Triple = tuple[int, int, int]
TripleMm = tuple[float, float, float]


@dataclass(frozen=True)
class Resize:
    """How one grid becomes another: shapes, the spline order of each axis, and the axis that is resampled last."""

    shape_in: Triple
    shape_out: Triple
    orders: tuple[int, int, int]
    separate: int | None = None

    @property
    def is_identity(self) -> bool:
        return self.shape_in == self.shape_out


def target_spacing(configuration: Configuration, spacing_mm: TripleMm) -> TripleMm:
    """The spacing that a case of `spacing_mm` (transposed) is brought to; 2D keeps the distance of its slices."""
    if configuration.dimensions == 2:
        return triple((float(spacing_mm[0]), *configuration.spacing_mm))
    return triple(configuration.spacing_mm)


def target_shape(shape: Triple, from_mm: TripleMm, to_mm: TripleMm) -> Triple:
    """Voxels of the same extent at another spacing, at least one per axis; halves round to even."""
    return triple(max(1, round(old / new * n)) for n, old, new in zip(shape, from_mm, to_mm, strict=True))


def separate_axis(from_mm: TripleMm, to_mm: TripleMm, threshold: float) -> int | None:
    """The axis across slices, where the old spacing, else the new one, is anisotropic beyond `threshold`.

    None where neither is, and where two axes are equally coarse: then there is no slice to speak of.

    >>> separate_axis((5., .8, .8), (1., 1., 1.), 3.), separate_axis((1., 1., 1.), (5., .8, .8), 3.)
    (0, 0)
    >>> separate_axis((.2, 1.2, 1.2), (1., 1., 1.), 3.) is None
    True
    """
    for spacing in (from_mm, to_mm):
        if max(spacing) / min(spacing) > threshold:
            coarse = [axis for axis, value in enumerate(spacing) if value == max(spacing)]
            return coarse[0] if len(coarse) == 1 else None
    return None


def plan_resize(shapes: tuple[Triple, Triple], from_mm: TripleMm, to_mm: TripleMm, order: int,
                rules: Resampling) -> Resize:
    """The resize between two `shapes` (old, new), of `order` in plane and `rules.order_z` across separate slices."""
    axis = separate_axis(from_mm, to_mm, rules.anisotropy_threshold)
    orders = triple(rules.order_z if a == axis else order for a in range(3))
    shape_in, shape_out = (triple(map(int, shape)) for shape in shapes)
    return Resize(shape_in, shape_out, orders, axis)


@functools.lru_cache(maxsize=64)
def axis_matrix(n: int, m: int, order: int) -> np.ndarray:
    """The (m, n) matrix that brings an axis of n samples to m: column i is the resampled unit vector i.

    Sample centres lie at (i + 0.5) / n of the extent; values beyond the border repeat the border. float64, read-only.
    """
    matrix: np.ndarray = scipy.ndimage.zoom(np.eye(n), [m / n, 1.0], order=cast("SplineOrder", order), mode="nearest",
                                            grid_mode=True)
    matrix.setflags(write=False)
    return matrix


@functools.lru_cache(maxsize=256)
def nearest_index(n: int, m: int) -> np.ndarray:
    """For each of m samples the nearest of n, as resampling of order 0 chooses it. int64, read-only."""
    if n == m:
        position = np.arange(n)
    else:
        position = scipy.ndimage.zoom(np.arange(n, dtype=float), m / n, order=0, mode="nearest", grid_mode=True)
    index: np.ndarray = position.astype(np.int64)
    index.setflags(write=False)
    return index


def axis_samples(n: int, m: int, order: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """What linear (1) or nearest (0) resampling from n to m samples mixes: the sample below, the one above (None: only one
    is taken) and the weight of the one below, each (m,).

    The same arithmetic, in float64, as scipy.ndimage.zoom(grid_mode=True, mode="nearest"), whose samples beyond the
    border are the border's own; so even ties between labels fall as there. A UserError for another order.
    """
    if n == m or order == 0:
        return nearest_index(n, m), None, np.ones(m)
    if order != 1:
        raise UserError("labels are resampled with spline order 0 or 1", found=order, do="set order_label to 1")
    position = (np.arange(m) + 0.5) * (n / m) - 0.5
    below = np.floor(position)
    low, high = (np.clip(below + step, 0, n - 1).astype(np.int64) for step in (0, 1))
    return low, high, 1.0 - (position - below)
