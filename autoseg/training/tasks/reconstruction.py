"""Pre-training as a task: inputs are corrupted images, targets whole ones, the epoch score is the error on held-out ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from autoseg.base.runtime import Runtime
from autoseg.batches.batch import Batch
from autoseg.batches.corrupt import make_reconstruction_batches
from autoseg.batches.corrupt.stream import usable
from autoseg.batches.loader import BatchStream
from autoseg.batches.store import CaseStore
from autoseg.clinical.encoded import NO_CONDITIONS, Layout
from autoseg.nn.model import Model, build_model
from autoseg.training.tasks import EpochScore, TaskLoss
from planners.schema.base import Part
from planners.schema.plan import Configuration, Plan


@dataclass(frozen=True)
class Reconstruction:
    """The restoration of images that a `method` has corrupted, by a configuration's network with a head per channel."""

    plan: Plan
    configuration: Configuration
    method: Part

    def build_model(self, layout: Layout = NO_CONDITIONS) -> Model:
        return build_model(self.plan, self.configuration, layout, n_outputs=len(self.plan.channels))

    def batches(self, store: CaseStore, configuration: Configuration, seed: int, device: torch.device,
                layout: Layout = NO_CONDITIONS) -> BatchStream:
        return make_reconstruction_batches(store, configuration, self.method, seed, device, self.configuration.patch)

    def build_loss(self, device: torch.device) -> TaskLoss:
        return lambda outputs, batch: squared_error(outputs[0].float(), batch)

    def score(self, model: nn.Module, batches: Iterator[Batch] | None, count: int, runtime: Runtime) -> EpochScore:
        if batches is None:
            return EpochScore({"validation_dice": None, "validation_loss": None, "mean_fill_loss": None})
        error, filled = held_out_errors(model, batches, count, runtime)
        return EpochScore({"validation_dice": None, "validation_loss": error, "mean_fill_loss": filled},
                          f"error {error / filled:.2f} of the mean's" if filled else f"error {error:.3f}")

    def watch(self) -> Callable[[EpochScore, float], str]:
        return lambda score, progress: ""


def squared_error(output_BCDHW: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean squared error over the voxels that count, in units of the normalised image; 0 where none does."""
    assert batch.target_BCDHW is not None and batch.counted_BCDHW is not None  # every batch of a reconstruction has them
    counted = batch.counted_BCDHW
    squared = torch.where(counted, output_BCDHW - batch.target_BCDHW, 0.0).square()
    return squared.sum() / counted.sum().clamp(min=1)


@torch.inference_mode()
def held_out_errors(model: nn.Module, batches: Iterator[Batch], count: int, runtime: Runtime) -> tuple[float, float]:
    """The mean squared error over `count` batches: of the model, and of filling in the mean of what is visible."""
    errors = torch.zeros(2, dtype=torch.float64)
    for _ in range(count):
        batch = next(batches)
        errors += torch.stack([squared_error(restored(model, batch, runtime), batch),
                               squared_error(mean_filled(batch), batch)]).double().cpu()
    model_error, filled = (errors / count).tolist()
    return model_error, filled


def restored(model: nn.Module, batch: Batch, runtime: Runtime) -> torch.Tensor:
    """What a model in evaluation mode makes of a batch, float32 (B, C, *space)."""
    with runtime.autocast():
        output: torch.Tensor = model(runtime.arranged(batch.image_BCDHW, batch.image_BCDHW.ndim - 2), batch.present_BC,
                                     batch.conditions, batch.absent_BCDHW)
    return output.float()


def mean_filled(batch: Batch) -> torch.Tensor:
    """Every channel of a sample as the mean of its voxels that are not to be restored; of all, where all are. What lies
    outside the image or was not measured is in neither.
    """
    assert batch.target_BCDHW is not None and batch.counted_BCDHW is not None
    target, counted, known = (voxels.flatten(2) for voxels in (batch.target_BCDHW, batch.counted_BCDHW, usable(batch)))
    visible = torch.where((counted == known).all(2, keepdim=True), known, known & ~counted)
    mean_BC = (target * visible).sum(2) / visible.sum(2).clamp(min=1)
    return mean_BC[(..., *[None] * (batch.image_BCDHW.ndim - 2))].expand_as(batch.target_BCDHW)
