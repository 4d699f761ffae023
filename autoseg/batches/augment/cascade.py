"""Errors added to a cascade's earlier prediction, so that the second network learns to correct it.

nnU-Net's two: a random morphological operation, and the loss of a random component, on the channels of one name each.
"""

import numpy as np
import torch
from pydantic import Field
from scipy import ndimage

from autoseg.batches.augment.masks import draw_mask, draw_uniform
from autoseg.batches.augment.registry import PositiveInterval
from planners.schema.base import Frozen
from planners.schema.plan import Probability


class CascadeOptions(Frozen):
    """Probabilities are per sample, then per name. Radii are in voxels; only components smaller than the share
    `lost_below` of the patch are lost.
    """

    p_morphology: Probability = 0.4
    p_morphology_name: Probability = 0.5
    radius: PositiveInterval = (1.0, 8.0)
    p_loss: Probability = 0.2
    p_loss_name: Probability = 0.5
    lost_below: float = Field(default=0.15, ge=0, le=1)


def corrupt(previous_BKDHW: torch.Tensor, options: CascadeOptions, generator: torch.Generator, *,
            exclusive: bool) -> None:
    """Change binary channels (B, K, *space) in place. `exclusive`: what one name gains, the others lose."""
    n_samples, n_names = previous_BKDHW.shape[:2]
    morphed = draw_mask(n_samples, options.p_morphology, generator)
    thinned = draw_mask(n_samples, options.p_loss, generator)
    for sample, masks in enumerate(previous_BKDHW):
        if morphed[sample]:
            for name in _some(n_names, options.p_morphology_name, generator):
                _change_shape(masks, name, options, generator, exclusive)
        if thinned[sample]:
            for name in _some(n_names, options.p_loss_name, generator):
                _lose_component(masks[name], options.lost_below, generator)


def _some(count: int, p: float, generator: torch.Generator) -> list[int]:
    """Each number below `count` with probability p, in random order."""
    selected = draw_mask(count, p, generator)
    return [number for number in torch.randperm(count, generator=generator).tolist() if selected[number]]


def _change_shape(masks: torch.Tensor, name: int, options: CascadeOptions, generator: torch.Generator,
                  exclusive: bool) -> None:
    operation = _OPERATIONS[int(torch.randint(len(_OPERATIONS), (), generator=generator))]
    mask = masks[name] > 0
    result = operation(mask, float(draw_uniform(options.radius, 1, generator)))
    if exclusive:
        masks.mul_(~(result & ~mask))
    masks[name] = result.to(masks.dtype)


def dilate(mask: torch.Tensor, radius: float) -> torch.Tensor:
    """Voxels within `radius` voxels of the mask. By Fourier transforms: its cost hardly depends on the radius."""
    reach = int(radius)
    steps = torch.arange(-reach, reach + 1, device=mask.device)
    squared = torch.stack(torch.meshgrid(*[steps] * mask.ndim, indexing="ij")).square().sum(0)
    size = [length + 2 * reach for length in mask.shape]
    spectrum = torch.fft.rfftn(mask.float(), s=size) * torch.fft.rfftn((squared <= radius**2).float(), s=size)
    hits = torch.fft.irfftn(spectrum, s=size)
    # Hits are whole numbers but for rounding.
    return hits[tuple(slice(reach, reach + length) for length in mask.shape)] > 0.5


def erode(mask: torch.Tensor, radius: float) -> torch.Tensor:
    """Voxels whose whole neighbourhood lies in the mask; outside the patch counts as mask."""
    return ~dilate(~mask, radius)


def opened(mask: torch.Tensor, radius: float) -> torch.Tensor:
    return dilate(erode(mask, radius), radius)


def closed(mask: torch.Tensor, radius: float) -> torch.Tensor:
    return erode(dilate(mask, radius), radius)


_OPERATIONS = (dilate, erode, closed, opened)


def _lose_component(mask: torch.Tensor, lost_below: float, generator: torch.Generator) -> None:
    """Erase one component, each of the small ones being as likely. Components are found on the CPU: a device waits."""
    components, _ = ndimage.label((mask > 0).cpu().numpy(), structure=np.ones((3,) * mask.ndim))
    small = 1 + np.flatnonzero(np.bincount(components.ravel())[1:] < lost_below * components.size)
    if len(small):
        lost = small[int(torch.randint(len(small), (), generator=generator))]
        mask.mul_(torch.from_numpy(components != lost).to(mask.device))
