"""Input dropout: training drops, swaps and displaces inputs, after the augmentation, so that a model can do without them.

All masks are drawn on the CPU; no value is read back from the device. What is off draws nothing.
"""

import math
from dataclasses import replace

import torch

from autoseg.batches.batch import Batch
from autoseg.clinical.encoded import NO_CONDITIONS, BagBatch, ConditionBatch, Layout
from planners.schema.plan import InputDropout


def drop_inputs(batch: Batch, input_dropout: InputDropout, generator: torch.Generator, layout: Layout = NO_CONDITIONS
                ) -> Batch:
    """The batch with some of its channels and conditions missing, some of its conditions another sample's, and some of its
    channels displaced.

    `layout` says which encoded values are one column. The input is left unchanged.
    """
    if input_dropout.p_shift > 0 and any(input_dropout.shift_voxels):
        batch = _displaced(batch, input_dropout, generator)
    if any(input_dropout.channels):
        batch = replace(batch, present_BC=_remaining_channels(batch, input_dropout.channels, generator))
    if batch.conditions is not None and input_dropout.swap and input_dropout.p_swap > 0:
        batch = replace(batch, conditions=_swapped(batch.conditions, input_dropout, generator, layout))
    if batch.conditions is not None and (input_dropout.row > 0 or input_dropout.column > 0):
        batch = replace(batch, conditions=_remaining_conditions(batch.conditions, input_dropout, generator, layout))
    return batch


def _remaining_channels(batch: Batch, p_C: tuple[float, ...], generator: torch.Generator) -> torch.Tensor:
    """Presence (B, C) with channels dropped (Feng et al. 2023).

    Where no channel would remain, one of the present ones stays; each is as likely. A channel whose field of view lies
    outside the patch stays only if no other shows anything.
    """
    present_BC = batch.present_BC
    n_samples, n_channels = present_BC.shape
    if len(p_C) != n_channels:
        raise ValueError(f"input_dropout.channels has {len(p_C)} probabilities for {n_channels} channels")
    device = present_BC.device
    dropped = torch.rand(n_samples, n_channels, generator=generator) < torch.tensor(p_C)
    priorities = torch.rand(n_samples, n_channels, generator=generator).to(device, non_blocking=True)
    remaining = present_BC & ~dropped.to(device, non_blocking=True)
    shown = present_BC
    if batch.absent_BCDHW is not None:
        visible = present_BC & ~batch.absent_BCDHW.flatten(2).all(2)
        shown = torch.where(visible.any(1, keepdim=True), visible, present_BC)
    first = torch.where(shown, priorities, -1.0).argmax(1, keepdim=True)
    only_first = torch.zeros_like(shown).scatter_(1, first, True) & shown
    return torch.where((remaining & shown).any(1, keepdim=True), remaining, only_first)


def _remaining_conditions(conditions: ConditionBatch, input_dropout: InputDropout, generator: torch.Generator,
                          layout: Layout) -> ConditionBatch:
    """The conditions with rows and single inputs unknown; as everywhere, what is unknown is 0."""
    column = _columns(conditions, layout)
    n_samples = len(conditions.values_BK)
    rows = torch.rand(n_samples, 1, generator=generator) < input_dropout.row
    inputs = torch.rand(n_samples, len(layout.inputs), generator=generator) < input_dropout.column
    bags = dict(conditions.bags)
    for number, item in enumerate(layout.inputs):
        if item.entries is None:
            bag = bags[item.name]
            remaining = ~(rows | inputs[:, number : number + 1]).to(bag.known_BT.device, non_blocking=True)
            bags[item.name] = BagBatch(torch.where(remaining[..., None], bag.tokens_BTE, 0.0), bag.known_BT & remaining)
    remaining = ~(rows | inputs[:, column]).to(conditions.known_BK.device, non_blocking=True)
    return ConditionBatch(torch.where(remaining, conditions.values_BK, 0.0), conditions.known_BK & remaining, bags)


def _swapped(conditions: ConditionBatch, input_dropout: InputDropout, generator: torch.Generator, layout: Layout
             ) -> ConditionBatch:
    """The conditions, some of which are those of the sample before in the batch.

    What a condition says of many patients is still learned; what it says of one is not (random feature corruption, Bahri et
    al. 2022, arXiv 2106.15147, here with the patients of a batch).
    """
    column = _columns(conditions, layout)
    drawn = torch.rand(len(conditions.values_BK), len(layout.inputs), generator=generator) < input_dropout.p_swap
    inputs = drawn & torch.tensor([item.name in input_dropout.swap for item in layout.inputs], dtype=torch.bool)

    def mixed(own: torch.Tensor, swapped: torch.Tensor) -> torch.Tensor:
        return torch.where(swapped.to(own.device, non_blocking=True), own.roll(1, 0), own)

    bags = {}
    for number, item in enumerate(layout.inputs):
        if item.entries is None:
            bag, swapped = conditions.bags[item.name], inputs[:, number : number + 1]
            bags[item.name] = BagBatch(mixed(bag.tokens_BTE, swapped[..., None]), mixed(bag.known_BT, swapped))
    swapped = inputs[:, column]
    return ConditionBatch(mixed(conditions.values_BK, swapped), mixed(conditions.known_BK, swapped), bags)


def _columns(conditions: ConditionBatch, layout: Layout) -> torch.Tensor:
    """Which input of the layout each encoded value belongs to (K,)."""
    n_values = conditions.values_BK.shape[1]
    if n_values != layout.n_values:
        raise ValueError(f"the conditions have {n_values} values, their layout {layout.n_values}")
    column = torch.zeros(n_values, dtype=torch.long)
    for number, item in enumerate(layout.inputs):
        if item.entries is not None:
            column[item.entries] = number
    return column


def _displaced(batch: Batch, input_dropout: InputDropout, generator: torch.Generator) -> Batch:
    """Single channels, with their absent voxels, moved as a faulty alignment would.

    What enters from outside the patch repeats its border: it has an image there, so that it is not absent.
    """
    n_samples, n_channels = batch.present_BC.shape
    if len(input_dropout.shift_voxels) != n_channels:
        raise ValueError(f"input_dropout.shift_voxels has {len(input_dropout.shift_voxels)} distances "
                         f"for {n_channels} channels")
    shifted = torch.rand(n_samples, generator=generator) < input_dropout.p_shift
    share = 2 * torch.rand(n_samples, n_channels, batch.image_BCDHW.ndim - 2, generator=generator) - 1
    offsets_BCA = share * torch.tensor(input_dropout.shift_voxels)[:, None]
    moved = (shifted[:, None] & (torch.tensor(input_dropout.shift_voxels) > 0)).nonzero().tolist()
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
    """A channel moved by one offset per axis, interpolated linearly; voxel i takes what lay at i - offset.

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
