"""What a training step receives."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from planners.schema.labels import LabelSpec


@dataclass(frozen=True)
class Batch:
    """Samples on one device. A 2D configuration has no D axis: (B, C, H, W) and (B, H, W).

    `image_BCDHW` is float; after the plan's channels a cascade has one binary channel a foreground name, made of the
    earlier prediction. `label_BDHW` (int16) holds label values as files do. `present_BC` is False where a case lacks a
    channel of the plan; the voxels of such a channel mean nothing. Neither do those where `absent_BCDHW` (of the plan's
    channels) is True, outside a channel's field of view. `annotated_BK` is False where nobody annotated a foreground name.
    """

    image_BCDHW: torch.Tensor
    label_BDHW: torch.Tensor
    present_BC: torch.Tensor
    conditions: Mapping[str, torch.Tensor] | None = None
    absent_BCDHW: torch.Tensor | None = None  # bool; None: nowhere
    annotated_BK: torch.Tensor | None = None  # bool; None: all were

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on another device; copies from pinned memory do not wait."""
        def moved(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        conditions = self.conditions and {name: moved(value) for name, value in self.conditions.items()}
        return replace(self, image_BCDHW=moved(self.image_BCDHW), label_BDHW=moved(self.label_BDHW),
                       present_BC=moved(self.present_BC), conditions=conditions, absent_BCDHW=moved(self.absent_BCDHW),
                       annotated_BK=moved(self.annotated_BK))

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory of a batch that was made on another stream until this one has used it."""
        known = () if self.conditions is None else self.conditions.values()
        for tensor in (self.image_BCDHW, self.label_BDHW, self.present_BC, self.absent_BCDHW, self.annotated_BK, *known):
            if tensor is not None:
                tensor.record_stream(stream)

    def part(self, number: int, n: int) -> "Batch":
        """The samples of one of `n` equal parts, numbered from 0; a view."""
        size = len(self.image_BCDHW) // n
        chosen = slice(number * size, (number + 1) * size)

        def cut(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor[chosen]

        conditions = self.conditions and {name: value[chosen] for name, value in self.conditions.items()}
        return replace(self, image_BCDHW=cut(self.image_BCDHW), label_BDHW=cut(self.label_BDHW),
                       present_BC=cut(self.present_BC), conditions=conditions, absent_BCDHW=cut(self.absent_BCDHW),
                       annotated_BK=cut(self.annotated_BK))


def padding_label(labels: LabelSpec) -> int:
    """The label of voxels outside the image: background, or the ignore label where the dataset has one.

    nnU-Net trains background there in both cases. With an ignore label only annotated voxels may teach; these can be
    few, and padding, which nobody annotated, would outweigh them.
    """
    return 0 if labels.ignore is None else labels.ignore
