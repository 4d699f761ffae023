"""From scores of a model to what it answers: baseline hazards, probabilities, numbers. N counts cases, T times."""

from collections.abc import Mapping

import numpy as np
from scipy.special import softmax

from autoseg.evaluation import survival_curves
from autoseg.outcome.targets import SurvivalEstimate, SurvivalTarget

_LARGEST = 30.0  # of a log hazard in a survival curve: beyond it the probability is 0 or 1


def baseline_of(risk_N: np.ndarray, target: SurvivalTarget) -> dict[str, np.ndarray]:
    """The cumulative baseline hazard (Breslow 1972) at each time of an event; without one, 0 at the last time.

    `times_T`, `hazard_T`.
    """
    times_T, deaths_T = np.unique(target.time_N[target.event_N], return_counts=True)
    if not len(times_T):
        last = target.time_N.max() if len(target) else 0.0
        return {"times_T": np.array([last], dtype=np.float64), "hazard_T": np.zeros(1)}
    at_risk_T = (target.time_N[None, :] >= times_T[:, None]) @ np.exp(np.clip(risk_N, -_LARGEST, _LARGEST))
    return {"times_T": times_T.astype(np.float64), "hazard_T": np.cumsum(deaths_T / at_risk_T)}


def survival_of(risk_N: np.ndarray, arrays: Mapping[str, np.ndarray]) -> SurvivalEstimate:
    """Survival curves by a baseline: S(t) = exp(-H(t) exp(risk))."""
    hazard_NT = np.exp(np.clip(risk_N, -_LARGEST, _LARGEST))[:, None] * arrays["hazard_T"][None, :]
    return SurvivalEstimate(risk_N, arrays["times_T"], np.exp(-hazard_NT))


def curves_at(estimate: SurvivalEstimate, times_T: np.ndarray) -> np.ndarray:
    """The survival curves at other times: (N, T). They are steps: 1 before the first time, the last value after the last."""
    step_T = np.searchsorted(estimate.times_T, times_T, side="right")
    before_N1 = np.ones((len(estimate.survival_NT), 1))
    return np.concatenate([before_N1, estimate.survival_NT], axis=1)[:, step_T]


def kaplan_meier(target: SurvivalTarget) -> tuple[np.ndarray, np.ndarray]:
    """Times of events and the probability to have none until then (Kaplan & Meier 1958); without one, 1 at the last time."""
    if not target.event_N.any():
        return np.array([target.time_N.max() if len(target) else 0.0], dtype=np.float64), np.ones(1)
    curve = survival_curves.kaplan_meier(target.time_N, target.event_N)
    is_event_U = np.array(curve.events) > 0
    return np.array(curve.times)[is_event_U], np.array(curve.survival)[is_event_U]


def probability_of(logits_NK: np.ndarray) -> np.ndarray:
    return np.asarray(softmax(logits_NK, axis=-1), dtype=np.float64)
