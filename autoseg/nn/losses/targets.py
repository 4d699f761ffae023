"""Label maps as files hold them -> the targets that losses compare with, at every resolution."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from planners.schema.labels import LabelSpec


@dataclass(frozen=True)
class Targets:
    """One-hot truth (B, K, *space) bool, one channel per head, and which voxels count (B, 1, *space) bool; None: all.

    With plain labels the channels exclude each other and the first is background; regions may overlap. `annotated_BK` is
    False where nobody annotated a head in a sample, background left out; None: all were. The truth of such a head is
    unknown, whatever its channel holds; among plain labels it may be where the truth is background.
    """

    truth_BKDHW: torch.Tensor
    counted_B1DHW: torch.Tensor | None
    annotated_BK: torch.Tensor | None = None


class TargetEncoder:
    """Looks label values up in a table of the heads that they switch on."""

    def __init__(self, labels: LabelSpec, device: torch.device | str = "cpu"):
        names = labels.heads
        table_VK = torch.zeros(max(labels.values) + 1, len(names), dtype=torch.bool)
        for head, name in enumerate(names):
            table_VK[list(labels.names[name]), head] = True
        self._table_VK = table_VK.to(device)
        self._ignore = labels.ignore

    def __call__(self, label_BDHW: torch.Tensor, annotated_BK: torch.Tensor | None = None) -> Targets:
        truth = self._table_VK[label_BDHW.long()].movedim(-1, 1)
        counted = None if self._ignore is None else (label_BDHW != self._ignore)[:, None]
        return Targets(truth, counted, annotated_BK)


def downsampled(label_BDHW: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The label map at a decoder stage's resolution, by the nearest voxel."""
    if label_BDHW.shape[1:] == shape:
        return label_BDHW
    # interpolate has no integer kernels; float32 holds label values exactly.
    return F.interpolate(label_BDHW[:, None].float(), size=tuple(shape), mode="nearest-exact")[:, 0].to(label_BDHW.dtype)
