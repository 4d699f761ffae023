"""What the channels of a batch are while it is augmented."""

from dataclasses import dataclass, replace

import torch

from autoseg.batches.augment.registry import Augmentation
from autoseg.batches.batch import Batch
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration


@dataclass(frozen=True)
class Channels:
    """Images come first, then a cascade's earlier prediction, one channel per foreground name, then masks of absent voxels.

    All but images are binary. Masks move with the images; nothing else may change them.
    """

    n_images: int
    n_previous: int = 0

    @property
    def previous(self) -> slice:
        """The channels of the earlier prediction."""
        return slice(self.n_images, self.n_images + self.n_previous)


def channels_of(configuration: Configuration, labels: LabelSpec) -> Channels:
    """The channels that batches of a configuration have."""
    return Channels(len(configuration.normalizers), len(labels.foreground) if configuration.previous else 0)


def augment(batch: Batch, augmentation: Augmentation, generator: torch.Generator) -> Batch:
    """The augmented batch; its absent voxels go through space as trailing channels of the image.

    A resampled voxel is absent where absent voxels have more than half of its weight. What comes from outside the patch
    is padding, and not absent.
    """
    if batch.absent_BCDHW is None:
        return augmentation(batch, generator)
    n_masks = batch.absent_BCDHW.shape[1]
    masks = batch.absent_BCDHW.to(batch.image_BCDHW.dtype)
    masked = replace(batch, image_BCDHW=torch.cat([batch.image_BCDHW, masks], dim=1), absent_BCDHW=None)
    result = augmentation(masked, generator)
    image, masks = result.image_BCDHW[:, :-n_masks], result.image_BCDHW[:, -n_masks:]
    return replace(result, image_BCDHW=image, absent_BCDHW=masks > 0.5)
