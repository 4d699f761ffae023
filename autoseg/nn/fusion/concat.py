"""The default fusion: channels side by side, an absent one filled with a learned constant."""

import torch
from torch import nn

from autoseg.nn.fusion import FUSIONS


@FUSIONS.register("concat")
class Concat(nn.Module):
    """(B, C, *space) -> (B, C, *space); `available` is as `autoseg.nn.fusion` says.

    Absent voxels are never read: `torch.where` puts the channel's fill value in their place, which starts at 0, the mean
    after z-scoring.
    """

    def __init__(self, n_channels: int, dimensions: int):
        super().__init__()
        self.n_outputs = n_channels
        self.fill = nn.Parameter(torch.zeros(n_channels))

    def forward(self, image_BCDHW: torch.Tensor, available: torch.Tensor | None) -> torch.Tensor:
        if available is None:
            return image_BCDHW
        return torch.where(available, image_BCDHW, self.fill.view(1, -1, *[1] * (image_BCDHW.ndim - 2)))
