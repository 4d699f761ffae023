"""One prepared case before the network of one fold: passes of tiles with gradients, and what they give on the whole grid."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from autoseg.base.runtime import Runtime
from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoded import ConditionBatch
from autoseg.datasets.case import PreparedCase
from autoseg.grids.geometry import triple
from autoseg.nn.model import Model, available
from autoseg.prediction.models import FoldModel
from autoseg.prediction.tiles import Tile, Tiling, cover
from autoseg.prediction.window import Given, TileNetwork, tiles_at_once
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan

# A backward pass keeps the features of every layer, some twenty times what a forward pass holds.
_LARGER_WITH_GRADIENTS = 16


@dataclass(frozen=True)
class Subject:
    """A case and the network that is explained on it; everything lies on the prepared grid, padded to whole tiles.

    `image_CDHW` holds the channels of the plan (float32, on the CPU), `absent_CDHW` what is outside of their fields of view
    (float32, 0 or 1) or nothing. Gradients are computed in single precision, whatever prediction uses.
    """

    model: Model
    image_CDHW: torch.Tensor
    absent_CDHW: torch.Tensor
    present_C: np.ndarray
    conditions: ConditionBatch | None
    tiling: Tiling
    configuration: Configuration
    labels: LabelSpec
    runtime: Runtime

    @property
    def n_channels(self) -> int:
        return len(self.image_CDHW)

    @property
    def network(self) -> TileNetwork:
        """The network as the sliding window calls it."""
        device = self.runtime.device
        present = torch.as_tensor(self.present_C, device=device)[None]
        conditions = None if self.conditions is None else self.conditions.to(device)
        return TileNetwork([self.model], self.runtime, self.configuration.dimensions,
                           Given(present, [conditions], len(self.absent_CDHW)))

    def with_image(self, image_CDHW: torch.Tensor) -> "Subject":
        """The same case with another image (padded)."""
        return replace(self, image_CDHW=image_CDHW)

    def with_model(self, model: Model) -> "Subject":
        return replace(self, model=model)

    def padded(self, array_CDHW: torch.Tensor) -> torch.Tensor:
        return self.tiling.padded(array_CDHW)

    def unpadded(self, array_CDHW: torch.Tensor) -> torch.Tensor:
        return self.tiling.unpadded(array_CDHW)

    def reached(self, mask_DHW: torch.Tensor) -> list[Tile]:
        """The tiles that hold a voxel of a mask (bool, padded): no other tile has a part in its logits."""
        return [tile for tile in self.tiling if bool(mask_DHW[tile.window].any())]

    def field(self, mask_DHW: torch.Tensor) -> tuple[slice, slice, slice]:
        """The box of the tiles that hold a voxel of a mask (bool, padded), without padding: nothing beyond it has an
        influence on the logits there.
        """
        tiles = self.reached(mask_DHW)
        return triple(slice(max(0, min(tile.window[axis].start for tile in tiles) - before),
                            min(n, max(tile.window[axis].stop for tile in tiles) - before))
                      for axis, (n, (before, _)) in enumerate(zip(self.tiling.shape, self.tiling.padding, strict=True)))


@dataclass(frozen=True)
class Batch:
    """Some tiles, their images and what is absent in them, on the device."""

    tiles: Sequence[Tile]
    image_BCDHW: torch.Tensor
    absent_BCDHW: torch.Tensor

    def cut(self, array_CDHW: torch.Tensor) -> torch.Tensor:
        """What these tiles hold of an array (C, D, H, W; padded), times their weights: (B, C, d, h, w)."""
        device = self.image_BCDHW.device
        return torch.stack([array_CDHW[(slice(None), *tile.window)].to(device) * tile.weight_DHW(device)
                            for tile in self.tiles])


def subject_of(fold: FoldModel, prepared: PreparedCase, conditions: CaseConditions, planned: tuple[Plan, Configuration],
               runtime: Runtime) -> Subject:
    """A case before the network of a fold."""
    plan, configuration = planned
    image = torch.as_tensor(np.asarray(prepared.image_CDHW[:], np.float32))
    absent = torch.zeros((0, *image.shape[1:]))
    if prepared.absent_CDHW is not None:
        absent = torch.as_tensor(np.asarray(prepared.absent_CDHW[:], np.float32))
    tiling = cover(image.shape[1:], configuration.patch)
    return Subject(fold.model, tiling.padded(image), tiling.padded(absent), np.asarray(prepared.present_C, bool),
                   fold.encoded(conditions), tiling, configuration, plan.labels,
                   replace(runtime, dtype=torch.float32))


def batches(subject: Subject, tiles: Sequence[Tile], *, gradients: bool) -> Iterator[Batch]:
    """The tiles, as many at a time as the device computes at once."""
    at_once = tiles_at_once(subject.tiling.size, subject.runtime.device)
    at_once = max(1, at_once // _LARGER_WITH_GRADIENTS) if gradients else at_once
    device = subject.runtime.device
    for start in range(0, len(tiles), at_once):
        some = tiles[start:start + at_once]
        image, absent = (torch.stack([array[(slice(None), *tile.window)] for tile in some]).to(device)
                         for array in (subject.image_CDHW, subject.absent_CDHW))
        yield Batch(some, image.requires_grad_(gradients), absent)


def logits_of(subject: Subject, batch: Batch) -> torch.Tensor:
    """Logits (B, K, d, h, w) of a batch."""
    tiles = torch.cat([batch.image_BCDHW, batch.absent_BCDHW], 1) if len(subject.absent_CDHW) else batch.image_BCDHW
    return subject.network(tiles, [()] * len(batch.tiles))


def fused_of(subject: Subject, batch: Batch) -> torch.Tensor:
    """What the network behind the fusion is given of a batch; of a 2D configuration without the axis of slices."""
    image, present, absent = seen_by_fusion(subject, batch)
    return subject.model.fused(image, present, absent)


def seen_by_fusion(subject: Subject, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """The image (B, C, *space) of a batch, which channels are present (B, C), and what is absent in them."""
    image, absent = batch.image_BCDHW, batch.absent_BCDHW > 0
    if subject.configuration.dimensions == 2:
        image, absent = image[:, :, 0], absent[:, :, 0]
    present = torch.as_tensor(subject.present_C, device=image.device).expand(len(image), -1)
    image = subject.runtime.arranged(image, subject.configuration.dimensions)
    return image, present, absent if absent.shape[1] else None


def readable(subject: Subject, batch: Batch) -> torch.Tensor | None:
    """What a fusion may read of a batch, as `autoseg.nn.fusion` wants it."""
    image, present, absent = seen_by_fusion(subject, batch)
    return available(present, absent, image.ndim)


def stitched(subject: Subject, n: int, parts: Iterable[tuple[Tile, torch.Tensor]], *, weighted: bool = True
             ) -> torch.Tensor:
    """The sum (n, D, H, W; padded, on the CPU) of what tiles give (n, d, h, w), times their weights unless it has them."""
    total = torch.zeros(n, *subject.tiling.padded_shape)
    for tile, part in parts:
        total[(slice(None), *tile.window)] += (part * tile.weight_DHW(part.device) if weighted else part).detach().cpu()
    return total


def stitched_logits(subject: Subject, tiles: Sequence[Tile]) -> torch.Tensor:
    """The logits (K, D, H, W; padded) that these tiles give; whole wherever no other tile has a part."""
    def parts() -> Iterator[tuple[Tile, torch.Tensor]]:
        for batch in batches(subject, tiles, gradients=False):
            yield from zip(batch.tiles, logits_of(subject, batch), strict=True)

    with torch.no_grad():
        return stitched(subject, subject.labels.n_heads, parts())


def fill_of(model: Model) -> torch.Tensor:
    """What the model's fusion puts in place of each absent channel (C,), in the units of a normalised image; 0 where it
    learned nothing of the kind.
    """
    for name, parameter in model.named_parameters():
        words = name.split(".")
        if words[0] == "fusion" and words[-1] == "fill" and parameter.numel() == model.n_channels:
            return parameter.detach().float().cpu()
    return torch.zeros(model.n_channels)
