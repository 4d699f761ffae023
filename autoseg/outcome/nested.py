"""Out-of-fold estimates: each case is estimated by a model that has seen neither it nor its fold. N counts cases."""

import numpy as np

from autoseg.outcome.fitted import Blocks, take
from autoseg.outcome.inner import together
from autoseg.outcome.models import OUTCOME_MODELS, ModelContext
from autoseg.outcome.targets import CategoryEstimate, Estimate, NumberEstimate, SurvivalEstimate, Target
from planners.schema.base import Part


def out_of_fold(name: str, blocks: Blocks, target: Target, fold_N: np.ndarray, seed: int,
                context: ModelContext | None = None) -> Estimate:
    """The estimate of each case by the model of this name, fitted to the cases of all other folds.

    Everything is fitted inside, hyper-parameters on inner folds of these cases. Survival curves are given at the times of
    events of all cases: they are steps, with the last value after the last event that a model has seen. Raises ValueError
    where there are not two folds.
    """
    folds = np.unique(fold_N)
    if len(folds) < 2:
        raise ValueError(f"out-of-fold estimates need two folds, got {len(folds)}")
    model = OUTCOME_MODELS.make(Part(name=name), context or ModelContext())
    estimates, held = [], []
    for fold in folds:
        rows, train = np.flatnonzero(fold_N == fold), np.flatnonzero(fold_N != fold)
        estimates.append(model.fit(take(blocks, train), target.take(train), seed).predict(take(blocks, rows)))
        held.append(rows)
    return _in_order(together(estimates, target), np.argsort(np.concatenate(held)))


def _in_order(estimate: Estimate, order_N: np.ndarray) -> Estimate:
    if isinstance(estimate, SurvivalEstimate):
        return SurvivalEstimate(estimate.risk_N[order_N], estimate.times_T, estimate.survival_NT[order_N])
    if isinstance(estimate, CategoryEstimate):
        return CategoryEstimate(estimate.probability_NK[order_N])
    return NumberEstimate(estimate.value_N[order_N])
