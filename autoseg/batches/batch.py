"""What a training step receives."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from autoseg.clinical.encoded import ConditionBatch
from planners.schema.labels import LabelSpec


@dataclass(frozen=True)
class Batch:
    """Samples on one device. A 2D configuration has no D axis: (B, C, H, W) and (B, H, W).

    `image_BCDHW` is float; after the plan's channels a cascade has one binary channel per foreground name, made of the
    earlier prediction. `label_BDHW` (int16) holds label values as files do. `present_BC` is False where a case lacks a
    channel of the plan; the voxels of such a channel mean nothing. Neither do those where `absent_BCDHW` (of the plan's
    channels) is True, outside a channel's field of view. `annotated_BK` is False where nobody annotated a foreground name.
    """

    image_BCDHW: torch.Tensor
    label_BDHW: torch.Tensor
    present_BC: torch.Tensor
    conditions: ConditionBatch | None = None
    absent_BCDHW: torch.Tensor | None = None  # bool; None: nowhere
    annotated_BK: torch.Tensor | None = None  # bool; None: all were
    target_BCDHW: torch.Tensor | None = None  # the image to restore, where a network is trained without labels
    counted_BCDHW: torch.Tensor | None = None  # bool: the voxels of the target in which the answer counts
    views: tuple[int, ...] | None = None  # the number of each sample's view of its case; None: not counted

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on another device; copies from pinned memory do not wait."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory of a batch that was made on another stream until this one has used it."""
        conditions = () if self.conditions is None else self.conditions.tensors()
        for tensor in (self.image_BCDHW, self.label_BDHW, self.present_BC, self.absent_BCDHW, self.annotated_BK,
                       self.target_BCDHW, self.counted_BCDHW, *conditions):
            if tensor is not None:
                tensor.record_stream(stream)

    def part(self, number: int, n: int) -> "Batch":
        """The samples of one of `n` equal parts, numbered from 0; a view."""
        size = len(self.image_BCDHW) // n
        mine = slice(number * size, (number + 1) * size)
        views = None if self.views is None else self.views[mine]
        return replace(self.map(lambda tensor: tensor[mine]), views=views)

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        """The batch with every tensor changed, its samples in the same number and order."""
        def changed(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else change(tensor)

        return Batch(change(self.image_BCDHW), change(self.label_BDHW), change(self.present_BC),
                     conditions=None if self.conditions is None else self.conditions.map(change),
                     absent_BCDHW=changed(self.absent_BCDHW), annotated_BK=changed(self.annotated_BK),
                     target_BCDHW=changed(self.target_BCDHW), counted_BCDHW=changed(self.counted_BCDHW),
                     views=self.views)


def padding_label(labels: LabelSpec) -> int:
    """The label of voxels outside the image: background, or the ignore label where the dataset has one.

    nnU-Net trains background there in both cases. With an ignore label only annotated voxels may teach; these can be
    few, and padding, which nobody annotated, would outweigh them.
    """
    return 0 if labels.ignore is None else labels.ignore
