"""The registry of augmentations, and what one is. It is made by `factory(options, AugmentationContext)`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import torch
from pydantic import AfterValidator, Field

from autoseg.base.errors import UserError
from autoseg.batches.batch import Batch
from planners.registry import Registry
from planners.schema.base import Frozen, Part
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
class ChannelTraits:
    """What is known of normalised channels, as their numbers.

    `zero_outside`: voxels outside the patient are 0 and have to stay so. `absolute_unit`: equal values mean the same in all
    cases, as Hounsfield units do.
    """

    zero_outside: tuple[int, ...] = ()
    absolute_unit: tuple[int, ...] = ()


UNKNOWN = ChannelTraits()


@dataclass(frozen=True)
class AugmentationContext:
    """What an augmentation is made for. Batches lie on `device`.

    `planned_patch` is the patch of the whole plan, which says how patches are turned: that of the configuration is smaller
    in a phase of small patches, and may be of other proportions. None: it is that of the configuration.
    """

    configuration: Configuration
    labels: LabelSpec
    device: torch.device
    traits: ChannelTraits = UNKNOWN
    planned_patch: tuple[int, ...] | None = None


class AugmentationTraits(Frozen):
    """`moves`: it may move voxels. What only changes intensities may follow another one, as an `appearance`. `alternates`:
    it mirrors by the number of a view where the plan says so (`mirror_views`).
    """

    moves: bool = True
    alternates: bool = False


AUGMENTATIONS: Registry[Callable[[Any, AugmentationContext], Augmentation], AugmentationTraits] = Registry(
    "augmentation", AugmentationTraits)


def build_augmentation(part: Part, configuration: Configuration, labels: LabelSpec, device: torch.device | str,
                       traits: ChannelTraits = UNKNOWN, planned_patch: tuple[int, ...] | None = None) -> Augmentation:
    """The augmentation that a part names, for one configuration, whose channels have `traits`; `planned_patch` is as in the
    context.
    """
    return AUGMENTATIONS.make(part, AugmentationContext(configuration, labels, torch.device(device), traits, planned_patch))


def _ordered(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError(f"an interval must not end before it begins, got {interval}")
    return interval


Interval = Annotated[tuple[float, float], AfterValidator(_ordered)]
PositiveInterval = Annotated[tuple[Annotated[float, Field(gt=0)], float], AfterValidator(_ordered)]


def build_appearance(configuration: Configuration, labels: LabelSpec, device: torch.device | str,
                     traits: ChannelTraits = UNKNOWN) -> list[Augmentation]:
    """The changes of intensity that a configuration adds to its augmentation, in their order.

    Raises UserError for a part that moves the image: it would need a larger patch.
    """
    for part in configuration.appearance:
        if AUGMENTATIONS.entry(part.name).traits.moves:
            known = [name for name in AUGMENTATIONS.names() if not AUGMENTATIONS.traits(name).moves]
            raise UserError("an appearance changes intensities alone", where="appearance", found=part.name,
                            expected=" or ".join(known))
    return [build_augmentation(part, configuration, labels, device, traits) for part in configuration.appearance]
