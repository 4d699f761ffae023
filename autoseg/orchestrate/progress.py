"""How far all folds are, and when they will be done, in one line: read from what the folds write, wherever they run."""

import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from tqdm import tqdm

from autoseg.base.progress import duration
from autoseg.orchestrate.folds import FoldTask
from autoseg.training.validate import FoldResult
from autoseg.workspace.files import read_model, read_records

logger = logging.getLogger(__name__)

# On a terminal one line is written anew; a log file gets one now and then.
_SECONDS_ON_A_TERMINAL, _SECONDS_IN_A_LOG = 2.0, 120.0


@dataclass(frozen=True)
class FoldProgress:
    """Where a fold stands. `seconds_left` is None where nothing tells; `seconds` is what all of it takes, or None."""

    title: str
    finished: bool
    share: float  # of its iterations
    seconds_left: float | None
    seconds: float | None
    dice: float | None = None


@dataclass
class Overview:
    """The folds that are to be trained on so many devices; whoever runs them says which of them `failed`."""

    tasks: Sequence[FoldTask]
    n_devices: int = 1
    failed: set[str] = field(default_factory=set)

    def text(self) -> str:
        """One line: what is finished, what runs, and the time left for everything."""
        standings = [standing(task) for task in self.tasks]
        parts = [f"folds {sum(one.finished for one in standings)}/{len(standings)} finished"]
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        parts += [_running(one) for one in standings
                  if one.share > 0 and not one.finished and one.title not in self.failed][: self.n_devices]
        seconds, complete = self.seconds_left(standings)
        if seconds is not None:
            parts.append(("" if complete else "at least ") + f"{duration(seconds)} left")
        return "; ".join(parts)

    def seconds_left(self, standings: Sequence[FoldProgress]) -> tuple[float | None, bool]:
        """For all folds, distribute evenly over the devices but at least the longest one's; and whether all are known.

        A fold that has not begun takes its budget, or as long as the others of its configuration.
        """
        waiting = [(task, one) for task, one in zip(self.tasks, standings, strict=True)
                   if not one.finished and one.title not in self.failed]
        left = [one.seconds_left if one.seconds_left is not None else self._like(task, standings) for task, one in waiting]
        known = [seconds for seconds in left if seconds is not None]
        if not known:
            return (0.0, True) if not waiting else (None, False)
        return max(sum(known) / self.n_devices, max(known)), len(known) == len(left)

    def _like(self, task: FoldTask, standings: Sequence[FoldProgress]) -> float | None:
        others = [one.seconds for other, one in zip(self.tasks, standings, strict=True)
                  if other.configuration == task.configuration and one.seconds is not None]
        return sum(others) / len(others) if others else None


def standing(task: FoldTask) -> FoldProgress:
    """Where a fold stands, by its files. What validation takes after the last iteration is known of budgets only."""
    budget = task.planned.configurations[task.configuration].schedule.budget_seconds
    if task.folder.result.is_file():
        result = read_model(task.folder.result, FoldResult)
        return FoldProgress(task.title, True, 1.0, 0.0, result.total_seconds, result.mean_dice)
    records = read_records(task.folder.metrics)
    if not records:
        return FoldProgress(task.title, False, 0.0, budget, budget)
    last = records[-1]
    left = max(last["seconds_left"], budget - last["seconds"] if budget else 0.0)
    return FoldProgress(task.title, False, last["iteration"] / last["iterations"], left, last["seconds"] + left,
                    last["validation_dice"])


def _running(one: FoldProgress) -> str:
    dice = "" if one.dice is None else f", Dice {one.dice:.3f}"
    return f"{one.title} {100 * one.share:.0f} %{dice}"


@contextmanager
def shown(overview: Overview, every_seconds: float | None = None) -> Iterator[None]:
    """Show the overview while folds run: a line that changes on a terminal, else a line in the log now and then."""
    terminal = sys.stderr.isatty()
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
