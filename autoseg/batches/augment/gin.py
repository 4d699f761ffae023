"""GIN: random shallow convolutional networks, so that a model learns shape and not the contrast of one modality."""

import itertools

import torch
from pydantic import Field
from torch.nn import functional

from autoseg.base.errors import UserError
from autoseg.batches.augment.channels import channels_of
from autoseg.batches.augment.masks import change_rows, choose_rows, draw_uniform, per_row
from autoseg.batches.augment.registry import AUGMENTATIONS, AugmentationContext
from autoseg.batches.augment.zero_outside import kept_outside
from autoseg.batches.batch import Batch
from planners.schema.base import Frozen
from planners.schema.plan import Probability

_KERNEL = 3  # of a layer that sees neighbours; the others see one voxel
_SLOPE = 0.01  # of the leaky rectifier
_TINY = 1e-8


class GinOptions(Frozen):
    """`p` is per sample. `layers` and `hidden` channels make a network.

    `allow_on_ct`: channels that are normalised in their absolute unit are changed, too, so that the model no longer knows
    what a Hounsfield unit is.
    """

    p: Probability = 0.5
    layers: int = Field(default=4, ge=1, le=8)
    hidden: int = Field(default=2, ge=1, le=16)
    allow_on_ct: bool = False


@AUGMENTATIONS.register("gin", GinOptions, moves=False)
class Gin:
    """Each channel of a sample passes a network of its own with random weights (Ouyang et al., IEEE TMI 2023).

    Result and image are blended by a share that is uniform in 0 to 1, and get the Frobenius norm of the image. Raises
    UserError for channels in an absolute unit that are not allowed.
    """

    def __init__(self, options: GinOptions, context: AugmentationContext):
        absolute = context.traits.absolute_unit
        if absolute and not options.allow_on_ct:
            raise UserError("gin changes the contrast of channels whose unit is absolute, as Hounsfield units are",
                            where="appearance", found=f"channel {', '.join(map(str, absolute))} in an absolute unit",
                            do="leave gin out, or train with --allow-gin-on-ct where an ablation has shown that it helps")
        self._options = options
        self._n_images = channels_of(context.configuration, context.labels).n_images
        self._masked = context.traits.zero_outside
        self.initial_patch = context.configuration.patch

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        with kept_outside(batch, self._masked) as changed:
            image = changed.image_BCDHW
            rows = choose_rows((len(image), self._n_images), image.shape[1], (self._options.p, 1.0), generator)
            change_rows(image, rows, lambda x: self._blended(x, generator))
        return changed

    def _blended(self, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        share = per_row(draw_uniform((0.0, 1.0), len(rows), generator), rows)
        blended = torch.lerp(rows, self._passed(rows, generator), share)
        before, after = (x.flatten(1).norm(dim=1) for x in (rows, blended))
        return blended * per_row(before / after.clamp(min=_TINY), rows)

    def _passed(self, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Rows (N, *space) after their networks: one group of a convolution per row."""
        n, dimensions, options = len(rows), rows.ndim - 1, self._options
        convolve = functional.conv3d if dimensions == 3 else functional.conv2d
        widths = [1, *[options.hidden] * (options.layers - 1), 1]
        x = rows[None]
        for layer, (inside, outside) in enumerate(itertools.pairwise(widths)):
            size = _KERNEL if torch.rand((), generator=generator) < 0.5 else 1
            weight = torch.randn(n * outside, inside, *[size] * dimensions, generator=generator)
            bias = torch.randn(n * outside, generator=generator)
            x = convolve(x, weight.to(x.device, x.dtype), bias.to(x.device, x.dtype), padding=size // 2, groups=n)
            if layer < options.layers - 1:
                x = functional.leaky_relu(x, _SLOPE)
        return x[0]
