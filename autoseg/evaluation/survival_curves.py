"""Survival of groups: the Kaplan-Meier estimator, the log-rank test, groups of risk, and the distribution of censoring.

Where events and ends of follow-up have the same time, events are first: who is censored at a time was at risk then.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from autoseg.evaluation.resampling import folds_or_one, not_finite
from planners.schema.base import Frozen

_Z = NormalDist().inv_cdf(0.975)
GROUP_NAMES = {2: ("low risk", "high risk"), 3: ("low risk", "middle risk", "high risk")}


class KaplanMeier(Frozen):
    """The survival of a group: a value per distinct time of an event or an end of follow-up, in the unit of the table.

    `survival` holds from its time on, before the first it is 1. `low` and `high` are 95 % limits at a time (Greenwood's
    variance, on the scale log(-log S)); None where the survival is 0, whose variance is not defined. `at_risk` counts cases
    just before the time. `median` is the first time with a survival of at most one half; None if it was not reached.
    """

    n: int
    n_events: int
    times: tuple[float, ...]
    survival: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    at_risk: tuple[int, ...]
    events: tuple[int, ...]
    censored: tuple[int, ...]
    median: float | None


class LogRank(Frozen):
    """The log-rank test of equal survival (Mantel 1966; Peto and Peto 1972): chi-square statistic, degrees of freedom, p.

    `observed` and `expected` are events per group, in the order of the groups.
    """

    statistic: float | None = None
    degrees: int = 0
    p: float | None = None
    observed: tuple[int, ...] = ()
    expected: tuple[float, ...] = ()
    reason: str = ""


class RiskGroups(Frozen):
    """The survival of groups of rising out-of-fold risk, split at quantiles of each fold."""

    names: tuple[str, ...]
    curves: tuple[KaplanMeier, ...]
    log_rank: LogRank
    reason: str = ""


def no_groups(reason: str) -> RiskGroups:
    return RiskGroups(names=(), curves=(), log_rank=LogRank(reason=reason), reason=reason)


def kaplan_meier(time_N: np.ndarray, event_N: np.ndarray) -> KaplanMeier:
    """The product-limit estimate (Kaplan and Meier 1958) of at least one case; times have to be finite and not negative."""
    if not len(time_N):
        raise ValueError("a survival curve needs at least one case")
    times_U, events_U, leaving_U = _counts(time_N, event_N)
    at_risk_U = len(time_N) - np.concatenate([[0], np.cumsum(leaving_U)[:-1]])
    survival_U = np.cumprod(1 - events_U / at_risk_U)
    left_U = at_risk_U - events_U
    variance_U = np.cumsum(np.divide(events_U, at_risk_U * left_U, out=np.zeros(len(times_U)), where=left_U > 0))
    limits = [_log_log_limits(float(s), math.sqrt(v)) for s, v in zip(survival_U, variance_U, strict=True)]
    # Rounded: 0.5 is reached also where a product of fractions is 0.5000000000000001.
    halved = np.flatnonzero(np.round(survival_U, 12) <= 0.5)
    return KaplanMeier(
        n=len(time_N), n_events=int(events_U.sum()), times=tuple(map(float, times_U)),
        survival=tuple(map(float, survival_U)), low=tuple(low for low, _ in limits), high=tuple(high for _, high in limits),
        at_risk=tuple(map(int, at_risk_U)), events=tuple(map(int, events_U)),
        censored=tuple(map(int, leaving_U - events_U)), median=float(times_U[halved[0]]) if len(halved) else None)


def place_at(curve: KaplanMeier, time: float) -> int | None:
    """The place in the curve's values that holds at a time; None before the first."""
    place = int(np.searchsorted(curve.times, time, side="right")) - 1
    return place if place >= 0 else None


def number_at_risk(curve: KaplanMeier, time: float) -> int:
    """Cases that are neither censored nor had their event before a time."""
    before = int(np.searchsorted(curve.times, time, side="left"))
    return curve.n - sum(curve.events[:before]) - sum(curve.censored[:before])


def log_rank(time_N: np.ndarray, event_N: np.ndarray, group_N: np.ndarray) -> LogRank:
    """The test over two or more groups (their sorted values give the order), with the hypergeometric variance of ties."""
    groups = np.unique(group_N)
    if len(groups) < 2:
        return LogRank(reason="there is a single group")
    if not event_N.any():
        return LogRank(reason="no case has the event")
    member_GN = group_N == groups[:, None]
    times_T = np.unique(time_N[event_N])
    at_risk_GT = np.stack([(time_N[rows] >= times_T[:, None]).sum(axis=1) for rows in member_GN])
    events_T = (event_N & (time_N == times_T[:, None])).sum(axis=1)
    n_T = at_risk_GT.sum(axis=0)
    expected_G = (at_risk_GT * (events_T / n_T)).sum(axis=1)
    observed_G = np.array([event_N[rows].sum() for rows in member_GN])
    factor_T = events_T * (n_T - events_T) / np.maximum(n_T - 1, 1)
    share_GT = at_risk_GT / n_T
    variance_GG = np.diag((share_GT * factor_T).sum(axis=1)) - (share_GT * factor_T) @ share_GT.T
    # The rows add up to 0. The rank is below G - 1 if a group has nobody at risk when events occur.
    degrees = int(np.linalg.matrix_rank(variance_GG, tol=1e-9 * max(1.0, float(np.abs(variance_GG).max()))))
    if not degrees:
        return LogRank(reason="the groups are never at risk at the same time")
    away_G = observed_G - expected_G
    statistic = float(away_G @ np.linalg.pinv(variance_GG, rcond=1e-9, hermitian=True) @ away_G)
    from scipy import stats  # takes half a second; other stages do not need it

    return LogRank(statistic=statistic, degrees=degrees, p=float(stats.chi2.sf(statistic, degrees)),
                   observed=tuple(map(int, observed_G)), expected=tuple(map(float, expected_G)))


def risk_groups(time_N: np.ndarray, event_N: np.ndarray, risk_N: np.ndarray, fold_N: np.ndarray | None = None, *,
                n_groups: int = 2) -> RiskGroups:
    """Curves and log-rank test of groups split at the median (2 groups) or the tertiles (3) of the risk of each fold.

    A case at a limit is in the lower group. The limits use the risks of the fold, but no outcome of it.
    """
    if not len(time_N):
        return no_groups("there is no case")
    if reason := not_finite(risk_N, "risk"):
        return no_groups(reason)
    group_N = np.zeros(len(risk_N), np.int64)
    folds_N = folds_or_one(fold_N, len(risk_N))
    for fold in np.unique(folds_N):
        rows = folds_N == fold
        limits = np.quantile(risk_N[rows], np.arange(1, n_groups) / n_groups)
        group_N[rows] = (risk_N[rows, None] > limits).sum(axis=1)
    present = np.unique(group_N)
    if len(present) < n_groups:
        return no_groups("the risk has too few different values to split the cases")
    return RiskGroups(names=GROUP_NAMES[n_groups], log_rank=log_rank(time_N, event_N, group_N),
                      curves=tuple(kaplan_meier(time_N[group_N == group], event_N[group_N == group]) for group in present))


@dataclass(frozen=True)
class Uncensored:
    """The probability to be still under observation, for each draw of cases: it changes at `times_U`, and is 1 before."""

    times_U: np.ndarray
    place_N: np.ndarray  # of each case's time among them
    probability_RV: np.ndarray  # V = U + 1: before the first time, then from each time on

    def before_own_time(self) -> np.ndarray:
        """Just before the time of each case (R, N): an event is seen if follow-up lasts until then."""
        return self.probability_RV[:, self.place_N]

    def beyond(self, times_K: np.ndarray) -> np.ndarray:
        """Beyond each time (R, K)."""
        return self.probability_RV[:, np.searchsorted(self.times_U, times_K, side="right")]


def uncensored(time_N: np.ndarray, event_N: np.ndarray, weight_RN: np.ndarray) -> Uncensored:
    """The Kaplan-Meier estimate of the time to censoring, for each draw."""
    times_U, place_N = np.unique(time_N, return_inverse=True)
    order_N = np.argsort(place_N, kind="stable")
    starts_U = np.searchsorted(place_N[order_N], np.arange(len(times_U)))
    leaving_RU, events_RU = (np.add.reduceat((weight_RN * which)[:, order_N], starts_U, axis=1) for which in (1, event_N))
    stayed_RU = np.cumsum(leaving_RU[:, ::-1], axis=1)[:, ::-1] - events_RU  # events are before the end of follow-up
    share_RU = np.divide(leaving_RU - events_RU, stayed_RU, out=np.zeros_like(stayed_RU), where=stayed_RU > 0)
    first_R1 = np.ones((len(weight_RN), 1))
    return Uncensored(times_U, place_N, np.concatenate([first_R1, np.cumprod(1 - share_RU, axis=1)], axis=1))


def inverse(probability: np.ndarray) -> np.ndarray:
    """Weights of inverse probability; 0 where the probability is 0, which is so for cases alone that were not drawn."""
    return np.divide(1, probability, out=np.zeros_like(probability), where=probability > 1e-12)


def _counts(time_N: np.ndarray, event_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct times, the events at each, and the cases that leave at each (events included)."""
    times_U, place_N, leaving_U = np.unique(time_N, return_inverse=True, return_counts=True)
    return times_U, np.bincount(place_N, weights=event_N, minlength=len(times_U)).astype(np.int64), leaving_U


def _log_log_limits(survival: float, deviation: float) -> tuple[float | None, float | None]:
    """S^exp(-+ z s / log S), where s is the standard error of log S (Kalbfleisch and Prentice 2002, section 1.4)."""
    if survival <= 1e-12:
        return None, None
    if survival >= 1:
        return 1.0, 1.0
    width = _Z * deviation / math.log(survival)
    return survival ** math.exp(-width), survival ** math.exp(width)
