"""Regressions with a ridge penalty, by Newton's method. N counts cases, F features, O outputs, E events."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import softmax

from autoseg.nn.losses.survival import risk_weights
from autoseg.outcome.targets import CategoryTarget, NumberTarget, SurvivalTarget, Target

_STEPS = 50
_HALVINGS = 20
_CLOSE = 1e-12  # of what a step still gains, over the objective
_FLOOR = 1e-9  # added to the diagonal, for columns that nothing determines

# Parameters -> objective, gradient and Hessian.
Objective = Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Solution:
    """Outputs are x @ weight_FO + intercept_O; standard errors come from the Hessian with its penalty."""

    weight_FO: np.ndarray
    intercept_O: np.ndarray
    error_FO: np.ndarray


def solve(x_NF: np.ndarray, target: Target, spread: float) -> Solution:
    """Fit by maximum likelihood with the prior that the outputs of a case have about this standard deviation.

    With standardised features that is a ridge penalty of F / (2 spread^2) times the sum of squared weights, so that a
    spread means the same for few and for many features.
    """
    penalty = x_NF.shape[1] / spread**2
    if isinstance(target, SurvivalTarget):
        return _cox(x_NF, target, penalty)
    if isinstance(target, CategoryTarget):
        return _logistic(x_NF, target, penalty)
    return _least_squares(x_NF, target, penalty)


def _cox(x_NF: np.ndarray, target: SurvivalTarget, penalty: float) -> Solution:
    """Cox's regression with Efron's ties. A log hazard has no intercept."""
    weights_EN = risk_weights(torch.from_numpy(target.time_N), torch.from_numpy(target.event_N)).numpy()
    events_F = x_NF[target.event_N].sum(axis=0)

    def objective(beta_F: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        log_hazard_N = x_NF @ beta_F
        largest = log_hazard_N.max(initial=-np.inf)
        hazard_N = np.exp(log_hazard_N - largest)
        total_E = np.maximum(weights_EN @ hazard_N, np.finfo(float).tiny)
        mean_EF = (weights_EN @ (hazard_N[:, None] * x_NF)) / total_E[:, None]
        value = (np.log(total_E) + largest).sum() - events_F @ beta_F if len(total_E) else 0.0
        share_N = hazard_N * (weights_EN.T @ (1 / total_E))
        hessian_FF = x_NF.T @ (share_N[:, None] * x_NF) - mean_EF.T @ mean_EF
        return (float(value + penalty / 2 * beta_F @ beta_F), mean_EF.sum(axis=0) - events_F + penalty * beta_F,
                hessian_FF + penalty * np.eye(len(beta_F)))

    beta_F, error_F = _newton(objective, np.zeros(x_NF.shape[1]))
    return Solution(beta_F[:, None], np.zeros(1), error_F[:, None])


def _logistic(x_NF: np.ndarray, target: CategoryTarget, penalty: float) -> Solution:
    """Multinomial logistic regression against the first category.

    One case at the mean, shared by all categories, is added: so a category without a case keeps a finite intercept.
    """
    n_categories, (n, width) = len(target.names), x_NF.shape
    x_NG = np.concatenate([np.concatenate([x_NF, np.ones((n, 1))], axis=1), np.eye(1, width + 1, k=width)])
    truth_NK = np.concatenate([np.eye(n_categories)[target.code_N], np.full((1, n_categories), 1 / n_categories)])
    penalty_P = np.tile(np.append(np.full(width, penalty), 0.0), n_categories - 1)

    def objective(beta_P: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        beta_OG = beta_P.reshape(n_categories - 1, width + 1)
        probability_NK = softmax(np.concatenate([np.zeros((n + 1, 1)), x_NG @ beta_OG.T], axis=1), axis=1)
        value = -(truth_NK * np.log(np.maximum(probability_NK, np.finfo(float).tiny))).sum()
        p_NO = probability_NK[:, 1:]
        gradient_OG = (p_NO - truth_NK[:, 1:]).T @ x_NG
        curvature_NOO = p_NO[:, :, None] * np.eye(n_categories - 1) - p_NO[:, :, None] * p_NO[:, None, :]
        hessian = np.einsum("nop,nf,ng->ofpg", curvature_NOO, x_NG, x_NG, optimize=True).reshape(beta_P.size, beta_P.size)
        return (float(value + (penalty_P * beta_P**2).sum() / 2), gradient_OG.ravel() + penalty_P * beta_P,
                hessian + np.diag(penalty_P))

    beta_P, error_P = _newton(objective, np.zeros((n_categories - 1) * (width + 1)))
    beta_OG, error_OG = (array.reshape(n_categories - 1, width + 1) for array in (beta_P, error_P))
    return Solution(beta_OG[:, :-1].T, beta_OG[:, -1], error_OG[:, :-1].T)


def _least_squares(x_NF: np.ndarray, target: NumberTarget, penalty: float) -> Solution:
    """Ridge regression of the standardised number."""
    mean, scale = target.value_N.mean(), target.value_N.std() or 1.0
    centre_F = x_NF.mean(axis=0)
    centred_NF, y_N = x_NF - centre_F, (target.value_N - mean) / scale
    hessian_FF = centred_NF.T @ centred_NF + (penalty + _FLOOR) * np.eye(x_NF.shape[1])
    beta_F = np.linalg.solve(hessian_FF, centred_NF.T @ y_N)
    left = max(len(y_N) - x_NF.shape[1] - 1, 1)
    error_F = np.sqrt(((y_N - centred_NF @ beta_F) ** 2).sum() / left * np.diag(np.linalg.inv(hessian_FF)))
    return Solution(beta_F[:, None] * scale, np.array([mean - scale * centre_F @ beta_F]), error_F[:, None] * scale)


def _newton(objective: Objective, start_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The minimum of a convex objective and its standard errors; a step that does not descend is halved."""
    beta_P = start_P
    value, gradient_P, hessian_PP = objective(beta_P)
    for _ in range(_STEPS):
        step_P = np.linalg.solve(hessian_PP + _FLOOR * np.eye(len(beta_P)), gradient_P)
        if gradient_P @ step_P <= _CLOSE * (1 + abs(value)):
            break
        length = 1.0
        for _ in range(_HALVINGS):
            tried = objective(beta_P - length * step_P)
            if tried[0] <= value:
                break
            length /= 2
        else:
            break
        beta_P = beta_P - length * step_P
        value, gradient_P, hessian_PP = tried
    errors_P = np.sqrt(np.maximum(np.diag(np.linalg.inv(hessian_PP + _FLOOR * np.eye(len(beta_P)))), 0))
    return beta_P, errors_P
