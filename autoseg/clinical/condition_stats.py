"""What the cases of a dataset have of each condition, for its fingerprint."""

from collections.abc import Sequence

import numpy as np

from autoseg.clinical.conditions import CaseConditions
from planners.schema.conditions import ConditionSpec, ConditionStats, ConditionTable

_ARRAYS = ("vector", "tokens")


def condition_stats(table: ConditionTable, cases: Sequence[CaseConditions]) -> tuple[ConditionStats, ...]:
    """What the cases have of each condition; mean and standard deviation are of the transformed numbers."""
    return tuple(_stats(spec, cases) for spec in table.specs)


def with_widths(table: ConditionTable, cases: Sequence[CaseConditions]) -> ConditionTable:
    """The table with the width of each vector and token bag as it is in the cases; None where no case has one."""
    def measured(spec: ConditionSpec) -> ConditionSpec:
        widths = [array.shape[-1] for case in cases if (array := _features(spec, case)) is not None]
        return spec.model_copy(update={"width": widths[0] if widths else None})

    return table.model_copy(update={"specs": tuple(measured(spec) if spec.kind in _ARRAYS else spec
                                                   for spec in table.specs)})


def _stats(spec: ConditionSpec, cases: Sequence[CaseConditions]) -> ConditionStats:
    if spec.kind in _ARRAYS:
        known = sum(_features(spec, case) is not None for case in cases)
        return ConditionStats(name=spec.name, missing=_missing(known, len(cases)), distinct=0)
    values = [value for case in cases if (value := case.values.get(spec.name)) is not None]
    stats = ConditionStats(name=spec.name, missing=_missing(len(values), len(cases)), distinct=len(set(values)))
    if spec.kind != "number" or not values:
        return stats
    numbers = np.array(values, dtype=np.float64)
    numbers = np.log(numbers) if spec.transform == "log" else numbers
    return stats.model_copy(update={"mean": float(numbers.mean()), "std": float(numbers.std())})


def _missing(known: int, cases: int) -> float:
    return 1.0 - known / cases if cases else 1.0


def _features(spec: ConditionSpec, case: CaseConditions) -> np.ndarray | None:
    return (case.vectors if spec.kind == "vector" else case.tokens).get(spec.name)
