"""Paired differences to the baseline, which recipes go on, and which one is accepted."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

from speedrun_parts.types import BASELINE, Block

Scores = Mapping[str, Mapping[Block, float]]  # of each recipe: Dice by block
LEAST_BLOCKS = 4  # nobody is dropped before: with 4 signs the smallest p is 1/16
DROP_BELOW = 0.1  # one-sided p of the paired test
_EXACT_UP_TO, _SIGNS, _DRAWS = 12, 4096, 4000


@dataclass(frozen=True)
class Verdict:
    """A recipe against the baseline, on the blocks that both have. Differences are recipe less baseline."""

    recipe: str
    n_blocks: int
    difference: float  # mean of the tasks' means
    interval: tuple[float, float]
    by_task: Mapping[str, float]
    worse_on: tuple[str, ...]  # tasks where it is worse by more than their noise
    unknown_noise: tuple[str, ...]  # tasks whose baseline has a single seed
    missing: tuple[str, ...]  # tasks of which it lacks blocks that the baseline has

    @property
    def is_accepted(self) -> bool:
        return self.difference > 0 and not (self.worse_on or self.unknown_noise or self.missing)

    @property
    def words(self) -> str:
        if self.difference <= 0:
            return "refused: not better on the mean of the tasks"
        if self.worse_on:
            return f"refused: worse by more than the noise on {', '.join(self.worse_on)}"
        if self.missing:
            return f"not decided: runs are missing on {', '.join(self.missing)}"
        if self.unknown_noise:
            return f"not decided: one seed of the baseline on {', '.join(self.unknown_noise)}"
        return "accepted" if self.interval[0] > 0 else "accepted; the interval holds 0"


def noise_of_tasks(baseline: Mapping[Block, float]) -> dict[str, float | None]:
    """The spread of the baseline over seeds (standard deviation, pooled over folds) by task; None with one seed per fold."""
    variances: dict[str, list[tuple[float, int]]] = {}
    for (task, _), blocks in _grouped(baseline, lambda block: (block.task, block.fold)).items():
        values = [baseline[block] for block in blocks]
        known = variances.setdefault(task, [])
        if len(values) > 1:
            known.append((float(np.var(values, ddof=1)), len(values) - 1))
    return {task: math.sqrt(sum(v * n for v, n in known) / sum(n for _, n in known)) if known else None
            for task, known in variances.items()}


def differences(scores: Scores, recipe: str, other: str = BASELINE) -> dict[Block, float]:
    """Recipe less the other one, on the blocks that both have."""
    mine, theirs = scores.get(recipe, {}), scores.get(other, {})
    return {block: mine[block] - theirs[block] for block in mine if block in theirs}


def verdict_of(scores: Scores, recipe: str) -> Verdict:
    """A recipe by the rule: better on the mean of the tasks, and on none worse by more than its noise."""
    paired = differences(scores, recipe)
    by_task = {task: mean(paired[block] for block in blocks)
               for task, blocks in _grouped(paired, lambda block: block.task).items()}
    baseline = scores.get(BASELINE, {})
    noise = noise_of_tasks(baseline)
    return Verdict(recipe, len(paired), mean(by_task.values()) if by_task else 0.0, bootstrap_interval(paired), by_task,
                   worse_on=tuple(t for t, value in by_task.items() if (known := noise[t]) is not None and value < -known),
                   unknown_noise=tuple(t for t in by_task if noise[t] is None),
                   missing=tuple(sorted({block.task for block in baseline if block not in paired})))


def bootstrap_interval(paired: Mapping[Block, float], seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean of the tasks' means: tasks are drawn again, and within each its folds and seeds."""
    tasks = [np.array([paired[block] for block in blocks])
             for blocks in _grouped(paired, lambda block: block.task).values()]
    if not tasks:
        return math.nan, math.nan
    random = np.random.default_rng(seed)
    means = [np.mean([random.choice(tasks[i], len(tasks[i])).mean() for i in random.integers(len(tasks), size=len(tasks))])
             for _ in range(_DRAWS)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def p_worse(paired: Sequence[float], seed: int = 0) -> float:
    """One-sided p of a mean that is not below 0: the share of all signs of the differences that give a mean as low."""
    values = np.asarray(paired, dtype=float)
    if len(values) == 0:
        return 1.0
    if len(values) <= _EXACT_UP_TO:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(values))))
    else:
        drawn = np.random.default_rng(seed).choice((-1.0, 1.0), size=(_SIGNS, len(values)))
        signs = np.concatenate([np.ones((1, len(values))), drawn])
    return float(np.mean(signs @ np.abs(values) <= values.sum() + 1e-12))


def survivors(scores: Scores, alive: Sequence[str]) -> list[str]:
    """Who goes on after a rung, in the order of `alive`; the baseline always does.

    Dropped is who is behind the baseline by the paired test, and, of the worse half, who is behind the leader by it.
    """
    rivals = [name for name in alive if name != BASELINE]
    means = {name: mean(paired.values()) if (paired := differences(scores, name)) else -math.inf for name in rivals}
    ranked = sorted(rivals, key=lambda name: -means[name])
    half = set(ranked[math.ceil(len(ranked) / 2):])

    def is_hopeless(name: str) -> bool:
        if _is_behind(scores, name, BASELINE):
            return True
        return name in half and _is_behind(scores, name, ranked[0])

    return [name for name in alive if name == BASELINE or not is_hopeless(name)]


def _is_behind(scores: Scores, name: str, other: str) -> bool:
    paired = list(differences(scores, name, other).values())
    return len(paired) >= LEAST_BLOCKS and p_worse(paired) <= DROP_BELOW


def _grouped(blocks: Mapping[Block, float], key) -> dict:
    groups: dict = {}
    for block in blocks:
        groups.setdefault(key(block), []).append(block)
    return groups
