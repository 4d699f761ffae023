"""Scores of predicted numbers of cases. N counts cases, R draws of cases. Errors are in the unit of the number."""

import numpy as np

from autoseg.evaluation.resampling import OutcomeScore, Statistic, bootstrapped, folds_or_one, not_finite, one_stratum


def mean_absolute_error(true_N: np.ndarray, predicted_N: np.ndarray, *, seed: int = 0) -> OutcomeScore:
    return _scored(true_N, predicted_N, absolute_error_of(true_N, predicted_N), seed)


def root_mean_square_error(true_N: np.ndarray, predicted_N: np.ndarray, *, seed: int = 0) -> OutcomeScore:
    return _scored(true_N, predicted_N,
                   lambda weight_RN: np.sqrt(weight_RN @ (true_N - predicted_N)**2 / weight_RN.sum(axis=1)), seed)


def r_squared(true_N: np.ndarray, predicted_N: np.ndarray, *, seed: int = 0) -> OutcomeScore:
    """1 - sum of squared errors / sum of squared differences to the mean of these cases; below 0 the mean is better."""
    if reason := why_no_error(true_N, predicted_N) or _why_constant(true_N, "number"):
        return OutcomeScore(reason=reason)
    return bootstrapped(r_squared_of(true_N, predicted_N), one_stratum(true_N), seed=seed)


def rank_correlation(true_N: np.ndarray, predicted_N: np.ndarray, fold_N: np.ndarray | None = None, *,
                     seed: int = 0) -> OutcomeScore:
    """Spearman's correlation; equal values share a rank. With folds, ranks are within the fold, divided by its size.

    Ranks over all folds would punish a model for its training cases: where a fold has high values, its model has seen lower
    ones.
    """
    if reason := why_no_correlation(true_N, predicted_N, fold_N):
        return OutcomeScore(reason=reason)
    return bootstrapped(rank_correlation_of(true_N, predicted_N, fold_N), one_stratum(true_N), seed=seed)


def why_no_error(true_N: np.ndarray, predicted_N: np.ndarray) -> str:
    """Why there is no error, in words; nothing if there is one."""
    if not len(true_N):
        return "there is no case"
    return not_finite(true_N, "number") or not_finite(predicted_N, "prediction")


def why_no_correlation(true_N: np.ndarray, predicted_N: np.ndarray, fold_N: np.ndarray | None) -> str:
    """Why there is no correlation, in words; nothing if there is one."""
    if reason := why_no_error(true_N, predicted_N):
        return reason
    folds_N = folds_or_one(fold_N, len(true_N))
    if all(len(np.unique(true_N[folds_N == fold])) == 1 for fold in np.unique(folds_N)):
        return "the number is the same for all cases of a fold"
    if all(len(np.unique(predicted_N[folds_N == fold])) == 1 for fold in np.unique(folds_N)):
        return "the prediction is the same for all cases of a fold"
    return ""


def absolute_error_of(true_N: np.ndarray, predicted_N: np.ndarray) -> Statistic:
    return lambda weight_RN: weight_RN @ np.abs(true_N - predicted_N) / weight_RN.sum(axis=1)


def r_squared_of(true_N: np.ndarray, predicted_N: np.ndarray) -> Statistic:
    def statistic(weight_RN: np.ndarray) -> np.ndarray:
        n_R, centred_N = weight_RN.sum(axis=1), true_N - true_N.mean()
        spread_R = weight_RN @ centred_N**2 - (weight_RN @ centred_N)**2 / n_R
        error_R = weight_RN @ (true_N - predicted_N)**2
        is_varied_R = spread_R > 1e-12 * float((centred_N**2).sum())
        return 1 - np.divide(error_R, spread_R, out=np.full(len(n_R), np.nan), where=is_varied_R)

    return statistic


def rank_correlation_of(true_N: np.ndarray, predicted_N: np.ndarray, fold_N: np.ndarray | None = None) -> Statistic:
    folds_N = folds_or_one(fold_N, len(true_N))
    rows_F = [np.flatnonzero(folds_N == fold) for fold in np.unique(folds_N)]

    def statistic(weight_RN: np.ndarray) -> np.ndarray:
        product_R, true_R, predicted_R = np.zeros((3, len(weight_RN)))
        for rows in rows_F:
            weight_RM = weight_RN[:, rows]
            a_RM, b_RM = _centred_ranks(true_N[rows], weight_RM), _centred_ranks(predicted_N[rows], weight_RM)
            product_R += (weight_RM * a_RM * b_RM).sum(axis=1)
            true_R += (weight_RM * a_RM**2).sum(axis=1)
            predicted_R += (weight_RM * b_RM**2).sum(axis=1)
        scale_R = np.sqrt(true_R * predicted_R)
        return np.divide(product_R, scale_R, out=np.full(len(scale_R), np.nan), where=scale_R > 1e-9)

    return statistic


def shuffled_correlations(true_N: np.ndarray, predicted_N: np.ndarray, order_PN: np.ndarray,
                          fold_N: np.ndarray | None = None) -> np.ndarray:
    """The rank correlation (P) where each case takes over the prediction of another one of its fold."""
    folds_N = folds_or_one(fold_N, len(true_N))
    a_N, b_N = np.zeros((2, len(true_N)))
    for fold in np.unique(folds_N):
        rows = np.flatnonzero(folds_N == fold)
        once_1M = np.ones((1, len(rows)))
        a_N[rows], b_N[rows] = _centred_ranks(true_N[rows], once_1M)[0], _centred_ranks(predicted_N[rows], once_1M)[0]
    return b_N[order_PN] @ a_N / np.sqrt((a_N**2).sum() * (b_N**2).sum())


def _centred_ranks(values_M: np.ndarray, weight_RM: np.ndarray) -> np.ndarray:
    """The share of the drawn cases below each value and half of those at it, minus its mean of one half (R, M)."""
    distinct_U, place_M = np.unique(values_M, return_inverse=True)
    count_RU = weight_RM @ (place_M[:, None] == np.arange(len(distinct_U)))
    n_R1 = np.maximum(count_RU.sum(axis=1, keepdims=True), 1)
    return ((np.cumsum(count_RU, axis=1) - count_RU / 2) / n_R1 - 0.5)[:, place_M]


def _scored(true_N: np.ndarray, predicted_N: np.ndarray, statistic: Statistic, seed: int) -> OutcomeScore:
    if reason := why_no_error(true_N, predicted_N):
        return OutcomeScore(reason=reason)
    return bootstrapped(statistic, one_stratum(true_N), seed=seed)


def _why_constant(values_N: np.ndarray, what: str) -> str:
    return f"the {what} is the same for all cases" if (values_N == values_N[0]).all() else ""
