"""Scores of a model of an outcome from its out-of-fold estimates.

All estimates are out-of-fold: a row per case, in the order of the target, the folds pooled. With `fold_N`, the fold of each
case, C-indices, AUROCs and rank correlations use pairs within a fold, and outcomes are shuffled within folds.
"""

from collections.abc import Sequence

import numpy as np

from autoseg.evaluation import classification, regression, survival
from autoseg.evaluation.ordering import shuffled_shares
from autoseg.evaluation.outcome_calibration import (
    OutcomeCalibration,
    category_calibration,
    no_calibration,
    survival_calibration,
)
from autoseg.evaluation.outcome_scores import (
    SUSPECT_AUROC,
    SUSPECT_CONCORDANCE,
    CategoryScore,
    CategoryScores,
    NumberScores,
    ScoreAt,
    SurvivalScores,
    few_events,
    suspect_leakage,
)
from autoseg.evaluation.resampling import OutcomeScore, PermutationControl, folds_or_one, permutation_control, shuffles
from autoseg.evaluation.survival_curves import risk_groups
from autoseg.outcome.targets import (
    CategoryEstimate,
    CategoryTarget,
    Estimate,
    NumberEstimate,
    NumberTarget,
    SurvivalEstimate,
    SurvivalTarget,
    Target,
)

_GRID = 50  # times of the integrated Brier score


def score(target: Target, estimate: Estimate, *, seed: int,
          fold_N: np.ndarray | None = None) -> SurvivalScores | CategoryScores | NumberScores:
    """All scores of one model. What is not defined is None, with its reason.

    Raises ValueError if target and estimate are of different kinds or lengths.
    """
    check_rows(target, estimate, fold_N)
    match target, estimate:
        case SurvivalTarget(), SurvivalEstimate():
            return _survival(target, estimate, fold_N, seed)
        case CategoryTarget(), CategoryEstimate():
            return _categories(target, estimate, fold_N, seed)
        case NumberTarget(), NumberEstimate():
            return _numbers(target, estimate, fold_N, seed)
    raise ValueError(f"{type(estimate).__name__} is no estimate of a {type(target).__name__}")


def check_rows(target: Target, estimate: Estimate, fold_N: np.ndarray | None) -> None:
    """Raise ValueError unless there is an estimate, and a fold if there are any, per case."""
    match estimate:
        case SurvivalEstimate():
            rows = {len(estimate.risk_N), len(estimate.survival_NT)}
        case CategoryEstimate():
            rows = {len(estimate.probability_NK)}
        case NumberEstimate():
            rows = {len(estimate.value_N)}
    rows |= set() if fold_N is None else {len(fold_N)}
    if rows != {len(target)}:
        raise ValueError(f"{len(target)} cases, but arrays of {' and '.join(map(str, sorted(rows)))} rows")


def span_of(target: SurvivalTarget, *times: np.ndarray) -> np.ndarray:
    """Evenly spaced times from the first event to the end of the follow-up and of the times of all models; may be empty."""
    if not target.event_N.any() or not all(len(times_T) for times_T in times):
        return np.zeros(0)
    first, is_last_N = float(target.time_N[target.event_N].min()), target.time_N == target.time_N.max()
    last = min(survival.last_time(target.time_N, target.event_N), float(target.time_N[~is_last_N].max(initial=0)),
               *(float(times_T[-1]) for times_T in times))
    return np.linspace(first, last, _GRID) if last > first else np.zeros(0)


def _survival(target: SurvivalTarget, estimate: SurvivalEstimate, fold_N: np.ndarray | None, seed: int) -> SurvivalScores:
    time_N, event_N, risk_N = target.time_N, target.event_N, estimate.risk_N
    tau = survival.last_time(time_N, event_N) if len(target) else 0.0
    concordance = survival.concordance(time_N, event_N, risk_N, fold_N, seed=seed)
    times_K = survival.quartiles_of_events(time_N, event_N, tau)
    predicted_K = times_K[times_K <= estimate.times_T.max(initial=0)]
    survival_NK = survival.survival_at(estimate.times_T, estimate.survival_NT, predicted_K)
    span_K = span_of(target, estimate.times_T)
    brier = tuple(ScoreAt(time=at, score=survival.brier_at(time_N, event_N, survival_N, at=at, seed=seed))
                  for at, survival_N in zip(predicted_K.tolist(), survival_NK.T, strict=True))
    return SurvivalScores(
        n_cases=len(target), n_events=int(event_N.sum()), concordance=concordance, tau=tau or None,
        concordance_ipcw=survival.concordance_ipcw(time_N, event_N, risk_N, fold_N, tau=tau, seed=seed),
        auc=tuple(ScoreAt(time=at, score=survival.auc_at(time_N, event_N, risk_N, fold_N, at=at, seed=seed))
                  for at in times_K.tolist()),
        brier=brier, integrated_brier=_integrated(target, estimate, span_K, seed),
        brier_span=(float(span_K[0]), float(span_K[-1])) if len(span_K) else None,
        calibration=_calibration(target, survival_NK, predicted_K, seed),
        risk_groups=risk_groups(time_N, event_N, risk_N, fold_N),
        permutation=_control(concordance, [(risk_N, survival.comparable_pairs(time_N, event_N, fold_N))], fold_N, seed),
        warnings=(*few_events(int(event_N.sum()), "event"),
                  *suspect_leakage(concordance, "C-index", SUSPECT_CONCORDANCE)))


def _integrated(target: SurvivalTarget, estimate: SurvivalEstimate, span_K: np.ndarray, seed: int) -> OutcomeScore:
    if not len(span_K):
        return OutcomeScore(reason="there is no span of time with events, predictions and follow-up")
    survival_NK = survival.survival_at(estimate.times_T, estimate.survival_NT, span_K)
    return survival.integrated_brier(target.time_N, target.event_N, survival_NK, span_K, seed=seed)


def _calibration(target: SurvivalTarget, survival_NK: np.ndarray, times_K: np.ndarray, seed: int) -> OutcomeCalibration:
    """At the middle one of the times."""
    if not len(times_K):
        return no_calibration("there is no time with events, predictions and follow-up")
    middle = len(times_K) // 2
    return survival_calibration(target.time_N, target.event_N, survival_NK[:, middle], at=float(times_K[middle]), seed=seed)


def _categories(target: CategoryTarget, estimate: CategoryEstimate, fold_N: np.ndarray | None, seed: int) -> CategoryScores:
    code_N, probability_NK = target.code_N, estimate.probability_NK
    n_K = np.bincount(code_N, minlength=len(target.names))
    shown = [1] if len(target.names) == 2 else range(len(target.names))
    each = tuple(_category(target, estimate, category, fold_N, seed) for category in shown)
    auroc = (each[0].auroc if len(target.names) == 2
             else classification.macro_auroc(code_N, probability_NK, fold_N, seed=seed))
    orders = [(probability_NK[:, category], classification.positive_pairs(code_N == category, fold_N))
              for category in shown if n_K[category]]
    fewest = int(n_K.argmin())
    return CategoryScores(
        n_cases=len(target), auroc=auroc, brier=classification.brier(code_N, probability_NK, seed=seed),
        balanced_accuracy=classification.balanced_accuracy(code_N, probability_NK, seed=seed), categories=each,
        permutation=_control(auroc, orders, fold_N, seed),
        warnings=(*few_events(int(n_K[fewest]), "case", f" of {target.names[fewest]}"),
                  *suspect_leakage(auroc, "AUROC", SUSPECT_AUROC)))


def _category(target: CategoryTarget, estimate: CategoryEstimate, category: int, fold_N: np.ndarray | None,
              seed: int) -> CategoryScore:
    is_positive_N, probability_N = target.code_N == category, estimate.probability_NK[:, category]
    return CategoryScore(
        name=target.names[category], n=int(is_positive_N.sum()),
        prevalence=float(is_positive_N.mean()) if len(is_positive_N) else 0.0,
        auroc=classification.auroc(is_positive_N, probability_N, fold_N, seed=seed),
        average_precision=classification.average_precision(is_positive_N, probability_N, seed=seed),
        calibration=category_calibration(is_positive_N, probability_N, seed=seed),
        roc=classification.roc_curve(is_positive_N, probability_N))


def _numbers(target: NumberTarget, estimate: NumberEstimate, fold_N: np.ndarray | None, seed: int) -> NumberScores:
    true_N, predicted_N = target.value_N, estimate.value_N
    correlation = regression.rank_correlation(true_N, predicted_N, fold_N, seed=seed)
    control = PermutationControl(chance=0.0, reason=correlation.reason)
    if correlation.value is not None:
        order_PN = shuffles(folds_or_one(fold_N, len(target)), seed)
        shuffled_P = regression.shuffled_correlations(true_N, predicted_N, order_PN, fold_N)
        control = permutation_control(correlation.value, shuffled_P, chance=0.0)
    return NumberScores(
        n_cases=len(target), rank_correlation=correlation, permutation=control,
        mean_absolute_error=regression.mean_absolute_error(true_N, predicted_N, seed=seed),
        root_mean_square_error=regression.root_mean_square_error(true_N, predicted_N, seed=seed),
        r_squared=regression.r_squared(true_N, predicted_N, seed=seed), warnings=few_events(len(target), "case"))


def _control(value: OutcomeScore, orders: Sequence[tuple[np.ndarray, np.ndarray]], fold_N: np.ndarray | None,
             seed: int) -> PermutationControl:
    """The control of the mean share of ordered pairs; `orders`: a score per case, and the pairs."""
    if value.value is None:
        return PermutationControl(reason=value.reason)
    order_PN = shuffles(folds_or_one(fold_N, len(orders[0][0])), seed)
    shares = [shuffled_shares(score_N, pairs_NN, order_PN) for score_N, pairs_NN in orders]
    return permutation_control(value.value, np.mean(shares, axis=0))
