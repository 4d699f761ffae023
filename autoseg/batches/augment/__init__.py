"""Augmentation of whole batches on their device."""

from autoseg.batches.augment import light, nnunet, none  # noqa: F401  (they register themselves)
from autoseg.batches.augment.channels import augment
from autoseg.batches.augment.registry import AUGMENTATIONS, Augmentation, build_augmentation

__all__ = ["AUGMENTATIONS", "Augmentation", "augment", "build_augmentation"]
