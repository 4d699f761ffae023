"""What a training step receives."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from planners.fingerprint import LabelSpec


@dataclass(frozen=True)
class Batch:
    """Samples on one device. A 2D configuration has no D axis: (B, C, H, W) and (B, H, W).

    `image_BCDHW` is float; after the plan's channels a cascade has one binary channel a foreground name, made of the
    earlier prediction. `label_BDHW` (int16) holds label values as files do. `present_BC` is False where a case lacks a
    channel of the plan; the voxels of such a channel mean nothing.
    """

    image_BCDHW: torch.Tensor
    label_BDHW: torch.Tensor
    present_BC: torch.Tensor
    conditions: Mapping[str, torch.Tensor] | None = None

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on another device; copies from pinned memory do not wait."""
        conditions = self.conditions and {k: v.to(device, non_blocking=True) for k, v in self.conditions.items()}
        return replace(self, image_BCDHW=self.image_BCDHW.to(device, non_blocking=True),
                       label_BDHW=self.label_BDHW.to(device, non_blocking=True),
                       present_BC=self.present_BC.to(device, non_blocking=True), conditions=conditions)


def padding_label(labels: LabelSpec) -> int:
    """The label of voxels outside the image: background, or the ignore label where the dataset has one.

    nnU-Net trains background there in both cases. With an ignore label only annotated voxels may teach; these can be
    few, and padding, which nobody annotated, would outweigh them.
    """
    return 0 if labels.ignore is None else labels.ignore
