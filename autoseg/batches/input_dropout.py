"""What training hides and displaces of the inputs, after the augmentation, so that a model can do without them.

All coins are drawn on the CPU; no value is read back from the device. What is off draws nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch

from autoseg.batches.batch import Batch
from autoseg.clinical.encoders import NO_CONDITIONS, Layout
from planners.schema.plan import InputDropout


def hide(batch: Batch, input_dropout: InputDropout, generator: torch.Generator, layout: Layout = NO_CONDITIONS) -> Batch:
    """The batch with some of its channels and conditions missing, and some of its channels displaced.

    `layout` says which encoded values are one column. The input is left unchanged.
    """
    if input_dropout.p_shift > 0 and any(input_dropout.shift_voxels):
        batch = _displaced(batch, input_dropout, generator)
    if any(input_dropout.channels):
        batch = replace(batch, present_BC=_fewer(batch, input_dropout.channels, generator))
    if batch.conditions is not None and (input_dropout.row > 0 or input_dropout.column > 0):
        batch = replace(batch, conditions=_forgotten(batch.conditions, input_dropout, generator, layout))
    return batch


def _fewer(batch: Batch, p_C: tuple[float, ...], generator: torch.Generator) -> torch.Tensor:
    """Presence (B, C) with channels hidden (Feng et al. 2023).

    Where nothing would be left to see, one of the present channels stays, each as likely; not one whose field of view is
    elsewhere, if another shows anything.
    """
    present_BC = batch.present_BC
    n_samples, n_channels = present_BC.shape
    if len(p_C) != n_channels:
        raise ValueError(f"input_dropout.channels has {len(p_C)} probabilities for {n_channels} channels")
    device = present_BC.device
    coins = torch.rand(n_samples, n_channels, generator=generator)
    lots = torch.rand(n_samples, n_channels, generator=generator).to(device, non_blocking=True)
    hidden = (coins < torch.tensor(p_C)).to(device, non_blocking=True)
    left = present_BC & ~hidden
    shown = present_BC
    if batch.absent_BCDHW is not None:
        visible = present_BC & ~batch.absent_BCDHW.flatten(2).all(2)
        shown = torch.where(visible.any(1, keepdim=True), visible, present_BC)
    drawn = torch.where(shown, lots, -1.0).argmax(1, keepdim=True)
    kept = torch.zeros_like(shown).scatter_(1, drawn, True) & shown
    return torch.where((left & shown).any(1, keepdim=True), left, kept)


def _forgotten(conditions: Mapping[str, torch.Tensor], input_dropout: InputDropout, generator: torch.Generator, layout: Layout
               ) -> dict[str, torch.Tensor]:
    """The conditions with rows and single inputs unknown; as everywhere, what is unknown is 0."""
    n_samples, n_values = conditions["values"].shape
    if n_values != layout.n_values:
        raise ValueError(f"the conditions have {n_values} values, their layout {layout.n_values}")
    rows = torch.rand(n_samples, 1, generator=generator) < input_dropout.row
    inputs = torch.rand(n_samples, len(layout.inputs), generator=generator) < input_dropout.column
    forgotten = dict(conditions)
    column = torch.zeros(n_values, dtype=torch.long)  # which input an encoded value belongs to
    for number, one in enumerate(layout.inputs):
        if one.start is not None:
            column[one.start : one.start + one.width] = number
            continue
        known_BT, tokens_BTE = conditions[f"known:{one.name}"], conditions[f"tokens:{one.name}"]
        kept = ~(rows | inputs[:, number : number + 1]).to(known_BT.device, non_blocking=True)
        forgotten[f"known:{one.name}"] = known_BT & kept
        forgotten[f"tokens:{one.name}"] = torch.where(kept[..., None], tokens_BTE, 0.0)
    kept = ~(rows | inputs[:, column]).to(conditions["known"].device, non_blocking=True)
    forgotten["known"] = conditions["known"] & kept
    forgotten["values"] = torch.where(kept, conditions["values"], 0.0)
    return forgotten


def _displaced(batch: Batch, input_dropout: InputDropout, generator: torch.Generator) -> Batch:
    """Single channels, with their absent voxels, moved as a faulty alignment would.

    What enters from outside the patch repeats its border: it has an image there, so that it is not absent.
    """
    n_samples, n_channels = batch.present_BC.shape
    if len(input_dropout.shift_voxels) != n_channels:
        raise ValueError(f"input_dropout.shift_voxels has {len(input_dropout.shift_voxels)} distances for {n_channels} channels")
    coins = torch.rand(n_samples, generator=generator) < input_dropout.p_shift
    share = 2 * torch.rand(n_samples, n_channels, batch.image_BCDHW.ndim - 2, generator=generator) - 1
    offsets_BCA = share * torch.tensor(input_dropout.shift_voxels)[:, None]
    moved = (coins[:, None] & (torch.tensor(input_dropout.shift_voxels) > 0)).nonzero().tolist()
    if not moved:
        return batch
    image = batch.image_BCDHW.clone(memory_format=torch.contiguous_format)
    absent = None if batch.absent_BCDHW is None else batch.absent_BCDHW.clone()
    for sample, channel in moved:
        offset = offsets_BCA[sample, channel].tolist()
        image[sample, channel] = displace(image[sample, channel], offset)
        if absent is not None:
            # A voxel of which any part is absent has a value that nothing may read.
            absent[sample, channel] = displace(absent[sample, channel].float(), offset) > 0
    return replace(batch, image_BCDHW=image, absent_BCDHW=absent)


def displace(image_DHW: torch.Tensor, offset_voxels: list[float]) -> torch.Tensor:
    """A channel moved by an offset an axis, interpolated linearly; voxel i takes what lay at i - offset.

    >>> displace(torch.tensor([1.0, 2.0, 4.0]), [0.5])
    tensor([1.0000, 1.5000, 3.0000])
    """
    for axis, offset in enumerate(offset_voxels):
        size = image_DHW.shape[axis]
        whole = math.floor(-offset)
        voxels = torch.arange(size, device=image_DHW.device) + whole
        below, above = voxels.clamp(0, size - 1), (voxels + 1).clamp(0, size - 1)
        image_DHW = torch.lerp(image_DHW.index_select(axis, below), image_DHW.index_select(axis, above), -offset - whole)
    return image_DHW
