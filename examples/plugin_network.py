"""A network of one's own: a U-Net whose features are weighted, each channel by what the whole patch holds.

Run in the folder of this file (any module that Python can import will do):

    autoseg_train 4 3d_fullres 0 --plugin plugin_network --set network.name=squeezing_unet
    autoseg_train 4 3d_fullres 1 --plugin plugin_network --set network.name=squeezing_unet --set network.options.reduction=8
    autoseg_predict -i imgs -o masks --plugin plugin_network

(All folds of a model share one plan: give each the same values, or --restart.) A network is made by
`factory(options, NetworkContext)` for two and three dimensions alike. It gives `encode` and `decode`, and may name its last
layers in `logit_layers`; see `autoseg.nn.networks.Network`. As it does not say `costs_as_planned=True` where it is
registered, nobody estimates beforehand whether a step of it fits the memory.
"""

import torch
from pydantic import Field
from torch import nn

from autoseg.nn.networks import NETWORKS, NetworkContext
from planners.schema.base import Frozen, Part


class SqueezeOptions(Frozen):
    """`reduction` is how many channels share one of a gate's hidden values."""

    reduction: int = Field(default=4, gt=0)


@NETWORKS.register("squeezing_unet", SqueezeOptions)
class SqueezingUNet(nn.Module):
    """Squeeze and excitation (Hu et al. 2018) of the features between encoder and decoder.

    Every gate is 1 at first, so that an untrained network is the U-Net it holds.
    """

    def __init__(self, options: SqueezeOptions, context: NetworkContext):
        super().__init__()
        self.unet = NETWORKS.make(Part(name="unet"), context)
        self.gates = nn.ModuleList(Gate(channels, options.reduction) for channels in context.architecture.channels)

    @property
    def logit_layers(self) -> nn.ModuleList:
        return self.unet.logit_layers

    def encode(self, image_BCDHW: torch.Tensor) -> list[torch.Tensor]:
        return [gate(stage) for gate, stage in zip(self.gates, self.unet.encode(image_BCDHW), strict=True)]

    def decode(self, features: list[torch.Tensor], every_stage: bool) -> list[torch.Tensor]:
        return self.unet.decode(features, every_stage)


class Gate(nn.Module):
    """(B, C, *space) -> the same, each channel times a factor between 0 and 2."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        hidden = max(1, channels // reduction)
        self.squeeze, self.excite = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        nn.init.zeros_(self.excite.weight)
        nn.init.zeros_(self.excite.bias)

    def forward(self, features_BCDHW: torch.Tensor) -> torch.Tensor:
        mean_BC = features_BCDHW.flatten(2).mean(2)
        factor_BC = 2 * torch.sigmoid(self.excite(torch.relu(self.squeeze(mean_BC))))
        return features_BCDHW * factor_BC[(..., *[None] * (features_BCDHW.ndim - 2))]
