"""A training that ends before its time, or goes on after it (docs/decisions/0041-trainings-that-bend.md)."""

import logging
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.base.progress import duration
from autoseg.base.ranks import agreed, is_first, ranks
from autoseg.prediction.trained_with import TrainedWith
from autoseg.training.job import Extension
from autoseg.training.state import TrainState
from autoseg.workspace.checkpoint import load_state, load_weights
from autoseg.workspace.files import DamagedFile, read_model, remove_folder, write_json
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.locks import is_held
from planners.rules.budget import ended_early
from planners.schema.base import Frozen, versioned
from planners.schema.plan import ResolvedSchedule

logger = logging.getLogger(__name__)


class Finish(Frozen):
    """`finish.json`: the training of this folder was asked to end; how many iterations it was to have, once it ends."""

    schema_version: int = versioned(1)
    planned_iterations: int | None = None


class ExtensionTime(Frozen):
    """`extension.json` of the folder of an extension: how long it was asked for."""

    schema_version: int = versioned(1)
    seconds: float


class Extended(Frozen):
    """That a fold went on after it was finished: for how long it was asked, and what it had reached before."""

    seconds: float
    iterations_before: int
    training_seconds_before: float
    total_seconds_before: float
    mean_dice_before: float | None


def ask_to_finish(folder: FoldFolder, title: str) -> bool:
    """Ask the training of a fold, or its extension, to end with what it has. True: another process works on it now, and ends
    after its current iteration. Otherwise whoever goes on with the training ends it at once.

    Raises UserError where nothing was trained yet.
    """
    training = folder.extension if folder.extension.extension_time.is_file() else folder
    is_running = folder.path.is_dir() and is_held(folder.path)
    if training.is_finished or training.is_trained:
        return is_running
    state = None if is_running else load_state(training.state)
    if not is_running and (state is None or state["train"]["iteration"] == 0):
        raise UserError("this fold has nothing to finish: no iteration of it is saved", where=title,
                        found="never started" if not training.is_started else "stopped before its first epoch was saved",
                        do="train it: the same command without --finish")
    write_json(training.finish, Finish())
    return is_running


def planned_iterations(folder: FoldFolder, done: int) -> int | None:
    """How many iterations a training was to have that ended before its time; None where it did not."""
    planned = _asked(folder.finish).planned_iterations if folder.finish.is_file() else None
    return planned if planned is not None and planned > done else None


class Finisher:
    """Looks whether somebody asked a training to end, and shortens its schedule once.

    `schedule` is that of the training where it goes on: one that is shorter than planned was shortened before.
    """

    def __init__(self, folder: FoldFolder, schedule: ResolvedSchedule):
        self._file = folder.finish
        self._is_shortened = planned_iterations(folder, schedule.iterations) is not None

    @property
    def is_asked(self) -> bool:
        """To be looked at after each iteration. Several processes that train together end with an epoch."""
        return ranks().n == 1 and not self._is_shortened and self._file.is_file()

    def shortened(self, schedule: ResolvedSchedule, done: int) -> ResolvedSchedule:
        """The schedule, which ends now where that was asked for. A network that was never trained goes on."""
        if self._is_shortened or not done or not agreed(self._file.is_file()):
            return schedule
        self._is_shortened = True
        planned = _asked(self._file).planned_iterations or schedule.iterations
        if is_first():
            write_json(self._file, Finish(planned_iterations=planned))
        logger.info("finished early, as asked: %d of %d iterations", done, planned)
        return ended_early(schedule, done)


def _asked(file: Path) -> Finish:
    try:
        return read_model(file, Finish)
    except DamagedFile:  # that it is there says all that matters
        return Finish()


def extension_of(folder: FoldFolder, extended: tuple[Extended, ...], seconds: float | None, title: str) -> Extension | None:
    """The extension of a fold that is to be trained: of `seconds`, or one that was started. None where there is none, or
    where the last one was of just this time: the same command again does nothing.

    `extended` are those before. Raises UserError where the fold is not finished, or another extension was started.
    """
    file = folder.extension.extension_time
    started = read_model(file, ExtensionTime).seconds if file.is_file() else None
    if seconds is None and started is None:
        return None
    if not (folder.is_finished and folder.is_trained):
        if seconds is None:
            return None
        raise UserError("this fold is not finished, and cannot be extended", where=title,
                        do="end it with what it has by --finish, or go on to its planned end with the same command without "
                           "--extend")
    if None not in (started, seconds) and started != seconds:
        raise UserError("an extension of another time was started", where=title, found=duration(started or 0),
                        do="go on with it: the same command without --extend; or end it with what it has by --finish")
    if started is None and extended and extended[-1].seconds == seconds:
        logger.info("%s was extended by %s; another time extends it again", title, duration(extended[-1].seconds))
        return None
    return Extension(seconds=started or seconds or 0.0, weights=folder.checkpoint, number=len(extended) + 1)


def start_extension(folder: FoldFolder, extension: Extension, trained_with: TrainedWith) -> None:
    """Write what an extension is started with. What is in its folder without its time is of one that was never started."""
    if not folder.extension.extension_time.is_file():
        remove_folder(folder.extension.path)
        write_json(folder.extension.started_with, trained_with)
        write_json(folder.extension.extension_time, ExtensionTime(seconds=extension.seconds))


def begin_from(state: TrainState, weights: Path) -> None:
    """Begin with the weights of a finished training; their average begins with them too."""
    tensors, _ = load_weights(weights)
    state.model.load_state_dict(tensors)
    for mine, parameter in zip(state.average.values, state.model.parameters(), strict=True):
        mine.copy_(parameter.detach())
