"""Trees by XGBoost (Chen & Guestrin 2016): a random forest and gradient boosting. N counts cases, K categories.

The forest of survival times splits by the gradient of Cox's partial likelihood, not by log-rank statistics (Ishwaran 2008).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from autoseg.outcome.answers import baseline_of, probability_of, survival_of
from autoseg.outcome.fitted import (
    Blocks,
    Coefficient,
    FittedHeader,
    FittedState,
    categories_of,
    columns_of,
    joined,
    kind_of,
)
from autoseg.outcome.inner import choose
from autoseg.outcome.models import KINDS, OUTCOME_MODELS, ModelContext
from autoseg.outcome.packages import package
from autoseg.outcome.targets import (
    CategoryEstimate,
    CategoryTarget,
    Estimate,
    NumberEstimate,
    NumberTarget,
    SurvivalTarget,
    Target,
)
from planners.schema.base import Frozen

_PURPOSE = "a model of trees"
_FEWEST_COLUMNS = 3  # that a split of a forest chooses from
_LIMIT = 10.0  # of a log hazard: leaves with events alone may grow without end
_OBJECTIVES = {"survival": "survival:cox", "category": "multi:softprob", "number": "reg:squarederror"}


class ForestOptions(Frozen):
    """A random forest: each tree sees 63 % of the cases, each split the square root of the number of columns."""

    trees: int = 300
    depth: int = 6


class BoostingOptions(Frozen):
    """Gradient boosting: the numbers of rounds that are tried, from the most cautious on."""

    rounds: tuple[int, ...] = (10, 30, 100)
    depth: int = 2
    rate: float = 0.1


@dataclass(frozen=True)
class FittedTrees:
    header: FittedHeader
    booster: Any  # xgboost.Booster
    baseline: dict[str, np.ndarray]  # of survival, else empty

    def predict(self, blocks: Blocks) -> Estimate:
        score = _scores(self.booster, joined(blocks, self.header.columns))
        if self.header.kind == "survival":
            return survival_of(_log_hazard(score), self.baseline)
        if self.header.kind == "category":
            return CategoryEstimate(probability_of(score))
        return NumberEstimate(score)

    def state(self) -> FittedState:
        """The trees are XGBoost's JSON, as bytes."""
        return FittedState(self.header, {"trees": np.frombuffer(self.booster.save_raw("json"), np.uint8), **self.baseline})

    def coefficients(self) -> tuple[Coefficient, ...]:
        return ()


class TreeModel:
    """Trees on the columns of some blocks, with missing values as they are: each split has a side for them."""

    def __init__(self, options: ForestOptions | BoostingOptions, context: ModelContext, *, blocks: Sequence[str]):
        self.options, self.blocks = options, blocks

    def fit(self, blocks: Blocks, target: Target, seed: int) -> FittedTrees:
        rounds = self.options.rounds if isinstance(self.options, BoostingOptions) else (1,)
        return self._fit_each([choose(rounds, self._fit_each, blocks, target, seed)], blocks, target, seed)[0]

    def restore(self, state: FittedState) -> FittedTrees:
        booster = package("xgboost", _PURPOSE).Booster()
        booster.load_model(bytearray(state.arrays["trees"].tobytes()))
        return FittedTrees(state.header, booster, {name: a for name, a in state.arrays.items() if name != "trees"})

    def _fit_each(self, rounds: Sequence[int], blocks: Blocks, target: Target, seed: int) -> list[FittedTrees]:
        xgboost, columns = package("xgboost", _PURPOSE), columns_of(blocks, self.blocks)
        values_NF = joined(blocks, columns)
        data = xgboost.DMatrix(values_NF, label=_labels(target), missing=np.nan)
        settings = {**_settings(self.options, values_NF.shape[1]), **_goal(target), "seed": seed, "nthread": 1}
        all_rounds = xgboost.train(settings, data, max(rounds))
        fitted = []
        for n in rounds:
            booster = all_rounds[:n]
            baseline = {}
            if isinstance(target, SurvivalTarget):
                baseline = baseline_of(_log_hazard(_scores(booster, values_NF)), target)
            header = FittedHeader(kind=kind_of(target), columns=columns, categories=categories_of(target),
                                  details={"rounds": n})
            fitted.append(FittedTrees(header, booster, baseline))
        return fitted


def _settings(options: ForestOptions | BoostingOptions, n_columns: int) -> dict[str, Any]:
    if isinstance(options, BoostingOptions):
        return {"max_depth": options.depth, "eta": options.rate, "subsample": 0.8, "colsample_bytree": 0.8}
    seen = min(max(n_columns**0.5, _FEWEST_COLUMNS) / max(n_columns, 1), 1.0)
    return {"max_depth": options.depth, "eta": 1.0, "num_parallel_tree": options.trees, "subsample": 0.632,
            "colsample_bynode": seen}


def _goal(target: Target) -> dict[str, Any]:
    """The loss, and where the scores start: at the mean of a number, else at 0."""
    goal: dict[str, Any] = {"objective": _OBJECTIVES[kind_of(target)]}
    if isinstance(target, SurvivalTarget):
        goal["base_score"] = 1.0  # of the hazard ratio
    elif isinstance(target, NumberTarget):
        goal["base_score"] = float(target.value_N.mean())
    else:
        goal["num_class"] = len(target.names)
    return goal


def _labels(target: Target) -> np.ndarray:
    """XGBoost marks a censored time by a minus sign."""
    if isinstance(target, SurvivalTarget):
        return np.where(target.event_N, target.time_N, -target.time_N)
    return target.code_N if isinstance(target, CategoryTarget) else target.value_N


def _scores(booster: Any, values_NF: np.ndarray) -> np.ndarray:
    """Before any link: log hazards (N), logits (N, K) or numbers (N)."""
    data = package("xgboost", _PURPOSE).DMatrix(values_NF, missing=np.nan)
    return np.asarray(booster.predict(data, output_margin=True), dtype=np.float64)


def _log_hazard(score_N: np.ndarray) -> np.ndarray:
    return np.clip(np.nan_to_num(score_N), -_LIMIT, _LIMIT)


def _register(name: str, options: type[Frozen], *blocks: str) -> None:
    OUTCOME_MODELS.register(name, options, blocks=blocks, kinds=KINDS, baseline=True)(
        partial(TreeModel, blocks=blocks))


_register("forest_clinical", ForestOptions, "clinical")
_register("forest_radiomics", ForestOptions, "radiomics", "shape", "volume")
_register("boosting_radiomics", BoostingOptions, "radiomics", "shape", "volume")
