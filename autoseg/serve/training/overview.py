"""Datasets in few numbers: their plans, their folds, their fingerprints."""

from collections.abc import Iterable

import numpy as np

from autoseg.base.errors import AutosegError
from autoseg.datasets.dataset import read_manifest
from autoseg.planning.store import read_fingerprint
from autoseg.serve.problems import without_paths
from autoseg.serve.training.folds import Launches, key_of, shown_fold
from autoseg.serve.training.types import (
    DatasetDetails,
    Quartiles,
    ShownChannel,
    ShownDataset,
    ShownFingerprint,
    ShownLabel,
    ShownModel,
)
from autoseg.training.splits import N_FOLDS, written_splits
from autoseg.workspace.files import read_model
from autoseg.workspace.names import Workspace
from planners.schema.fingerprint import Fingerprint
from planners.schema.plan import Plan


def shown_dataset(workspace: Workspace, number: int, name: str, launches: Launches) -> ShownDataset:
    """A dataset with all that was planned and trained of it. What cannot be read is its `fault`."""
    shown, faults = ShownDataset(name=name, number=number), []
    try:
        shown = shown.model_copy(update=_facts(workspace, name))
    except AutosegError as error:
        faults.append(str(error))
    models = _models(workspace, name, launches, faults)
    return shown.model_copy(update={"models": models, "fault": without_paths("; ".join(faults), (str(workspace.home),))})


def details(workspace: Workspace, shown: ShownDataset) -> DatasetDetails:
    """A dataset with its fingerprint. A damaged one is left out: the fault of the dataset says it."""
    try:
        prints = read_fingerprint(workspace, shown.name) if shown.has_fingerprint else None
    except AutosegError:
        prints = None
    return DatasetDetails(dataset=shown, fingerprint=None if prints is None else summarised(prints))


def summarised(prints: Fingerprint) -> ShownFingerprint:
    """A fingerprint without its cases."""
    spacing = np.array([case.spacing_mm for case in prints.cases]).reshape(-1, 3)
    shape = np.array([case.shape for case in prints.cases]).reshape(-1, 3)
    known = {stats.name: stats for stats in prints.label_stats}
    channels = [ShownChannel(name=channel.name, required=channel.required,
                             presence=prints.presence[place] if prints.presence else None,
                             intensities=prints.intensities[place] if prints.intensities else None)
                for place, channel in enumerate(prints.channels)]
    labels = [ShownLabel(name=name, cases=known[name].cases, volume_ml=known[name].volume_ml) if name in known
              else ShownLabel(name=name) for name in prints.labels.foreground]
    return ShownFingerprint(cases=len(prints.cases), spacing_mm=_of_axes(spacing), shape=_of_axes(shape),
                            channels=tuple(channels), labels=tuple(labels), orientation=prints.orientation,
                            conditions=tuple(spec.name for spec in prints.conditions.specs))


def _of_axes(values: np.ndarray) -> tuple[Quartiles, Quartiles, Quartiles]:
    """Quartiles of each axis. [n 3]"""
    z, y, x = (Quartiles(**dict(zip(("low", "quarter", "median", "three_quarters", "high"),
                                    np.quantile(values[:, axis], (0, 0.25, 0.5, 0.75, 1)).tolist(), strict=True)))
               for axis in range(3))
    return z, y, x


def _facts(workspace: Workspace, name: str) -> dict[str, object]:
    """What a dataset is, from its fingerprint, else from its raw folder."""
    if workspace.fingerprint(name).is_file():
        prints = read_fingerprint(workspace, name)
        return {"cases": len(prints.cases), "channels": tuple(channel.name for channel in prints.channels),
                "labels": prints.labels.foreground, "has_fingerprint": True}
    if not workspace.has_raw(name):
        return {}
    manifest = read_manifest(workspace.raw(name))
    return {"cases": manifest.n_training, "channels": tuple(channel.name for channel in manifest.channels),
            "labels": manifest.labels.foreground}


def _models(workspace: Workspace, name: str, launches: Launches, faults: list[str]) -> tuple[ShownModel, ...]:
    plans: dict[str, Plan] = {}
    for planner, path in workspace.plans(name).items():
        try:
            plans[planner] = read_model(path, Plan)
        except AutosegError as error:
            faults.append(str(error))
    planned = [(planner, configuration) for planner, plan in plans.items() for configuration in plan.configurations]
    trained = [(model.planner, model.configuration) for model in workspace.models(name)]
    numbers = _fold_numbers(workspace, name, faults)
    return tuple(_model(workspace, name, planner, configuration, plans.get(planner), numbers, launches)
                 for planner, configuration in dict.fromkeys([*planned, *trained]))


def _model(workspace: Workspace, name: str, planner: str, configuration: str, plan: Plan | None, numbers: Iterable[str],
           launches: Launches) -> ShownModel:
    model = workspace.model(name, planner, configuration)
    is_planned = plan is not None and configuration in plan.configurations
    names = dict.fromkeys([*(numbers if is_planned else ()), *(folder.name for folder in model.all_folds())])
    folds = [shown_fold(folder, launches(key_of(folder))) for folder in map(model.fold, names)]
    done = [fold.dice for fold in folds if fold.state == "finished" and fold.fold != "all" and fold.dice is not None]
    schedule = plan.configurations[configuration].schedule if plan is not None and is_planned else None
    advised = plan is not None and plan.first is not None and plan.first.configuration == configuration
    return ShownModel(planner=planner, configuration=configuration, is_planned=is_planned, is_advised=advised,
                      budget_seconds=None if schedule is None else schedule.budget_seconds,
                      mean_dice=sum(done) / len(done) if done else None, folds=tuple(folds))


def _fold_numbers(workspace: Workspace, name: str, faults: list[str]) -> list[str]:
    """The folds of a dataset; before the first training has written them, as many as it will most likely make."""
    try:
        n = len(written_splits(workspace, name))
    except AutosegError as error:
        faults.append(str(error))
        n = 0
    return [str(fold) for fold in range(n or N_FOLDS)]
