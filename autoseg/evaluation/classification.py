"""Scores of predicted categories of cases. N counts cases, K categories, R draws of cases.

Functions named `*_of` give a `Statistic`; the others a score with its interval. Probabilities go by case, then category;
codes are the places of the true categories.
"""

import numpy as np

from autoseg.evaluation.ordering import same_fold, share_in_order, why_no_order
from autoseg.evaluation.resampling import OutcomeScore, Statistic, bootstrapped, folds_or_one, not_finite, one_stratum
from planners.schema.base import Frozen


class RocCurve(Frozen):
    """Sensitivity over the false positive rate, both 0 to 1, at each limit of the score; cases of all folds together."""

    false_positive_rate: tuple[float, ...]
    sensitivity: tuple[float, ...]


def auroc(is_positive_N: np.ndarray, score_N: np.ndarray, fold_N: np.ndarray | None = None, *,
          seed: int = 0) -> OutcomeScore:
    """The share of pairs of a positive and a negative case in which the positive one has the higher score; ties count half.

    With folds, only cases of one fold make a pair. Pairs across folds would punish a model for its training cases: where a
    fold has more positives than the others, its model has seen fewer (Forman and Scholz 2010, SIGKDD Explorations 12:49).
    """
    if reason := why_no_auroc(is_positive_N, score_N, fold_N):
        return OutcomeScore(reason=reason)
    return bootstrapped(auroc_of(is_positive_N, score_N, fold_N), is_positive_N, seed=seed)


def macro_auroc(code_N: np.ndarray, probability_NK: np.ndarray, fold_N: np.ndarray | None = None, *,
                seed: int = 0) -> OutcomeScore:
    """The mean of the AUROC of each category against the others, over the categories that occur."""
    present = np.unique(code_N)
    for category in present:
        if reason := why_no_auroc(code_N == category, probability_NK[:, category], fold_N):
            return OutcomeScore(reason=reason)
    return bootstrapped(macro_auroc_of(code_N, probability_NK, fold_N), code_N, seed=seed)


def average_precision(is_positive_N: np.ndarray, score_N: np.ndarray, *, seed: int = 0) -> OutcomeScore:
    """The area under precision over recall, as the sum of precisions weighted by the steps of recall, without interpolation.

    A model that knows nothing has about the prevalence of the positives. Cases of all folds are ranked together.
    """
    if reason := _why_not_two(is_positive_N) or not_finite(score_N, "score"):
        return OutcomeScore(reason=reason)
    if (score_N == score_N[0]).all():
        return OutcomeScore(reason="the score is the same for all cases")
    return bootstrapped(average_precision_of(is_positive_N, score_N), is_positive_N, seed=seed)


def brier(code_N: np.ndarray, probability_NK: np.ndarray, *, seed: int = 0) -> OutcomeScore:
    """The mean of (probability - what is true)^2, summed over categories; 0 is perfect, 2 the worst.

    Of two categories one alone is counted, as is usual; 1 is the worst (Brier 1950, Monthly Weather Review 78:1).
    """
    if reason := why_no_mean(code_N, probability_NK):
        return OutcomeScore(reason=reason)
    return bootstrapped(brier_of(code_N, probability_NK), one_stratum(code_N), seed=seed)


def balanced_accuracy(code_N: np.ndarray, probability_NK: np.ndarray, *, seed: int = 0) -> OutcomeScore:
    """The mean, over the categories that occur, of the share of their cases for which they have the highest probability."""
    if reason := why_no_mean(code_N, probability_NK):
        return OutcomeScore(reason=reason)
    if (probability_NK == probability_NK[0]).all():
        return OutcomeScore(reason="the probabilities are the same for all cases")
    return bootstrapped(balanced_accuracy_of(code_N, probability_NK), code_N, seed=seed)


def roc_curve(is_positive_N: np.ndarray, score_N: np.ndarray) -> RocCurve | None:
    """The curve from (0, 0) to (1, 1); None if there are no positive or no negative cases, or a score is not finite."""
    if _why_not_two(is_positive_N) or not_finite(score_N, "score"):
        return None
    true_T, all_T = _counts_down(is_positive_N, score_N, np.ones((1, len(score_N))))
    false_T = all_T[0] - true_T[0]
    return RocCurve(false_positive_rate=(0.0, *map(float, false_T / false_T[-1])),
                    sensitivity=(0.0, *map(float, true_T[0] / true_T[0, -1])))


def why_no_auroc(is_positive_N: np.ndarray, score_N: np.ndarray, fold_N: np.ndarray | None) -> str:
    """Why there is no AUROC, in words; nothing if there is one."""
    return (_why_not_two(is_positive_N) or not_finite(score_N, "probability")
            or why_no_order(score_N, positive_pairs(is_positive_N, fold_N), "probability"))


def why_no_mean(code_N: np.ndarray, probability_NK: np.ndarray) -> str:
    """Why there is no Brier score and no balanced accuracy, in words; nothing if there are."""
    if len(np.unique(code_N)) < 2:
        return "all cases have the same category" if len(code_N) else "there is no case"
    return not_finite(probability_NK, "probability")


def positive_pairs(is_positive_N: np.ndarray, fold_N: np.ndarray | None = None) -> np.ndarray:
    """Whether the case of the row is positive and that of the column negative, within one fold (N, N)."""
    return is_positive_N[:, None] & ~is_positive_N & same_fold(folds_or_one(fold_N, len(is_positive_N)))


def auroc_of(is_positive_N: np.ndarray, score_N: np.ndarray, fold_N: np.ndarray | None = None) -> Statistic:
    pairs_NN = positive_pairs(is_positive_N, fold_N)
    return lambda weight_RN: share_in_order(score_N, pairs_NN, weight_RN, weight_RN)


def macro_auroc_of(code_N: np.ndarray, probability_NK: np.ndarray, fold_N: np.ndarray | None = None) -> Statistic:
    each = [auroc_of(code_N == category, probability_NK[:, category], fold_N) for category in np.unique(code_N)]
    return lambda weight_RN: np.mean([statistic(weight_RN) for statistic in each], axis=0)


def average_precision_of(is_positive_N: np.ndarray, score_N: np.ndarray) -> Statistic:
    def statistic(weight_RN: np.ndarray) -> np.ndarray:
        true_RT, all_RT = _counts_down(is_positive_N, score_N, weight_RN)
        precision_RT = np.divide(true_RT, all_RT, out=np.zeros_like(true_RT), where=all_RT > 0)
        total_R = true_RT[:, -1]
        area_R = (precision_RT * np.diff(true_RT, axis=1, prepend=0)).sum(axis=1)
        return np.divide(area_R, total_R, out=np.full(len(total_R), np.nan), where=total_R > 0)

    return statistic


def brier_of(code_N: np.ndarray, probability_NK: np.ndarray) -> Statistic:
    n_categories = probability_NK.shape[1]
    loss_N = ((probability_NK - np.eye(n_categories)[code_N])**2).sum(axis=1) / (2 if n_categories == 2 else 1)
    return lambda weight_RN: weight_RN @ loss_N / weight_RN.sum(axis=1)


def balanced_accuracy_of(code_N: np.ndarray, probability_NK: np.ndarray) -> Statistic:
    member_KN = code_N == np.unique(code_N)[:, None]
    right_KN = member_KN & (probability_NK.argmax(axis=1) == code_N)

    def statistic(weight_RN: np.ndarray) -> np.ndarray:
        n_RK = weight_RN @ member_KN.T
        return np.divide(weight_RN @ right_KN.T, n_RK, out=np.full(n_RK.shape, np.nan), where=n_RK > 0).mean(axis=1)

    return statistic


def _counts_down(is_positive_N: np.ndarray, score_N: np.ndarray, weight_RN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positive cases and all cases with at least each distinct score, from the highest score on (R, T)."""
    order_N = np.argsort(-score_N, kind="stable")
    sorted_RN, ends_T = weight_RN[:, order_N], np.flatnonzero(np.diff(score_N[order_N], append=-np.inf))
    return (np.cumsum(sorted_RN * is_positive_N[order_N], axis=1)[:, ends_T], np.cumsum(sorted_RN, axis=1)[:, ends_T])


def _why_not_two(is_positive_N: np.ndarray) -> str:
    n = int(is_positive_N.sum())
    if not len(is_positive_N):
        return "there is no case"
    return "no case has the category" if n == 0 else "all cases have the category" if n == len(is_positive_N) else ""
