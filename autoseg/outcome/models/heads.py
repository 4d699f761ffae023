"""What the outputs of a network mean for each kind of outcome. N cases, B those of a batch, O outputs, T intervals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import expit, logit

from autoseg.nn.losses.survival import cox_loss, hazard_loss
from autoseg.outcome.answers import baseline_of, probability_of, survival_of
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

HeadName = Literal["cox", "hazards", "category", "number"]


@dataclass(frozen=True)
class Head:
    """`start_O` are outputs as good as the null model's. `loss` takes outputs (B, O) and the cases of the batch (B).

    `constants` of the outputs of all training cases (N, O) are what `answer` takes beside outputs.
    """

    name: HeadName
    start_O: np.ndarray
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    constants: Callable[[np.ndarray], dict[str, np.ndarray]]


def head_for(target: Target, n_intervals: int | None = None) -> Head:
    """The head of a target; with `n_intervals` discrete hazards in place of Cox's."""
    if isinstance(target, SurvivalTarget):
        return _cox_head(target) if n_intervals is None else _hazard_head(target, n_intervals)
    return _category_head(target) if isinstance(target, CategoryTarget) else _number_head(target)


def answer(name: str, output_NO: np.ndarray, constants: Mapping[str, np.ndarray]) -> Estimate:
    if name == "cox":
        return survival_of(output_NO[:, 0] - constants["centre"], constants)
    if name == "hazards":
        return _hazard_answer(output_NO, constants["edges_T"], constants["times_T"])
    if name == "category":
        return CategoryEstimate(probability_of(output_NO))
    return NumberEstimate(output_NO[:, 0] * constants["scale"] + constants["mean"])


def _cox_head(target: SurvivalTarget) -> Head:
    time_N, event_N = torch.from_numpy(target.time_N), torch.from_numpy(target.event_N)

    def loss(output_BO: torch.Tensor, rows_B: torch.Tensor) -> torch.Tensor:
        time_B, event_B = time_N[rows_B].to(output_BO.device), event_N[rows_B].to(output_BO.device)
        return cox_loss(output_BO[:, 0], time_B, event_B) / event_B.sum().clamp_min(1)

    def constants(output_NO: np.ndarray) -> dict[str, np.ndarray]:
        centre = output_NO[:, 0].mean()
        return {"centre": np.array(centre), **baseline_of(output_NO[:, 0] - centre, target)}

    return Head("cox", np.zeros(1), loss, constants)


def _hazard_head(target: SurvivalTarget, n_intervals: int) -> Head:
    """Intervals end at quantiles of the times of events, so that each has about as many."""
    times = target.time_N[target.event_N] if target.event_N.any() else target.time_N
    edges_T = np.unique(np.quantile(times, np.arange(1, n_intervals + 1) / n_intervals, method="higher"))
    interval = np.searchsorted(edges_T, target.time_N, side="left")
    died_T = np.bincount(interval[target.event_N], minlength=len(edges_T))[:len(edges_T)]
    at_risk_T = (interval[None, :] >= np.arange(len(edges_T))[:, None]).sum(axis=1)
    interval_N, event_N = torch.from_numpy(interval), torch.from_numpy(target.event_N)

    def loss(output_BO: torch.Tensor, rows_B: torch.Tensor) -> torch.Tensor:
        return hazard_loss(output_BO, interval_N[rows_B].to(output_BO.device), event_N[rows_B].to(output_BO.device))

    def constants(output_NO: np.ndarray) -> dict[str, np.ndarray]:
        return {"edges_T": edges_T, "times_T": np.unique(times)}

    mean_hazard = (died_T.sum() + 0.5) / (at_risk_T.sum() + 1)
    return Head("hazards", logit((died_T + mean_hazard) / (at_risk_T + 1)), loss, constants)


def _hazard_answer(logits_NT: np.ndarray, edges_T: np.ndarray, times_T: np.ndarray) -> SurvivalEstimate:
    """Survival falls evenly within an interval (Kvamme & Borgan 2021). The risk is the log of the cumulative hazard."""
    after_NT = np.cumprod(1 - expit(logits_NT), axis=1)
    knots_T = np.concatenate([[0.0], edges_T])
    survival_NT = np.stack([np.interp(times_T, knots_T, [1.0, *row]) for row in after_NT])
    cumulative_N = np.logaddexp(0, logits_NT).sum(axis=1)
    return SurvivalEstimate(np.log(np.maximum(cumulative_N, np.finfo(float).tiny)), times_T, survival_NT)


def _category_head(target: CategoryTarget) -> Head:
    code_N, n = torch.from_numpy(target.code_N), len(target.names)

    def loss(output_BO: torch.Tensor, rows_B: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output_BO, code_N[rows_B].to(output_BO.device))

    counts_K = np.bincount(target.code_N, minlength=n) + 1 / n
    return Head("category", np.log(counts_K / counts_K.sum()), loss, lambda output_NO: {})


def _number_head(target: NumberTarget) -> Head:
    mean, scale = target.value_N.mean(), target.value_N.std() or 1.0
    standard_N = torch.from_numpy((target.value_N - mean) / scale).float()

    def loss(output_BO: torch.Tensor, rows_B: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(output_BO[:, 0], standard_N[rows_B].to(output_BO.device))

    return Head("number", np.zeros(1), loss, lambda output_NO: {"mean": np.array(mean), "scale": np.array(scale)})
