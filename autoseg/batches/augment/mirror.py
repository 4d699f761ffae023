"""Mirroring, which turns a left organ into a right one."""

from dataclasses import replace

import torch

from autoseg.base.errors import UserError
from autoseg.batches.augment.channels import Channels
from autoseg.batches.batch import Batch
from planners.schema.labels import LabelSpec
from planners.schema.plan import MirrorViews

_HALF = 0.5


class Mirror:
    """Mirrors each axis with probability `p`. Along `pair_axis` the two labels of each pair swap values.

    So do the channels of an earlier prediction, and what was annotated. With alternating `views` the number of a view says
    what is mirrored: the first axis in every other view of a case, the second in two of four, and so on (Jordan 2024, arXiv
    2404.00498, for one axis and epochs).
    """

    def __init__(self, axes: tuple[int, ...], p: float, pair_axis: int | None, labels: LabelSpec, *,
                 channels: Channels, dimensions: int, device: torch.device, views: MirrorViews = "random"):
        if views == "alternating" and p not in (0, _HALF):
            raise UserError("alternating views mirror each axis in half of them", where="augmentation.options.p_mirror",
                            found=p, expected=f"{_HALF}, or 0 for no mirroring", do="set it so, or mirror_views to random")
        self._axes = axes
        self._p = p
        self._alternates = views == "alternating"
        self._pair_axis = None if pair_axis is None or not labels.paired else pair_axis % dimensions
        self._swapped_values = _swapped_values(labels).to(device)
        self._previous = channels.previous
        self._swapped_names = torch.tensor(labels.twins(labels.foreground), dtype=torch.long, device=device)

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Image and label in place; a sample of which no axis is mirrored is not touched."""
        image_BCDHW, label_BDHW = batch.image_BCDHW, batch.label_BDHW
        annotated_BK = None if batch.annotated_BK is None else batch.annotated_BK.clone()
        for axes, samples in self._alike(self._mirrored(batch, generator)).items():
            index = torch.tensor(samples).to(image_BCDHW.device, non_blocking=True)
            image = image_BCDHW.index_select(0, index).flip([axis + 2 for axis in axes])
            label = label_BDHW.index_select(0, index).flip([axis + 1 for axis in axes])
            if self._pair_axis in axes:
                label = self._swapped_values[label.long()]
                previous = image[:, self._previous]
                if previous.shape[1]:
                    image[:, self._previous] = previous.index_select(1, self._swapped_names)
                if annotated_BK is not None:
                    annotated_BK.index_copy_(0, index, annotated_BK.index_select(0, index)[:, self._swapped_names])
            image_BCDHW.index_copy_(0, index, image)
            label_BDHW.index_copy_(0, index, label)
        return replace(batch, annotated_BK=annotated_BK)

    def _mirrored(self, batch: Batch, generator: torch.Generator) -> list[list[bool]]:
        """For each sample, whether it is mirrored along each axis."""
        if not self._alternates:
            drawn = torch.rand(len(batch.image_BCDHW), len(self._axes), generator=generator) < self._p
            return drawn.tolist()
        assert batch.views is not None  # the sampler counts them for such a plan
        return [[self._p > 0 and bool(view >> place & 1) for place in range(len(self._axes))] for view in batch.views]

    def _alike(self, mirrored: list[list[bool]]) -> dict[tuple[int, ...], list[int]]:
        """For each set of axes the samples that are mirrored along them, which one pass mirrors together."""
        samples: dict[tuple[int, ...], list[int]] = {}
        for sample, row in enumerate(mirrored):
            axes = tuple(axis for axis, is_mirrored in zip(self._axes, row, strict=True) if is_mirrored)
            if axes:
                samples.setdefault(axes, []).append(sample)
        return samples


def _swapped_values(labels: LabelSpec) -> torch.Tensor:
    """Label value -> label value. Of a pair of regions the values that only one of them has swap in declared order."""
    table = torch.arange(max(labels.values) + 1, dtype=torch.int16)
    for left, right in labels.paired:
        left_values = [value for value in labels.names[left] if value not in labels.names[right]]
        right_values = [value for value in labels.names[right] if value not in labels.names[left]]
        if len(left_values) != len(right_values):
            raise ValueError(f"the paired labels {left!r} and {right!r} have {len(left_values)} and {len(right_values)} "
                             "values of their own; a pair must have equally many")
        for a, b in zip(left_values, right_values, strict=True):
            table[a], table[b] = b, a
    return table
