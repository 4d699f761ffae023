"""Scores of survival: C-indices, time-dependent AUC, Brier score. N counts cases, R draws of cases, K times.

Functions named `*_of` give a `Statistic`; the others a score with its interval. Times are in the unit of the table, risks
have no unit (higher: earlier event). Where events and ends of follow-up have the same time, events are first. With folds,
only cases of one fold make a pair: risks of different models have different scales.
"""

import numpy as np

from autoseg.evaluation.ordering import same_fold, share_in_order, why_no_order
from autoseg.evaluation.resampling import OutcomeScore, Statistic, bootstrapped, folds_or_one, not_finite, one_stratum
from autoseg.evaluation.survival_curves import inverse, uncensored

# Beyond the time with fewer than this share under observation, a case stands for more than ten others.
FEWEST_OBSERVED = 0.1


def concordance(time_N: np.ndarray, event_N: np.ndarray, risk_N: np.ndarray, fold_N: np.ndarray | None = None, *,
                seed: int = 0) -> OutcomeScore:
    """Harrell's C-index: the share of comparable pairs in which the case with the earlier event has the higher risk.

    A pair is comparable if one has an event and the other is longer without one. Two events at the same time are no pair;
    equal risks count half. Harrell et al. 1996 (Statistics in Medicine 15:361).
    """
    if reason := why_no_concordance(time_N, event_N, risk_N, fold_N):
        return OutcomeScore(reason=reason)
    return bootstrapped(concordance_of(time_N, event_N, risk_N, fold_N), event_N, seed=seed)


def concordance_ipcw(time_N: np.ndarray, event_N: np.ndarray, risk_N: np.ndarray, fold_N: np.ndarray | None = None, *,
                     tau: float, seed: int = 0) -> OutcomeScore:
    """Uno's C-index up to a time `tau`, whose value does not depend on the distribution of censoring.

    Pairs are weighted by 1/G(t-)^2 at the time t of the event, where G is the Kaplan-Meier estimate of censoring over all
    folds, made again in each draw. Uno et al. 2011 (Statistics in Medicine 30:1105).
    """
    if reason := why_no_concordance(time_N, event_N & (time_N < tau), risk_N, fold_N):
        return OutcomeScore(reason=reason)
    return bootstrapped(concordance_ipcw_of(time_N, event_N, risk_N, fold_N, tau=tau), event_N, seed=seed)


def auc_at(time_N: np.ndarray, event_N: np.ndarray, risk_N: np.ndarray, fold_N: np.ndarray | None = None, *, at: float,
           seed: int = 0) -> OutcomeScore:
    """Cumulative/dynamic AUC: the probability that a case with an event until `at` has a higher risk than one without.

    Cases that are censored before are no part; events are weighted by 1/G(t-). Uno et al. 2007 (JASA 102:527), Hung and
    Chiang 2010 (Canadian Journal of Statistics 38:8).
    """
    if reason := _why_no_survival(event_N) or not_finite(risk_N, "risk"):
        return OutcomeScore(reason=reason)
    pairs_NN = _pairs_at(time_N, event_N, at, fold_N)
    if reason := why_no_order(risk_N, pairs_NN, "risk"):
        return OutcomeScore(reason=f"{reason} at {at:g}")
    return bootstrapped(auc_of(time_N, event_N, risk_N, fold_N, at=at), event_N, seed=seed)


def brier_at(time_N: np.ndarray, event_N: np.ndarray, survival_N: np.ndarray, *, at: float, seed: int = 0) -> OutcomeScore:
    """The Brier score at a time: the weighted mean of (alive at the time - predicted survival)^2; 0 is perfect.

    `survival_N`: the predicted probability to have no event until `at`. Graf et al. 1999 (Statistics in Medicine 18:2529).
    """
    times_K = np.array([at])
    if reason := why_no_brier(time_N, event_N, survival_N[:, None], times_K):
        return OutcomeScore(reason=reason)
    statistic = brier_of(time_N, event_N, survival_N[:, None], times_K)
    return bootstrapped(lambda weight_RN: statistic(weight_RN)[:, 0], one_stratum(time_N), seed=seed)


def integrated_brier(time_N: np.ndarray, event_N: np.ndarray, survival_NK: np.ndarray, times_K: np.ndarray, *,
                     seed: int = 0) -> OutcomeScore:
    """The mean of the Brier score over the span of at least two rising times, by the trapezoidal rule."""
    if len(times_K) < 2:
        return OutcomeScore(reason="an integral needs two times")
    if reason := why_no_brier(time_N, event_N, survival_NK, times_K):
        return OutcomeScore(reason=reason)
    return bootstrapped(integrated_brier_of(time_N, event_N, survival_NK, times_K), one_stratum(time_N), seed=seed)


def why_no_concordance(time_N: np.ndarray, event_N: np.ndarray, risk_N: np.ndarray, fold_N: np.ndarray | None) -> str:
    """Why there is no C-index, in words; nothing if there is one."""
    return (_why_no_survival(event_N) or not_finite(risk_N, "risk")
            or why_no_order(risk_N, comparable_pairs(time_N, event_N, fold_N), "risk"))


def why_no_brier(time_N: np.ndarray, event_N: np.ndarray, survival_NK: np.ndarray, times_K: np.ndarray) -> str:
    """Why there is no Brier score at one of the times, in words; nothing if there is one at all of them."""
    if reason := _why_no_survival(event_N) or not_finite(survival_NK, "survival"):
        return reason
    if (survival_NK < 0).any() or (survival_NK > 1).any():
        return "a survival lies outside 0 to 1"
    if times_K.max() >= time_N.max():
        return f"no case is followed up beyond {times_K.max():g}"
    return ""


def comparable_pairs(time_N: np.ndarray, event_N: np.ndarray, fold_N: np.ndarray | None = None) -> np.ndarray:
    """Whether the case of the row has an event and that of the column is longer without one (N, N)."""
    is_later_NN = time_N[:, None] < time_N
    is_censored_then_NN = (time_N[:, None] == time_N) & ~event_N
    return event_N[:, None] & (is_later_NN | is_censored_then_NN) & same_fold(folds_or_one(fold_N, len(time_N)))


def concordance_of(time_N: np.ndarray, event_N: np.ndarray, risk_N: np.ndarray,
                   fold_N: np.ndarray | None = None) -> Statistic:
    pairs_NN = comparable_pairs(time_N, event_N, fold_N)
    return lambda weight_RN: share_in_order(risk_N, pairs_NN, weight_RN, weight_RN)


def concordance_ipcw_of(time_N: np.ndarray, event_N: np.ndarray, risk_N: np.ndarray, fold_N: np.ndarray | None = None, *,
                        tau: float) -> Statistic:
    pairs_NN = comparable_pairs(time_N, event_N & (time_N < tau), fold_N)

    def statistic(weight_RN: np.ndarray) -> np.ndarray:
        inverse_RN = inverse(uncensored(time_N, event_N, weight_RN).before_own_time())
        return share_in_order(risk_N, pairs_NN, weight_RN * inverse_RN**2, weight_RN)

    return statistic


def auc_of(time_N: np.ndarray, event_N: np.ndarray, risk_N: np.ndarray, fold_N: np.ndarray | None = None, *,
           at: float) -> Statistic:
    pairs_NN = _pairs_at(time_N, event_N, at, fold_N)

    def statistic(weight_RN: np.ndarray) -> np.ndarray:
        inverse_RN = inverse(uncensored(time_N, event_N, weight_RN).before_own_time())
        return share_in_order(risk_N, pairs_NN, weight_RN * inverse_RN, weight_RN)

    return statistic


def brier_of(time_N: np.ndarray, event_N: np.ndarray, survival_NK: np.ndarray, times_K: np.ndarray) -> Statistic:
    """The Brier score at each time: draws (R, N) -> (R, K)."""
    had_event_NK = survival_NK**2 * (event_N[:, None] & (time_N[:, None] <= times_K))
    had_none_NK = (1 - survival_NK)**2 * (time_N[:, None] > times_K)

    def statistic(weight_RN: np.ndarray) -> np.ndarray:
        observed = uncensored(time_N, event_N, weight_RN)
        with_event_RK = (weight_RN * inverse(observed.before_own_time())) @ had_event_NK
        without_RK = (weight_RN @ had_none_NK) * inverse(observed.beyond(times_K))
        return (with_event_RK + without_RK) / weight_RN.sum(axis=1, keepdims=True)

    return statistic


def integrated_brier_of(time_N: np.ndarray, event_N: np.ndarray, survival_NK: np.ndarray, times_K: np.ndarray) -> Statistic:
    statistic, steps_K = brier_of(time_N, event_N, survival_NK, times_K), np.diff(times_K)

    def integrated(weight_RN: np.ndarray) -> np.ndarray:
        brier_RK = statistic(weight_RN)
        return ((brier_RK[:, 1:] + brier_RK[:, :-1]) / 2 * steps_K).sum(axis=1) / steps_K.sum()

    return integrated


def last_time(time_N: np.ndarray, event_N: np.ndarray) -> float:
    """The end of what weights of censoring can tell: the last time with a tenth of the cases still under observation."""
    own_1N = uncensored(time_N, event_N, np.ones((1, len(time_N)))).before_own_time()
    return float(time_N[own_1N[0] >= FEWEST_OBSERVED].max())


def quartiles_of_events(time_N: np.ndarray, event_N: np.ndarray, until: float) -> np.ndarray:
    """Times by which a quarter, half and three quarters of the events were seen, as far as they are before `until`.

    Each is the time of an event; equal ones are given once. Nothing without an event.
    """
    if not event_N.any():
        return np.zeros(0)
    times_K = np.unique(np.quantile(time_N[event_N], (0.25, 0.5, 0.75), method="inverted_cdf"))
    return times_K[times_K < until]


def survival_at(times_T: np.ndarray, survival_NT: np.ndarray, at_K: np.ndarray) -> np.ndarray:
    """Predicted survival (N, K): linear between the times of a model, 1 at time 0, and after its last time as there."""
    times_S, survival_NS = np.concatenate([[0.0], times_T]), np.pad(survival_NT, ((0, 0), (1, 0)), constant_values=1.0)
    place_K = np.clip(np.searchsorted(times_S, at_K, side="right") - 1, 0, len(times_S) - 2)
    part_K = np.minimum((at_K - times_S[place_K]) / (times_S[place_K + 1] - times_S[place_K]), 1)
    return survival_NS[:, place_K] * (1 - part_K) + survival_NS[:, place_K + 1] * part_K


def _pairs_at(time_N: np.ndarray, event_N: np.ndarray, at: float, fold_N: np.ndarray | None) -> np.ndarray:
    """Whether the case of the row has an event until `at`, and that of the column is without one beyond (N, N)."""
    return ((event_N & (time_N <= at))[:, None] & (time_N > at)[None, :]
            & same_fold(folds_or_one(fold_N, len(time_N))))


def _why_no_survival(event_N: np.ndarray) -> str:
    return "" if event_N.any() else "no case has the event"
