"""One training step, and the patches that show how well a model does meanwhile."""

from collections.abc import Callable, Iterator

import torch

from autoseg.base.ranks import total
from autoseg.base.runtime import Runtime
from autoseg.batches.batch import Batch
from autoseg.nn.losses.deep import DeepSupervision
from autoseg.nn.losses.targets import TargetEncoder
from autoseg.prediction.decision import decide_heads
from autoseg.training.distributed import sum_gradients
from autoseg.training.schedule import learning_rate
from autoseg.training.state import TrainState
from planners.schema.labels import LabelSpec

Forward = Callable[..., list[torch.Tensor]]


def train_step(state: TrainState, forward: Forward, loss: DeepSupervision, batch: Batch, runtime: Runtime
               ) -> torch.Tensor:
    """Forward, backward, clip, update, average; the loss stays on the device, so that nothing waits for it.

    `forward` is the state's model or its compiled twin, which shares its weights.
    """
    rate = learning_rate(state.schedule, state.iteration)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.zero_grad(set_to_none=True)  # before the forward pass: two sets of gradients never share the memory
    image = runtime.arranged(batch.image_BCDHW, batch.image_BCDHW.ndim - 2)
    with runtime.autocast():
        logits = forward(image, batch.present_BC, batch.conditions, batch.absent_BCDHW)
    value = loss(logits, batch.label_BDHW, batch.annotated_BK)
    state.scaler.scale(value).backward()
    sum_gradients(state.model.parameters())
    state.scaler.unscale_(state.optimizer)
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), state.schedule.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.average.decay > 0:
        state.average.update(state.model.parameters())
    state.iteration += 1
    return value.detach()


class AveragedWeights:
    """Within this context the state's model carries its averaged weights and is in evaluation mode."""

    def __init__(self, state: TrainState):
        self.state = state

    def __enter__(self):
        if self.state.average.decay > 0:
            self.state.average.swap(self.state.model.parameters())
        return self.state.model.eval()

    def __exit__(self, *_):
        self.state.model.train()
        if self.state.average.decay > 0:
            self.state.average.swap(self.state.model.parameters())


@torch.inference_mode()
def patch_dice(model: torch.nn.Module, batches: Iterator[Batch], count: int, labels: LabelSpec, runtime: Runtime
               ) -> dict[str, float | None]:
    """Dice of each foreground class over the voxels of `count` batches as one volume; None where a class is in none.

    An estimate that shows the trend: patches, no sliding window, no mirroring. What was not annotated in a case, and so is
    nowhere in its label, does not count as predicted.
    """
    encode = TargetEncoder(labels, runtime.device)
    first = 0 if labels.has_regions else 1
    overlap = size = 0
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
            predicted = predicted & batch.annotated_BK[(..., *[None] * (truth.ndim - 2))]
        axes = (0, *range(2, truth.ndim))
        overlap = overlap + (predicted & truth).sum(axes)
        size = size + predicted.sum(axes) + truth.sum(axes)
    scores = (2 * total(overlap) / total(size)).tolist()
    return {name: None if score != score else score for name, score in zip(labels.foreground, scores, strict=True)}
