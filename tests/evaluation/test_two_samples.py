"""The difference of the means of different cases."""

import numpy as np
import pytest

from autoseg.evaluation.two_samples import mean_difference


def test_the_interval_holds_the_difference_of_two_samples():
    rng = np.random.default_rng(0)
    known = mean_difference(list(rng.normal(0.7, 0.05, 40)), list(rng.normal(0.8, 0.05, 60)))
    assert known.low < -0.1 < known.high < 0
    assert known.high - known.low == pytest.approx(2 * 1.98 * 0.05 * np.sqrt(1 / 40 + 1 / 60), rel=0.2)


def test_the_interval_holds_the_true_difference_in_about_95_of_100_draws():
    rng = np.random.default_rng(1)
    held = [known.low <= 0 <= known.high for known in
            (mean_difference(list(rng.normal(size=12)), list(rng.normal(size=8))) for _ in range(200))]
    assert 0.9 <= np.mean(held) <= 0.995


def test_too_few_values_have_no_interval_and_none_no_difference():
    one = mean_difference([0.5], [0.4, 0.6])
    assert one.difference == pytest.approx(0.0) and one.low is None
    assert mean_difference([None], [0.4]).difference is None
