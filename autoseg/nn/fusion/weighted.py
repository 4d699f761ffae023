"""Fusion by one learned weight per channel, normalised over the channels that a voxel has."""

import torch
from pydantic import Field
from torch import nn

from autoseg.nn.fusion import FUSIONS, FusionContext
from autoseg.nn.fusion.masking import or_empty, usable
from autoseg.nn.fusion.stem import SharedStem
from planners.schema.base import Frozen


class WeightedOptions(Frozen):
    """`features` of every channel, which are also the outputs."""

    features: int = Field(default=8, gt=0)


@FUSIONS.register("weighted", WeightedOptions)
class Weighted(nn.Module):
    """(B, C, *space) -> (B, F, *space): sum of the channels' features, weighted by a softmax over those available.

    The weights start equal. As a softmax they stay positive and sum to one, whatever is absent.
    """

    def __init__(self, options: WeightedOptions, context: FusionContext):
        super().__init__()
        self.n_outputs = options.features
        self.stem = SharedStem(context.n_channels, context.dimensions, options.features)
        self.weight = nn.Parameter(torch.zeros(context.n_channels))
        self.empty = nn.Parameter(torch.zeros(options.features))

    def forward(self, image_BCDHW: torch.Tensor, available: torch.Tensor | None) -> torch.Tensor:
        features = self.stem(image_BCDHW, available)
        logits = self.weight.view(1, -1, *[1] * (image_BCDHW.ndim - 2))
        if available is not None:
            logits = torch.where(usable(available), logits, -torch.inf)
        weights = torch.softmax(logits, 1).to(features.dtype)
        return or_empty((features * weights.unsqueeze(2)).sum(1), available, self.empty)
