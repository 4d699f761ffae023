"""Blocks of large depthwise kernels, and how their kernels grow (Roy et al., MedNeXt, MICCAI 2023)."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from autoseg.nn.networks.blocks import Convolution, convolution, normalized, pointwise
from autoseg.nn.networks.depthwise import filtered

_LINEAR = {2: "bilinear", 3: "trilinear"}  # by number of axes


class MedNeXtBlock(nn.Module):
    """A depthwise convolution and its normalisation, `expansion` times as many channels, GELU, `c_out` channels; beside a
    shortcut, which a convolution of kernel 1 projects where the resolution or the channels change.
    """

    def __init__(self, c_in: int, c_out: int, kernel: Sequence[int], stride: Sequence[int] | None = None, *,
                 expansion: int):
        super().__init__()
        one = [1] * len(kernel)
        stride = list(stride or one)
        self.depthwise, self.norm = normalized(c_in, c_in, kernel, stride, groups=c_in)
        self.expand = convolution(c_in, expansion * c_in, one, one)
        self.compress = convolution(expansion * c_in, c_out, one, one)
        self.shortcut: Convolution | None = None
        if max(stride) > 1 or c_in != c_out:
            self.shortcut = convolution(c_in, c_out, one, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = pointwise(self.compress, F.gelu(pointwise(self.expand, self.norm(filtered(self.depthwise, x)))))
        return y + self._beside(x)

    def _beside(self, x: torch.Tensor) -> torch.Tensor:
        if self.shortcut is None:
            return x
        return pointwise(self.shortcut, x) if max(self.shortcut.stride) == 1 else self.shortcut(x)


def with_grown_kernels(weights: Mapping[str, torch.Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, torch.Tensor]:
    """UpKern: the weights of a network of small kernels for the same network of larger ones.

    `shapes` are those of the larger network's state, by name. A weight that differs in the edges of its kernel alone is
    interpolated linearly to the larger ones; all others are handed through. What linear interpolation adds to a kernel's
    sum, the normalisation after it takes away.
    """
    return {name: _grown(weight, shapes[name]) if name in shapes else weight for name, weight in weights.items()}


def _grown(weight: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    if weight.ndim - 2 not in _LINEAR or weight.shape[:2] != shape[:2] or weight.shape == shape:
        return weight
    return F.interpolate(weight, size=shape[2:], mode=_LINEAR[weight.ndim - 2], align_corners=False)
