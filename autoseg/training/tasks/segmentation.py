"""Segmentation as a task: targets are label maps, outputs are a decoder's logits, the epoch score is the Dice of patches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from autoseg.base.ranks import total
from autoseg.base.runtime import Runtime
from autoseg.batches.augment import ChannelTraits
from autoseg.batches.batch import Batch
from autoseg.batches.loader import BatchStream, make_batches
from autoseg.batches.store import CaseStore
from autoseg.clinical.encoded import NO_CONDITIONS, Layout
from autoseg.nn.losses.deep import build_loss
from autoseg.nn.losses.targets import TargetEncoder
from autoseg.nn.model import Model, build_model
from autoseg.nn.transfer import freeze_encoder
from autoseg.prediction.decision import decide_heads
from autoseg.preprocessing.normalize import absolute_unit_channels, zero_outside_channels
from autoseg.training.tasks import EpochScore, TaskLoss
from autoseg.training.watchdog import Watchdog
from planners.schema.base import Part
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan


@dataclass(frozen=True)
class Segmentation:
    """The segmentation of a plan's labels by the model of one configuration, which starts with `weights`, where there are
    any.
    """

    plan: Plan
    configuration: Configuration
    weights: Mapping[str, torch.Tensor] | None = None

    def build_model(self, layout: Layout = NO_CONDITIONS) -> Model:
        model = build_model(self.plan, self.configuration, layout)
        if self.weights is not None:
            model.load_state_dict(self.weights)
        if self.configuration.transfer is not None and self.configuration.transfer.freeze == "encoder":
            freeze_encoder(model)
        return model

    def batches(self, store: CaseStore, configuration: Configuration, seed: int, device: torch.device,
                layout: Layout = NO_CONDITIONS) -> BatchStream:
        return make_batches(store, configuration, self.plan.labels, seed, device, layout,
                            channel_traits(configuration.normalizers), self.configuration.patch)

    def build_loss(self, device: torch.device) -> TaskLoss:
        loss = build_loss(self.plan.labels, self.configuration, device)
        return lambda logits, batch: loss(logits, batch.label_BDHW, batch.annotated_BK)

    def score(self, model: nn.Module, batches: Iterator[Batch] | None, count: int, runtime: Runtime) -> EpochScore:
        labels = self.plan.labels
        dice = dict.fromkeys(labels.foreground) if batches is None else patch_dice(model, batches, count, labels, runtime)
        known = [value for value in dice.values() if value is not None]
        mean = sum(known) / len(known) if known else None
        return EpochScore({"validation_dice": mean, "validation_dice_by_label": dice},
                          "" if mean is None else f"Dice {mean:.3f}")

    def watch(self) -> Callable[[EpochScore, float], str]:
        watchdog = Watchdog()
        return lambda score, progress: watchdog.warning(score.record["validation_dice"], progress)


def channel_traits(normalizers: Sequence[Part]) -> ChannelTraits:
    """What the augmentation has to know of channels that were normalised so."""
    return ChannelTraits(zero_outside_channels(normalizers), absolute_unit_channels(normalizers))


@torch.inference_mode()
def patch_dice(model: torch.nn.Module, batches: Iterator[Batch], count: int, labels: LabelSpec, runtime: Runtime
               ) -> dict[str, float | None]:
    """Dice of each foreground class over the voxels of `count` batches as one volume; None where a class is in none.

    An estimate that shows the trend: patches, no sliding window, no mirroring. What was not annotated in a case counts
    neither as predicted nor as true: a region's values may be there all the same, where they are also those of another one.
    """
    encode = TargetEncoder(labels, runtime.device)
    first = 0 if labels.has_regions else 1
    overlap = size = torch.zeros(len(labels.foreground), dtype=torch.int64, device=runtime.device)
    for _ in range(count):
        batch = next(batches)
        with runtime.autocast():
            logits = model(runtime.arranged(batch.image_BCDHW, batch.image_BCDHW.ndim - 2), batch.present_BC,
                           batch.conditions, batch.absent_BCDHW)
        predicted = decide_heads(logits.movedim(1, 0), labels.has_regions).movedim(0, 1)[:, first:]
        targets = encode(batch.label_BDHW)
        truth = targets.truth_BKDHW[:, first:]
        if targets.counted_B1DHW is not None:
            predicted, truth = predicted & targets.counted_B1DHW, truth & targets.counted_B1DHW
        if batch.annotated_BK is not None:
            annotated = batch.annotated_BK[(..., *[None] * (truth.ndim - 2))]
            predicted, truth = predicted & annotated, truth & annotated
        axes = (0, *range(2, truth.ndim))
        overlap = overlap + (predicted & truth).sum(axes)
        size = size + predicted.sum(axes) + truth.sum(axes)
    scores = (2 * total(overlap) / total(size)).tolist()
    return {name: None if score != score else score for name, score in zip(labels.foreground, scores, strict=True)}
