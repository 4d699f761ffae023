"""U-Nets of plain, residual, Ghost and MedNeXt blocks (Ronneberger et al. 2015; Isensee et al. 2021 and 2024; `ghost.py`,
`mednext.py`), with plain or gated skips (Oktay et al. 2018).
"""

import functools
from collections.abc import Callable
from typing import cast

import torch
from torch import nn

from autoseg.base.errors import UserError
from autoseg.nn.networks import NETWORKS, NetworkContext
from autoseg.nn.networks.blocks import (
    TRANSPOSED,
    ConvBlock,
    Convolution,
    Gate,
    ResidualBlock,
    Transposed,
    convolution,
    initialize,
    upsampled,
    voxelwise,
)
from autoseg.nn.networks.ghost import GhostBlock
from autoseg.nn.networks.mednext import MedNeXtBlock
from planners.architectures.unet import UNet as Architecture
from planners.registry import NoOptions


def _block(shape: Architecture, *, decoder: bool = False) -> Callable[..., nn.Module]:
    """What makes a block of the encoder or the decoder; that of a residual U-Net is plain."""
    blocks: dict[str, Callable[..., nn.Module]] = {
        "plain": ConvBlock, "residual": ConvBlock if decoder else ResidualBlock, "ghost": GhostBlock,
        "mednext": functools.partial(MedNeXtBlock, expansion=shape.expansion)}
    return blocks[shape.block]


class Decoder(nn.Module):
    """Upsample by a transposed convolution, join the skip, convolve; logits at every stage."""

    def __init__(self, shape: Architecture, n_outputs: int):
        super().__init__()
        features, kernels, strides = shape.features, shape.kernel_sizes, shape.strides
        n = len(kernels[0])
        if len(features) < 2:
            raise UserError("a U-Net of a single stage decides nothing", expected="an architecture of two stages or more",
                            do="images of fewer than 8 voxels along every axis are too small to train on")
        self.ups, self.stages, self.heads, self.gates = (nn.ModuleList() for _ in range(4))
        block = _block(shape, decoder=True)
        for s in range(len(features) - 2, -1, -1):  # from the stage above the bottleneck to full resolution
            self.ups.append(TRANSPOSED[n](features[s + 1], features[s], strides[s + 1], strides[s + 1]))
            blocks = [block(features[s] * (2 if i == 0 else 1), features[s], kernels[s])
                      for i in range(shape.convs_decoder[len(features) - 2 - s])]
            self.stages.append(nn.Sequential(*blocks))
            self.heads.append(convolution(features[s], n_outputs, [1] * n, [1] * n))
            if shape.skip == "gated":
                self.gates.append(Gate(features[s], features[s + 1], strides[s + 1]))

    def forward(self, features: list[torch.Tensor], every_stage: bool) -> list[torch.Tensor]:
        x = features[-1]
        logits: list[torch.Tensor] = []
        for i, skip in enumerate(reversed(features[:-1])):
            skip = self.gates[i](skip, x) if len(self.gates) > 0 else skip
            x = self.stages[i](torch.cat([upsampled(cast(Transposed, self.ups[i]), x), skip], dim=1))
            if every_stage or i == len(self.stages) - 1:
                logits.append(voxelwise(cast(Convolution, self.heads[i]), x))
        return logits[::-1]


@NETWORKS.register("unet", costs_as_planned=True, architecture="unet")
class UNet(nn.Module):
    """Stages of blocks, the first of each stage strided; residual and MedNeXt blocks follow a stem."""

    def __init__(self, options: NoOptions, context: NetworkContext):
        super().__init__()
        shape, c_in = context.shaped(Architecture), context.n_inputs
        self.stem: nn.Module = nn.Identity()
        if shape.block == "residual":
            self.stem = ConvBlock(c_in, shape.features[0], shape.kernel_sizes[0])
        if shape.block == "mednext":
            self.stem = convolution(c_in, shape.features[0], [1] * shape.dimensions, [1] * shape.dimensions)
        if not isinstance(self.stem, nn.Identity):
            c_in = shape.features[0]
        self.encoder = _stages(_block(shape), shape, c_in)
        self.decoder = Decoder(shape, context.n_outputs)
        initialize(self)

    @property
    def logit_layers(self) -> nn.ModuleList:
        return self.decoder.heads

    def encode(self, image_BCDHW: torch.Tensor) -> list[torch.Tensor]:
        x, features = self.stem(image_BCDHW), []
        for stage in self.encoder:
            x = stage(x)
            features.append(x)
        return features

    def decode(self, features: list[torch.Tensor], every_stage: bool) -> list[torch.Tensor]:
        return self.decoder(features, every_stage)


def _stages(block: Callable[..., nn.Module], shape: Architecture, c_in: int) -> nn.ModuleList:
    """The encoder's stages; the first block of each changes resolution and channels."""
    stages = nn.ModuleList()
    for c_out, kernel, stride, blocks in zip(shape.features, shape.kernel_sizes, shape.strides,
                                             shape.blocks_encoder, strict=True):
        first = block(c_in, c_out, kernel, stride)
        stages.append(nn.Sequential(first, *(block(c_out, c_out, kernel) for _ in range(blocks - 1))))
        c_in = c_out
    return stages
