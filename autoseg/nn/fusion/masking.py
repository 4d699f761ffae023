"""What fusions share: nothing is read where it is not available, and statistics are of what is."""

from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint


def filled(image_BCDHW: torch.Tensor, available: torch.Tensor | None, fill_C: torch.Tensor) -> torch.Tensor:
    """The image with its channel's fill value wherever it is not available, by `torch.where`: 0 * NaN would be NaN.

    Raises ValueError for a sample that has no channel at all, where asking costs nothing: `available` is that of whole
    channels and lies on the CPU. On another device every step would wait for the answer; there such a sample becomes what
    the fusion learned for voxels without any channel.
    """
    if available is None:
        return image_BCDHW
    if available.device.type == "cpu" and of_channels(available):
        of_samples = available.flatten(1).tolist()
        without = [sample for sample, channels in enumerate(of_samples) if not any(channels)]
        if without:
            raise ValueError(f"every sample of a batch needs a channel, found none available in {without}")
        if all(all(channels) for channels in of_samples):
            return image_BCDHW  # nothing to learn, so the first convolution computes no gradient of its input
    return torch.where(available, image_BCDHW, fill_C.view(1, -1, *[1] * (image_BCDHW.ndim - 2)).to(image_BCDHW.dtype))


def of_channels(available: torch.Tensor) -> bool:
    """Whether what is available is a matter of whole channels: (B, C, 1, ...)."""
    return available[0, 0].numel() == 1


def masked_mean(values: torch.Tensor, available: torch.Tensor | None, dim: int = 1) -> torch.Tensor:
    """Mean of the available `values` along `dim`, 0 where none is; `available` broadcasts against the values.

    What is not available is multiplied by zero, so it has to be finite: features of a filled image are.
    """
    if available is None:
        return values.mean(dim)
    return (values * available).sum(dim) / available.sum(dim).clamp(min=1)


def usable(available: torch.Tensor, dim: int = 1) -> torch.Tensor:
    """`available`, but all True where nothing is along `dim`: a softmax over nothing would be NaN, in its gradient too."""
    return available | ~available.any(dim, keepdim=True)


def or_empty(fused_BFDHW: torch.Tensor, available: torch.Tensor | None, empty_F: torch.Tensor) -> torch.Tensor:
    """The fused features, and `empty_F` in voxels where no channel is available."""
    if available is None:
        return fused_BFDHW
    empty = empty_F.view(1, -1, *[1] * (fused_BFDHW.ndim - 2)).to(fused_BFDHW.dtype)
    return torch.where(available.any(1, keepdim=True), fused_BFDHW, empty)


def recomputed(function: Callable[..., torch.Tensor], *inputs: torch.Tensor | None) -> torch.Tensor:
    """function(*inputs); what lies between is computed again in the backward pass instead of kept."""
    if not torch.is_grad_enabled():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
