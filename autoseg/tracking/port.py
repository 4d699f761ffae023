"""The port of trackers: what a training says to any of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from planners.registry import Registry
from planners.schema.base import Frozen

Status = Literal["finished", "failed", "stopped"]


@dataclass(frozen=True)
class TrackedRun:
    """One fold as trackers see it: its name, the dataset that it is grouped by, what it was started with (texts and numbers
    by name), and a folder that a tracker may write to. `run_id` is what `start` gave for an earlier part of the same
    training, None for a new one; `step` is the last iteration that it had then.
    """

    name: str
    dataset: str
    parameters: Mapping[str, str | int | float | bool]
    folder: Path
    run_id: str | None = None
    step: int = 0


class Tracker(Protocol):
    """Follows one run. What it raises ends the tracking, with a warning, and never the training."""

    def start(self) -> str:
        """Begin the run, or go on with the one of `run_id`; its id."""
        ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of an epoch that ended at this iteration."""
        ...

    def picture(self, path: Path) -> None:
        """A PNG file."""
        ...

    def model(self, path: Path) -> None:
        """A file of the trained model: its weights or its plan."""
        ...

    def end(self, status: Status) -> None:
        """The training ended. After `stopped` or `failed` it may go on another time."""
        ...


class TrackerTraits(Frozen):
    """The Python module that a tracker needs, and the extra of this project that installs it; empty: none."""

    module: str = ""
    extra: str = ""


TrackerFactory = Callable[[Any, TrackedRun], Tracker]

TRACKERS: Registry[TrackerFactory, TrackerTraits] = Registry("tracker", TrackerTraits)
