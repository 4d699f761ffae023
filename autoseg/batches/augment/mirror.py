"""Mirroring, which turns a left organ into a right one."""

from dataclasses import replace

import torch

from autoseg.batches.augment.channels import Channels
from autoseg.batches.batch import Batch
from planners.fingerprint import LabelSpec


class Mirror:
    """Mirrors each axis with probability `p`. Along `pair_axis` the two labels of each pair swap values.

    So do the channels of an earlier prediction, and what was annotated.
    """

    def __init__(self, axes: tuple[int, ...], p: float, pair_axis: int | None, labels: LabelSpec, *,
                 channels: Channels, dimensions: int, device: torch.device):
        self._axes = axes
        self._p = p
        self._pair_axis = None if pair_axis is None or not labels.paired else pair_axis % dimensions
        self._swapped_values = _swapped_values(labels).to(device)
        self._previous = channels.previous
        self._swapped_names = _swapped_names(labels)

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Image and label in place; a sample of which no axis is mirrored is not touched."""
        image_BCDHW, label_BDHW = batch.image_BCDHW, batch.label_BDHW
        annotated_BK = None if batch.annotated_BK is None else batch.annotated_BK.clone()
        coins = torch.rand(len(image_BCDHW), len(self._axes), generator=generator) < self._p
        for sample, coins_of_sample in enumerate(coins.tolist()):
            axes = [axis for axis, mirrored in zip(self._axes, coins_of_sample, strict=True) if mirrored]
            if axes:
                image_BCDHW[sample] = image_BCDHW[sample].flip([axis + 1 for axis in axes])
                label_BDHW[sample] = label_BDHW[sample].flip(axes)
            if self._pair_axis in axes:
                label_BDHW[sample] = self._swapped_values[label_BDHW[sample].long()]
                previous = image_BCDHW[sample, self._previous]
                if len(previous):
                    previous.copy_(previous[self._swapped_names])
                if annotated_BK is not None:
                    annotated_BK[sample] = annotated_BK[sample][self._swapped_names]
        return replace(batch, annotated_BK=annotated_BK)


def _swapped_values(labels: LabelSpec) -> torch.Tensor:
    """Label value -> label value. Of a pair of regions the values that only one of them has swap in declared order."""
    table = torch.arange(max(labels.values) + 1, dtype=torch.int16)
    for left, right in labels.paired:
        of_left = [value for value in labels.names[left] if value not in labels.names[right]]
        of_right = [value for value in labels.names[right] if value not in labels.names[left]]
        if len(of_left) != len(of_right):
            raise ValueError(f"the paired labels {left!r} and {right!r} have {len(of_left)} and {len(of_right)} values "
                             "of their own; a pair must have equally many")
        for a, b in zip(of_left, of_right, strict=True):
            table[a], table[b] = b, a
    return table


def _swapped_names(labels: LabelSpec) -> list[int]:
    """For each foreground name the position of its twin, or its own."""
    other = {name: twin for pair in labels.paired for name, twin in (pair, pair[::-1])}
    return [labels.foreground.index(other.get(name, name)) for name in labels.foreground]
