"""The registry of augmentations, and what one is. It is made by `factory(options, AugmentationContext)`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import torch
from pydantic import AfterValidator, Field

from autoseg.batches.batch import Batch
from planners.registry import NoTraits, Registry
from planners.schema.base import Part
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration


class Augmentation(Protocol):
    """Changes a batch of patches of `initial_patch` into one of the configuration's patch.

    All masks and parameters are drawn from `generator`, which lives on the CPU whatever the batch's device: no value is
    read back from the device. The input is left unchanged. What moves an image moves all channels of the batch's image
    alike; changes of intensity are for the plan's channels, which come first (`augment.channels.Channels` says what the
    others are).
    """

    initial_patch: tuple[int, ...]

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch: ...


@dataclass(frozen=True)
class AugmentationContext:
    """What an augmentation is made for. Batches lie on `device`.

    `zero_outside` are the channels whose voxels outside the patient are 0 and have to stay so.
    """

    configuration: Configuration
    labels: LabelSpec
    device: torch.device
    zero_outside: tuple[int, ...] = ()


AUGMENTATIONS: Registry[Callable[[Any, AugmentationContext], Augmentation], NoTraits] = Registry("augmentation", NoTraits)


def build_augmentation(part: Part, configuration: Configuration, labels: LabelSpec, device: torch.device | str,
                       zero_outside: tuple[int, ...] = ()) -> Augmentation:
    """The augmentation that a part names, for one configuration; `zero_outside` as in `AugmentationContext`."""
    return AUGMENTATIONS.make(part, AugmentationContext(configuration, labels, torch.device(device), zero_outside))


def _ordered(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError(f"an interval must not end before it begins, got {interval}")
    return interval


Interval = Annotated[tuple[float, float], AfterValidator(_ordered)]
PositiveInterval = Annotated[tuple[Annotated[float, Field(gt=0)], float], AfterValidator(_ordered)]
