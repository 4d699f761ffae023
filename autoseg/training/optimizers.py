"""Optimisers, made by `factory(options, OptimizerContext)`, and the moving average of a model's weights."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import nn

from autoseg.training.muon import Muon, inner_kernels
from autoseg.training.schedule_free import AVERAGE, ScheduleFreeAdamW
from autoseg.training.updates import kernels_and_vectors
from planners.registry import Registry
from planners.schema.base import Frozen


@dataclass(frozen=True)
class OptimizerContext:
    """The model whose parameters are optimised, and the learning rate of the first iteration."""

    model: nn.Module
    learning_rate: float


class OptimizerTraits(Frozen):
    """`moments` is how many values it keeps per parameter, at most: what a step needs in memory. One that `averages` keeps
    the weights that are validated and saved itself, in place of a moving average and of a decay of the rate.
    """

    moments: int = 2
    averages: bool = False


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


class MuonOptions(Frozen):
    """`update_rms` is the root mean square of an update of an inner kernel, relative to the learning rate: with 0.2 AdamW's
    rate serves both parts (Liu et al. 2025, arXiv 2502.16982). At 3e-3 a kernel (64, 864) moves as at Jordan's 0.02.
    """

    momentum: float = Field(default=0.95, ge=0, lt=1)
    update_rms: float = Field(default=0.2, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=1e-2, ge=0)


class ScheduleFreeOptions(Frozen):
    """The first of `betas` says how near to the average gradients are taken; weight decay acts on kernels only.

    `conditioning_rate` is the learning rate of the layers that read what is known of a patient, as a share of the others'.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=1e-2, ge=0)
    conditioning_rate: float = Field(default=1.0, gt=0)


@OPTIMIZERS.register("sgd", SgdOptions, moments=1)
def sgd(options: SgdOptions, context: OptimizerContext) -> torch.optim.Optimizer:
    return torch.optim.SGD(context.model.parameters(), context.learning_rate, momentum=options.momentum,
                           nesterov=options.nesterov, weight_decay=options.weight_decay, fused=_fusable(context.model))


@OPTIMIZERS.register("adamw", AdamWOptions, moments=2)
def adamw(options: AdamWOptions, context: OptimizerContext) -> torch.optim.Optimizer:
    kernels, vectors = kernels_and_vectors(context.model.parameters())
    groups = [{"params": kernels, "weight_decay": options.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, context.learning_rate, betas=options.betas, fused=_fusable(context.model))


@OPTIMIZERS.register("muon", MuonOptions, moments=2)
def muon(options: MuonOptions, context: OptimizerContext) -> torch.optim.Optimizer:
    kernels = inner_kernels(context.model)
    inner = {id(kernel) for kernel in kernels}
    others = [p for p in context.model.parameters() if id(p) not in inner]
    return Muon(kernels, others, context.learning_rate, momentum=options.momentum, update_rms=options.update_rms,
                betas=options.betas, weight_decay=options.weight_decay)


@OPTIMIZERS.register("schedule_free_adamw", ScheduleFreeOptions, moments=3, averages=True)
def schedule_free_adamw(options: ScheduleFreeOptions, context: OptimizerContext) -> torch.optim.Optimizer:
    reading: list[nn.Parameter] = []  # in the model's order, by which a resumed training finds its state again
    others: list[nn.Parameter] = []
    for name, parameter in context.model.named_parameters():
        reads = options.conditioning_rate != 1 and "conditioning" in name.split(".")
        (reading if reads else others).append(parameter)
    parts = [(others, 1.0), (reading, options.conditioning_rate)]
    return ScheduleFreeAdamW(parts, context.learning_rate, betas=options.betas, weight_decay=options.weight_decay)


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
            _exchange(mine, theirs)


@torch.no_grad()
def swap_own_average(optimizer: torch.optim.Optimizer) -> None:
    """Exchange the trained values with the averaged ones of an optimiser that `averages`, in place; a second call undoes it.
    Before its first step both are the same.
    """
    for parameter, kept in optimizer.state.items():
        _exchange(kept[AVERAGE], parameter)


def _exchange(mine: torch.Tensor, theirs: torch.Tensor) -> None:
    trained = theirs.detach().clone()
    theirs.copy_(mine)
    mine.copy_(trained)


def _fusable(model: nn.Module) -> bool:
    return next(model.parameters()).device.type in ("cpu", "cuda")
