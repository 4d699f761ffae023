"""Resampling: which orders an axis gets, and images as three matrix products.

The rules are nnU-Net's: an image whose slices are more than `anisotropy_threshold` times thicker than its pixels is
resampled in plane first, then across slices with `order_z`. A resampled image never leaves the range of values that it
had (of its slice, where slices are resampled apart), as in skimage.transform.resize(mode="edge", clip=True).
"""

import functools
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import torch

from planners.plan import Configuration, Resampling

Triple = tuple[int, int, int]
TripleMm = tuple[float, float, float]

# float32 products are wrong by about 2e-6 of the range of values; images of a wider range are computed in float64.
_WIDEST_FLOAT32_RANGE = 256.0
# Weights of a spline's far samples below this are left out when the samples of a slab are looked up.
_NEGLIGIBLE = 1e-9


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
        return (float(spacing_mm[0]), *configuration.spacing_mm)
    return tuple(configuration.spacing_mm)


def target_shape(shape: Triple, from_mm: TripleMm, to_mm: TripleMm) -> Triple:
    """Voxels of the same extent at another spacing, at least one an axis; halves round to even."""
    return tuple(max(1, round(old / new * n)) for n, old, new in zip(shape, from_mm, to_mm, strict=True))


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
    orders = tuple(rules.order_z if a == axis else order for a in range(3))
    return Resize(*(tuple(map(int, shape)) for shape in shapes), orders, axis)


@functools.lru_cache(maxsize=64)
def axis_matrix(n: int, m: int, order: int) -> np.ndarray:
    """The (m, n) matrix that brings an axis of n samples to m: column i is the resampled unit vector i.

    Sample centres lie at (i + 0.5) / n of the extent; values beyond the border repeat the border. float64, read-only.
    """
    matrix = scipy.ndimage.zoom(np.eye(n), (m / n, 1), order=order, mode="nearest", grid_mode=True)
    matrix.setflags(write=False)
    return matrix


def nearest_index(n: int, m: int) -> np.ndarray:
    """For each of m samples the nearest of n, as resampling of order 0 chooses it."""
    position = scipy.ndimage.zoom(np.arange(n, dtype=float), m / n, order=0, mode="nearest", grid_mode=True)
    return position.astype(np.int64)


def resample_image(image_CDHW: torch.Tensor, resize: Resize) -> torch.Tensor:
    """The image on the new grid, on its own device and in its own dtype; unchanged where the shapes are equal."""
    if resize.is_identity:
        return image_CDHW
    if len(image_CDHW) == 1:
        return _resample_channel(image_CDHW, resize)
    resampled = image_CDHW.new_empty((len(image_CDHW), *resize.shape_out))
    for c, channel in enumerate(image_CDHW):  # one at a time: the products in between are as large as the result
        resampled[c] = _resample_channel(channel[None], resize)[0]
    return resampled


def _resample_channel(channel: torch.Tensor, resize: Resize) -> torch.Tensor:
    """Of one channel (1, D, H, W)."""
    limits = value_limits(channel, resize)
    wide = float(limits[1].max() - limits[0].min()) > _WIDEST_FLOAT32_RANGE and channel.device.type != "mps"
    dtype = torch.float64 if wide else torch.float32
    limits = tuple(limit.to(dtype) for limit in limits)
    return resample_rows(channel, resize, limits, 0, resize.shape_out[0]).to(channel.dtype)


def value_limits(image_CDHW: torch.Tensor, resize: Resize) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest and largest value of each channel, or of each slice where slices are resampled apart; broadcastable."""
    axes = [axis + 1 for axis in range(3) if axis != resize.separate]
    return image_CDHW.amin(axes, keepdim=True), image_CDHW.amax(axes, keepdim=True)


def resample_rows(image_CDHW: torch.Tensor, resize: Resize, limits: tuple[torch.Tensor, torch.Tensor], start: int,
                  stop: int) -> torch.Tensor:
    """Rows start:stop of the resampled image's first axis, from no more rows of the old one than they need.

    `limits` are the value_limits of the whole image, so that a slab equals the same rows of the whole; their dtype is
    that of the arithmetic and of the result.
    """
    matrices = [axis_matrix(n, m, order) for n, m, order in
                zip(resize.shape_in, resize.shape_out, resize.orders, strict=True)]
    used = np.flatnonzero((np.abs(matrices[0][start:stop]) > _NEGLIGIBLE).any(axis=0))
    low, high = int(used[0]), int(used[-1]) + 1
    matrices[0] = matrices[0][start:stop, low:high]
    image = image_CDHW[:, low:high].to(limits[0].dtype)
    # Axes that shrink first: the later products are then smaller.
    growth = [m / n for n, m in zip(resize.shape_in, resize.shape_out, strict=True)]
    given = image
    for axis in sorted((a for a in range(3) if a != resize.separate), key=growth.__getitem__):
        image = _along(image, matrices[axis], axis, resize)
    if resize.separate == 0:
        limits = tuple(limit[:, low:high] for limit in limits)
    image = torch.clamp(image, *limits, out=None if image is given else image)  # never into the caller's image
    return image if resize.separate is None else _along(image, matrices[resize.separate], resize.separate, resize)


def _along(image_CDHW: torch.Tensor, matrix: np.ndarray, axis: int, resize: Resize) -> torch.Tensor:
    if resize.shape_in[axis] == resize.shape_out[axis]:
        return image_CDHW
    if resize.orders[axis] == 0:
        return image_CDHW.index_select(axis + 1, torch.from_numpy(matrix.argmax(axis=1)).to(image_CDHW.device))
    weights = torch.tensor(matrix, dtype=image_CDHW.dtype, device=image_CDHW.device)
    if axis == 2:
        return image_CDHW @ weights.T
    if axis == 1:
        return weights @ image_CDHW
    channels, _, height, width = image_CDHW.shape
    return (weights @ image_CDHW.flatten(2)).reshape(channels, -1, height, width)
