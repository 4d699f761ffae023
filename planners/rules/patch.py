"""The patch and the batch that fit a memory target."""

import math
from collections.abc import Callable, Sequence

from planners.rules.pooling import Pooling, pooling
from planners.rules.spacing import Grid

INITIAL_EDGE = {2: 2048, 3: 256}  # by number of axes: of a square or cube that is larger than any patch in use
MIN_BATCH = 2


def largest_patch(grid: Grid) -> tuple[float, ...]:
    """As many millimetres along each axis as the others, generous in size, but no larger than the median case."""
    n = len(grid.spacing_mm)
    per_mm = [1 / s for s in grid.spacing_mm]
    scale = (INITIAL_EDGE[n] ** n / math.prod(per_mm)) ** (1 / n)
    return tuple(min(round(p * scale), m) for p, m in zip(per_mm, grid.median_shape, strict=True))


def fit_patch(grid: Grid, fits: Callable[[Pooling], bool]) -> Pooling:
    """The first of ever smaller patches that fits, with its strides and kernels.

    Raises ValueError where not even the smallest patch fits.
    """
    shape = pooling(grid.spacing_mm, largest_patch(grid))
    while not fits(shape):
        shape = smaller(shape, grid)
    return shape


def smaller(shape: Pooling, grid: Grid) -> Pooling:
    """The next patch down: shorter along the axis on which it sees most of the median case (ties: the last of these).

    The step is the divisor of the axis once it is shortened by its present one, so that 256 = 8 * 32 becomes
    224 = 7 * 32 or 240 = 15 * 16, whichever the strides allow, and no valid size is skipped.
    """
    _, axis = max((n / m, axis) for axis, (n, m) in enumerate(zip(shape.patch, grid.median_shape, strict=True)))
    trial = _shortened(shape.patch, axis, shape.divisor[axis])
    step = pooling(grid.spacing_mm, trial).divisor[axis]
    patch = _shortened(shape.patch, axis, step)
    if patch[axis] < 1:
        raise ValueError(f"no patch fits the memory target: {shape.patch} voxels are too many already; "
                         "allow more memory, or ask for fewer labels at once")
    return pooling(grid.spacing_mm, patch)


def _shortened(patch: tuple[int, ...], axis: int, step: int) -> tuple[int, ...]:
    return (*patch[:axis], patch[axis] - step, *patch[axis + 1:])


def largest_batch(grid: Grid, patch: Sequence[int], n_cases: int, share: float) -> int:
    """Patches that together see no more than `share` of the dataset's voxels, against overfitting."""
    return round(grid.voxels * n_cases * share / math.prod(patch))
