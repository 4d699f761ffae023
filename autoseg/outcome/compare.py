"""The difference of two models of an outcome: the same cases, the same draws."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from autoseg.evaluation import classification, regression, survival
from autoseg.evaluation.ordering import delong
from autoseg.evaluation.resampling import ScoreDifference, Statistic, one_stratum, paired_bootstrap
from autoseg.outcome.score import check_rows, span_of
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

Better = Literal["higher", "lower"]


def compare(target: Target, a: Estimate, b: Estimate, *, seed: int,
            fold_N: np.ndarray | None = None) -> tuple[ScoreDifference, ...]:
    """Score of a minus score of b: first of the order (C-index, AUROC, rank correlation), then of the error.

    Both are out-of-fold estimates over the same folds. Raises ValueError if kinds or lengths differ.
    """
    for estimate in (a, b):
        check_rows(target, estimate, fold_N)
    match target, a, b:
        case SurvivalTarget(), SurvivalEstimate(), SurvivalEstimate():
            return _survival(target, (a, b), fold_N, seed)
        case CategoryTarget(), CategoryEstimate(), CategoryEstimate():
            return _categories(target, (a, b), fold_N, seed)
        case NumberTarget(), NumberEstimate(), NumberEstimate():
            return _numbers(target, (a, b), fold_N, seed)
    raise ValueError(f"{type(a).__name__} and {type(b).__name__} are no estimates of a {type(target).__name__}")


def _survival(target: SurvivalTarget, models: tuple[SurvivalEstimate, SurvivalEstimate], fold_N: np.ndarray | None,
              seed: int) -> tuple[ScoreDifference, ...]:
    time_N, event_N = target.time_N, target.event_N
    reasons = [survival.why_no_concordance(time_N, event_N, model.risk_N, fold_N) for model in models]
    statistics = [survival.concordance_of(time_N, event_N, model.risk_N, fold_N) for model in models]
    order = _difference("C-index", "higher", statistics, reasons, event_N, seed)
    name = "integrated Brier score"
    span_K = span_of(target, *(model.times_T for model in models))
    if not len(span_K):
        return order, ScoreDifference(score=name, better="lower", reason="there is no span of time that both models predict")
    survival_NK = [survival.survival_at(model.times_T, model.survival_NT, span_K) for model in models]
    reasons = [survival.why_no_brier(time_N, event_N, predicted_NK, span_K) for predicted_NK in survival_NK]
    statistics = [survival.integrated_brier_of(time_N, event_N, predicted_NK, span_K) for predicted_NK in survival_NK]
    return order, _difference(name, "lower", statistics, reasons, one_stratum(event_N), seed)


def _categories(target: CategoryTarget, models: tuple[CategoryEstimate, CategoryEstimate], fold_N: np.ndarray | None,
                seed: int) -> tuple[ScoreDifference, ...]:
    code_N, probabilities = target.code_N, [model.probability_NK for model in models]
    present = [1] if len(target.names) == 2 else np.unique(code_N).tolist()
    reasons = [next(filter(None, (classification.why_no_auroc(code_N == category, probability_NK[:, category], fold_N)
                                  for category in present)), "") for probability_NK in probabilities]
    statistics = [_auroc_of(target, probability_NK, fold_N) for probability_NK in probabilities]
    order = _difference("AUROC", "higher", statistics, reasons, code_N, seed)
    if len(target.names) == 2 and not any(reasons):
        pairs_NN = classification.positive_pairs(code_N == 1, fold_N)
        p = delong(probabilities[0][:, 1], probabilities[1][:, 1], pairs_NN)
        order = order.model_copy(update={"p_delong": p})
    reasons = [classification.why_no_mean(code_N, probability_NK) for probability_NK in probabilities]
    statistics = [classification.brier_of(code_N, probability_NK) for probability_NK in probabilities]
    return order, _difference("Brier score", "lower", statistics, reasons, one_stratum(code_N), seed)


def _auroc_of(target: CategoryTarget, probability_NK: np.ndarray, fold_N: np.ndarray | None) -> Statistic:
    if len(target.names) == 2:
        return classification.auroc_of(target.code_N == 1, probability_NK[:, 1], fold_N)
    return classification.macro_auroc_of(target.code_N, probability_NK, fold_N)


def _numbers(target: NumberTarget, models: tuple[NumberEstimate, NumberEstimate], fold_N: np.ndarray | None,
             seed: int) -> tuple[ScoreDifference, ...]:
    true_N, strata_N = target.value_N, one_stratum(target.value_N)
    reasons = [regression.why_no_correlation(true_N, model.value_N, fold_N) for model in models]
    statistics = [regression.rank_correlation_of(true_N, model.value_N, fold_N) for model in models]
    order = _difference("rank correlation", "higher", statistics, reasons, strata_N, seed)
    reasons = [regression.why_no_error(true_N, model.value_N) for model in models]
    statistics = [regression.absolute_error_of(true_N, model.value_N) for model in models]
    return order, _difference("mean absolute error", "lower", statistics, reasons, strata_N, seed)


def _difference(name: str, better: Better, statistics: Sequence[Statistic], reasons: Sequence[str], strata_N: np.ndarray,
                seed: int) -> ScoreDifference:
    for which, reason in zip(("the first model", "the second model"), reasons, strict=True):
        if reason:
            return ScoreDifference(score=name, better=better, reason=f"{which}: {reason}")
    return paired_bootstrap(name, better, statistics[0], statistics[1], strata_N, seed=seed)
