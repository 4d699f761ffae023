"""Trackers follow a training by the records that it appends to its file, in a thread of their own: one that is slow or fails
does not touch it.
"""

import importlib.util
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from autoseg.base.errors import UserError
from autoseg.base.parts import check_part
from autoseg.base.ranks import is_first
from autoseg.base.version import __version__
from autoseg.tracking.port import TRACKERS, Status, TrackedRun, Tracker
from autoseg.workspace.files import DamagedFile, read_model, read_records, write_json
from autoseg.workspace.folders import FoldFolder, ModelFolder
from planners.schema.base import Frozen, Part, versioned
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)

_SECONDS = 2.0  # between two looks at the records
_SECONDS_TO_END = 120.0  # for the pictures and the model


class _Followed(Frozen):
    """How far a tracker has followed a fold: its run, the last iteration that it has, and whether it has the result."""

    run_id: str
    step: int
    ended: bool = False


class Following(Frozen):
    """What is known of each tracker of a fold, so that a training that is resumed goes on in the same run."""

    schema_version: int = versioned(1)
    runs: dict[str, _Followed] = Field(default_factory=dict)


@dataclass(frozen=True)
class FollowedFold:
    """The fold to follow: its plan, its configuration, its number and its folder."""

    planned: Plan
    configuration: str
    fold: int | str
    folder: FoldFolder
    seed: int

    @property
    def run(self) -> TrackedRun:
        parameters: dict[str, str | int | float | bool] = {
            "version": __version__, "dataset": self.planned.dataset, "planner": self.planned.planner, "fold": str(self.fold),
            "configuration": self.configuration, "seed": self.seed,
            "channels": ", ".join(channel.name for channel in self.planned.channels),
            "labels": ", ".join(self.planned.labels.foreground)}
        values = self.planned.configurations[self.configuration].decided().model_dump(mode="json", exclude_none=True)
        return TrackedRun(f"{self.planned.dataset} {self.configuration} fold {self.fold}", self.planned.dataset,
                          {**parameters, **flattened(values)}, self.folder.tracking)


@contextmanager
def tracked(names: Sequence[str], followed: FollowedFold) -> Iterator[None]:
    """Within this context trackers follow a fold. At the end they are given the rest, and of a finished fold its pictures
    and its model. Raises UserError before it begins where one is not known or not installed.
    """
    check_trackers(names)
    if not names or not is_first():  # of processes that train together
        yield
        return
    followers = [_Follower(name, followed) for name in dict.fromkeys(names)]
    over = threading.Event()
    threads = [threading.Thread(target=follower.run, args=(over,), name=f"tracker {follower.name}", daemon=True)
               for follower in followers]
    for thread in threads:
        thread.start()
    status: Status = "failed"
    try:
        yield
        status = "finished"
    except KeyboardInterrupt:
        status = "stopped"
        raise
    finally:
        for follower in followers:
            follower.status = status
        over.set()
        for follower, thread in zip(followers, threads, strict=True):
            thread.join(_SECONDS_TO_END)
            if thread.is_alive():
                logger.warning("the tracker %s was not done after %.0f s and is left behind", follower.name, _SECONDS_TO_END)


def check_trackers(names: Sequence[str]) -> None:
    """Raises UserError for a tracker that is not known, or whose package is not installed."""
    for name in names:
        check_part(TRACKERS, Part(name=name), "--tracker")
        traits = TRACKERS.traits(name)
        if traits.module and importlib.util.find_spec(traits.module) is None:
            raise UserError(f"the tracker {name} needs {traits.module}, which is not installed",
                            do=f"pip install 'autoseg-pipeline[{traits.extra}]'")


class _Follower:
    """One tracker of one fold. It begins with the first record that this training appends: what lies there before may be
    removed by a restart.
    """

    def __init__(self, name: str, followed: FollowedFold):
        self.name = name
        self.status: Status = "failed"
        self._followed, self._folder = followed, followed.folder
        self._before = _records(self._folder)
        self._tracker: Tracker | None = None
        self._step, self._run_id = 0, ""

    def run(self, over: threading.Event) -> None:
        """Follow until the training is `over`. What fails is said once, and ends this tracker alone."""
        try:
            while not over.wait(_SECONDS):
                self._send_new()
            self._send_rest()
        except Exception as error:
            logger.debug("the tracker %s", self.name, exc_info=True)
            logger.warning("the tracker %s failed and follows no more: %s: %s; the training goes on", self.name,
                           type(error).__name__, error)

    def _send_new(self) -> None:
        records = _records(self._folder)
        if self._tracker is None and all(record in self._before for record in records):
            return
        self._send(records)

    def _send_rest(self) -> None:
        is_finished = self.status == "finished" and self._folder.is_finished
        known = _following(self._folder).runs.get(self.name)
        if self._tracker is None and not (is_finished and (known is None or not known.ended)):
            self._send_new()
        else:
            self._send(_records(self._folder))
        if self._tracker is None:
            return
        if is_finished:
            self._send_result(self._tracker)
        self._tracker.end(self.status)
        self._note(ended=is_finished)

    def _send(self, records: Sequence[Mapping[str, Any]]) -> None:
        tracker = self._tracker or self._started()
        self._tracker = tracker
        for record in records:
            if record["iteration"] > self._step:
                tracker.metrics(record["iteration"], numbers_of(record))
                self._step = record["iteration"]
        self._note(ended=False)

    def _send_result(self, tracker: Tracker) -> None:
        dice = self._folder.mean_dice()
        if dice is not None:
            tracker.metrics(self._step, {"mean_dice": dice})
        for send, paths in ((tracker.picture, (self._folder.curves, self._folder.sheet)),
                            (tracker.model, (self._folder.checkpoint, ModelFolder(self._folder.path.parent).plan))):
            _send_files(send, paths)

    def _started(self) -> Tracker:
        known = _following(self._folder).runs.get(self.name)
        run = self._followed.run
        run = replace(run, folder=run.folder / self.name)
        if known is not None:
            run, self._step = replace(run, run_id=known.run_id, step=known.step), known.step
        tracker = TRACKERS.make(Part(name=self.name), run)
        self._run_id = tracker.start()
        return tracker

    def _note(self, *, ended: bool) -> None:
        runs = _following(self._folder).runs
        now = _Followed(run_id=self._run_id, step=self._step, ended=ended)
        write_json(self._folder.tracked, Following(runs={**runs, self.name: now}))


def numbers_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record, those within a mapping as `name/key`.

    >>> numbers_of({"epoch": 1, "validation_dice_by_label": {"liver": 0.5, "tumour": None}, "text": "a"})
    {'epoch': 1.0, 'validation_dice_by_label/liver': 0.5}
    """
    return {name: float(value) for name, value in flattened(record, "/").items()
            if isinstance(value, int | float) and not isinstance(value, bool) and name != "iteration"}


def flattened(values: Mapping[str, Any], joint: str = ".") -> dict[str, Any]:
    """Mappings within mappings as one, with joined names; lists as text, nothing of what is None."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}{joint}{inner}": inner_value for inner, inner_value in flattened(value, joint).items()}
        elif value is not None:
            flat[key] = value if isinstance(value, str | int | float | bool) else str(value)
    return flat


def _send_files(send: Callable[[Path], None], paths: Sequence[Path]) -> None:
    for path in paths:
        if path.is_file():
            send(path)


def _records(folder: FoldFolder) -> list[dict[str, Any]]:
    return [record for record in read_records(folder.metrics) if "iteration" in record]


def _following(folder: FoldFolder) -> Following:
    try:
        return read_model(folder.tracked, Following) if folder.tracked.is_file() else Following()
    except DamagedFile:
        return Following()
