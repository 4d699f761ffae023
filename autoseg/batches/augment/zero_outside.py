"""Voxels outside the patient, which stay 0 whatever changes the intensities of a batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from autoseg.batches.batch import Batch

_NEAR_ZERO = 1e-3  # preprocessing leaves exact zeros outside, up to the ringing of the resampling


@contextmanager
def kept_outside(batch: Batch, channels: Sequence[int]) -> Iterator[Batch]:
    """A copy of a batch whose image may be changed in place; at the end `channels` are 0 where they were outside."""
    changed = replace(batch, image_BCDHW=batch.image_BCDHW.clone(memory_format=torch.contiguous_format))
    outside = outside_mask(changed.image_BCDHW[:, list(channels)]) if channels else None
    yield changed
    if outside is not None:
        zero_there(changed.image_BCDHW, channels, outside)


def outside_mask(image_BCDHW: torch.Tensor) -> torch.Tensor:
    """Voxels (B, *space) outside the patient, of channels that were normalised within it."""
    return (image_BCDHW.abs() < _NEAR_ZERO).all(1)


def zero_there(image_BCDHW: torch.Tensor, channels: Sequence[int], outside_BDHW: torch.Tensor) -> None:
    """Set channels to 0 outside the patient, in place."""
    for channel in channels:
        image_BCDHW[:, channel].masked_fill_(outside_BDHW, 0.0)
