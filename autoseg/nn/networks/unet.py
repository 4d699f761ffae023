"""U-Nets with a plain or a residual encoder (Ronneberger et al. 2015; Isensee et al. 2021 and 2024)."""

import torch
from torch import nn

from autoseg.base.errors import UserError
from autoseg.nn.networks import NETWORKS
from autoseg.nn.networks.blocks import TRANSPOSED, ConvBlock, ResidualBlock, convolution, initialize, upsampled, voxelwise
from planners.schema.plan import Topology


class Decoder(nn.Module):
    """Upsample by a transposed convolution, join the skip, convolve; logits at every stage."""

    def __init__(self, topology: Topology, n_outputs: int):
        super().__init__()
        features, kernels, strides = topology.features, topology.kernel_sizes, topology.strides
        n = len(kernels[0])
        if len(features) < 2:
            raise UserError("a U-Net of a single stage decides nothing", expected="a topology of two stages or more",
                            do="images of fewer than 8 voxels along every axis are too small to train on")
        self.ups, self.stages, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for s in range(len(features) - 2, -1, -1):  # from the stage above the bottleneck to full resolution
            self.ups.append(TRANSPOSED[n](features[s + 1], features[s], strides[s + 1], strides[s + 1]))
            blocks = [ConvBlock(features[s] * (2 if i == 0 else 1), features[s], kernels[s])
                      for i in range(topology.convs_decoder[len(features) - 2 - s])]
            self.stages.append(nn.Sequential(*blocks))
            self.heads.append(convolution(features[s], n_outputs, [1] * n, [1] * n))

    def forward(self, features: list[torch.Tensor], every_stage: bool) -> list[torch.Tensor]:
        x = features[-1]
        logits = []
        for i, skip in enumerate(reversed(features[:-1])):
            x = self.stages[i](torch.cat([upsampled(self.ups[i], x), skip], dim=1))
            if every_stage or i == len(self.stages) - 1:
                logits.append(voxelwise(self.heads[i], x))
        return logits[::-1]


class PlainUNet(nn.Module):
    """Stages of convolution blocks, the first of each stage strided."""

    def __init__(self, topology: Topology, n_inputs: int, n_outputs: int):
        super().__init__()
        self.bottleneck_channels = topology.features[-1]
        self.encoder = _stages(ConvBlock, topology, n_inputs)
        self.decoder = Decoder(topology, n_outputs)
        initialize(self)

    @property
    def logit_layers(self) -> nn.ModuleList:
        return self.decoder.heads

    def encode(self, image_BCDHW: torch.Tensor) -> list[torch.Tensor]:
        return _run_stages(self.encoder, image_BCDHW)

    def decode(self, features: list[torch.Tensor], every_stage: bool) -> list[torch.Tensor]:
        return self.decoder(features, every_stage)


class ResidualUNet(nn.Module):
    """A stem, then stages of residual blocks, the first of each stage strided; the decoder stays plain."""

    def __init__(self, topology: Topology, n_inputs: int, n_outputs: int):
        super().__init__()
        self.bottleneck_channels = topology.features[-1]
        self.stem = ConvBlock(n_inputs, topology.features[0], topology.kernel_sizes[0])
        self.encoder = _stages(ResidualBlock, topology, topology.features[0])
        self.decoder = Decoder(topology, n_outputs)
        initialize(self)

    @property
    def logit_layers(self) -> nn.ModuleList:
        return self.decoder.heads

    def encode(self, image_BCDHW: torch.Tensor) -> list[torch.Tensor]:
        return _run_stages(self.encoder, self.stem(image_BCDHW))

    def decode(self, features: list[torch.Tensor], every_stage: bool) -> list[torch.Tensor]:
        return self.decoder(features, every_stage)


def _stages(block: type[nn.Module], topology: Topology, c_in: int) -> nn.ModuleList:
    """The encoder's stages; the first block of each changes resolution and channels."""
    stages = nn.ModuleList()
    for c_out, kernel, stride, blocks in zip(topology.features, topology.kernel_sizes, topology.strides,
                                             topology.blocks_encoder, strict=True):
        first = block(c_in, c_out, kernel, stride)
        stages.append(nn.Sequential(first, *(block(c_out, c_out, kernel) for _ in range(blocks - 1))))
        c_in = c_out
    return stages


def _run_stages(stages: nn.ModuleList, x: torch.Tensor) -> list[torch.Tensor]:
    features = []
    for stage in stages:
        x = stage(x)
        features.append(x)
    return features


NETWORKS.register("plain_unet")(PlainUNet)
NETWORKS.register("residual_unet")(ResidualUNet)
