"""What a fitted model of an outcome is: it predicts, and is written down as numbers. N counts cases, F features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import Field

from autoseg.outcome.targets import CategoryTarget, Estimate, Features, SurvivalTarget, Target
from planners.schema.base import Frozen, versioned

Blocks = Mapping[str, Features]
Kind = Literal["survival", "category", "number"]


class Columns(Frozen):
    """The features of one block that a model reads, by name; of an image the shape."""

    block: str
    names: tuple[str, ...]
    shape: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        return int(np.prod(self.shape)) if self.shape else len(self.names)


class Coefficient(Frozen):
    """The coefficient of a feature per standard deviation, pooled over imputations (Rubin 1987).

    It is that of the log hazard, of the log odds against the first category, or of the number. A ridge penalty draws it to
    0, and its interval does not hold this bias.
    """

    feature: str
    category: str = ""
    value: float
    standard_error: float
    low: float
    high: float
    p: float


class FittedHeader(Frozen):
    """What a fitted model reads and answers. `options` are those it is restored with, `details` what fitting has found, such
    as the hyper-parameters that the inner folds chose.
    """

    schema_version: int = versioned(1)
    kind: Kind
    columns: tuple[Columns, ...] = ()
    categories: tuple[str, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)
    details: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class FittedState:
    """A fitted model as it is written: a header for JSON, and arrays by name."""

    header: FittedHeader
    arrays: Mapping[str, np.ndarray]


class Fitted(Protocol):
    """A fitted model. `coefficients` is empty where a model has none that can be read."""

    def predict(self, blocks: Blocks) -> Estimate:
        """The estimate of each case; a block or value that is missing is filled as in training."""
        ...

    def state(self) -> FittedState: ...

    def coefficients(self) -> tuple[Coefficient, ...]: ...


class OutcomeModel(Protocol):
    """A kind of model: it is fitted to cases, and restored from what was written."""

    def fit(self, blocks: Blocks, target: Target, seed: int) -> Fitted: ...

    def restore(self, state: FittedState) -> Fitted: ...


def kind_of(target: Target) -> Kind:
    if isinstance(target, SurvivalTarget):
        return "survival"
    return "category" if isinstance(target, CategoryTarget) else "number"


def categories_of(target: Target) -> tuple[str, ...]:
    return target.names if isinstance(target, CategoryTarget) else ()


def columns_of(blocks: Blocks, wanted: Sequence[str]) -> tuple[Columns, ...]:
    """The columns of the wanted blocks that are given."""
    given = {name: blocks[name] for name in wanted if name in blocks}
    return tuple(Columns(block=name, names=block.names, shape=block.shape) for name, block in given.items())


def joined(blocks: Blocks, columns: Sequence[Columns]) -> np.ndarray:
    """The columns of all blocks beside each other: (N, F) float64. What a block lacks, or a whole block, is NaN."""
    n = len(next(iter(blocks.values()))) if blocks else 0
    parts = [_part(blocks[c.block], c) if c.block in blocks else np.full((n, c.width), np.nan) for c in columns]
    return np.concatenate(parts, axis=1) if parts else np.empty((n, 0))


def take(blocks: Blocks, rows: np.ndarray) -> dict[str, Features]:
    return {name: features.take(rows) for name, features in blocks.items()}


def _part(features: Features, columns: Columns) -> np.ndarray:
    values_NF = np.asarray(features.values_NF, dtype=np.float64)
    if columns.shape:
        if features.shape != columns.shape:
            raise ValueError(f"block {columns.block!r} has the shape {features.shape}, the model reads {columns.shape}")
        return values_NF
    if features.names == columns.names:
        return values_NF
    place = {name: i for i, name in enumerate(features.names)}
    empty_N = np.full(len(values_NF), np.nan)
    return np.stack([values_NF[:, place[name]] if name in place else empty_N for name in columns.names], axis=1)
