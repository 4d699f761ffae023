"""Schedule-free AdamW: the answer is an average of the iterates, good at any moment, and no rate has to decay.

Source: Defazio et al. 2024, The Road Less Scheduled, arXiv 2405.15682 (algorithm 1 with the second moment of AdamW, weights
of the average by the square of the largest rate so far, as in the package schedulefree 1.4).
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

_EPSILON = 1e-8
AVERAGE = "average"  # in the state of a parameter, of optimisers with the trait `averages`


class ScheduleFreeAdamW(torch.optim.Optimizer):
    """The parameters are where gradients are taken: between the `iterate` and its `average`, nearer to this by betas[0].

    State: three values per number (iterate, average, second moment). None is computed from the others, so that validation
    and a resume change no bit. Weight decay acts on kernels only.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float, *, betas: tuple[float, float],
                 weight_decay: float):
        known, shared = list(parameters), {"betas": betas, "updates": 0, "largest_rate": 0.0, "weight_sum": 0.0}
        groups = [{"params": [p for p in known if p.ndim > 1], "weight_decay": weight_decay, **shared},
                  {"params": [p for p in known if p.ndim <= 1], "weight_decay": 0.0, **shared}]
        super().__init__([group for group in groups if group["params"]], {"lr": learning_rate})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            if trained:
                self._step(trained, group)
        return loss

    def _step(self, parameters: list[torch.Tensor], group: dict) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter].update({"iterate": parameter.clone(), AVERAGE: parameter.clone(),
                                              "square": torch.zeros_like(parameter)})
        gradients = [p.grad for p in parameters if p.grad is not None]
        iterates, averages, squares = ([self.state[p][name] for p in parameters] for name in ("iterate", AVERAGE, "square"))
        group["updates"] += 1
        group["largest_rate"] = max(group["largest_rate"], group["lr"])
        weight = group["largest_rate"] ** 2
        group["weight_sum"] += weight
        torch._foreach_mul_(squares, group["betas"][1])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - group["betas"][1])
        sizes = torch._foreach_sqrt(squares)
        torch._foreach_div_(sizes, math.sqrt(1 - group["betas"][1] ** group["updates"]))
        torch._foreach_add_(sizes, _EPSILON)
        torch._foreach_addcdiv_(iterates, gradients, sizes, -group["lr"])
        torch._foreach_add_(iterates, parameters, alpha=-group["lr"] * group["weight_decay"])
        torch._foreach_lerp_(averages, iterates, weight / group["weight_sum"] if weight else 1.0)
        torch._foreach_copy_(parameters, iterates)
        torch._foreach_lerp_(parameters, averages, group["betas"][0])
