"""One training step."""

import pytest
import torch

from autoseg.base.runtime import Runtime
from autoseg.batches.batch import Batch
from autoseg.training.state import new_state
from autoseg.training.step import train_step
from autoseg.training.tasks.segmentation import Segmentation
from planners.schema.base import Part
from tests_support import small_plan

CPU = Runtime(torch.device("cpu"), torch.float32)


def batch(present) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(image_BCDHW=torch.randn(2, 2, 16, 16, 16, generator=generator), present_BC=torch.tensor(present),
                 label_BDHW=torch.randint(0, 3, (2, 16, 16, 16), generator=generator))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_channel_may_be_missing_for_the_first_time_in_a_later_step(optimizer):
    plan = small_plan(n_channels=2)
    schedule = plan.configurations["3d_fullres"].schedule.model_copy(update={"optimizer": Part(name=optimizer)})
    configuration = plan.configurations["3d_fullres"].model_copy(update={"schedule": schedule})
    plan = plan.model_copy(update={"configurations": {"3d_fullres": configuration}})
    task = Segmentation(plan, configuration)
    state, loss = new_state(task, configuration, CPU, 0), task.build_loss("cpu")
    every, without = [[True, True], [True, True]], [[True, False], [True, True]]
    losses = [train_step(state, state.model, loss, batch(present), CPU) for present in (every, every, without)]
    assert all(torch.isfinite(value) for value in losses) and state.iteration == 3
