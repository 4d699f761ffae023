"""Intervals and controls of outcome scores. N counts cases, R draws of cases, P shuffles of the outcome.

A statistic is a function of how often each case is drawn: (R, N) -> a score per draw (R), NaN where it is not defined. With
each case drawn once it is the score itself. So one function serves the score, its interval, and the difference of two
models on the same draws.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from autoseg.evaluation.statistics import interval
from planners.schema.base import Frozen

N_DRAWS = 1000
N_SHUFFLES = 1000
CHANCE = 0.5  # the C-index and the AUROC of a model that knows nothing

_BLOCK = 2**21  # numbers of draws that are held at a time
# Where more draws have no score, those that are left are no fair sample of them.
_MOST_UNDEFINED = 0.05

Statistic = Callable[[np.ndarray], np.ndarray]


class OutcomeScore(Frozen):
    """A score with its 95 % bootstrap interval over cases. What is None has its reason in words."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


class ScoreDifference(Frozen):
    """Score of a minus score of b, over the same cases and draws, with its 95 % interval. What is None has its reason.

    `p_bootstrap` is two-sided: twice the share of draws on the other side of 0. `p_delong` is DeLong's test, for the AUROC
    of two categories alone.
    """

    score: str
    better: Literal["higher", "lower"]
    value_a: float | None = None
    value_b: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_bootstrap: float | None = None
    p_delong: float | None = None
    reason: str = ""


class PermutationControl(Frozen):
    """The score where the outcomes are shuffled among the cases of each fold: mean and central 95 % of the shuffles.

    `p` is the share of shuffles that score at least as high as the model, with the model itself counted (one-sided).
    """

    chance: float = CHANCE
    n_shuffles: int = 0
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    reason: str = ""


def bootstrapped(statistic: Statistic, strata_N: np.ndarray, *, seed: int = 0, n_draws: int = N_DRAWS) -> OutcomeScore:
    """The score with its interval, from draws that keep the number of cases of each stratum.

    Strata are events or categories for scores of order, which compare them; else all cases are one stratum. The interval is
    the expanded percentile interval (`statistics.interval`) for as many cases as the smallest stratum has: resampled scores
    of few events vary too little (figures: `benchmarks/outcome_scores.py`).
    """
    value = statistic(np.ones((1, len(strata_N))))[0]
    if not np.isfinite(value):
        return OutcomeScore(reason="the score is not defined for these cases")
    drawn_R = np.concatenate([statistic(weight_RN) for weight_RN in draws(strata_N, seed, n_draws)])
    low, high, reason = _limits(drawn_R, strata_N)
    return OutcomeScore(value=float(value), low=low, high=high, reason=reason)


def paired_bootstrap(score: str, better: Literal["higher", "lower"], a: Statistic, b: Statistic, strata_N: np.ndarray, *,
                     seed: int = 0, n_draws: int = N_DRAWS) -> ScoreDifference:
    """The difference of two scores of the same cases, in the same order."""
    all_once = np.ones((1, len(strata_N)))
    value_a, value_b = float(a(all_once)[0]), float(b(all_once)[0])
    if not np.isfinite(value_a) or not np.isfinite(value_b):
        return ScoreDifference(score=score, better=better, reason="a score is not defined for these cases")
    drawn_R = np.concatenate([a(weight_RN) - b(weight_RN) for weight_RN in draws(strata_N, seed, n_draws)])
    low, high, reason = _limits(drawn_R, strata_N)
    return ScoreDifference(score=score, better=better, value_a=value_a, value_b=value_b, difference=value_a - value_b,
                           low=low, high=high, p_bootstrap=None if reason else _two_sided(drawn_R), reason=reason)


def draws(strata_N: np.ndarray, seed: int = 0, n_draws: int = N_DRAWS) -> Iterator[np.ndarray]:
    """How often each case is drawn, in blocks (R, N): as many as a stratum has are drawn from it, with replacement."""
    members = [np.flatnonzero(strata_N == stratum) for stratum in np.unique(strata_N)]
    rngs = [np.random.default_rng([seed, place]) for place in range(len(members))]  # so that blocks change no draw
    rows = max(1, _BLOCK // len(strata_N))
    for start in range(0, n_draws, rows):
        size = min(rows, n_draws - start)
        weight_RN = np.zeros((size, len(strata_N)))
        for rng, member_M in zip(rngs, members, strict=True):
            n = len(member_M)
            drawn_RM = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
            weight_RN[:, member_M] = np.bincount(drawn_RM.ravel(), minlength=size * n).reshape(size, n)
        yield weight_RN


def shuffles(fold_N: np.ndarray, seed: int = 0, n_shuffles: int = N_SHUFFLES) -> np.ndarray:
    """Orders of the cases (P, N), shuffled within each fold: what the model of a fold answers stays in the fold."""
    rng, order_PN = np.random.default_rng(seed), np.empty((n_shuffles, len(fold_N)), np.intp)
    for fold in np.unique(fold_N):
        member_M = np.flatnonzero(fold_N == fold)
        order_PN[:, member_M] = member_M[rng.random((n_shuffles, len(member_M))).argsort(axis=1)]
    return order_PN


def permutation_control(value: float, shuffled_P: np.ndarray, chance: float = CHANCE) -> PermutationControl:
    """The control from the score of the model and those of the shuffles."""
    low, high = np.percentile(shuffled_P, (2.5, 97.5))
    # Rounded, since scores that are equal may differ by rounding errors.
    n_above = int((np.round(shuffled_P - value, 12) >= 0).sum())
    return PermutationControl(chance=chance, n_shuffles=len(shuffled_P), mean=float(shuffled_P.mean()), low=float(low),
                              high=float(high), p=(1 + n_above) / (1 + len(shuffled_P)))


def one_stratum(values_N: np.ndarray) -> np.ndarray:
    """All cases together. For means over cases, whose number of events varies with the patients."""
    return np.zeros(len(values_N), np.int64)


def folds_or_one(fold_N: np.ndarray | None, n: int) -> np.ndarray:
    """The folds of the cases; all cases are of one fold where there are none."""
    return np.zeros(n, np.int64) if fold_N is None else np.asarray(fold_N)


def not_finite(values: np.ndarray, what: str) -> str:
    """The reason why there is no score if the values of some cases (cases first) are not finite, else nothing."""
    n = int((~np.isfinite(values.reshape(len(values), -1)).all(axis=1)).sum())
    return f"the {what} of {n} of {len(values)} cases is not finite" if n else ""


def _limits(drawn_R: np.ndarray, strata_N: np.ndarray) -> tuple[float | None, float | None, str]:
    fewest = int(np.unique(strata_N, return_counts=True)[1].min())
    if fewest < 2:
        return None, None, "no interval: a group that is drawn from has a single case"
    undefined = float((~np.isfinite(drawn_R)).mean())
    if undefined > _MOST_UNDEFINED:
        return None, None, f"no interval: the score is not defined in {undefined:.0%} of the draws"
    return *interval(drawn_R[np.isfinite(drawn_R)], fewest), ""


def _two_sided(drawn_R: np.ndarray) -> float:
    known_R = drawn_R[np.isfinite(drawn_R)]
    n_other_side = min((known_R <= 0).sum(), (known_R >= 0).sum())
    return min(1.0, 2 * (1 + int(n_other_side)) / (1 + len(known_R)))
