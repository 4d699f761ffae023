"""Conditioning: what a table, vectors or tokens know of a patient modulates the features of a network."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from planners.registry import Registry

CONDITIONERS: Registry[Callable[..., nn.Module]] = Registry("conditioner")


@CONDITIONERS.register("none")
class Unconditioned(nn.Module):
    """Features pass unchanged."""

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()

    def forward(self, features: list[torch.Tensor], conditions: Mapping[str, torch.Tensor] | None
                ) -> list[torch.Tensor]:
        return features
