"""Images on another grid, as three matrix products.

A resampled image never leaves the range of values that it had (of its slice, where slices are resampled apart), as in
skimage.transform.resize(mode="edge", clip=True).
"""

import numpy as np
import torch

from autoseg.grids.resize import Resize, axis_matrix

# float32 products are wrong by about 2e-6 of the range of values; images of a wider range are computed in float64.
_WIDEST_FLOAT32_RANGE = 256.0
# Weights of a spline's far samples below this are left out when the samples of a slab are looked up.
_NEGLIGIBLE = 1e-9


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
    limits = limits[0].to(dtype), limits[1].to(dtype)
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
        limits = limits[0][:, low:high], limits[1][:, low:high]
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
