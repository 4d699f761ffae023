"""What attention says: of channels (fusion), of columns (conditioning by tokens), of places (transformers).

It is qualitative. A weight says what was read, not what decided (Jain and Wallace 2019): what is read may be cancelled by
what follows, and what is not read at one layer may come by another.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F

from autoseg.clinical.encoded import ConditionBatch
from autoseg.explain.subject import Subject, batches, fused_of, readable, seen_by_fusion, stitched
from autoseg.explain.target import Target, padded_mask
from autoseg.nn.networks import Network
from autoseg.prediction.tiles import Tile
from autoseg.prediction.window import repeated
from planners.architectures.vit import ViT as ViTShape


@runtime_checkable
class FusesByAttention(Protocol):
    """A fusion that says how it weighs channels: (B, C, *space), the sum over channels is 1."""

    def attention_maps(self, image_BCDHW: torch.Tensor, available: torch.Tensor | None) -> torch.Tensor: ...


@runtime_checkable
class ReadsByAttention(Protocol):
    """A conditioner that says what places read: (B, 1 + inputs, *places), first of nothing, then of each input."""

    def attention_maps(self, bottleneck: torch.Tensor, conditions: ConditionBatch) -> torch.Tensor: ...


@runtime_checkable
class Attends(Protocol):
    """A network of tokens that gives the scores (B, heads, N, N) of one layer after the other."""

    def attention_maps(self, image_BCDHW: torch.Tensor) -> Iterator[torch.Tensor]: ...


def fusion_attention(subject: Subject) -> torch.Tensor | None:
    """The weight of each channel (C, D, H, W; padded); None where channels are not fused by attention."""
    fusion = subject.model.fusion
    if not isinstance(fusion, FusesByAttention):
        return None

    def parts() -> Iterator[tuple[Tile, torch.Tensor]]:
        for batch in batches(subject, list(subject.tiling), gradients=False):
            maps = fusion.attention_maps(seen_by_fusion(subject, batch)[0], readable(subject, batch))
            yield from zip(batch.tiles, _deep(maps, subject), strict=True)

    with torch.no_grad():
        return stitched(subject, subject.n_channels, parts())


def tokens_attention(subject: Subject, n_inputs: int) -> torch.Tensor | None:
    """What each place reads of nothing and of each input (1 + n_inputs, D, H, W; padded), the mean over heads and layers;
    None where the model does not read conditions by attention.
    """
    conditioning, conditions = subject.model.conditioning, subject.conditions
    if not isinstance(conditioning, ReadsByAttention) or conditions is None or not n_inputs:
        return None
    known = conditions.to(subject.runtime.device)

    def parts() -> Iterator[tuple[Tile, torch.Tensor]]:
        for batch in batches(subject, list(subject.tiling), gradients=False):
            bottleneck = subject.model.network.encode(fused_of(subject, batch))[-1]
            maps = conditioning.attention_maps(bottleneck, repeated(known, len(batch.tiles)))
            yield from zip(batch.tiles, _deep(F.interpolate(maps, size=_space(batch.image_BCDHW, subject)), subject),
                           strict=True)

    with torch.no_grad():
        return stitched(subject, 1 + n_inputs, parts())


def rolls_out(network: Network) -> bool:
    """Whether attention rollout has a meaning: for transformers alone."""
    return isinstance(network, Attends)


def rollout(subject: Subject, target: Target) -> torch.Tensor:
    """Attention rollout (Abnar and Zuidema 2020) of a target's tokens (1, D, H, W; padded): the mean over the tokens of the
    target of the rows of the product of 0.5 A + 0.5 I over all layers, where A is the mean over heads.
    """
    network, shape, mask = subject.model.network, subject.configuration.architecture, padded_mask(subject, target)
    if not isinstance(network, Attends) or not isinstance(shape, ViTShape):
        raise ValueError("rollout is of transformers alone")
    mask_1DHW = mask[None].float() / mask.sum()

    def parts() -> Iterator[tuple[Tile, torch.Tensor]]:
        for batch in batches(subject, subject.reached(mask), gradients=False):
            fused = fused_of(subject, batch)
            share = batch.cut(mask_1DHW)
            space = _space(batch.image_BCDHW, subject)
            share = share.view(len(share), 1, *space)
            grid = [n // edge for n, edge in zip(space, shape.token, strict=True)]
            rows_B1N = _tokens(share, shape.token).flatten(2)
            for scores_BHNN in reversed([scores.mean(1) for scores in network.attention_maps(fused)]):
                rows_B1N = 0.5 * rows_B1N @ scores_BHNN + 0.5 * rows_B1N
            maps = F.interpolate(rows_B1N.unflatten(2, grid), size=space)
            yield from zip(batch.tiles, _deep(maps, subject), strict=True)

    with torch.no_grad():
        return stitched(subject, 1, parts())


def _tokens(share: torch.Tensor, token: tuple[int, ...]) -> torch.Tensor:
    """The sum over the voxels of each token."""
    pool = F.avg_pool2d if len(token) == 2 else F.avg_pool3d
    return pool(share, token) * float(torch.Size(token).numel())


def _space(image_BCDHW: torch.Tensor, subject: Subject) -> tuple[int, ...]:
    return tuple(image_BCDHW.shape[3 if subject.configuration.dimensions == 2 else 2:])


def _deep(maps: torch.Tensor, subject: Subject) -> torch.Tensor:
    """(B, C, d, h, w) of maps that may lack the axis of slices."""
    return maps[:, :, None] if subject.configuration.dimensions == 2 else maps
