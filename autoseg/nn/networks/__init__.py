"""Networks: `encode` an image into features a stage, `decode` them into logits a resolution."""

from collections.abc import Callable
from typing import Protocol

import torch

from planners.registry import Registry


class Network(Protocol):
    """What the rest of autoseg asks of a network; it knows neither modalities nor clinical tables.

    One that names the layers that give logits, `logit_layers`, each with a bias of one value an output, has them begin at
    the plan's prior.
    """

    bottleneck_channels: int

    def encode(self, image_BCDHW: torch.Tensor) -> list[torch.Tensor]:
        """Features of every stage, full resolution first, bottleneck last."""
        ...

    def decode(self, features: list[torch.Tensor], every_stage: bool) -> list[torch.Tensor]:
        """Logits of every decoder stage, full resolution first; only the first if not `every_stage`."""
        ...


NETWORKS: Registry[Callable[..., Network]] = Registry("network")

from autoseg.nn.networks import unet as unet  # noqa: E402  (registers its networks)
