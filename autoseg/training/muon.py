"""Muon: orthogonal updates of inner convolutions, AdamW for everything else.

Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; the size of an update is that of Liu et al. 2025,
arXiv 2502.16982, so that one learning rate serves both parts.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn

from autoseg.training.updates import Closure, adam_sizes, gradients_of, kernels_and_vectors, step_groups

# The quintic iteration of Jordan et al.: five steps bring singular values from 0.01 to 1 near 1.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5
_EPSILON = 1e-7
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def inner_kernels(model: nn.Module) -> list[torch.Tensor]:
    """The kernels of a network's convolutions but the first, the depthwise ones and those that give logits.

    Those of fusion and conditioning are not among them. A kernel (out, in, *space) is a matrix (out, in k^3); a transposed
    one (in, out, *space) whose stride is its size maps `in` values to (out k^3).
    """
    network = getattr(model, "network", model)
    heads = {id(parameter) for layer in getattr(network, "logit_layers", ()) for parameter in layer.parameters()}
    convolutions = [module for module in network.modules() if isinstance(module, _CONVOLUTIONS)]
    return [module.weight for module in convolutions[1:] if module.groups == 1 and id(module.weight) not in heads]


def orthogonalized(matrix_RC: torch.Tensor) -> torch.Tensor:
    """A matrix (rows, columns) with the same singular vectors, whose singular values are near 1 (0.7 to 1.2).

    Each step of the iteration multiplies by a polynomial of the Gram matrix. These polynomials commute, so they are
    multiplied with each other, on the smaller side, and the matrix is multiplied once: for (128, 6912) a fifth of the work.
    """
    rows, columns = matrix_RC.shape
    if rows > columns:
        return orthogonalized(matrix_RC.T).T
    a, b, c = _COEFFICIENTS
    matrix_RC = matrix_RC / (matrix_RC.norm() + _EPSILON)
    gram_RR = matrix_RC @ matrix_RC.T
    identity_RR = torch.eye(rows, dtype=matrix_RC.dtype, device=matrix_RC.device)
    product_RR = identity_RR
    for _ in range(_STEPS):
        polynomial_RR = a * identity_RR + b * gram_RR + c * gram_RR @ gram_RR
        product_RR = polynomial_RR @ product_RR
        gram_RR = polynomial_RR @ gram_RR @ polynomial_RR
    return product_RR @ matrix_RC


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose update is made orthogonal, for `kernels`; AdamW for `others`, of which only kernels decay.

    An update of a kernel has the root mean square `update_rms`, as one of AdamW has. State: one value per number of
    `kernels`, two of `others`.
    """

    def __init__(self, kernels: Sequence[torch.Tensor], others: Sequence[torch.Tensor], learning_rate: float, *,
                 momentum: float, update_rms: float, betas: tuple[float, float], weight_decay: float):
        adamw = {"is_orthogonal": False, "betas": betas, "updates": 0}
        decayed, vectors = kernels_and_vectors(others)
        groups = [{"params": list(kernels), "is_orthogonal": True, "weight_decay": weight_decay, "momentum": momentum,
                   "update_rms": update_rms},
                  {"params": decayed, "weight_decay": weight_decay, **adamw},
                  {"params": vectors, "weight_decay": 0.0, **adamw}]
        super().__init__([group for group in groups if group["params"]], {"lr": learning_rate})

    def step(self, closure: Closure = None) -> float | None:  # type: ignore[override]
        return step_groups(self, closure, self._update)

    def _update(self, parameters: list[torch.Tensor], group: dict) -> None:
        if not group["is_orthogonal"]:
            self._adamw(parameters, group)
            return
        for parameter in parameters:
            self._orthogonal(parameter, group)

    def _orthogonal(self, kernel: torch.Tensor, group: dict) -> None:
        state, gradient = self.state[kernel], kernel.grad
        assert gradient is not None  # `step_groups` passes no other
        if not state:
            state["momentum"] = torch.zeros_like(kernel)
        state["momentum"].lerp_(gradient, 1 - group["momentum"])
        update = gradient.lerp(state["momentum"], group["momentum"]).flatten(1)
        size = group["update_rms"] * math.sqrt(max(update.shape))
        kernel.mul_(1 - group["lr"] * group["weight_decay"])
        kernel.add_(orthogonalized(update).reshape(kernel.shape), alpha=-group["lr"] * size)

    def _adamw(self, parameters: list[torch.Tensor], group: dict) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter].update(mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        gradients = gradients_of(parameters)
        means, squares = ([self.state[p][name] for p in parameters] for name in ("mean", "square"))
        group["updates"] += 1
        torch._foreach_lerp_(means, gradients, 1 - group["betas"][0])
        sizes = adam_sizes(squares, gradients, group["betas"][1], group["updates"])
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        correction = 1 - group["betas"][0] ** group["updates"]
        torch._foreach_addcdiv_(parameters, means, sizes, -group["lr"] / correction)
