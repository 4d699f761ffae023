"""No augmentation: for validation batches and for tests."""

import torch

from autoseg.batches.augment.registry import AUGMENTATIONS, AugmentationContext
from autoseg.batches.batch import Batch
from planners.registry import NoOptions
from planners.schema.base import Part

UNAUGMENTED = Part(name="none")


@AUGMENTATIONS.register(UNAUGMENTED.name)
class Unaugmented:
    """The batch as it was sampled."""

    def __init__(self, options: NoOptions, context: AugmentationContext):
        self.initial_patch = context.configuration.patch

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch
