"""Conditions that say the outcome: a model that is given them learns nothing else, and no new patient has them."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from autoseg.base.errors import UserError
from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.outcomes import OutcomeValues
from autoseg.workspace.names import DATASET_JSON

_SPEARMAN = 0.99
_FEWEST = 8  # cases, of which a rank correlation says something
_BY_CHANCE = math.log(1e-3)
_DO = (f"remove it from the conditions in {DATASET_JSON}; if it was known before the scan, pass "
       "--allow-outcome-conditions")


def leaks(outcome: OutcomeValues, conditions: Mapping[str, CaseConditions]) -> tuple[str, ...]:
    """A sentence for each column of the conditions of which the outcome is a function, by name.

    Each value of the column has one value of the outcome, or limits of a number separate them, where chance would give that
    less than once in 1000 tables; or the ranks of column and outcome are correlated by more than 0.99.
    """
    columns = dict.fromkeys(column for case in outcome.cases for column in conditions[case].values)
    return tuple(sentence for column in columns if (sentence := _leak(outcome, column, conditions)))


def _leak(outcome: OutcomeValues, column: str, conditions: Mapping[str, CaseConditions]) -> str:
    known = [(value, number, event) for case, number, event in zip(
        outcome.cases, outcome.values, outcome.events or [False] * len(outcome.cases), strict=True)
        if (value := conditions[case].values.get(column)) is not None]
    values = [value for value, _, _ in known]
    survival = outcome.spec.kind == "survival"
    discrete = [event for _, _, event in known] if survival else [number for _, number, _ in known]
    what = "whether the event happens" if survival else "the category"
    numbers = [value for value in values if isinstance(value, float)] if outcome.spec.kind != "number" else []
    if outcome.spec.kind != "number" and _decides(values, discrete):
        return _sentence(outcome, column, f"each of its values has one answer to {what}, in {len(known)} cases")
    if len(numbers) == len(known) and _divides(numbers, discrete):
        return _sentence(outcome, column, f"its limits say {what}, in {len(known)} cases")
    if outcome.spec.kind != "category" and all(isinstance(value, float) for value in values):
        rho = _spearman(np.array(values, float), np.array([number for _, number, _ in known]))
        if abs(rho) > _SPEARMAN:
            return _sentence(outcome, column, f"rank correlation {rho:.3f} in {len(known)} cases")
    return ""


def _sentence(outcome: OutcomeValues, column: str, evidence: str) -> str:
    return str(UserError(f"the outcome {outcome.name!r} is a function of the condition {column!r}: that is a leak",
                         found=evidence, expected="conditions that are known when the patient is scanned", do=_DO))


def _decides(values: Sequence[object], answers: Sequence[object]) -> bool:
    """Whether each value has one answer, and too few values have it by chance.

    Of n! / prod(n_k!) ways to hand out the answers at most K^G, with G different values, give each value one answer.
    """
    groups: dict[object, set[object]] = defaultdict(set)
    for value, answer in zip(values, answers, strict=True):
        groups[value].add(answer)
    counts = Counter(answers)
    if len(counts) < 2 or any(len(answers_of_value) > 1 for answers_of_value in groups.values()):
        return False
    ways = math.lgamma(len(answers) + 1) - sum(math.lgamma(n + 1) for n in counts.values())
    return len(groups) * math.log(len(counts)) - ways < _BY_CHANCE


def _divides(values: Sequence[float], answers: Sequence[object]) -> bool:
    """Whether limits of the value separate the answers, and chance would do that less than once in 1000 tables.

    Of n! / prod(n_k!) ways to hand out K answers to n different values K! are in blocks.
    """
    counts: Counter[object] = Counter(answers)
    sides: dict[object, list[float]] = defaultdict(list)
    for value, answer in zip(values, answers, strict=True):
        sides[answer].append(value)
    ranges = sorted((min(side), max(side)) for side in sides.values())
    if len(counts) < 2 or any(low <= high for (_, high), (low, _) in pairwise(ranges)):
        return False
    ways = math.lgamma(len(answers) + 1) - sum(math.lgamma(n + 1) for n in counts.values())
    return math.lgamma(len(counts) + 1) - ways < _BY_CHANCE


def _spearman(a_N: np.ndarray, b_N: np.ndarray) -> float:
    """Spearman's rank correlation; 0 where few cases, or one value, say nothing."""
    if len(a_N) < _FEWEST or len(set(a_N)) < _FEWEST or len(set(b_N)) < _FEWEST:
        return 0.0
    from scipy import stats

    return float(stats.spearmanr(a_N, b_N).statistic)
