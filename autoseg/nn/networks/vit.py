"""Vision transformers for segmentation: Primus and a flat baseline (Wald et al. 2025; Dosovitskiy et al. 2020)."""

from collections.abc import Iterator
from typing import cast

import torch
from torch import nn

from autoseg.base.errors import UserError
from autoseg.nn.networks import NETWORKS, NetworkContext
from autoseg.nn.networks.blocks import (
    CONV,
    TRANSPOSED,
    ConvBlock,
    Transposed,
    convolution,
    initialize,
    upsampled,
    voxelwise,
)
from autoseg.nn.networks.transformer import DropPath, Layer, turns_of
from planners.architectures.vit import ViT as Shape
from planners.registry import NoOptions


@NETWORKS.register("vit", costs_as_planned=True, architecture="vit")
class ViT(nn.Module):
    """Tokens of the image, layers of attention, and a light convolutional decoder.

    The only feature map is that of the tokens. Logits are given at full resolution alone: without deep supervision.
    """

    def __init__(self, options: NoOptions, context: NetworkContext):
        super().__init__()
        shape = context.shaped(Shape)
        self.token, self.head_width = shape.token, shape.width // shape.heads
        self.embed = CONV[shape.dimensions](context.n_inputs, shape.width, shape.token, shape.token)
        self.layers = nn.ModuleList(Layer(shape.width, shape.hidden, shape.heads, shape.layer_scale)
                                    for _ in range(shape.depth))
        self.drop_path = DropPath(shape.depth, shape.drop_path)
        self.norm = nn.LayerNorm(shape.width)
        self.decoder = Decoder(shape, context.n_outputs)
        initialize(self)
        for part in self.layers.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    @property
    def logit_layers(self) -> list[nn.Module]:
        return [self.decoder.head]

    def encode(self, image_BCDHW: torch.Tensor) -> list[torch.Tensor]:
        x_BNW, turns_2NP, grid = self._tokens(image_BCDHW)
        kept = self.drop_path(len(x_BNW)) if self.training else [None] * len(self.layers)
        for layer, kept_2B in zip(self.layers, kept, strict=True):
            x_BNW = layer(x_BNW, turns_2NP, kept_2B)
        return [self.norm(x_BNW).transpose(1, 2).unflatten(2, grid)]

    def decode(self, features: list[torch.Tensor], every_stage: bool) -> list[torch.Tensor]:
        return [self.decoder(features[-1])]

    def attention_maps(self, image_BCDHW: torch.Tensor) -> Iterator[torch.Tensor]:
        """The scores (B, heads, N, N) of one layer after the other (`Attention.scores`); tokens are numbered as the voxels
        of an array.
        """
        x_BNW, turns_2NP, _ = self._tokens(image_BCDHW)
        for layer in map(lambda part: cast(Layer, part), self.layers):
            yield layer.attention.scores(layer.norm_attention(x_BNW), turns_2NP)
            x_BNW = layer(x_BNW, turns_2NP, None)

    def _tokens(self, image_BCDHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...]]:
        """The tokens (B, N, W), their turns, and how many lie along each axis."""
        space = tuple(image_BCDHW.shape[2:])
        if any(n % edge for n, edge in zip(space, self.token, strict=True)):
            raise UserError("a patch cannot be divided into tokens", found=f"{list(space)} voxels",
                            expected=f"multiples of {list(self.token)}", do="choose such a patch: --set patch=[...]")
        embedded = self.embed(image_BCDHW)
        grid = tuple(embedded.shape[2:])
        return embedded.flatten(2).transpose(1, 2), turns_of(grid, self.head_width, embedded.device), grid


class Decoder(nn.Module):
    """Upsample by transposed convolutions, each followed by a convolution that smooths the borders of tokens."""

    def __init__(self, shape: Shape, n_outputs: int):
        super().__init__()
        self.ups, self.stages, below = nn.ModuleList(), nn.ModuleList(), shape.width
        for stride, width in zip(shape.strides, shape.decoder, strict=True):
            self.ups.append(TRANSPOSED[len(stride)](below, width, stride, stride))
            self.stages.append(ConvBlock(width, width, [2 * s - 1 for s in stride]))
            below = width
        self.head = convolution(below, n_outputs, [1] * shape.dimensions, [1] * shape.dimensions)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for up, stage in zip(self.ups, self.stages, strict=True):
            x = stage(upsampled(cast(Transposed, up), x))
        return voxelwise(self.head, x)
