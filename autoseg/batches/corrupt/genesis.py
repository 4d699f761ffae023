"""Models Genesis: an image is bent in its grey values, shuffled in small windows and painted over (Zhou et al. 2021).

Written from the paper. Its authors' university holds a patent on the method (docs/how-to/pretrain.md).
"""

import math
from typing import Any

import torch
from pydantic import Field

from autoseg.batches.augment.masks import draw_uniform, per_row
from autoseg.batches.corrupt.registry import CORRUPTIONS
from planners.schema.base import Frozen
from planners.schema.plan import Probability

_CURVE_POINTS = 256
_TINY = 1e-7


class GenesisOptions(Frozen):
    """Probabilities are per sample. `p_outer` is that a sample which is painted keeps some boxes and loses all around them;
    else it loses boxes. `window_share` is the largest window of the shuffling, as a share of the patch's edge.
    """

    p_bend: Probability = 0.9
    p_shuffle: Probability = 0.5
    p_paint: Probability = 0.9
    p_outer: Probability = 0.8
    window_share: float = Field(default=0.1, gt=0, le=1)
    boxes: int = Field(default=5, ge=1)


@CORRUPTIONS.register("genesis", GenesisOptions)
class Genesis:
    """Values are taken to 0 to 1 within each channel of a sample, changed there, and taken back. Every voxel counts."""

    def __init__(self, options: GenesisOptions, patch: tuple[int, ...]):
        self._options = options

    def __call__(self, image_BCDHW: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        options, n_samples = self._options, len(image_BCDHW)
        rows = image_BCDHW.flatten(0, 1)
        low, high = (per_row(bound, rows) for bound in rows.flatten(1).aminmax(dim=1))
        width = (high - low).clamp(min=_TINY)
        image = ((rows - low) / width).view_as(image_BCDHW)
        changes = ((options.p_bend, bend_values), (options.p_shuffle, self._shuffled), (options.p_paint, self._painted))
        for p, change in changes:
            chosen = torch.rand(n_samples, generator=generator) < p
            changed = change(image, generator)
            image = torch.where(chosen.to(image.device)[(..., *[None] * (image.ndim - 1))], changed, image)
        counted = torch.ones_like(image_BCDHW[:, :1], dtype=torch.bool)
        return (image.flatten(0, 1) * width + low).view_as(image_BCDHW), counted

    def _shuffled(self, image_BCDHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        largest = [max(2, round(self._options.window_share * size)) for size in image_BCDHW.shape[2:]]
        window = [min(size, 1 + int(torch.randint(edge, (), generator=generator)))
                  for size, edge in zip(image_BCDHW.shape[2:], largest, strict=True)]
        return shuffle_windows(image_BCDHW, window, generator)

    def _painted(self, image_BCDHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        noise = torch.rand(image_BCDHW.shape, generator=generator).to(image_BCDHW.device)
        outer = torch.rand(len(image_BCDHW), generator=generator) < self._options.p_outer
        painted = []
        for is_outer in outer.tolist():
            shares = (3 / 7, 4 / 7) if is_outer else (1 / 6, 1 / 3)
            boxes = _boxes(image_BCDHW.shape[2:], shares, self._options.boxes, generator)
            painted.append(~boxes if is_outer else boxes)
        return torch.where(torch.stack(painted)[:, None].to(image_BCDHW.device), noise, image_BCDHW)


def bend_values(image_BCDHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Values in 0 to 1 through a cubic Bezier curve from (0, 0) to (1, 1), one for each sample; half of them fall."""
    n_samples = len(image_BCDHW)
    t = torch.linspace(0, 1, _CURVE_POINTS)
    weights = torch.stack([3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    inner = torch.rand(n_samples, 2, 2, generator=generator)  # sample, point, x or y
    ends = torch.ones(n_samples, 1, 2)
    x_BT, y_BT = torch.cat([inner, ends], 1).movedim(2, 0) @ weights
    falls = torch.rand(n_samples, 1, generator=generator) < 0.5
    y_BT = torch.where(falls, 1 - y_BT, y_BT)
    x_BT, y_BT = (curve.contiguous().to(image_BCDHW.device, image_BCDHW.dtype) for curve in (x_BT, y_BT))
    values = image_BCDHW.flatten(1).contiguous()
    above = torch.searchsorted(x_BT, values).clamp(1, _CURVE_POINTS - 1)
    (x_0, y_0), (x_1, y_1) = ((x_BT.gather(1, index), y_BT.gather(1, index)) for index in (above - 1, above))
    share = ((values - x_0) / (x_1 - x_0).clamp(min=_TINY)).clamp(0, 1)
    return torch.lerp(y_0, y_1, share).view_as(image_BCDHW)


def shuffle_windows(image_BCDHW: torch.Tensor, window: list[int], generator: torch.Generator) -> torch.Tensor:
    """Voxels permuted within windows side by side; what fills no whole window at the end of an axis stays.

    Each window of a sample has a permutation of its own, which all channels share.
    """
    n_samples, n_channels, *shape = image_BCDHW.shape
    counts = [size // edge for size, edge in zip(shape, window, strict=True)]
    inner: tuple[Any, ...] = (..., *(slice(0, count * edge) for count, edge in zip(counts, window, strict=True)))
    n_axes, n_windows, size = len(shape), math.prod(counts), math.prod(window)
    split = [part for pair in zip(counts, window, strict=True) for part in pair]
    order = [0, 1, *range(2, 2 + 2 * n_axes, 2), *range(3, 3 + 2 * n_axes, 2)]
    windows = image_BCDHW[inner].reshape(n_samples, n_channels, *split).permute(order)
    flat = windows.reshape(n_samples, n_channels, n_windows, size)
    permuted = torch.rand(n_samples, 1, n_windows, size, generator=generator).argsort(-1).to(flat.device)
    shuffled = flat.gather(-1, permuted.expand_as(flat)).view(windows.shape)
    back = [0, 1, *(axis for k in range(n_axes) for axis in (2 + k, 2 + n_axes + k))]
    result = image_BCDHW.clone()
    result[inner] = shuffled.permute(back).reshape(image_BCDHW[inner].shape)
    return result


def _boxes(shape: tuple[int, ...], shares: tuple[float, float], n_boxes: int, generator: torch.Generator) -> torch.Tensor:
    """The union of random boxes, whose edges are a random share of the patch's."""
    union = torch.zeros(shape, dtype=torch.bool)
    for _ in range(n_boxes):
        edges = [max(1, round(size * share)) for size, share in
                 zip(shape, draw_uniform(shares, len(shape), generator).tolist(), strict=True)]
        starts = [int(torch.randint(size - edge + 1, (), generator=generator))
                  for size, edge in zip(shape, edges, strict=True)]
        union[tuple(slice(start, start + edge) for start, edge in zip(starts, edges, strict=True))] = True
    return union
