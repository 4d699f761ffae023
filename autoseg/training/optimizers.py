"""Optimisers, made by `factory(options, OptimizerContext)`, and the moving average of a model's weights."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from planners.registry import Registry
from planners.schema.base import Frozen


@dataclass(frozen=True)
class OptimizerContext:
    """The model whose parameters are optimised, and the learning rate of the first iteration."""

    model: nn.Module
    learning_rate: float


class OptimizerTraits(Frozen):
    """`moments` is how many values it keeps per parameter: what a step needs in memory."""

    moments: int = 2


OPTIMIZERS: Registry[Callable[[Any, OptimizerContext], torch.optim.Optimizer], OptimizerTraits] = Registry(
    "optimizer", OptimizerTraits)


class SgdOptions(Frozen):
    """nnU-Net's values: Nesterov momentum .99, weight decay 3e-5 on every parameter."""

    momentum: float = 0.99
    nesterov: bool = True
    weight_decay: float = 3e-5


class AdamWOptions(Frozen):
    """Weight decay acts on convolution kernels only: on norms and biases it would pull towards no signal."""

    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-2


@OPTIMIZERS.register("sgd", SgdOptions, moments=1)
def sgd(options: SgdOptions, context: OptimizerContext) -> torch.optim.Optimizer:
    return torch.optim.SGD(context.model.parameters(), context.learning_rate, momentum=options.momentum,
                           nesterov=options.nesterov, weight_decay=options.weight_decay, fused=_fusable(context.model))


@OPTIMIZERS.register("adamw", AdamWOptions, moments=2)
def adamw(options: AdamWOptions, context: OptimizerContext) -> torch.optim.Optimizer:
    kernels = [p for p in context.model.parameters() if p.ndim > 1]
    others = [p for p in context.model.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": options.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, context.learning_rate, betas=options.betas, fused=_fusable(context.model))


class WeightAverage:
    """Exponential moving average of parameters, in which the first iterations are averaged evenly.

    With decay 0 it is the parameters themselves.
    """

    def __init__(self, parameters: Iterable[torch.Tensor], decay: float):
        self.decay = decay
        self.updates = 0
        self.values = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def update(self, parameters: Iterable[torch.Tensor]) -> None:
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 9))
        torch._foreach_lerp_(self.values, list(parameters), 1 - decay)

    @torch.no_grad()
    def swap(self, parameters: Iterable[torch.Tensor]) -> None:
        """Exchange the averaged and the trained values, in place; a second call undoes it."""
        for mine, theirs in zip(self.values, parameters, strict=True):
            trained = theirs.detach().clone()
            theirs.copy_(mine)
            mine.copy_(trained)


def _fusable(model: nn.Module) -> bool:
    return next(model.parameters()).device.type in ("cpu", "cuda")
