"""Blocks with half of the maps from a cheap operation (Han et al., GhostNet, CVPR 2020)."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from autoseg.nn.networks.blocks import ConvBlock

_CHEAP_EDGE = 3  # of the depthwise kernel, at most


class GhostBlock(nn.Module):
    """Half of the channels by a convolution, the other half from these, each by a kernel of its own; all normalised and
    rectified. Of an odd number of channels the convolution gives one more.
    """

    def __init__(self, c_in: int, c_out: int, kernel: Sequence[int], stride: Sequence[int] | None = None):
        super().__init__()
        first = math.ceil(c_out / 2)
        self.n_cheap = c_out - first
        self.primary = ConvBlock(c_in, first, kernel, stride)
        self.cheap = ConvBlock(self.n_cheap, self.n_cheap, [min(edge, _CHEAP_EDGE) for edge in kernel],
                               groups=self.n_cheap)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        intrinsic = self.primary(x)
        return torch.cat([intrinsic, self.cheap(intrinsic[:, : self.n_cheap])], dim=1)
