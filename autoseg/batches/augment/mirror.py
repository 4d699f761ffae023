"""Mirroring, which turns a left organ into a right one."""

import torch

from planners.fingerprint import LabelSpec


class Mirror:
    """Mirrors each axis with probability `p`. Along `pair_axis` the two labels of each pair swap values.

    `n_images` channels are images, the others one a foreground name, and swap with the labels.
    """

    def __init__(self, axes: tuple[int, ...], p: float, pair_axis: int | None, labels: LabelSpec, *, n_images: int,
                 dimensions: int, device: torch.device):
        self._axes = axes
        self._p = p
        self._pair_axis = None if pair_axis is None or not labels.paired else pair_axis % dimensions
        self._swapped_values = _swapped_values(labels).to(device)
        self._swapped_channels = _swapped_channels(labels, n_images)

    def __call__(self, image_BCDHW: torch.Tensor, label_BDHW: torch.Tensor, generator: torch.Generator) -> None:
        """In place; a sample of which no axis is mirrored is not touched."""
        coins = torch.rand(len(image_BCDHW), len(self._axes), generator=generator) < self._p
        for sample, coins_of_sample in enumerate(coins.tolist()):
            axes = [axis for axis, mirrored in zip(self._axes, coins_of_sample, strict=True) if mirrored]
            if axes:
                image_BCDHW[sample] = image_BCDHW[sample].flip([axis + 1 for axis in axes])
                label_BDHW[sample] = label_BDHW[sample].flip(axes)
            if self._pair_axis in axes:
                label_BDHW[sample] = self._swapped_values[label_BDHW[sample].long()]
                if image_BCDHW.shape[1] == len(self._swapped_channels):
                    image_BCDHW[sample] = image_BCDHW[sample][self._swapped_channels]


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


def _swapped_channels(labels: LabelSpec, n_images: int) -> list[int]:
    other = {name: twin for pair in labels.paired for name, twin in (pair, pair[::-1])}
    position = {name: n_images + index for index, name in enumerate(labels.foreground)}
    return [*range(n_images), *(position[other.get(name, name)] for name in labels.foreground)]
