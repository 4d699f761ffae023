"""Regressions with a ridge penalty, one for each kind of outcome: Cox, logistic, least squares.

M imputations, N cases, F columns of the design, O outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

from autoseg.outcome.answers import baseline_of, probability_of, survival_of
from autoseg.outcome.design import Design, design_names, fit_design, restored_design
from autoseg.outcome.fitted import (
    Blocks,
    Coefficient,
    Columns,
    FittedHeader,
    FittedState,
    categories_of,
    columns_of,
    joined,
    kind_of,
)
from autoseg.outcome.imputation import by_chained_equations, by_median
from autoseg.outcome.inner import choose
from autoseg.outcome.models import KINDS, OUTCOME_MODELS, ModelContext
from autoseg.outcome.pooling import pooled_coefficients
from autoseg.outcome.solvers import solve
from autoseg.outcome.targets import CategoryEstimate, Estimate, NumberEstimate, SurvivalTarget, Target
from planners.schema.base import Frozen

_COEFFICIENTS = ("weight_MFO", "intercept_MO", "error_MFO")


class LinearOptions(Frozen):
    """What is tried. `spreads`: the standard deviation of the outputs that the ridge penalty expects, from the most cautious
    on; `components`: the number of principal components, for models that have any.
    """

    spreads: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    components: tuple[int, ...] = (3, 10, 30)


@dataclass(frozen=True)
class Candidate:
    spread: float
    components: int | None


@dataclass(frozen=True)
class FittedLinear:
    """The predictions of the imputations are pooled: the mean of log hazards, of probabilities, of numbers."""

    header: FittedHeader
    design: Design
    weight_MFO: np.ndarray
    intercept_MO: np.ndarray
    error_MFO: np.ndarray
    baseline: dict[str, np.ndarray]  # of survival, else empty

    def predict(self, blocks: Blocks) -> Estimate:
        output_MNO = self._outputs(self.design(joined(blocks, self.header.columns)))
        if self.header.kind == "survival":
            return survival_of(output_MNO[:, :, 0].mean(axis=0), self.baseline)
        if self.header.kind == "number":
            return NumberEstimate(output_MNO[:, :, 0].mean(axis=0))
        first_MN1 = np.zeros((*output_MNO.shape[:2], 1))
        return CategoryEstimate(probability_of(np.concatenate([first_MN1, output_MNO], axis=2)).mean(axis=0))

    def _outputs(self, x_MNF: np.ndarray) -> np.ndarray:
        return x_MNF @ self.weight_MFO + self.intercept_MO[:, None, :]

    def state(self) -> FittedState:
        own = {name: getattr(self, name) for name in _COEFFICIENTS}
        return FittedState(self.header, {**self.design.arrays(), **own, **self.baseline})

    def coefficients(self) -> tuple[Coefficient, ...]:
        """Per column; none where the columns are principal components."""
        if self.header.details.get("components") is not None:
            return ()
        names = design_names([name for columns in self.header.columns for name in columns.names], self.design)
        return pooled_coefficients(names, self.header.categories[1:] or ("",), self.weight_MFO, self.error_MFO)


class LinearModel:
    """A regression on some blocks: on their columns with missing values imputed in five ways, on their principal components,
    or on the first column alone.
    """

    def __init__(self, options: LinearOptions, context: ModelContext, *, blocks: Sequence[str], multiple: bool = False,
                 reduced: bool = False, first_only: bool = False):
        self.options, self.blocks = options, blocks
        self.multiple, self.reduced, self.first_only = multiple, reduced, first_only

    def fit(self, blocks: Blocks, target: Target, seed: int) -> FittedLinear:
        numbers: Sequence[int | None] = self.options.components if self.reduced else (None,)
        spreads = self.options.spreads[-1:] if self.first_only else self.options.spreads
        candidates = [Candidate(spread, components) for spread, components in product(spreads, numbers)]
        best = choose(candidates, self._fit_each, blocks, target, seed)
        return self._fit_each([best], blocks, target, seed, multiple=self.multiple)[0]

    def restore(self, state: FittedState) -> FittedLinear:
        baseline = {name: state.arrays[name] for name in ("times_T", "hazard_T") if name in state.arrays}
        weight_MFO, intercept_MO, error_MFO = (state.arrays[name] for name in _COEFFICIENTS)
        return FittedLinear(state.header, restored_design(state.arrays), weight_MFO, intercept_MO, error_MFO, baseline)

    def _fit_each(self, candidates: Sequence[Candidate], blocks: Blocks, target: Target, seed: int, multiple: bool = False
                  ) -> list[FittedLinear]:
        """The candidates on the same design. They are chosen with missing values at their median, which is fast."""
        columns = self._columns(blocks)
        most = max(c.components or 0 for c in candidates) if self.reduced else None
        values_NF = joined(blocks, columns)
        filled = by_chained_equations(values_NF, seed) if multiple else by_median(values_NF)
        design, x_MNF = fit_design(values_NF, filled, indicators=self.multiple, components=most)
        return [self._fit_one(candidate, columns, design, x_MNF, target) for candidate in candidates]

    def _fit_one(self, candidate: Candidate, columns: tuple[Columns, ...], design: Design, x_MNF: np.ndarray, target: Target
                 ) -> FittedLinear:
        if candidate.components is not None:
            design, x_MNF = design.first(candidate.components), x_MNF[:, :, :candidate.components]
        solutions = [solve(x_NF, target, candidate.spread) for x_NF in x_MNF]
        header = FittedHeader(kind=kind_of(target), columns=columns, categories=categories_of(target),
                              details=vars(candidate))
        fitted = FittedLinear(header, design, np.stack([s.weight_FO for s in solutions]),
                              np.stack([s.intercept_O for s in solutions]), np.stack([s.error_FO for s in solutions]), {})
        if isinstance(target, SurvivalTarget):
            fitted.baseline.update(baseline_of(fitted._outputs(x_MNF)[:, :, 0].mean(axis=0), target))
        return fitted

    def _columns(self, blocks: Blocks) -> tuple[Columns, ...]:
        columns = columns_of(blocks, self.blocks)
        return tuple(c.model_copy(update={"names": c.names[:1]}) for c in columns) if self.first_only else columns


def _register(name: str, *blocks: str, multiple: bool = False, reduced: bool = False, univariate: bool = False) -> None:
    OUTCOME_MODELS.register(name, LinearOptions, blocks=blocks, kinds=KINDS, baseline=True,
                            univariate=univariate)(
        partial(LinearModel, blocks=blocks, multiple=multiple, reduced=reduced, first_only=univariate))


_register("linear_clinical", "clinical", multiple=True)
_register("linear_volume", "volume", univariate=True)
_register("linear_radiomics", "radiomics", "shape", reduced=True)
_register("linear_embedding", "embedding", reduced=True)
