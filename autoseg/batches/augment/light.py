"""A few cheap changes, for trainings that are too short to profit from more."""

import torch
from pydantic import Field

from autoseg.batches.augment.cascade import CascadeOptions, corrupt
from autoseg.batches.augment.channels import channels_of
from autoseg.batches.augment.masks import change_rows, choose_rows, draw_noise, draw_uniform, per_row
from autoseg.batches.augment.mirror import Mirror
from autoseg.batches.augment.registry import AUGMENTATIONS, AugmentationContext, Interval, PositiveInterval
from autoseg.batches.augment.spatial import Spatial
from autoseg.batches.augment.zero_outside import outside_mask, zero_there
from autoseg.batches.batch import Batch, padding_label
from planners.schema.base import Frozen
from planners.schema.plan import Probability


class LightOptions(Frozen):
    """`contrast` is the largest relative change of a normalised image, `brightness` the largest shift, in its units.

    Intensity changes are drawn per channel. The other options are as in `NnunetOptions`.
    """

    p_rotation: Probability = 0.0
    rotation_degrees: float | None = Field(default=None, ge=0, le=180)
    p_scaling: Probability = 0.0
    scaling: PositiveInterval = (0.7, 1.4)
    p_elastic: Probability = 0.0
    elastic_sigma: PositiveInterval = (0.1, 0.2)
    elastic_voxels: Interval = (0.0, 4.0)
    p_contrast: Probability = 0.2
    contrast: float = Field(default=0.2, ge=0, lt=1)
    p_brightness: Probability = 0.2
    brightness: float = Field(default=0.15, ge=0)
    p_noise: Probability = 0.2
    noise_sd: float = Field(default=0.1, ge=0)
    p_mirror: Probability = 0.5
    cascade: CascadeOptions = CascadeOptions()


@AUGMENTATIONS.register("light", LightOptions, alternates=True)
class Light:
    """Contrast, brightness, noise and mirroring; rotation, scaling and elastic deformation if asked for."""

    def __init__(self, options: LightOptions, context: AugmentationContext):
        configuration, labels = context.configuration, context.labels
        self._options = options
        self._exclusive = not labels.has_regions
        self._channels = channels_of(configuration, labels)
        self._n_images = self._channels.n_images
        self._masked = list(context.traits.zero_outside)
        self._spatial = Spatial(configuration.patch, options, n_images=self._n_images, padding=padding_label(labels),
                                planned=context.planned_patch)
        self._mirror = Mirror(configuration.mirror_axes, options.p_mirror, configuration.pair_axis, labels,
                              channels=self._channels, dimensions=len(configuration.patch), device=context.device,
                              views=configuration.mirror_views)
        self.initial_patch = self._spatial.initial_patch

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        batch = self._spatial(batch, generator)
        image, options = batch.image_BCDHW, self._options
        outside = outside_mask(image[:, self._masked]) if self._masked else None
        rows = self._rows(image, options.p_contrast, generator)
        contrast = draw_uniform((1 - options.contrast, 1 + options.contrast), len(rows), generator)
        change_rows(image, rows, lambda x: x * per_row(contrast, x))
        rows = self._rows(image, options.p_brightness, generator)
        shift = draw_uniform((-options.brightness, options.brightness), len(rows), generator)
        change_rows(image, rows, lambda x: x + per_row(shift, x))
        rows = self._rows(image, options.p_noise, generator)
        change_rows(image, rows, lambda x: x.add(draw_noise(x, generator), alpha=options.noise_sd))
        if outside is not None:
            zero_there(image, self._masked, outside)
        batch = self._mirror(batch, generator)
        if self._channels.n_previous:
            corrupt(image[:, self._channels.previous], options.cascade, generator, exclusive=self._exclusive)
        return batch

    def _rows(self, image: torch.Tensor, p_sample: float, generator: torch.Generator) -> torch.Tensor:
        return choose_rows((len(image), self._n_images), image.shape[1], (p_sample, 1.0), generator)
