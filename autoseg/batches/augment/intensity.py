"""Intensity changes of rows (N, *space), each row one channel of one sample, with one parameter per row.

All are functions of their parameters alone, equal to those of batchgeneratorsv2 0.3 as nnU-Net uses them.
"""

import math

import torch

from autoseg.batches.augment.masks import per_row

_TINY = 1e-7


def change_contrast(rows: torch.Tensor, factor_N: torch.Tensor) -> torch.Tensor:
    """Distances from the row's mean times a factor, within the row's earlier range."""
    flat = rows.flatten(1)
    mean = per_row(flat.mean(1), rows)
    low, high = (per_row(bound, rows) for bound in flat.aminmax(dim=1))
    return torch.addcmul(mean, rows - mean, per_row(factor_N, rows)).clamp_(low, high)


def change_gamma(rows: torch.Tensor, gamma_N: torch.Tensor, *, inverted: bool) -> torch.Tensor:
    """The row's range as 0 to 1, to the power gamma; then mean and standard deviation as before.

    `inverted` takes the power of the negative image.
    """
    signed = -rows if inverted else rows
    flat = signed.flatten(1)
    low, high = (per_row(bound, rows) for bound in flat.aminmax(dim=1))
    width = high - low
    powered = ((signed - low) / width.clamp(min=_TINY)).pow_(per_row(gamma_N, rows)).mul_(width).add_(low)
    std, mean = (per_row(value, rows) for value in torch.std_mean(flat, dim=1))
    std_now, mean_now = (per_row(value, rows) for value in torch.std_mean(powered.flatten(1), dim=1))
    restored = torch.addcmul(mean, powered - mean_now, std / std_now.clamp(min=_TINY))
    return restored.neg_() if inverted else restored


def blur(rows: torch.Tensor, sigma_NA: torch.Tensor) -> torch.Tensor:
    """Gaussian blur with one standard deviation (voxels) per row and axis; reflected at the border."""
    return _along_axes(rows, [_blur_matrices(sigma_NA[:, axis], size) for axis, size in enumerate(rows.shape[1:])])


def lower_resolution(rows: torch.Tensor, scale_NA: torch.Tensor) -> torch.Tensor:
    """To `scale` times the size by the nearest voxel and back linearly, per row and axis; 1 leaves an axis as it is."""
    return _along_axes(rows, [_low_resolution_matrices(scale_NA[:, axis], size)
                              for axis, size in enumerate(rows.shape[1:])])


def _along_axes(rows: torch.Tensor, matrices: list[torch.Tensor]) -> torch.Tensor:
    """Each axis times its matrices (N, size, size): separable filters are matrix products."""
    n_rows, *shape = rows.shape
    for axis, matrix in enumerate(matrices):
        before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        matrix = matrix.to(rows.device, rows.dtype, non_blocking=True)
        if after == 1:
            rows = torch.bmm(rows.reshape(n_rows, before, shape[axis]), matrix.mT)
        else:
            rows = torch.matmul(matrix[:, None], rows.reshape(n_rows, before, shape[axis], after))
    return rows.reshape(n_rows, *shape)


def _blur_matrices(sigma_N: torch.Tensor, size: int) -> torch.Tensor:
    """Matrices (N, size, size). The kernel has the odd length nearest to 6 sigma + 0.5, as nnU-Net's, and sums to 1."""
    radius = ((6 * sigma_N.double() + 0.5) / 2).floor()
    reach = min(int(radius.max()), size - 1)
    offset = torch.arange(-reach, reach + 1)
    weight = torch.exp(-0.5 * (offset / sigma_N[:, None].double()) ** 2) * (offset.abs() <= radius[:, None])
    weight = weight / weight.sum(1, keepdim=True)
    source = (torch.arange(size)[:, None] + offset).abs()
    source = torch.where(source >= size, 2 * (size - 1) - source, source)
    matrices = torch.zeros(len(sigma_N), size, size, dtype=torch.float64)
    index = source.expand(len(sigma_N), -1, -1)
    return matrices.scatter_add_(2, index, weight[:, None].expand_as(index).contiguous()).float()


def _low_resolution_matrices(scale_N: torch.Tensor, size: int) -> torch.Tensor:
    """Matrices (N, size, size) of taking every 1 / scale-th voxel and interpolating linearly between these."""
    small = (size * scale_N.double()).round().clamp(min=1)[:, None]
    position = ((torch.arange(size) + 0.5) * small / size - 0.5).clamp(min=0)
    below = torch.minimum(position.floor(), small - 1)
    above = torch.minimum(below + 1, small - 1)
    share = (position - below)[..., None]
    matrices = torch.zeros(len(scale_N), size, size, dtype=torch.float64)
    for taken, weight in ((below, 1 - share), (above, share)):
        source = ((taken + 0.5) * size / small).floor().long()[..., None]
        matrices.scatter_add_(2, source, weight)
    return matrices.float()
