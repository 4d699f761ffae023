"""The building blocks of U-Nets in two and three dimensions."""

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from autoseg.nn.networks import winograd, winograd_gradients
from autoseg.nn.networks.depthwise import filtered
from autoseg.nn.networks.norm import InstanceNorm

Convolution = nn.Conv2d | nn.Conv3d
Transposed = nn.ConvTranspose2d | nn.ConvTranspose3d
# Where one sample has no more channels x depth x height than this, torch leaves oneDNN for a path that takes ten times as
# long (`use_mkldnn` in ATen/native/Convolution.cpp, torch 2.13; benchmarks/thin_tile.py).
_THIN_VALUES = 20480


class Conv3d(nn.Conv3d):
    """A convolution that on a CPU in float32 takes fewer multiplications (`winograd.py`, `winograd_gradients.py`), and
    avoids the slow path of a single thin sample; one of groups does neither.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.groups > 1 or not _is_ours(x):
            return super().forward(x)
        if torch.is_grad_enabled():
            if self._is_plain and winograd_gradients.pays(x, self.out_channels):
                return cast(torch.Tensor, winograd_gradients.Convolution.apply(x, self.weight, self.bias))
            # The same choice is made again for the gradients, so two samples go both ways.
            return super().forward(x.expand(2, *x.shape[1:]))[:1] if _is_thin(x) else super().forward(x)
        if self._is_plain and winograd.pays(x, self.out_channels):
            return winograd.convolved(x, self.weight, self.bias)
        if _is_thin(x) and self.padding_mode == "zeros":
            return torch.ops.aten.mkldnn_convolution(x, self.weight, self.bias, self.padding, self.stride, self.dilation,
                                                     self.groups)
        return super().forward(x)

    @property
    def _is_plain(self) -> bool:
        return (self.kernel_size == (3, 3, 3) and self.stride == self.dilation == (1, 1, 1) and self.padding == (1, 1, 1)
                and self.padding_mode == "zeros")


def _is_ours(x: torch.Tensor) -> bool:
    """Whether oneDNN may be called in any way; compiled models choose themselves, and have no number of samples yet."""
    return (not torch.compiler.is_compiling() and x.device.type == "cpu" and x.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled))


def _is_thin(x: torch.Tensor) -> bool:
    """Whether torch would take the slow path."""
    return len(x) == 1 and x[..., 0].numel() <= _THIN_VALUES


# By number of axes.
CONV: dict[int, Callable[..., Convolution]] = {2: nn.Conv2d, 3: Conv3d}
TRANSPOSED: dict[int, Callable[..., Transposed]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
POOL: dict[int, Callable[..., nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
SLOPE = 0.01  # of the leaky rectifier; also the `a` of the He initialisation


def convolution(c_in: int, c_out: int, kernel: Sequence[int], stride: Sequence[int], bias: bool = True,
                groups: int = 1) -> Convolution:
    """Convolution that keeps the size up to its stride: odd kernels, padded by half."""
    return CONV[len(kernel)](c_in, c_out, tuple(kernel), tuple(stride), [k // 2 for k in kernel], bias=bias, groups=groups)


def normalized(c_in: int, c_out: int, kernel: Sequence[int], stride: Sequence[int], bias: bool = True, groups: int = 1
               ) -> tuple[Convolution, InstanceNorm]:
    """A convolution and its normalisation, which takes any bias away: so its gradient is 0 and is not computed."""
    layer = convolution(c_in, c_out, kernel, stride, bias, groups)
    if layer.bias is not None:
        layer.bias.requires_grad_(False)
    return layer, InstanceNorm(c_out)


def pointwise(layer: Convolution, x: torch.Tensor) -> torch.Tensor:
    """A convolution of kernel 1; on a CPU as a matrix product, which reads and writes channels last as they are."""
    if not _as_product(x):
        return layer(x)
    return F.linear(x.movedim(1, -1), layer.weight.flatten(1), layer.bias).movedim(-1, 1)


def voxelwise(layer: Convolution, x: torch.Tensor) -> torch.Tensor:
    """The same for logits: a matrix product is made contiguous, as losses and the sliding window want it."""
    return pointwise(layer, x).contiguous() if _as_product(x) else layer(x)


def upsampled(layer: Transposed, x: torch.Tensor) -> torch.Tensor:
    """A transposed convolution whose kernel is its stride: every voxel becomes a block of voxels.

    On a CPU as a matrix product: with channels last, torch's gradient of the weights takes eight times as long.
    """
    if not _as_product(x):
        return layer(x)
    channels, *kernel = layer.weight.shape[1:]
    n_samples, *space = x.shape[:1] + x.shape[2:]
    n = len(space)
    bias = None if layer.bias is None else layer.bias.repeat(math.prod(kernel))
    blocks = F.linear(x.movedim(1, -1), layer.weight.movedim(1, -1).flatten(1).t(), bias)
    blocks = blocks.view(n_samples, *space, *kernel, channels)
    interleaved = [0, *(axis for i in range(n) for axis in (1 + i, 1 + n + i)), 1 + 2 * n]
    size = [edge * k for edge, k in zip(space, kernel, strict=True)]
    return blocks.permute(interleaved).reshape(n_samples, *size, channels).movedim(-1, 1)


def _as_product(x: torch.Tensor) -> bool:
    """Whether a matrix product reads these maps as they lie: on a CPU, channels last."""
    return x.device.type == "cpu" and x.movedim(1, -1).is_contiguous()


class ConvBlock(nn.Sequential):
    """Convolution, instance normalisation, leaky rectifier; with several groups, one kernel per channel."""

    def __init__(self, c_in: int, c_out: int, kernel: Sequence[int], stride: Sequence[int] | None = None, groups: int = 1):
        stride = stride or [1] * len(kernel)
        super().__init__(*normalized(c_in, c_out, kernel, stride, groups=groups), nn.LeakyReLU(SLOPE, inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layer = cast(Convolution, self[0])
        convolved = filtered(layer, x) if layer.groups > 1 else layer(x)
        return cast(InstanceNorm, self[1]).rectified(convolved, SLOPE)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2015; the pooled shortcut is ResNet-D, He et al. 2018).

    The shortcut averages where the block strides and projects by a 1x1 convolution where the channels change. The last
    normalisation starts at zero, so that a new block is its shortcut.
    """

    def __init__(self, c_in: int, c_out: int, kernel: Sequence[int], stride: Sequence[int] | None = None):
        super().__init__()
        n = len(kernel)
        stride = tuple(stride or [1] * n)
        self.first = ConvBlock(c_in, c_out, kernel, stride)
        self.second = nn.Sequential(*normalized(c_out, c_out, kernel, [1] * n))
        shortcut: list[nn.Module] = []
        if max(stride) > 1:
            shortcut.append(POOL[n](stride, stride))
        if c_in != c_out:
            shortcut += normalized(c_in, c_out, [1] * n, [1] * n, bias=False)
        self.shortcut = nn.Sequential(*shortcut)
        self.activation = nn.LeakyReLU(SLOPE, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.second(self.first(x)) + self.shortcut(x))


class Gate(nn.Module):
    """The attention gate of a skip (Oktay et al. 2018): (B, C, *space) of the skip and the coarser map of the decoder
    below it -> the skip, each voxel times a factor between 0 and 2.

    The factor is computed on the coarser grid, and is the same for all voxels of one that is coarse. Its last layer starts
    at zero, so that a new gate changes nothing.
    """

    def __init__(self, c_skip: int, c_below: int, stride: Sequence[int]):
        super().__init__()
        n, inner = len(stride), max(1, c_skip // 2)
        self.stride = tuple(float(s) for s in stride)
        self.skip = CONV[n](c_skip, inner, tuple(stride), tuple(stride), bias=False)
        self.below = convolution(c_below, inner, [1] * n, [1] * n)
        self.score = convolution(inner, 1, [1] * n, [1] * n)

    def forward(self, skip: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
        both = F.relu(self.skip(skip) + pointwise(self.below, below), inplace=True)
        factor = 2 * torch.sigmoid(pointwise(self.score, both))
        return skip * F.interpolate(factor, scale_factor=self.stride, mode="nearest")


def initialize(module: nn.Module) -> None:
    """He initialisation of every convolution; zero for the last normalisation of residual blocks and for gates' scores."""
    for part in module.modules():
        if isinstance(part, Convolution | Transposed):
            nn.init.kaiming_normal_(part.weight, a=SLOPE)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, ResidualBlock):
            for parameter in part.second[1].parameters():
                nn.init.zeros_(parameter)
        if isinstance(part, Gate):
            nn.init.zeros_(part.score.weight)
