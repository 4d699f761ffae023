"""The default fusion: channels side by side, an absent one filled with a learned constant."""

import torch
from torch import nn

from autoseg.nn.fusion import FUSIONS


@FUSIONS.register("concat")
class Concat(nn.Module):
    """(B, C, *space) with presence (B, C) -> (B, C, *space).

    The voxels of an absent channel are never read: `torch.where` puts the channel's fill value in their place, which
    starts at 0, the mean after z-scoring.
    """

    def __init__(self, n_channels: int):
        super().__init__()
        self.n_outputs = n_channels
        self.fill = nn.Parameter(torch.zeros(n_channels))

    def forward(self, image_BCDHW: torch.Tensor, present_BC: torch.Tensor | None) -> torch.Tensor:
        if present_BC is None:
            return image_BCDHW
        ones = [1] * (image_BCDHW.ndim - 2)
        return torch.where(present_BC[(..., *[None] * len(ones))], image_BCDHW, self.fill.view(1, -1, *ones))
