"""The state of folds, from the locks and the records that trainings leave: also of those that nobody here has started."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from autoseg.base.errors import AutosegError
from autoseg.orchestrate.progress import time_left
from autoseg.serve.training.types import Curve, FoldState, ShownFold, ShownTraining
from autoseg.workspace.files import changed_at, read_model, read_records
from autoseg.workspace.folders import FoldFolder, ModelFolder
from autoseg.workspace.locks import holder
from autoseg.workspace.names import Workspace
from planners.schema.base import Frozen, versioned

_MOST_POINTS = 500  # of a curve
_MOST_RECENT = 12  # folds that do not run


class FoldKey(NamedTuple):
    """The words that name a fold in a workspace."""

    dataset: str
    planner: str
    configuration: str
    fold: str


class Launched(Frozen):
    """`launched.json`: the device on which the service has started a training, and its process."""

    schema_version: int = versioned(1)
    device: str
    process: int


class Launch(NamedTuple):
    """What the service knows of a process that it has started: whether it runs, and what went wrong with it."""

    is_alive: bool = False
    fault: str = ""


Launches = Callable[[FoldKey], Launch]


def fold_folder(workspace: Workspace, key: FoldKey) -> FoldFolder:
    return workspace.fold(key.dataset, key.planner, key.configuration, key.fold)


def title_of(key: FoldKey) -> str:
    return f"{key.dataset} {key.configuration} ({key.planner}) fold {key.fold}"


def key_of(folder: FoldFolder) -> FoldKey:
    model = ModelFolder(folder.path.parent)
    return FoldKey(model.dataset, model.planner, model.configuration, folder.name)


def state_of(folder: FoldFolder, launch: Launch) -> FoldState:
    """Whoever trains a fold holds its folder; a process that was started a moment ago does not yet."""
    if holder(folder.path) is not None:
        return "running"
    if launch.is_alive:
        return "running" if folder.is_finished else "starting"
    if folder.is_finished:
        return "finished"
    return "stopped" if folder.is_started else "not started"


def shown_fold(folder: FoldFolder, launch: Launch) -> ShownFold:
    """A fold in a list."""
    state = state_of(folder, launch)
    if state == "not started":
        return ShownFold(fold=folder.name, state=state)
    last = _last(_records(folder))
    return ShownFold(fold=folder.name, state=state, iteration=last.get("iteration", 0), iterations=last.get("iterations"),
                     dice=_dice(folder, state, last))


def shown_training(folder: FoldFolder, launch: Launch, budget_seconds: float | None) -> ShownTraining:
    """A fold with its curve. The records of an extension that runs are its own."""
    state, records = state_of(folder, launch), _records(folder)
    last, held = _last(records), holder(folder.path)
    is_going = state == "running" and "seconds_left" in last
    return ShownTraining(
        **key_of(folder)._asdict(), state=state, iteration=last.get("iteration", 0), iterations=last.get("iterations"),
        seconds=last.get("seconds", 0.0), seconds_left=time_left(last, budget_seconds) if is_going else None,
        budget_seconds=budget_seconds, device=device_of(folder) if state in ("starting", "running") else "",
        machine=held.machine if held is not None else "", changed=changed_at(folder.metrics),
        dice=_dice(folder, state, last), is_asked_to_finish=folder.finish.is_file() and not folder.is_finished,
        curve=curve_of(records), fault=launch.fault)


def device_of(folder: FoldFolder) -> str:
    """The device of a training that runs, if a service has started this very process; else empty."""
    try:
        launched = read_model(folder.launched, Launched) if folder.launched.is_file() else None
    except AutosegError:
        return ""
    held = holder(folder.path)
    return launched.device if launched is not None and (held is None or held.process == launched.process) else ""


def curve_of(records: Sequence[Mapping[str, Any]]) -> Curve:
    """The curve of a training in at most 500 points: evenly chosen, the last among them."""
    n = len(records)
    apart = max(1.0, (n - 1) / (_MOST_POINTS - 1))
    chosen = [round(place * apart) for place in range(min(n, _MOST_POINTS))]
    points = [records[place] for place in chosen]
    return Curve(iterations=tuple(point["iteration"] for point in points),
                 **{name: tuple(_number(point.get(name)) for point in points)
                    for name in ("train_loss", "validation_dice", "learning_rate")})


def trainings(workspace: Workspace, folders: Iterable[FoldFolder], launches: Launches) -> list[ShownTraining]:
    """The folds that run, then those that ran last, the newest first."""
    states = [(folder, state_of(folder, launches(key_of(folder)))) for folder in folders]
    going = [folder for folder, state in states if state in ("starting", "running")]
    ended = [folder for folder, state in states if state in ("stopped", "finished")]
    failed = [folder for folder, state in states if state == "not started" and launches(key_of(folder)).fault]
    ended.sort(key=lambda folder: changed_at(folder.metrics) or 0.0, reverse=True)
    return [shown_training(folder, launches(key_of(folder)), budget_of(workspace, key_of(folder)))
            for folder in (*going, *failed, *ended[:_MOST_RECENT])]


def budget_of(workspace: Workspace, key: FoldKey) -> float | None:
    """The planned seconds of a fold; None where none are planned, or no plan can be read."""
    model = workspace.model(key.dataset, key.planner, key.configuration)
    try:
        return model.read_plan().configurations[key.configuration].schedule.budget_seconds
    except (AutosegError, KeyError):
        return None


def _records(folder: FoldFolder) -> list[dict[str, Any]]:
    extension = folder.extension
    training = extension if extension.extension_time.is_file() and extension.metrics.is_file() else folder
    return [record for record in read_records(training.metrics) if isinstance(record.get("iteration"), int)]


def _last(records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return records[-1] if records else {}


def _dice(folder: FoldFolder, state: FoldState, last: Mapping[str, Any]) -> float | None:
    try:
        return folder.mean_dice() if state == "finished" else _number(last.get("validation_dice"))
    except AutosegError:  # the file of the result is damaged
        return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
