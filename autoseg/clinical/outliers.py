"""Numbers that lie so far from all others of a column that they are no such number, as 999 for an age that is not known."""

import numpy as np

FAR = 10.0  # deviations: what lies farther is probably a code
_FEWEST = 5  # numbers that can say which of them is an outlier
_NORMAL = 1.4826  # standard deviations of a normal distribution per median distance from its median


def bounds_of(numbers: np.ndarray, deviations: float) -> tuple[float, float]:
    """So many deviations below and above the median. A deviation is the median distance from the median, which a few
    outliers do not change, as a standard deviation (Hampel 1974). Infinite where half of the numbers are equal,
    and of fewer than five.

    >>> [round(bound) for bound in bounds_of(np.array([50.0, 55.0, 60.0, 65.0, 999.0]), 10.0)]
    [-14, 134]
    """
    median = float(np.median(numbers))
    deviation = _NORMAL * float(np.median(abs(numbers - median)))
    if deviation <= 0 or len(numbers) < _FEWEST:
        return -np.inf, np.inf
    return median - deviations * deviation, median + deviations * deviation
