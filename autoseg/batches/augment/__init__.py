"""Augmentation of whole batches on their device."""

from autoseg.batches.augment import light, nnunet  # noqa: F401  (they register themselves)
from autoseg.batches.augment.channels import augment
from autoseg.batches.augment.none import UNAUGMENTED
from autoseg.batches.augment.registry import AUGMENTATIONS, Augmentation, AugmentationContext, build_augmentation

__all__ = ["AUGMENTATIONS", "UNAUGMENTED", "Augmentation", "AugmentationContext", "augment", "build_augmentation"]
