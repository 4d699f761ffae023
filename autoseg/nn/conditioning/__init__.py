"""Conditioning: what a table, vectors or tokens know of a patient modulates the features of a network.

A conditioner is made by `factory(options, ConditionerContext)`. It is called with the features of every stage, full
resolution first, and the conditions of the batch (`clinical.encoded.ConditionBatch`) or None. It gives features of the same
shapes. At the start of training it changes nothing, and it never changes the features of a patient of whom nothing is
known. What is not known is not read: NaN there changes no bit of the output.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autoseg.clinical.encoded import ConditionBatch, Layout
from planners.registry import NoOptions, Registry
from planners.schema.base import Frozen


@dataclass(frozen=True)
class ConditionerContext:
    """What a conditioner is made for: the channels of each feature map, full resolution first, what the conditions are,
    and the axes of a patch.
    """

    channels: tuple[int, ...]
    layout: Layout
    dimensions: int


class ConditionerTraits(Frozen):
    """`reads_conditions`: training and prediction must bring what is known of the patients."""

    reads_conditions: bool = True


CONDITIONERS: Registry[Callable[[Any, ConditionerContext], nn.Module], ConditionerTraits] = Registry(
    "conditioner", ConditionerTraits)


@CONDITIONERS.register("none", reads_conditions=False)
class Unconditioned(nn.Module):
    """Features pass unchanged."""

    def __init__(self, options: NoOptions, context: ConditionerContext):
        super().__init__()

    def forward(self, features: list[torch.Tensor], conditions: ConditionBatch | None) -> list[torch.Tensor]:
        return features


from autoseg.nn.conditioning import daft as daft  # noqa: E402  (registers itself)
from autoseg.nn.conditioning import film as film  # noqa: E402  (registers itself)
from autoseg.nn.conditioning import tokens as tokens  # noqa: E402  (registers itself)
