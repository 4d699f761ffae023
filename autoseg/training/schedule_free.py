"""Schedule-free AdamW: the answer is an average of the iterates, good at any moment, and no rate has to decay.

Source: Defazio et al. 2024, The Road Less Scheduled, arXiv 2405.15682 (algorithm 1 with the second moment of AdamW, weights
of the average by the square of the largest rate so far, as in the package schedulefree 1.4).
"""

from collections.abc import Iterable

import torch
from torch import nn

from autoseg.training.updates import Closure, adam_sizes, gradients_of, kernels_and_vectors, step_groups

AVERAGE = "average"  # in the state of a parameter, of optimisers with the trait `averages`


class ScheduleFreeAdamW(torch.optim.Optimizer):
    """The parameters are where gradients are taken: between the `iterate` and its `average`, nearer to this by betas[0].

    State: three values per number (iterate, average, second moment). None is computed from the others, so that validation
    and a resume change no bit. Weight decay acts on kernels only. The `parts` are parameters with the share of the learning
    rate that is theirs.
    """

    def __init__(self, parts: Iterable[tuple[Iterable[nn.Parameter], float]], learning_rate: float, *,
                 betas: tuple[float, float], weight_decay: float):
        groups = []
        for parameters, share in parts:
            shared = {"rate_share": share, "betas": betas, "updates": 0, "largest_rate": 0.0, "weight_sum": 0.0}
            kernels, vectors = kernels_and_vectors(parameters)
            groups += [{"params": kernels, "weight_decay": weight_decay, **shared},
                       {"params": vectors, "weight_decay": 0.0, **shared}]
        super().__init__([group for group in groups if group["params"]], {"lr": learning_rate})

    def step(self, closure: Closure = None) -> float | None:  # type: ignore[override]
        return step_groups(self, closure, self._update)

    def _update(self, parameters: list[torch.Tensor], group: dict) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter].update({"iterate": parameter.clone(), AVERAGE: parameter.clone(),
                                              "square": torch.zeros_like(parameter)})
        gradients = gradients_of(parameters)
        iterates, averages, squares = ([self.state[p][name] for p in parameters] for name in ("iterate", AVERAGE, "square"))
        group["updates"] += 1
        group["largest_rate"] = max(group["largest_rate"], group["lr"])
        weight = group["largest_rate"] ** 2
        group["weight_sum"] += weight
        sizes = adam_sizes(squares, gradients, group["betas"][1], group["updates"])
        rate = group["lr"] * group.get("rate_share", 1.0)  # states of earlier versions have one rate for all
        torch._foreach_addcdiv_(iterates, gradients, sizes, -rate)
        torch._foreach_add_(iterates, parameters, alpha=-rate * group["weight_decay"])
        torch._foreach_lerp_(averages, iterates, weight / group["weight_sum"] if weight else 1.0)
        torch._foreach_copy_(parameters, iterates)
        torch._foreach_lerp_(parameters, averages, group["betas"][0])
