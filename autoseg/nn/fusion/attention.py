"""Fusion by attention among the channels of a voxel; between voxels nothing is exchanged."""

from collections.abc import Sequence

import torch
from pydantic import Field, model_validator
from torch import nn

from autoseg.nn.fusion import FUSIONS, FusionContext
from autoseg.nn.fusion.masking import masked_mean, or_empty, recomputed, usable
from autoseg.nn.fusion.stem import SharedStem
from planners.schema.base import Frozen

# Voxels whose scores are held at a time: what a core's cache holds; on other devices, what keeps them busy.
_VOXELS_AT_ONCE = {"cpu": 2**13}
_VOXELS_AT_ONCE_ELSEWHERE = 2**18


class AttentionOptions(Frozen):
    """`features` of every channel, which are also the outputs, shared out among `heads`.

    `chunk` is the number of voxels whose scores are held at a time; None: by the device. It changes no result.
    """

    features: int = Field(default=8, gt=0)
    heads: int = Field(default=2, gt=0)
    chunk: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> "AttentionOptions":
        if self.features % self.heads:
            raise ValueError(f"{self.heads} heads cannot share {self.features} features evenly")
        return self


@FUSIONS.register("attention", AttentionOptions)
class Attention(nn.Module):
    """(B, C, *space) -> (B, F, *space): masked mean + gate * attention, which the gate, zero at first, leaves out.

    The tokens are the C channels of one voxel, the keys those available (Vaswani et al. 2017). What comes out is the mean
    over the available queries; the keys' weights are averaged, which is the same and costs less. Voxels go through in chunks
    whose scores the backward pass computes anew: what a voxel needs in memory are its features, not C x C scores.
    """

    def __init__(self, options: AttentionOptions, context: FusionContext):
        super().__init__()
        features = self.n_outputs = options.features
        self.heads, self.chunk = options.heads, options.chunk
        self.stem = SharedStem(context.n_channels, context.dimensions, features)
        self.to_qkv = nn.Conv1d(features, 3 * features, 1)
        self.project = nn.Conv1d(features, features, 1)
        self.gate = nn.Parameter(torch.zeros(features))
        self.empty = nn.Parameter(torch.zeros(features))

    def forward(self, image_BCDHW: torch.Tensor, available: torch.Tensor | None) -> torch.Tensor:
        features_BCFN = self.stem(image_BCDHW, available).flatten(3)
        size = self.chunk or _VOXELS_AT_ONCE.get(image_BCDHW.device.type, _VOXELS_AT_ONCE_ELSEWHERE)
        chunks = features_BCFN.split(size, dim=-1)
        masks: Sequence[torch.Tensor | None]
        if available is None:
            masks = [None] * len(chunks)
        else:
            mask_BCN = available.flatten(2)
            masks = mask_BCN.split(size, dim=-1) if mask_BCN.shape[-1] > 1 else [mask_BCN] * len(chunks)
        fused = torch.cat([recomputed(self._fuse, *pair) for pair in zip(chunks, masks, strict=True)], -1)
        return or_empty(fused.unflatten(-1, image_BCDHW.shape[2:]), available, self.empty)

    def attention_maps(self, image_BCDHW: torch.Tensor, available: torch.Tensor | None) -> torch.Tensor:
        """(B, C, *space): how much of what attention gives a voxel comes from each channel, the mean over heads; the sum
        over channels is 1.
        """
        features_BCFN = self.stem(image_BCDHW, available).flatten(3)
        mask = None if available is None else available.flatten(2).unsqueeze(2)
        weights_BCHN, _ = self._attend(features_BCFN, mask)
        return weights_BCHN.mean(2).unflatten(-1, image_BCDHW.shape[2:])

    def _fuse(self, features_BCFN: torch.Tensor, available_BCN: torch.Tensor | None) -> torch.Tensor:
        """(B, C, F, N) -> (B, F, N); `available_BCN` may have one voxel for all."""
        mask = None if available_BCN is None else available_BCN.unsqueeze(2)
        mean = masked_mean(features_BCFN, mask)
        weights, v = self._attend(features_BCFN, mask)
        attended = (weights.unsqueeze(3) * v).sum(1).flatten(1, 2)
        return mean + self.gate.to(mean.dtype)[:, None] * self.project(attended)

    def _attend(self, features_BCFN: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The weight (B, C, heads, N) of each channel, and the values (B, C, heads, F', N)."""
        qkv = self.to_qkv(features_BCFN.flatten(0, 1)).unflatten(0, features_BCFN.shape[:2])
        q, k, v = (part.unflatten(2, (self.heads, -1)) for part in qkv.chunk(3, dim=2))  # each (B, C, heads, F', N)
        scores = (q.unsqueeze(2) * k.unsqueeze(1)).sum(4) * q.shape[3] ** -0.5  # (B, query, key, heads, N)
        if mask is not None:
            scores = torch.where(usable(mask).unsqueeze(1), scores, -torch.inf)
        return masked_mean(torch.softmax(scores, dim=2), None if mask is None else mask.unsqueeze(2)), v
