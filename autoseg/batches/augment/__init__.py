"""Augmentation of whole batches on their device."""

from autoseg.batches.augment import appearance, gin, light, nnunet  # noqa: F401  (they register themselves)
from autoseg.batches.augment.channels import augment
from autoseg.batches.augment.none import UNAUGMENTED
from autoseg.batches.augment.registry import (
    AUGMENTATIONS,
    UNKNOWN,
    Augmentation,
    AugmentationContext,
    ChannelTraits,
    build_appearance,
    build_augmentation,
)

__all__ = ["AUGMENTATIONS", "UNAUGMENTED", "UNKNOWN", "Augmentation", "AugmentationContext", "ChannelTraits", "augment",
           "build_appearance", "build_augmentation"]
