"""One training step, and the averaged weights."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from autoseg.base.runtime import Runtime
from autoseg.batches.batch import Batch
from autoseg.training.distributed import sum_gradients
from autoseg.training.schedule import learning_rate
from autoseg.training.state import TrainState
from autoseg.training.tasks import TaskLoss

Forward = Callable[..., Any]


def train_step(state: TrainState, forward: Forward, loss: TaskLoss, batch: Batch, runtime: Runtime) -> torch.Tensor:
    """Forward, backward, clip, update, average; the loss stays on the device, so that nothing waits for it.

    `forward` is the state's model or its compiled twin, which shares its weights.
    """
    rate = learning_rate(state.schedule, state.iteration)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.zero_grad(set_to_none=True)  # before the forward pass: two sets of gradients never share the memory
    image = runtime.arranged(batch.image_BCDHW, batch.image_BCDHW.ndim - 2)
    with runtime.autocast():
        outputs = forward(image, batch.present_BC, batch.conditions, batch.absent_BCDHW)
    value = loss(outputs, batch)
    state.scaler.scale(value).backward()
    complete_gradients(state.model.parameters())
    sum_gradients(state.model.parameters())
    state.scaler.unscale_(state.optimizer)
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), state.schedule.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.average.decay > 0:
        state.average.update(state.model.parameters())
    state.iteration += 1
    return value.detach()


def complete_gradients(parameters: Iterable[torch.Tensor]) -> None:
    """Give each trained parameter that this batch did not use the gradient 0.

    The fill value of a channel that no sample lacks is one. Fused optimisers need all gradients or none, in every step, and
    processes that train together need the same ones.
    """
    for parameter in parameters:
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


class AveragedWeights:
    """Within this context the state's model carries its averaged weights and is in evaluation mode."""

    def __init__(self, state: TrainState):
        self.state = state

    def __enter__(self) -> torch.nn.Module:
        self.state.swap_weights()
        return self.state.model.eval()

    def __exit__(self, *_: object) -> None:
        self.state.model.train()
        self.state.swap_weights()
