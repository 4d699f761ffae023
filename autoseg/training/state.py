"""The state of a training: everything that must be saved to resume it exactly."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autoseg.base.runtime import Runtime
from autoseg.clinical.encoded import NO_CONDITIONS, Layout
from autoseg.training.optimizers import OPTIMIZERS, OptimizerContext, WeightAverage, swap_own_average
from autoseg.training.tasks import Task
from planners.rules.budget import provisional
from planners.schema.plan import Configuration, ResolvedSchedule


@dataclass
class TrainState:
    """The moving parts of a training; `seconds` is wall-clock time used, earlier runs included."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage
    scaler: torch.amp.GradScaler
    schedule: ResolvedSchedule
    iteration: int = 0
    epoch: int = 0
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        return self.iteration >= self.schedule.iterations

    def swap_weights(self) -> None:
        """Exchange trained and averaged weights in the model, in place; a second call undoes it."""
        if OPTIMIZERS.traits(self.schedule.optimizer.name).averages:
            swap_own_average(self.optimizer)
        elif self.average.decay > 0:
            self.average.swap(self.model.parameters())

    def to_plain(self) -> dict[str, Any]:
        """As tensors, numbers, strings, lists and dicts."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                "average": {"updates": self.average.updates, "values": self.average.values},
                "scaler": self.scaler.state_dict(), "schedule": self.schedule.model_dump(),
                "iteration": self.iteration, "epoch": self.epoch, "seconds": self.seconds}

    def restore(self, plain: dict[str, Any]) -> None:
        """Take over what `to_plain` gave."""
        self.model.load_state_dict(plain["model"])
        self.optimizer.load_state_dict(plain["optimizer"])
        for parameter, moments in self.optimizer.state.items():
            for name, value in moments.items():
                # A state saved before the layout changed; fused optimisers walk both through memory side by side.
                if torch.is_tensor(value) and value.shape == parameter.shape and value.stride() != parameter.stride():
                    moments[name] = torch.empty_like(parameter).copy_(value)
        self.average.updates = plain["average"]["updates"]
        for mine, saved in zip(self.average.values, plain["average"]["values"], strict=True):
            mine.copy_(saved)
        if plain["scaler"]:  # empty where the training ran on a device that needs no scaling
            self.scaler.load_state_dict(plain["scaler"])
        self.schedule = ResolvedSchedule.model_validate(plain["schedule"])
        self.iteration, self.epoch, self.seconds = plain["iteration"], plain["epoch"], plain["seconds"]


def new_state(task: Task, configuration: Configuration, runtime: Runtime, seed: int, layout: Layout = NO_CONDITIONS
              ) -> TrainState:
    """An untrained state of a task's model with conditions of a layout.

    The same seed gives the same weights on every device. The schedule is provisional where the plan gives no iterations.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = task.build_model(layout)
    model = runtime.arranged(model, configuration.dimensions)
    schedule = provisional(configuration.schedule)
    return TrainState(model=model, schedule=schedule,
                      optimizer=OPTIMIZERS.make(schedule.optimizer, OptimizerContext(model, schedule.learning_rate)),
                      average=WeightAverage(model.parameters(), schedule.ema),
                      scaler=torch.amp.GradScaler(runtime.device.type, enabled=runtime.needs_loss_scaling))
