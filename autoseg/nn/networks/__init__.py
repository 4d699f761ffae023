"""Networks: `encode` an image into the features of each stage, `decode` them into the logits of each resolution.

A network is made by `factory(options, NetworkContext)`, in two and in three dimensions alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from autoseg.base.errors import UserError
from planners.architectures import Architecture
from planners.registry import Registry
from planners.schema.base import Frozen

Shape = TypeVar("Shape", bound=Frozen)


@dataclass(frozen=True)
class NetworkContext:
    """What a network is made for: the shape that the plan gives it, and its channels at either end."""

    architecture: Architecture
    n_inputs: int
    n_outputs: int

    def shaped(self, architecture: type[Shape]) -> Shape:
        """The architecture, of the type that a network is made for; a UserError where it is of another."""
        if not isinstance(self.architecture, architecture):
            raise UserError("a network does not fit the architecture of its plan", found=self.architecture.title,
                            expected=f"an architecture of kind {architecture.model_fields['kind'].default!r}",
                            do="choose a planner that plans this network, instead of --set network.name")
        return self.architecture


class NetworkTraits(Frozen):
    """`costs_as_planned`: the arithmetic of its architecture gives its cost; otherwise its memory cost is unknown.
    `architecture` is the kind of architecture that it is made for; empty: it does not say.
    """

    costs_as_planned: bool = False
    architecture: str = ""


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
from autoseg.nn.networks import vit as vit  # noqa: E402  (registers itself)
