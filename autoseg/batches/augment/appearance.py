"""Histogram and bias field: the same tissue as another scanner or sequence would show it."""

import torch
from pydantic import Field

from autoseg.batches.augment.channels import channels_of
from autoseg.batches.augment.masks import change_rows, choose_rows, draw_uniform, per_row
from autoseg.batches.augment.registry import AUGMENTATIONS, AugmentationContext
from autoseg.batches.augment.zero_outside import kept_outside
from autoseg.batches.batch import Batch
from planners.schema.base import Frozen
from planners.schema.plan import Probability

_TINY = 1e-7


class HistogramOptions(Frozen):
    """`p_histogram` and `p_bias` are per sample.

    `points` bend the curve of grey values, and `spread` is their largest displacement as a share of the range.
    `bias` is the largest coefficient of the polynomial of degree `degree` whose exponential is the bias field.
    """

    p_histogram: Probability = 0.5
    points: int = Field(default=4, ge=1, le=64)
    spread: float = Field(default=0.3, gt=0, le=1)
    p_bias: Probability = 0.3
    bias: float = Field(default=0.4, gt=0, le=2)
    degree: int = Field(default=3, ge=1, le=5)


@AUGMENTATIONS.register("histogram", HistogramOptions, moves=False)
class Histogram:
    """Grey values of each channel through a random piecewise linear curve, then a smooth random gain over space.

    The gain is the exponential of a polynomial of the position (Van Leemput et al., IEEE TMI 1999). Both leave the range of
    grey values nearly as it was.
    """

    def __init__(self, options: HistogramOptions, context: AugmentationContext):
        self._options = options
        self._n_images = channels_of(context.configuration, context.labels).n_images
        self._masked = context.traits.zero_outside
        self.initial_patch = context.configuration.patch

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        options = self._options
        with kept_outside(batch, self._masked) as changed:
            image = changed.image_BCDHW
            rows = self._rows(image, options.p_histogram, generator)
            shift = draw_uniform((-options.spread, options.spread), (len(rows), options.points), generator)
            change_rows(image, rows, lambda x: bend(x, shift))
            rows = self._rows(image, options.p_bias, generator)
            powers = _powers(image.ndim - 2, options.degree)
            weights = draw_uniform((-options.bias, options.bias), (len(rows), len(powers)), generator)
            change_rows(image, rows, lambda x: apply_bias(x, weights, powers))
        return changed

    def _rows(self, image: torch.Tensor, p: float, generator: torch.Generator) -> torch.Tensor:
        return choose_rows((len(image), self._n_images), image.shape[1], (p, 1.0), generator)


def bend(rows: torch.Tensor, shift_NP: torch.Tensor) -> torch.Tensor:
    """Rows (N, *space) through a curve of their range, whose P inner points move by `shift_NP` (shares of the range).

    The points lie at equal distances, the ends stay. A curve may fall: tissues may change places, as they do from CT to MR.
    """
    low, high = (per_row(bound, rows) for bound in rows.flatten(1).aminmax(dim=1))
    width = (high - low).clamp(min=_TINY)
    n_points = shift_NP.shape[1]
    inner = torch.linspace(0, 1, n_points + 2)[1:-1] + shift_NP
    ends = torch.zeros(len(rows), 1)
    curve = torch.cat([ends, inner.clamp(0, 1), ends + 1], 1).to(rows.device, rows.dtype, non_blocking=True)
    position = ((rows - low) / width * (n_points + 1)).flatten(1)
    below = position.floor().clamp(0, n_points)
    left, right = (curve.gather(1, below.long() + step) for step in (0, 1))
    return torch.lerp(left, right, position - below).view_as(rows) * width + low


def apply_bias(rows: torch.Tensor, weights_NK: torch.Tensor, powers: list[tuple[int, ...]]) -> torch.Tensor:
    """Rows (N, *space), measured from their smallest value, times exp(sum of weights and monomials of the position).

    Positions run from -1 to 1 along each axis; `powers` are the exponents of the K monomials.
    """
    axes = [torch.linspace(-1, 1, size, device=rows.device, dtype=rows.dtype) for size in rows.shape[1:]]
    field = torch.zeros_like(rows)
    for weight_N, exponents in zip(weights_NK.unbind(1), powers, strict=True):
        monomial = rows.new_ones(())
        for axis, (position, exponent) in enumerate(zip(axes, exponents, strict=True)):
            monomial = monomial * (position**exponent).view([-1 if other == axis else 1 for other in range(len(axes))])
        field += per_row(weight_N, rows) * monomial
    low = per_row(rows.flatten(1).amin(1), rows)
    return (rows - low) * field.exp() + low


def _powers(dimensions: int, degree: int) -> list[tuple[int, ...]]:
    """Exponents of all monomials of degree 1 to `degree`."""
    powers: list[tuple[int, ...]] = [()]
    for _ in range(dimensions):
        powers = [(*known, exponent) for known in powers for exponent in range(degree + 1 - sum(known))]
    return [known for known in powers if sum(known) > 0]
