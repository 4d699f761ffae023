"""What the optimisers of this room share: the walk over their groups, and the second moment of Adam."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

_EPSILON = 1e-8

Closure = Callable[[], float] | None


def kernels_and_vectors(parameters: Iterable[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Those that weight decay acts on, and norms and biases, which it would pull towards no signal."""
    known = list(parameters)
    return [p for p in known if p.ndim > 1], [p for p in known if p.ndim <= 1]


@torch.no_grad()
def step_groups(optimizer: torch.optim.Optimizer, closure: Closure,
                update: Callable[[list[torch.Tensor], dict[str, Any]], None]) -> float | None:
    """Update the parameters of each group that have a gradient; the loss, if `closure` computes one."""
    loss = None
    if closure is not None:
        with torch.enable_grad():
            loss = closure()
    for group in optimizer.param_groups:
        trained = [p for p in group["params"] if p.grad is not None]
        if trained:
            update(trained, group)
    return loss


def gradients_of(parameters: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def adam_sizes(squares: list[torch.Tensor], gradients: list[torch.Tensor], beta: float,
               updates: int) -> tuple[torch.Tensor, ...]:
    """Update the averages `squares` of squared gradients in place, as update number `updates`; their roots, corrected for a
    start at 0, by which Adam divides.
    """
    torch._foreach_mul_(squares, beta)
    torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta)
    sizes = torch._foreach_sqrt(squares)
    torch._foreach_div_(sizes, math.sqrt(1 - beta**updates))
    torch._foreach_add_(sizes, _EPSILON)
    return sizes
