"""Paired differences of two measurements of the same cases, with bootstrap intervals and a rank test.

A value that is None or NaN is not defined, such as the Dice of two empty masks. Its pair is left out and counted.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np

from planners.schema.base import Frozen

N_RESAMPLES = 10_000
# With fewer pairs no result is significant, even where all differences have one sign: 2 * 0.5^5 > 0.05 > 2 * 0.5^6.
FEWEST_PAIRS = 6
# A smaller difference of Dice does not matter.
MARGIN = 0.01

_CONFIDENCE = 0.95
_BLOCK = 2**21  # resampled values that are held at a time
_MOST_EXACT = 50  # with more pairs the normal approximation of the p-value is good enough
_DIGITS = 12  # differences are rounded, since rounding errors would break ties between ranks

Values = Sequence[float | None] | np.ndarray

# The interval lies above 0, below 0, within the margin, or none of these; or there are too few pairs.
Verdict = Literal["better", "worse", "same", "unclear", "few"]


class BootstrapMean(Frozen):
    """The mean of `n` values with its 95 % interval. A mean needs 1 value and an interval 2; otherwise it is None."""

    n: int
    n_left_out: int
    mean: float | None
    low: float | None
    high: float | None


class PairedDifference(Frozen):
    """The mean of a - b over `n` pairs with its 95 % interval, and the p-value of Wilcoxon's signed-rank test.

    All means are over the same pairs. A mean needs 1 pair and an interval 2; otherwise it is None.
    """

    n: int
    n_left_out: int
    mean_a: float | None
    mean_b: float | None
    difference: float | None
    low: float | None
    high: float | None
    p_wilcoxon: float | None  # two-sided, not corrected for the number of comparisons


def paired_difference(a: Values, b: Values, seed: int = 0, n_resamples: int = N_RESAMPLES) -> PairedDifference:
    """Compare two measurements of the same cases, in the same order.

    >>> better = paired_difference([0.9, 0.8, None], [0.8, 0.7, 0.5])
    >>> better.n, better.n_left_out, round(better.difference, 6), round(better.low, 6)
    (2, 1, 0.1, 0.1)
    """
    if len(a) != len(b):
        raise ValueError(f"pairs need two sequences of the same length, got {len(a)} and {len(b)}")
    a_N, b_N = _numbers(a), _numbers(b)
    defined_N = ~(np.isnan(a_N) | np.isnan(b_N))
    a_N, b_N = a_N[defined_N], b_N[defined_N]
    mean = bootstrap_mean(a_N - b_N, seed, n_resamples)
    return PairedDifference(n=mean.n, n_left_out=len(a) - mean.n, mean_a=_mean(a_N), mean_b=_mean(b_N),
                            difference=mean.mean, low=mean.low, high=mean.high, p_wilcoxon=_p_wilcoxon(a_N - b_N))


def bootstrap_mean(values: Values, seed: int = 0, n_resamples: int = N_RESAMPLES) -> BootstrapMean:
    """The mean of the values that are defined, with its bootstrap interval; the same seed gives the same interval.

    The interval is the expanded percentile interval (Hesterberg 2015, The American Statistician 69:371). It takes
    percentiles of the resampled means that lie further out the fewer values there are, because resampled means of few
    values vary too little. In 2000 draws of ten normal values it held the true mean in 94.5 %, plain percentiles in 90.6 %;
    with six values in 92.7 % and 84.9 %.
    """
    known_N = _numbers(values)
    n_all, known_N = len(known_N), known_N[~np.isnan(known_N)]
    n, low, high = len(known_N), None, None
    if n > 1:
        low, high = interval(_drawn_means(known_N, seed, n_resamples), n)
    return BootstrapMean(n=n, n_left_out=n_all - n, mean=_mean(known_N), low=low, high=high)


def resampled_means(values_NX: np.ndarray, seed: int = 0, n_resamples: int = N_RESAMPLES) -> np.ndarray:
    """Means of many measurements (cases first, NaN: not defined) over the same draws of cases: (n_resamples, ...).

    NaN where no drawn case has the value. With fewer than two cases nothing is drawn: the result has no rows.
    """
    n = len(values_NX)
    if n < 2:
        return np.zeros((0, *values_NX.shape[1:]))
    values_NK = values_NX.reshape(n, -1)
    known_NK = ~np.isnan(values_NK)
    both_NK = np.concatenate([np.where(known_NK, values_NK, 0), known_NK], axis=1)
    rng, rows = np.random.default_rng(seed), max(1, _BLOCK // n)
    means = []
    for start in range(0, n_resamples, rows):
        size = min(rows, n_resamples - start)
        drawn_RN = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        times_RN = np.bincount(drawn_RN.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)
        total_RK, n_RK = np.split(times_RN @ both_NK, 2, axis=1)
        means.append(np.divide(total_RK, n_RK, out=np.full_like(total_RK, np.nan), where=n_RK > 0))
    return np.concatenate(means).reshape(n_resamples, *values_NX.shape[1:])


def interval(resampled_R: np.ndarray, n: int) -> tuple[float | None, float | None]:
    """The expanded percentile interval of resampled means of `n` values; NaN is left out."""
    known_R = resampled_R[~np.isnan(resampled_R)]
    if n < 2 or not len(known_R):
        return None, None
    tail = 100 * _tail(n)
    low, high = np.percentile(known_R, (tail, 100 - tail))
    return float(low), float(high)


def judge(difference: PairedDifference, margin: float = MARGIN) -> Verdict:
    """The verdict on a by the interval of a - b. An interval within the margin is `same`, even where it does not hold 0."""
    low, high = difference.low, difference.high
    if difference.n < FEWEST_PAIRS or low is None or high is None:
        return "few"
    if -margin <= low and high <= margin:
        return "same"
    if low > 0:
        return "better"
    return "worse" if high < 0 else "unclear"


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values corrected for their number (Holm 1979, Scandinavian Journal of Statistics 6:65); None stays None.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        corrected[index] = largest
    return corrected


def _numbers(values: Values) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _mean(values_N: np.ndarray) -> float | None:
    return float(values_N.mean()) if len(values_N) else None


def _tail(n: int) -> float:
    """The share of the resampled means beyond each end of the interval.

    It is the normal distribution's share beyond Student's t times sqrt(n / (n - 1)). The factor corrects that the variance
    of a bootstrap divides by n.
    """
    from scipy import stats  # takes half a second; other stages do not need it

    t = stats.t.ppf(0.5 + _CONFIDENCE / 2, n - 1)
    return NormalDist().cdf(-math.sqrt(n / (n - 1)) * float(t))


def _drawn_means(values_N: np.ndarray, seed: int, n_resamples: int) -> np.ndarray:
    """Means of `n_resamples` draws with replacement, each of as many values as there are."""
    rng, n = np.random.default_rng(seed), len(values_N)
    rows = max(1, _BLOCK // n)
    blocks = [values_N[rng.integers(n, size=(min(rows, n_resamples - start), n))].mean(axis=1)
              for start in range(0, n_resamples, rows)]
    return np.concatenate(blocks)


def _p_wilcoxon(difference_N: np.ndarray) -> float | None:
    """The two-sided p-value; None without pairs, 1 where no pair differs."""
    rounded_N = np.round(difference_N, _DIGITS)
    if not len(rounded_N):
        return None
    rounded_N = rounded_N[rounded_N != 0]
    if not len(rounded_N):
        return 1.0
    if len(rounded_N) <= _MOST_EXACT:
        return _exact_p(rounded_N)
    from scipy import stats

    return float(stats.wilcoxon(rounded_N).pvalue)


def _exact_p(difference_N: np.ndarray) -> float:
    """Two-sided p over all 2^n signs of the ranks; ties share a rank. (scipy takes seconds for the ties of 13 pairs.)"""
    from scipy import stats

    twice_N = np.rint(2 * stats.rankdata(np.abs(difference_N))).astype(int)
    share = np.ones(1)  # of the signs, by twice the sum of the positive ranks
    for rank in twice_N:
        share = (np.pad(share, (0, rank)) + np.pad(share, (rank, 0))) / 2
    at = int(twice_N[difference_N > 0].sum())
    return min(1.0, 2 * float(min(share[:at + 1].sum(), share[at:].sum())))
