"""Conditioning: what a table, vectors or tokens know of a patient modulates the features of a network.

A conditioner is made of (channels, layout, dimensions, **options): the channels of each encoder stage, and what the
conditions are (`clinical.encoded.Layout`). It is called with the features of every stage, full resolution first, and the
conditions of the batch (`clinical.encoded.ConditionBatch`) or None. It gives features of the same shapes. At the start of
training it changes nothing, and it never changes the features of a patient of whom nothing is known. What is not known is
not read: NaN there changes no bit of the output.
"""

from collections.abc import Callable

import torch
from torch import nn

from autoseg.clinical.encoded import ConditionBatch, Layout
from planners.registry import Registry

CONDITIONERS: Registry[Callable[..., nn.Module]] = Registry("conditioner")


@CONDITIONERS.register("none")
class Unconditioned(nn.Module):
    """Features pass unchanged."""

    def __init__(self, channels: tuple[int, ...], layout: Layout, dimensions: int):
        super().__init__()

    def forward(self, features: list[torch.Tensor], conditions: ConditionBatch | None) -> list[torch.Tensor]:
        return features


from autoseg.nn.conditioning import daft as daft  # noqa: E402  (registers itself)
from autoseg.nn.conditioning import film as film  # noqa: E402  (registers itself)
from autoseg.nn.conditioning import tokens as tokens  # noqa: E402  (registers itself)
