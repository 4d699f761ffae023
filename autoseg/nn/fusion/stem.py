"""Every channel's own features by one shared convolution, so that they live in one space and may be averaged."""

import torch
import torch.nn.functional as F
from torch import nn

from autoseg.nn.fusion.masking import filled
from autoseg.nn.networks.blocks import SLOPE

_CONVOLVE = {2: F.conv2d, 3: F.conv3d}


class SharedStem(nn.Module):
    """(B, C, *space) -> (B, C, F, *space / stride, rounded up): rectifier(scale_CF * (kernel_F * image) + shift_CF).

    The kernel (3 along every axis) is one for all channels; by its scale and shift of every feature a channel is known
    from the others (a CT from an MR). Both are folded into the weights of one grouped convolution. Voxels that are not
    available are filled before it, so that what it reads beside them is the channel's fill.
    """

    def __init__(self, n_channels: int, dimensions: int, features: int, stride: int = 1):
        super().__init__()
        self.stride = stride
        self.fill = nn.Parameter(torch.zeros(n_channels))
        self.kernel = nn.Parameter(torch.empty(features, 1, *[3] * dimensions))
        nn.init.kaiming_normal_(self.kernel, a=SLOPE)
        self.scale = nn.Parameter(torch.ones(n_channels, features))
        self.shift = nn.Parameter(torch.randn(n_channels, features) / 2)

    def forward(self, image_BCDHW: torch.Tensor, available: torch.Tensor | None) -> torch.Tensor:
        n_channels, dimensions = len(self.fill), image_BCDHW.ndim - 2
        weight = (self.scale[(..., *[None] * (dimensions + 1))] * self.kernel).flatten(0, 1)
        features = _CONVOLVE[dimensions](filled(image_BCDHW, available, self.fill), weight, self.shift.flatten(),
                                         stride=self.stride, padding=1, groups=n_channels)
        return F.leaky_relu_(features, SLOPE).unflatten(1, (n_channels, -1))
