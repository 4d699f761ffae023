"""Networks: `encode` an image into the features of each stage, `decode` them into the logits of each resolution.

A network is made by `factory(options, NetworkContext)`, in two and in three dimensions alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from planners.architectures import Architecture
from planners.registry import Registry
from planners.schema.base import Frozen


@dataclass(frozen=True)
class NetworkContext:
    """What a network is made for: the shape that the plan gives it, and its channels at either end."""

    architecture: Architecture
    n_inputs: int
    n_outputs: int


class NetworkTraits(Frozen):
    """`costs_as_planned`: the arithmetic of its architecture gives its cost; otherwise its memory cost is unknown."""

    costs_as_planned: bool = False


class Network(Protocol):
    """What the rest of autoseg asks of a network; it knows neither modalities nor clinical tables.

    One that names the layers that give logits, `logit_layers`, each with a bias of one value per output, has them start
    at the plan's prior.
    """

    def encode(self, image_BCDHW: torch.Tensor) -> list[torch.Tensor]:
        """Features of every stage, full resolution first, bottleneck last."""
        ...

    def decode(self, features: list[torch.Tensor], every_stage: bool) -> list[torch.Tensor]:
        """Logits of every decoder stage, full resolution first; only the first if not `every_stage`."""
        ...


NETWORKS: Registry[Callable[[Any, NetworkContext], Network], NetworkTraits] = Registry("network", NetworkTraits)

from autoseg.nn.networks import unet as unet  # noqa: E402  (registers its networks)
