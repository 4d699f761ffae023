"""Inner folds: hyper-parameters are chosen on the cases of a training alone. N counts cases."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch

from autoseg.nn.losses.survival import cox_loss
from autoseg.outcome.answers import curves_at
from autoseg.outcome.fitted import Blocks, Fitted, take
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

N_INNER = 5
_FEWEST_PER_STRATUM = 2
_LEAST = 1e-6  # of a probability in the logarithm

Candidate = TypeVar("Candidate")
FitEach = Callable[[Sequence[Candidate], Blocks, Target, int], Sequence[Fitted]]


def strata_of(target: Target) -> np.ndarray:
    """What folds are balanced by: events, categories, the thirds of a number."""
    if isinstance(target, SurvivalTarget):
        return target.event_N.astype(np.int64)
    if isinstance(target, CategoryTarget):
        return target.code_N
    return np.argsort(np.argsort(target.value_N, kind="stable")) * 3 // max(len(target), 1)


def stratified_folds(target: Target, n_folds: int, seed: int) -> np.ndarray:
    """The fold of each case: the cases of each stratum are dealt out evenly, in random order."""
    generator, stratum_N = np.random.default_rng(seed), strata_of(target)
    fold_N, next_fold = np.zeros(len(target), dtype=np.int64), 0
    for stratum in np.unique(stratum_N):
        rows = generator.permutation(np.flatnonzero(stratum_N == stratum))
        fold_N[rows] = (next_fold + np.arange(len(rows))) % n_folds
        next_fold += len(rows)
    return fold_N


def choose(candidates: Sequence[Candidate], fit_each: FitEach[Candidate], blocks: Blocks, target: Target, seed: int,
           n_used: int = N_INNER) -> Candidate:
    """The candidate with the least loss on held-out cases; the first of equal ones, so the most cautious comes first.

    All estimates of the folds that are used are scored together. With too few events or cases the first is taken unseen.
    """
    n_folds = min(N_INNER, _smallest_stratum(target))
    if len(candidates) < 2 or n_folds < _FEWEST_PER_STRATUM:
        return candidates[0]
    fold_N = stratified_folds(target, n_folds, seed)
    held: list[np.ndarray] = []
    estimates: list[list[Estimate]] = [[] for _ in candidates]
    for fold in range(min(n_used, n_folds)):
        rows = np.flatnonzero(fold_N == fold)
        train = np.flatnonzero(fold_N != fold)
        for kept, fitted in zip(estimates, fit_each(candidates, take(blocks, train), target.take(train), seed), strict=True):
            kept.append(fitted.predict(take(blocks, rows)))
        held.append(rows)
    seen = target.take(np.concatenate(held))
    losses = [loss_of(together(kept, target), seen) for kept in estimates]
    return candidates[int(np.argmin(losses))]


def _smallest_stratum(target: Target) -> int:
    """Of what must be in each fold: events, or cases of each category that occurs; else cases."""
    if isinstance(target, SurvivalTarget):
        return int(target.event_N.sum())
    if isinstance(target, CategoryTarget):
        return int(np.unique(target.code_N, return_counts=True)[1].min()) if len(target) else 0
    return len(target)


def together(estimates: Sequence[Estimate], target: Target) -> Estimate:
    """Estimates of several folds, one below the other; survival at all times of an event of the target."""
    first = estimates[0]
    if isinstance(first, SurvivalEstimate) and isinstance(target, SurvivalTarget):
        several = [estimate for estimate in estimates if isinstance(estimate, SurvivalEstimate)]
        times_T = np.unique(target.time_N[target.event_N] if target.event_N.any() else target.time_N[-1:])
        return SurvivalEstimate(np.concatenate([estimate.risk_N for estimate in several]), times_T,
                                np.concatenate([curves_at(estimate, times_T) for estimate in several]))
    if isinstance(first, CategoryEstimate):
        return CategoryEstimate(np.concatenate([e.probability_NK for e in estimates if isinstance(e, CategoryEstimate)]))
    return NumberEstimate(np.concatenate([e.value_N for e in estimates if isinstance(e, NumberEstimate)]))


def loss_of(estimate: Estimate, target: Target) -> float:
    """Cox's negative log partial likelihood, cross-entropy, or squared error; infinite where it is not a number."""
    if isinstance(estimate, SurvivalEstimate) and isinstance(target, SurvivalTarget):
        risk_N, time_N, event_N = map(torch.from_numpy, (estimate.risk_N, target.time_N, target.event_N))
        loss = float(cox_loss(risk_N, time_N, event_N))
    elif isinstance(estimate, CategoryEstimate) and isinstance(target, CategoryTarget):
        likelihood_N = estimate.probability_NK[np.arange(len(target)), target.code_N]
        loss = float(-np.log(np.maximum(likelihood_N, _LEAST)).mean())
    elif isinstance(estimate, NumberEstimate) and isinstance(target, NumberTarget):
        loss = float(np.mean((estimate.value_N - target.value_N) ** 2))
    else:
        raise TypeError(f"{type(estimate).__name__} does not answer {type(target).__name__}")
    return loss if np.isfinite(loss) else np.inf
