"""The null model, which reads nothing: what a model must beat. N counts cases, K categories, T times."""

from dataclasses import dataclass

import numpy as np

from autoseg.outcome.answers import kaplan_meier
from autoseg.outcome.fitted import Blocks, Coefficient, FittedHeader, FittedState, categories_of, kind_of
from autoseg.outcome.models import KINDS, OUTCOME_MODELS, ModelContext
from autoseg.outcome.targets import (
    CategoryEstimate,
    CategoryTarget,
    Estimate,
    NumberEstimate,
    SurvivalEstimate,
    SurvivalTarget,
    Target,
)
from planners.schema.base import Frozen


@dataclass(frozen=True)
class FittedNull:
    header: FittedHeader
    times_T: np.ndarray  # empty but for survival
    value_X: np.ndarray  # the survival at these times, the frequency of each category, or the mean

    def predict(self, blocks: Blocks) -> Estimate:
        n = len(next(iter(blocks.values())))
        if self.header.kind == "survival":
            return SurvivalEstimate(np.zeros(n), self.times_T, np.tile(self.value_X, (n, 1)))
        if self.header.kind == "category":
            return CategoryEstimate(np.tile(self.value_X, (n, 1)))
        return NumberEstimate(np.full(n, self.value_X[0]))

    def state(self) -> FittedState:
        return FittedState(self.header, {"times_T": self.times_T, "value_X": self.value_X})

    def coefficients(self) -> tuple[Coefficient, ...]:
        return ()


@OUTCOME_MODELS.register("null", kinds=KINDS, baseline=True, univariate=True)
class NullModel:
    """Kaplan and Meier's curve, the frequencies of the categories, or the mean, the same for all cases.

    To the frequencies one case is added that all categories share, so that none has the probability 0.
    """

    def __init__(self, options: Frozen, context: ModelContext):
        pass

    def fit(self, blocks: Blocks, target: Target, seed: int) -> FittedNull:
        header = FittedHeader(kind=kind_of(target), categories=categories_of(target))
        if isinstance(target, SurvivalTarget):
            return FittedNull(header, *kaplan_meier(target))
        if isinstance(target, CategoryTarget):
            n = len(target.names)
            counts_K = np.bincount(target.code_N, minlength=n) + 1 / n
            return FittedNull(header, np.empty(0), counts_K / counts_K.sum())
        return FittedNull(header, np.empty(0), np.array([target.value_N.mean()]))

    def restore(self, state: FittedState) -> FittedNull:
        return FittedNull(state.header, state.arrays["times_T"], state.arrays["value_X"])
