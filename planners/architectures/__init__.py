"""What a network's shape is, as data that answers for itself: divisor of the patch, feature maps and cost, by arithmetic."""

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

from pydantic import Discriminator, Tag

from planners.architectures.cost import Cost
from planners.architectures.unet import UNet
from planners.architectures.vit import ViT
from planners.schema.hardware import StepSpeed


class AnyArchitecture(Protocol):
    """What every architecture answers; the rest of the program reads no strides.

    A patch is in voxels, one edge per axis of the plan.
    """

    @property
    def kind(self) -> str:
        """The name by which a plan tells one architecture from another."""
        ...

    @property
    def title(self) -> str:
        """What a reader calls it."""
        ...

    @property
    def dimensions(self) -> int:
        """How many axes its patches have."""
        ...

    @property
    def divisor(self) -> tuple[int, ...]:
        """What each edge of a patch must be divisible by."""
        ...

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each feature map that a network gives, full resolution first."""
        ...

    def voxels(self, patch: Sequence[int]) -> list[int]:
        """Voxels of each of these feature maps, for one patch."""
        ...

    def faults(self, patch: Sequence[int]) -> list[str]:
        """Why the patch does not fit, one sentence each; empty where it does."""
        ...

    def cost(self, patch: Sequence[int], n_inputs: int, n_outputs: int, *, batch: int = 1, bytes_per_value: int = 4
             ) -> Cost:
        """The cost on a batch of patches; `bytes_per_value` is 4 in single precision and 2 under bf16 autocast."""
        ...

    def step_seconds(self, patch: Sequence[int], n_inputs: int, n_outputs: int, *, batch: int, speed: StepSpeed) -> float:
        """Seconds of a training step on a batch of patches, loss and optimiser included, on a device of this speed."""
        ...

    def training_bytes(self, patch: Sequence[int], n_inputs: int, n_outputs: int, *, batch: int = 1,
                       bytes_per_value: int = 4, moments: int = 1, averaged: bool = False) -> int:
        """The most memory that a training step holds at once; workspaces of convolutions are not counted.

        `moments` is how many values the optimiser keeps per parameter; `averaged` adds a moving average of the weights.
        """
        ...


def _kind(architecture: Any) -> str:
    """The kind that an architecture, or its JSON, names; the first version's plans name none, and have U-Nets."""
    named = architecture.get("kind", "unet") if isinstance(architecture, dict) else getattr(architecture, "kind", "")
    return str(named)


# The architectures that a plan may have.
Architecture = Annotated[Annotated[UNet, Tag("unet")] | Annotated[ViT, Tag("vit")], Discriminator(_kind)]

_ANSWERS: tuple[type[AnyArchitecture], ...] = (UNet, ViT)  # a type checker compares what each one answers
