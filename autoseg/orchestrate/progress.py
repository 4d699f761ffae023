"""The progress of all folds and the time that is left, in one line. It is read from the files of the folds, so that they
may run anywhere.
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from autoseg.base.progress import duration, on_terminal
from autoseg.orchestrate.folds import FoldTask
from autoseg.training.validate import FoldResult
from autoseg.workspace.files import read_model, read_records

logger = logging.getLogger(__name__)

# On a terminal one line is rewritten; a log file gets a new line from time to time.
_SECONDS_ON_A_TERMINAL, _SECONDS_IN_A_LOG = 2.0, 120.0


@dataclass(frozen=True)
class FoldProgress:
    """The progress of a fold. `seconds` is the time of the whole fold; it and `seconds_left` are None if not known."""

    title: str
    finished: bool
    share: float  # of its iterations
    seconds_left: float | None
    seconds: float | None
    dice: float | None = None


@dataclass
class Overview:
    """The folds that are trained on `n_devices` devices; the caller adds the titles of those that `failed`."""

    tasks: Sequence[FoldTask]
    n_devices: int = 1
    failed: set[str] = field(default_factory=set)

    def text(self) -> str:
        """One line: the folds that are finished, those that run, and the time left for all."""
        folds = [fold_progress(task) for task in self.tasks]
        parts = [f"folds {sum(fold.finished for fold in folds)}/{len(folds)} finished"]
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        parts += [_running(fold) for fold in folds
                  if fold.share > 0 and not fold.finished and fold.title not in self.failed][: self.n_devices]
        seconds, complete = self.seconds_left(folds)
        if seconds is not None:
            parts.append(("" if complete else "at least ") + f"{duration(seconds)} left")
        return "; ".join(parts)

    def seconds_left(self, folds: Sequence[FoldProgress]) -> tuple[float | None, bool]:
        """The time left for all folds, and whether the time of each fold is known.

        The sum is divided by the number of devices; the result is at least the time of the longest fold. A fold that has
        not started takes its budget, or as long as the others of its configuration.
        """
        waiting = [(task, fold) for task, fold in zip(self.tasks, folds, strict=True)
                   if not fold.finished and fold.title not in self.failed]
        left = [fold.seconds_left if fold.seconds_left is not None else self._like(task, folds) for task, fold in waiting]
        known = [seconds for seconds in left if seconds is not None]
        if not known:
            return (0.0, True) if not waiting else (None, False)
        return max(sum(known) / self.n_devices, max(known)), len(known) == len(left)

    def _like(self, task: FoldTask, folds: Sequence[FoldProgress]) -> float | None:
        others = [fold.seconds for other, fold in zip(self.tasks, folds, strict=True)
                  if other.configuration == task.configuration and fold.seconds is not None]
        return sum(others) / len(others) if others else None


def fold_progress(task: FoldTask) -> FoldProgress:
    """The progress of a fold, from its files. The time of validation is known only where the fold has a time budget."""
    budget = task.planned.configurations[task.configuration].schedule.budget_seconds
    if task.folder.result.is_file():
        result = read_model(task.folder.result, FoldResult)
        return FoldProgress(task.title, True, 1.0, 0.0, result.total_seconds, result.mean_dice)
    records = read_records(task.folder.metrics)
    if not records:
        return FoldProgress(task.title, False, 0.0, budget, budget)
    last = records[-1]
    left = time_left(last, budget)
    return FoldProgress(task.title, False, last["iteration"] / last["iterations"], left, last["seconds"] + left,
                    last["validation_dice"])


def time_left(record: Mapping[str, Any], budget_seconds: float | None) -> float:
    """Seconds that a fold has left after a record of its metrics: with a budget including validation."""
    return float(max(record["seconds_left"], budget_seconds - record["seconds"] if budget_seconds else 0.0))


def _running(fold: FoldProgress) -> str:
    dice = "" if fold.dice is None else f", Dice {fold.dice:.3f}"
    return f"{fold.title} {100 * fold.share:.0f} %{dice}"


@contextmanager
def shown(overview: Overview, every_seconds: float | None = None) -> Iterator[None]:
    """Show the overview while folds run: a line that changes on a terminal, else a log line from time to time."""
    terminal = on_terminal()
    period = every_seconds or (_SECONDS_ON_A_TERMINAL if terminal else _SECONDS_IN_A_LOG)
    stop = threading.Event()
    with tqdm(total=0, bar_format="{desc}", dynamic_ncols=True) if terminal else nullcontext() as line:

        def show() -> None:
            if line is None:
                logger.info("%s", overview.text())
            else:
                line.set_description_str(overview.text())

        def watch() -> None:
            while not stop.wait(period):
                show()

        show()
        thread = threading.Thread(target=watch, name="overview", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            show()
