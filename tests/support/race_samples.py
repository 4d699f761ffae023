"""Scores of a race that nobody held."""

import numpy as np

from autoseg.selection.race import SHARES, decide
from autoseg.selection.race_types import Race, RaceCandidate, Rung, RungScore

NOISE = 0.02 * (-1.0) ** np.arange(20)


def score(candidate: str, mean: float, *, seconds=10.0, noise=0.0, fault="", n=20) -> RungScore:
    """Cases differ by 0.02, candidates by `mean` on every case but for their own `noise`."""
    own = np.random.default_rng(len(candidate)).normal(0, 1, n) * noise
    own -= own.mean()
    return RungScore(candidate=candidate, iterations=100, training_seconds=seconds - 1, seconds=seconds, fault=fault,
                     dice=() if fault else tuple(map(float, mean + NOISE[:n] + own)))


def a_race(**changes) -> Race:
    candidates = tuple(RaceCandidate(planner="budgeted", configuration=name, step_flops=1.0)
                       for name in ("2d", "3d_fullres"))
    scores = (score("2d (budgeted)", 0.6, seconds=60.0), score("3d_fullres (budgeted)", 0.8, seconds=59.0))
    decisions = decide(scores, scores, {s.candidate: 1.0 for s in scores}, 2, is_last=False)
    values = {"dataset": "Dataset001_Spheres", "total_seconds": 1200.0, "folds": (0, 1), "fold": 0,
              "cases": tuple(f"ball_{i}" for i in range(20)), "dataset_digest": "a", "folds_digest": "b",
              "plan_digests": {"budgeted": "c"}, "candidates": candidates, "spent_before_seconds": 20.0,
              "planned_fold_seconds": 480.0, "shares": SHARES,
              "rungs": (Rung(share=1 / 8, seconds=60.0, scores=scores, decisions=decisions),),
              "winners": ("3d_fullres (budgeted)",), "spent_seconds": 140.0, "fold_seconds": 550.0}
    return Race(**{**values, **changes})
