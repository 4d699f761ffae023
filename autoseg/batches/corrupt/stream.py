"""Batches of corrupted images with the whole ones as targets."""

from dataclasses import replace

import numpy as np
import torch

from autoseg.batches.augment import augment, build_augmentation
from autoseg.batches.batch import Batch
from autoseg.batches.corrupt.registry import CORRUPTIONS
from autoseg.batches.loader import BatchStream, prefetched
from autoseg.batches.sample import PatchSampler
from autoseg.batches.store import CaseStore
from planners.schema.base import Part
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration

_PADDING = 2  # the label of voxels outside the image
NO_LABELS = LabelSpec(names={"background": (0,), "nothing": (1,)}, ignore=_PADDING)


def make_reconstruction_batches(store: CaseStore, configuration: Configuration, method: Part, seed: int,
                                device: torch.device | str, planned_patch: tuple[int, ...] | None = None) -> BatchStream:
    """Batches whose image was corrupted by a `method`, after the augmentation of the configuration; the target is the image
    before. Absent voxels, missing channels and what lies outside the image do not count. `planned_patch` is that of the plan
    in a phase of smaller ones.
    """
    corruption = CORRUPTIONS.get(method.name)(CORRUPTIONS.options(method.name, method.options), configuration.patch)
    augmentation = build_augmentation(configuration.augmentation, configuration, NO_LABELS, device,
                                      planned_patch=planned_patch)
    sampling, augmenting = np.random.SeedSequence(seed).spawn(2)
    sampler = PatchSampler(store, configuration, NO_LABELS, augmentation.initial_patch, np.random.default_rng(sampling))
    generator = torch.Generator().manual_seed(int(augmenting.generate_state(1, np.uint64)[0] >> 1))

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        whole = augment(batch, augmentation, generator)
        seen, counted = corruption(whole.image_BCDHW, generator)
        return replace(whole, image_BCDHW=seen, target_BCDHW=whole.image_BCDHW, counted_BCDHW=counted & usable(whole))

    return BatchStream(sampler, change, generator, torch.device(device), prefetch=prefetched(store))


def usable(batch: Batch) -> torch.Tensor:
    """The voxels (B, C, *space) of a batch of such a stream that lie in the image and were measured."""
    inside = batch.present_BC[(..., *[None] * (batch.label_BDHW.ndim - 1))] & (batch.label_BDHW != _PADDING)[:, None]
    return inside if batch.absent_BCDHW is None else inside & ~batch.absent_BCDHW
