"""nnU-Net v2's default augmentation: its transforms, order, probabilities and ranges."""

import torch
from pydantic import Field

from autoseg.batches.augment.cascade import CascadeOptions, corrupt
from autoseg.batches.augment.channels import channels_of
from autoseg.batches.augment.intensity import blur, change_contrast, change_gamma, lower_resolution
from autoseg.batches.augment.masks import change_rows, choose_rows, draw_factor, draw_noise, draw_uniform, per_row
from autoseg.batches.augment.mirror import Mirror
from autoseg.batches.augment.registry import AUGMENTATIONS, AugmentationContext, Interval, PositiveInterval
from autoseg.batches.augment.spatial import Spatial, is_dummy_2d
from autoseg.batches.augment.zero_outside import outside_mask, zero_there
from autoseg.batches.batch import Batch, padding_label
from planners.schema.base import Frozen
from planners.schema.plan import Probability


class NnunetOptions(Frozen):
    """Probabilities are per sample; with `_channel` in the name, per channel of such a sample.

    `rotation_degrees` None is nnU-Net's range for the patch (30 in 3D, 180 in-plane, 15 in an uneven 2D patch).
    `scaling` above 1 shrinks. `noise_sd` is in units of the normalised image, `blur_sigma` in voxels, `low_resolution`
    a share of the size, `elastic_sigma` a share of the patch's edge, `elastic_voxels` the largest displacement.
    """

    p_rotation: Probability = 0.2
    rotation_degrees: float | None = Field(default=None, ge=0, le=180)
    p_scaling: Probability = 0.2
    scaling: PositiveInterval = (0.7, 1.4)
    p_elastic: Probability = 0.0
    elastic_sigma: PositiveInterval = (0.1, 0.2)
    elastic_voxels: Interval = (0.0, 4.0)
    p_noise: Probability = 0.1
    noise_sd: Interval = (0.0, 0.1)
    p_blur: Probability = 0.2
    p_blur_channel: Probability = 0.5
    blur_sigma: PositiveInterval = (0.5, 1.0)
    p_brightness: Probability = 0.15
    brightness: PositiveInterval = (0.75, 1.25)
    p_contrast: Probability = 0.15
    contrast: PositiveInterval = (0.75, 1.25)
    p_low_resolution: Probability = 0.25
    p_low_resolution_channel: Probability = 0.5
    low_resolution: PositiveInterval = (0.5, 1.0)
    p_gamma_inverted: Probability = 0.1
    p_gamma: Probability = 0.3
    gamma: PositiveInterval = (0.7, 1.5)
    p_mirror: Probability = 0.5
    cascade: CascadeOptions = CascadeOptions()


@AUGMENTATIONS.register("nnunet", NnunetOptions, alternates=True)
class Nnunet:
    """Spatial, noise, blur, brightness, contrast, low resolution, gamma inverted and plain, mirroring; then errors
    in a cascade's earlier prediction.
    """

    def __init__(self, options: NnunetOptions, context: AugmentationContext):
        configuration, labels = context.configuration, context.labels
        patch = configuration.patch
        self._options = options
        self._exclusive = not labels.has_regions
        self._channels = channels_of(configuration, labels)
        self._n_images = self._channels.n_images
        self._masked = list(context.traits.zero_outside)
        self._resampled_axes = torch.tensor([0.0 if axis == 0 and is_dummy_2d(context.planned_patch or patch) else 1.0
                                             for axis in range(len(patch))])
        self._spatial = Spatial(patch, options, n_images=self._n_images, padding=padding_label(labels),
                                planned=context.planned_patch)
        self._mirror = Mirror(configuration.mirror_axes, options.p_mirror, configuration.pair_axis, labels,
                              channels=self._channels, dimensions=len(patch), device=context.device,
                              views=configuration.mirror_views)
        self.initial_patch = self._spatial.initial_patch

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        batch = self._spatial(batch, generator)
        image = batch.image_BCDHW
        outside = outside_mask(image[:, self._masked]) if self._masked else None
        self._noise(image, generator)
        self._blur(image, generator)
        self._scale(image, generator)
        self._low_resolution(image, generator)
        self._gamma(image, self._options.p_gamma_inverted, True, generator)
        self._gamma(image, self._options.p_gamma, False, generator)
        if outside is not None:
            zero_there(image, self._masked, outside)
        batch = self._mirror(batch, generator)
        if self._channels.n_previous:
            corrupt(image[:, self._channels.previous], self._options.cascade, generator, exclusive=self._exclusive)
        return batch

    def _rows(self, image: torch.Tensor, p_sample: float, generator: torch.Generator, p_channel: float = 1.0
              ) -> torch.Tensor:
        return choose_rows((len(image), self._n_images), image.shape[1], (p_sample, p_channel), generator)

    def _noise(self, image: torch.Tensor, generator: torch.Generator) -> None:
        rows = self._rows(image, self._options.p_noise, generator)
        # All channels of a sample have the same standard deviation.
        sd = draw_uniform(self._options.noise_sd, len(image), generator)[rows // image.shape[1]]
        change_rows(image, rows, lambda x: torch.addcmul(x, draw_noise(x, generator), per_row(sd, x)))

    def _blur(self, image: torch.Tensor, generator: torch.Generator) -> None:
        rows = self._rows(image, self._options.p_blur, generator, self._options.p_blur_channel)
        sigma = draw_uniform(self._options.blur_sigma, (len(rows), image.ndim - 2), generator)
        change_rows(image, rows, lambda x: blur(x, sigma))

    def _scale(self, image: torch.Tensor, generator: torch.Generator) -> None:
        rows = self._rows(image, self._options.p_brightness, generator)
        brightness = draw_factor(self._options.brightness, len(rows), generator)
        change_rows(image, rows, lambda x: x * per_row(brightness, x))
        rows = self._rows(image, self._options.p_contrast, generator)
        contrast = draw_factor(self._options.contrast, len(rows), generator)
        change_rows(image, rows, lambda x: change_contrast(x, contrast))

    def _low_resolution(self, image: torch.Tensor, generator: torch.Generator) -> None:
        rows = self._rows(image, self._options.p_low_resolution, generator, self._options.p_low_resolution_channel)
        scale = draw_uniform(self._options.low_resolution, (len(rows), 1), generator)
        scale = torch.lerp(torch.ones(()), scale, self._resampled_axes)
        change_rows(image, rows, lambda x: lower_resolution(x, scale))

    def _gamma(self, image: torch.Tensor, p: float, inverted: bool, generator: torch.Generator) -> None:
        rows = self._rows(image, p, generator)
        gamma = draw_factor(self._options.gamma, len(rows), generator)
        change_rows(image, rows, lambda x: change_gamma(x, gamma, inverted=inverted))
