"""The default fusion: channels stay as they are, an absent one is filled with a learned constant."""

import torch
from torch import nn

from autoseg.nn.fusion import FUSIONS, FusionContext
from autoseg.nn.fusion.masking import filled
from planners.registry import NoOptions


@FUSIONS.register("concat")
class Concat(nn.Module):
    """(B, C, *space) -> (B, C, *space); `available` is as `autoseg.nn.fusion` says.

    Absent voxels take their channel's fill value, which starts at 0, the mean after z-scoring.
    """

    def __init__(self, options: NoOptions, context: FusionContext):
        super().__init__()
        self.n_outputs = context.n_channels
        self.fill = nn.Parameter(torch.zeros(context.n_channels))

    def forward(self, image_BCDHW: torch.Tensor, available: torch.Tensor | None) -> torch.Tensor:
        return filled(image_BCDHW, available, self.fill)
