"""What a training is at a moment: everything that must be saved to go on as if nothing had happened."""

from dataclasses import dataclass

import torch

from autoseg.base.runtime import Runtime
from autoseg.clinical.encoded import NO_CONDITIONS, Layout
from autoseg.nn.model import Model, build_model
from autoseg.training.optimizers import WeightAverage, build_optimizer
from planners.schema.plan import Configuration, Plan, Schedule


@dataclass
class TrainState:
    """The moving parts of a training; `seconds` is wall-clock time used, earlier runs included."""

    model: Model
    optimizer: torch.optim.Optimizer
    average: WeightAverage
    scaler: torch.amp.GradScaler
    schedule: Schedule
    iteration: int = 0
    epoch: int = 0
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        return self.iteration >= self.schedule.iterations

    def to_plain(self) -> dict:
        """As tensors, numbers, strings, lists and dicts."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                "average": {"updates": self.average.updates, "values": self.average.values},
                "scaler": self.scaler.state_dict(), "schedule": self.schedule.model_dump(),
                "iteration": self.iteration, "epoch": self.epoch, "seconds": self.seconds}

    def restore(self, plain: dict) -> None:
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
        self.schedule = Schedule.model_validate(plain["schedule"])
        self.iteration, self.epoch, self.seconds = plain["iteration"], plain["epoch"], plain["seconds"]


def new_state(plan: Plan, configuration: Configuration, runtime: Runtime, seed: int, layout: Layout = NO_CONDITIONS
              ) -> TrainState:
    """An untrained state of a model with conditions of a layout; the same seed gives the same weights on every device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(plan, configuration, layout)
    model = runtime.arranged(model, configuration.dimensions)
    schedule = configuration.schedule
    return TrainState(model=model, schedule=schedule,
                      optimizer=build_optimizer(schedule.optimizer, model, schedule.learning_rate),
                      average=WeightAverage(model.parameters(), schedule.ema),
                      scaler=torch.amp.GradScaler(runtime.device.type, enabled=runtime.needs_loss_scaling))
