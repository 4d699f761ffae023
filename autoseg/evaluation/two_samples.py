"""The difference of the means of two sets of different cases, with its bootstrap interval."""

import math
from collections.abc import Sequence

import numpy as np

from autoseg.evaluation.statistics import interval, resampled_means
from planners.schema.base import Frozen


class MeanDifference(Frozen):
    """The mean of a less the mean of b; None where one has no value. Its 95 % interval needs two values of each."""

    n_a: int
    n_b: int
    difference: float | None
    low: float | None
    high: float | None


def mean_difference(a: Sequence[float | None], b: Sequence[float | None], seed: int = 0) -> MeanDifference:
    """Compare the means of two independent samples. Values that are not defined (None) are left out.

    Each sample is resampled by itself; the interval is the expanded percentile interval of `statistics.interval` for the
    smaller sample, which is the more careful one.

    >>> shift = mean_difference([0.8, 0.9], [0.9, 1.0, None])
    >>> shift.n_a, shift.n_b, round(shift.difference, 6)
    (2, 2, -0.1)
    """
    a_N, b_N = _known(a), _known(b)
    if not (len(a_N) and len(b_N)):
        return MeanDifference(n_a=len(a_N), n_b=len(b_N), difference=None, low=None, high=None)
    low = high = None
    n = min(len(a_N), len(b_N))
    if n > 1:
        low, high = interval(resampled_means(a_N, 2 * seed) - resampled_means(b_N, 2 * seed + 1), n)
    return MeanDifference(n_a=len(a_N), n_b=len(b_N), difference=float(a_N.mean() - b_N.mean()), low=low, high=high)


def _known(values: Sequence[float | None]) -> np.ndarray:
    return np.array([value for value in values if value is not None and not math.isnan(value)], np.float64)
