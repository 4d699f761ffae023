"""Losses: logits (B, K, *space) and encoded targets -> a scalar.

A loss is made by `factory(options, LossContext)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from autoseg.nn.losses.targets import Targets
from planners.registry import Registry
from planners.schema.base import Frozen


@dataclass(frozen=True)
class LossContext:
    """What a loss is made for: `regions`, which may overlap, or labels that exclude each other; and whether the Dice of a
    class is that of the whole batch (`batch_dice`) or the mean of the samples'. `class_weights` is the weight of each
    foreground name; empty: all are 1.
    """

    regions: bool
    batch_dice: bool
    class_weights: tuple[float, ...] = ()


class LossTraits(Frozen):
    """`sums_over_processes`: where several processes share a batch, each computes the loss of the whole of it.
    `weighs_classes`: it reads the weights of classes.
    """

    sums_over_processes: bool = False
    weighs_classes: bool = False


Loss = Callable[[torch.Tensor, Targets], torch.Tensor]
LOSSES: Registry[Callable[[Any, LossContext], Loss], LossTraits] = Registry("loss", LossTraits)

from autoseg.nn.losses import dice_ce as dice_ce  # noqa: E402  (registers itself)
