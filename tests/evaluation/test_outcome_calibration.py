"""Calibration of outcomes: counts by hand, coefficients of data whose model is known, scikit-learn as an oracle."""

import numpy as np
import pytest

from autoseg.evaluation.outcome_calibration import (
    category_calibration,
    fitted_intercept,
    fitted_slope,
    survival_calibration,
)


def logistic(values):
    return 1 / (1 + np.exp(-values))


def drawn(n=1500, seed=0):
    rng = np.random.default_rng(seed)
    logit_N = rng.normal(-0.5, 1.2, n)
    return rng.random(n) < logistic(logit_N), logit_N


def test_groups_count_their_cases():
    is_positive_N, probability_N = np.arange(40) >= 20, np.repeat([0.2, 0.8], 20)
    is_positive_N[:2] = True
    low, high = category_calibration(is_positive_N, probability_N).groups
    assert (low.n, low.n_events, low.predicted, low.observed) == (20, 2, pytest.approx(0.2), 0.1)
    assert (high.n, high.n_events, high.observed) == (20, 20, 1)
    assert (low.low, low.high) == pytest.approx((0.0279, 0.3010), abs=1e-4)  # Wilson, 2 of 20


def test_right_probabilities_have_slope_one_and_intercept_zero():
    is_positive_N, logit_N = drawn()
    calibration = category_calibration(is_positive_N, logistic(logit_N))
    assert calibration.slope.low < 1 < calibration.slope.high and calibration.slope.value == pytest.approx(1, abs=0.15)
    assert calibration.intercept.low < 0 < calibration.intercept.high
    assert len(calibration.groups) == 10


def test_probabilities_that_are_too_extreme_have_a_slope_below_one():
    is_positive_N, logit_N = drawn()
    assert category_calibration(is_positive_N, logistic(2 * logit_N)).slope.value == pytest.approx(0.5, abs=0.08)


def test_probabilities_that_are_too_low_have_an_intercept_above_zero():
    is_positive_N, logit_N = drawn()
    shifted = category_calibration(is_positive_N, logistic(logit_N - 1))
    assert shifted.intercept.value == pytest.approx(1, abs=0.15) and shifted.slope.value == pytest.approx(1, abs=0.1)


def test_the_intercept_of_a_constant_is_the_logit_of_the_share():
    event_N = np.arange(10) < 2
    assert fitted_intercept(np.zeros(10), event_N, np.ones((1, 10)))[0] == pytest.approx(np.log(0.2 / 0.8))
    calibration = category_calibration(event_N, np.full(10, 0.5))
    assert calibration.intercept.value == pytest.approx(np.log(0.25)) and "same for all cases" in calibration.slope.reason


def test_a_limit_that_separates_the_cases_has_no_slope():
    calibration = category_calibration(np.arange(20) >= 10, np.linspace(0.1, 0.9, 20))
    assert calibration.slope.value is None and "separates" in calibration.slope.reason


@pytest.mark.parametrize(("positive", "probability", "reason"), [
    ([0, 0], [0.1, 0.2], "no case has the outcome"), ([1, 1], [0.1, 0.2], "all cases have the outcome"),
    ([0, 1], [0.1, np.nan], "1 of 2 cases"), ([0, 1], [0.1, 1.2], "outside 0 to 1"), ([], [], "no case")])
def test_what_cannot_be_compared_says_why(positive, probability, reason):
    calibration = category_calibration(np.array(positive, bool), np.array(probability, float))
    assert reason in calibration.reason and calibration.groups == () and calibration.slope.value is None


def test_right_survival_has_slope_one_and_groups_that_agree():
    rng = np.random.default_rng(0)
    risk_N = rng.normal(size=3000)
    event_time_N, end_N = rng.exponential(np.exp(-risk_N)), rng.exponential(2, 3000)
    time_N, event_N = np.minimum(event_time_N, end_N), event_time_N <= end_N
    survival_N = np.exp(-0.7 * np.exp(risk_N))
    calibration = survival_calibration(time_N, event_N, survival_N, at=0.7)
    assert calibration.slope.low < 1 < calibration.slope.high and calibration.intercept.value == pytest.approx(0, abs=0.15)
    assert sum(group.n for group in calibration.groups) == 3000
    for group in calibration.groups:
        assert group.observed == pytest.approx(group.predicted, abs=0.08) and group.low <= group.observed <= group.high


def test_survival_that_nobody_was_followed_up_to_says_so():
    calibration = survival_calibration(np.array([1.0, 2, 3]), np.array([True, False, False]), np.full(3, 0.5), at=3)
    assert "followed up beyond 3" in calibration.reason
    assert "no case" in survival_calibration(np.array([1.0, 2]), np.zeros(2, bool), np.full(2, 0.5), at=1).reason


def test_slopes_agree_with_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    is_positive_N, logit_N = drawn(300)
    weight_N = np.random.default_rng(1).integers(0, 3, 300).astype(float)
    fitted = linear.LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit_N[:, None], is_positive_N, weight_N)
    assert fitted_slope(logit_N, is_positive_N, weight_N[None])[0] == pytest.approx(fitted.coef_[0, 0], rel=1e-4)
