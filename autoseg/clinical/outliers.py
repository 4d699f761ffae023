"""Numbers that lie so far from all others of a column that they are no such number, as 999 for an age that is not known."""

import numpy as np

_FAR = 10.0  # deviations from the median
_MOST = 0.05  # of the numbers: where more lie so far, or more than one of fewer numbers, they are a group of their own
_FEWEST = 5  # numbers that can say which of them is an outlier
_NORMAL = 1.4826  # standard deviations of a normal distribution per median distance from its median


def far_from_others(numbers: np.ndarray) -> np.ndarray:
    """Which of the numbers (N,) lie more than ten deviations from the median.

    None does where half of the numbers are equal, where there are fewer than five, or where so many lie there (two or more,
    and more than 5 %) that they are a group of their own. A deviation is the median distance from the median, which a few
    outliers do not change as they change a standard deviation (Hampel 1974).

    >>> far_from_others(np.array([50.0, 55.0, 60.0, 65.0, 999.0])).tolist()
    [False, False, False, False, True]
    """
    distances = abs(numbers - np.median(numbers))
    deviation = _NORMAL * float(np.median(distances))
    far = distances > _FAR * deviation
    if deviation <= 0 or len(numbers) < _FEWEST or far.sum() > max(1, _MOST * len(numbers)):
        return np.zeros(len(numbers), bool)
    return far
