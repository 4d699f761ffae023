"""Whether predicted probabilities of outcomes are those that occur. N counts cases, R draws of cases.

Groups of rising prediction compare the mean prediction with what was observed. Two coefficients sum it up (Van Calster et
al. 2019, BMC Medicine 17:230). The intercept is that of a logistic model with the logit of the prediction as offset: 0 is
right, above 0 the outcome is more frequent than predicted. The slope is the coefficient of the logit: 1 is right, below 1
predictions are too extreme. Cases of all folds are taken together.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from autoseg.evaluation.resampling import OutcomeScore, bootstrapped, not_finite, one_stratum
from autoseg.evaluation.survival_curves import inverse, kaplan_meier, place_at, uncensored
from planners.schema.base import Frozen

_Z = NormalDist().inv_cdf(0.975)
_MOST_GROUPS = 10
_CASES_PER_GROUP = 5  # of cases with the outcome
_SURE = 1e-6  # probabilities are kept this far from 0 and 1, whose logit is infinite
_STEPS = 30  # of Newton's method, where there is no solution
_LONGEST = 2.0  # of a step, so that it does not go too far
_CLOSE = 1e-6

Observed = tuple[float, float | None, float | None]  # a probability and its limits


class CalibrationGroup(Frozen):
    """Cases of similar prediction: the mean prediction, and the observed probability with its 95 % interval."""

    n: int
    n_events: int
    predicted: float
    observed: float
    low: float | None
    high: float | None


class OutcomeCalibration(Frozen):
    """The calibration of the probability of a category, or (`time`) of an event until a time in the unit of the table."""

    time: float | None = None
    groups: tuple[CalibrationGroup, ...]
    intercept: OutcomeScore
    slope: OutcomeScore
    reason: str = ""


def no_calibration(reason: str, at: float | None = None) -> OutcomeCalibration:
    without = OutcomeScore(reason=reason)
    return OutcomeCalibration(time=at, groups=(), intercept=without, slope=without, reason=reason)


def category_calibration(is_positive_N: np.ndarray, probability_N: np.ndarray, *, seed: int = 0) -> OutcomeCalibration:
    """Groups with Wilson's intervals; intercept and slope."""
    if reason := _why_not(is_positive_N, probability_N):
        return no_calibration(reason)

    def observed(rows: np.ndarray) -> Observed:
        return _wilson(int(is_positive_N[rows].sum()), len(rows))

    n_outcome = int(min(is_positive_N.sum(), (~is_positive_N).sum()))
    intercept, slope = _coefficients(probability_N, is_positive_N, lambda weight_RN: weight_RN, seed)
    return OutcomeCalibration(groups=_groups(probability_N, is_positive_N, n_outcome, observed), intercept=intercept,
                              slope=slope)


def survival_calibration(time_N: np.ndarray, event_N: np.ndarray, survival_N: np.ndarray, *, at: float,
                         seed: int = 0) -> OutcomeCalibration:
    """The calibration of the predicted probability of an event until `at`, which is 1 - `survival_N`.

    Observed is 1 - Kaplan-Meier of the group. For the coefficients, cases that were censored before `at` are left out, and
    the others weighted by the inverse probability to be still under observation.
    """
    had_event_N, risk_N = event_N & (time_N <= at), 1 - survival_N
    if reason := _why_not(had_event_N, risk_N):
        return no_calibration(reason, at)
    if at >= time_N.max():
        return no_calibration(f"no case is followed up beyond {at:g}", at)

    def observed(rows: np.ndarray) -> Observed:
        curve = kaplan_meier(time_N[rows], event_N[rows])
        place = place_at(curve, at)
        if place is None:
            return 0.0, None, None
        low, high = curve.low[place], curve.high[place]
        return 1 - curve.survival[place], None if high is None else 1 - high, None if low is None else 1 - low

    def weighted(weight_RN: np.ndarray) -> np.ndarray:
        under = uncensored(time_N, event_N, weight_RN)
        return weight_RN * (had_event_N * inverse(under.before_own_time())
                            + (time_N > at) * inverse(under.beyond(np.array([at]))))

    intercept, slope = _coefficients(risk_N, had_event_N, weighted, seed)
    return OutcomeCalibration(time=at, groups=_groups(risk_N, had_event_N, int(had_event_N.sum()), observed),
                              intercept=intercept, slope=slope)


def _groups(predicted_N: np.ndarray, event_N: np.ndarray, n_outcome: int,
            observed: Callable[[np.ndarray], Observed]) -> tuple[CalibrationGroup, ...]:
    """Groups of about as many cases each, split at quantiles; equal predictions stay together."""
    n_groups = int(np.clip(n_outcome // _CASES_PER_GROUP, 1, _MOST_GROUPS))
    limits = np.quantile(predicted_N, np.arange(1, n_groups) / n_groups)
    group_N = (predicted_N[:, None] > limits).sum(axis=1)
    groups = []
    for group in np.unique(group_N):
        rows = np.flatnonzero(group_N == group)
        share, low, high = observed(rows)
        groups.append(CalibrationGroup(n=len(rows), n_events=int(event_N[rows].sum()), observed=share, low=low, high=high,
                                       predicted=float(predicted_N[rows].mean())))
    return tuple(groups)


def _coefficients(predicted_N: np.ndarray, event_N: np.ndarray, weighted: Callable[[np.ndarray], np.ndarray],
                  seed: int) -> tuple[OutcomeScore, OutcomeScore]:
    clipped_N = np.clip(predicted_N, _SURE, 1 - _SURE)
    logit_N, strata_N = np.log(clipped_N / (1 - clipped_N)), one_stratum(event_N)
    intercept = bootstrapped(lambda weight_RN: fitted_intercept(logit_N, event_N, weighted(weight_RN)), strata_N, seed=seed)
    if np.ptp(logit_N) < 1e-9:
        return intercept, OutcomeScore(reason="the prediction is the same for all cases")
    slope = bootstrapped(lambda weight_RN: fitted_slope(logit_N, event_N, weighted(weight_RN)), strata_N, seed=seed)
    if slope.value is None:
        slope = OutcomeScore(reason="the slope is infinite: a limit of the prediction separates the cases")
    return intercept, slope


def fitted_intercept(logit_N: np.ndarray, event_N: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    """The a of event ~ logistic(a + logit), by maximum likelihood (R); NaN where it is infinite."""
    intercept_R = np.zeros(len(weight_RN))
    step_R = np.zeros(len(weight_RN))
    for _ in range(_STEPS):
        p_RN = _logistic(intercept_R[:, None] + logit_N)
        slope_R = (weight_RN * p_RN * (1 - p_RN)).sum(axis=1)
        step_R = _quotient((weight_RN * (event_N - p_RN)).sum(axis=1), slope_R)
        intercept_R += np.clip(step_R, -_LONGEST, _LONGEST)
        if (np.abs(step_R) < _CLOSE).all():
            break
    return np.where(np.abs(step_R) < _CLOSE, intercept_R, np.nan)


def fitted_slope(logit_N: np.ndarray, event_N: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    """The b of event ~ logistic(a + b logit), by maximum likelihood (R); NaN where it is infinite or any b fits."""
    z_N, deviation = (logit_N - logit_N.mean()) / logit_N.std(), logit_N.std()
    a_R, b_R, largest_R = np.zeros((3, len(weight_RN)))
    powers_N3 = np.stack([np.ones_like(z_N), z_N, z_N**2], axis=1)
    for _ in range(_STEPS):
        p_RN = _logistic(a_R[:, None] + b_R[:, None] * z_N)
        gradient_R2 = (weight_RN * (event_N - p_RN)) @ powers_N3[:, :2]
        h0_R, h1_R, h2_R = ((weight_RN * p_RN * (1 - p_RN)) @ powers_N3).T
        determinant_R = h0_R * h2_R - h1_R**2
        step_a_R = _quotient(h2_R * gradient_R2[:, 0] - h1_R * gradient_R2[:, 1], determinant_R)
        step_b_R = _quotient(h0_R * gradient_R2[:, 1] - h1_R * gradient_R2[:, 0], determinant_R)
        a_R += np.clip(step_a_R, -_LONGEST, _LONGEST)
        b_R += np.clip(step_b_R, -_LONGEST, _LONGEST)
        largest_R = np.maximum(np.abs(step_a_R), np.abs(step_b_R))
        if (largest_R < _CLOSE).all():
            break
    return np.where(largest_R < _CLOSE, b_R / deviation, np.nan)


def _logistic(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))


def _quotient(numerator_R: np.ndarray, denominator_R: np.ndarray) -> np.ndarray:
    """Infinite where there is no information left, so that it never counts as solved."""
    return np.divide(numerator_R, denominator_R, out=np.full(len(numerator_R), np.inf), where=denominator_R > 1e-9)


def _wilson(n_events: int, n: int) -> tuple[float, float, float]:
    """The share, with Wilson's interval (1927, JASA 22:209)."""
    share, spread = n_events / n, _Z**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return share, max(0.0, centre - half), min(1.0, centre + half)


def _why_not(event_N: np.ndarray, predicted_N: np.ndarray) -> str:
    if not len(event_N) or not event_N.any():
        return "no case has the outcome"
    if event_N.all():
        return "all cases have the outcome"
    if reason := not_finite(predicted_N, "prediction"):
        return reason
    return "a probability lies outside 0 to 1" if (predicted_N < 0).any() or (predicted_N > 1).any() else ""
