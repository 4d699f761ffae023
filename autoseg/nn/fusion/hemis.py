"""Fusion by moments: mean and variance over whatever channels a voxel has (Havaei et al., HeMIS, MICCAI 2016)."""

import torch
from pydantic import Field
from torch import nn

from autoseg.nn.fusion import FUSIONS, FusionContext
from autoseg.nn.fusion.masking import masked_mean, or_empty
from autoseg.nn.fusion.stem import SharedStem
from planners.schema.base import Frozen


class HemisOptions(Frozen):
    """`features` of every channel; the outputs are twice as many."""

    features: int = Field(default=8, gt=0)


@FUSIONS.register("hemis", HemisOptions)
class Hemis(nn.Module):
    """(B, C, *space) -> (B, 2 F, *space): mean, then variance of the channels' features over those available.

    The variance divides by the number of channels, so that it is 0 where there is a single one.
    """

    def __init__(self, options: HemisOptions, context: FusionContext):
        super().__init__()
        self.n_outputs = 2 * options.features
        self.stem = SharedStem(context.n_channels, context.dimensions, options.features)
        self.empty = nn.Parameter(torch.zeros(self.n_outputs))

    def forward(self, image_BCDHW: torch.Tensor, available: torch.Tensor | None) -> torch.Tensor:
        features = self.stem(image_BCDHW, available)
        mask = None if available is None else available.unsqueeze(2)
        mean = masked_mean(features, mask)
        variance = masked_mean((features - mean.unsqueeze(1)).square(), mask)
        return or_empty(torch.cat([mean, variance], 1), available, self.empty)
