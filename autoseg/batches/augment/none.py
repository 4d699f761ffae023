"""No augmentation: for validation batches and for tests."""

import torch

from autoseg.batches.augment.registry import AUGMENTATIONS
from autoseg.batches.batch import Batch
from planners.registry import NoOptions
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration


@AUGMENTATIONS.register("none")
class Unaugmented:
    """The batch as it was sampled."""

    def __init__(self, options: NoOptions, configuration: Configuration, labels: LabelSpec, device: torch.device):
        self.initial_patch = configuration.patch

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch
