"""From the names of a dataset, a configuration and a fold to a finished fold on the disk."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.base.parts import check_part
from autoseg.base.runtime import Runtime
from autoseg.base.workspace import FoldFolder, Workspace, read_model, write_json
from autoseg.batches.augment import AUGMENTATIONS
from autoseg.data.manifest import read_manifest
from autoseg.data.raw import find_training_cases
from autoseg.data.readers.prepared import prepared_names
from autoseg.nn.conditioning import CONDITIONERS
from autoseg.nn.fusion import FUSIONS
from autoseg.nn.losses import LOSSES
from autoseg.nn.networks import NETWORKS
from autoseg.predict.models import load_model
from autoseg.train.cascade import add_previous
from autoseg.train.fold import train_fold
from autoseg.train.job import FoldJob
from autoseg.train.optimizers import OPTIMIZERS
from autoseg.train.splits import choose_fold, read_splits
from autoseg.train.validate import FoldResult, validate_fold
from planners.base import Part
from planners.override import override
from planners.plan import Configuration, Plan, Schedule
from planners.registry import Registry

logger = logging.getLogger(__name__)


def settle_plan(planned: Plan, configuration: str, changes: Sequence[str]) -> Plan:
    """The plan with `key=value` changes applied to one configuration; a UserError for a wrong change."""
    if configuration not in planned.configurations:
        raise UserError(f"unknown configuration {configuration!r}", where=f"{planned.dataset}, plan {planned.planner}",
                        found=", ".join(planned.configurations))
    try:
        changed = override(planned.configurations[configuration], list(changes))
    except ValueError as error:
        raise UserError("a --set does not fit the plan", found=error) from None
    for registry, part in _parts(changed):
        check_part(registry, part, f"{planned.dataset} {configuration}")
    return planned.model_copy(update={"configurations": {**planned.configurations, configuration: changed}})


def _parts(configuration: Configuration) -> tuple[tuple[Registry, Part], ...]:
    """What training will build. Normalisers are not among them: cases are normalised already."""
    return ((FUSIONS, configuration.fusion), (NETWORKS, configuration.network), (LOSSES, configuration.loss),
            (CONDITIONERS, configuration.conditioning), (AUGMENTATIONS, configuration.augmentation),
            (OPTIMIZERS, configuration.schedule.optimizer))


def claim_model(workspace: Workspace, planned: Plan, configuration: str, fold: int | str, restart: bool) -> FoldFolder:
    """The folder of a fold, with the plan of its model written beside it.

    All folds of a model share a plan. Raises UserError where folds exist that were trained with another one.
    """
    folder = FoldFolder(workspace.fold(planned.dataset, planned.planner, configuration, fold))
    if restart:
        folder.clear()
    path = workspace.model_plan(planned.dataset, planned.planner, configuration)
    begun = [other for other in path.parent.glob("fold_*") if FoldFolder(other).schedule.is_file()]
    if path.is_file() and begun:
        known = read_model(path, Plan).configurations[configuration]
        if known != planned.configurations[configuration]:
            raise UserError("folds of this model were begun with another plan", where=path,
                            found=", ".join(sorted(other.name for other in begun)),
                            do="train with the same options, remove these folders, or use --restart for the only one")
    write_json(path, planned)
    return folder


def run_fold(workspace: Workspace, planned: Plan, configuration: str, fold: int | str, runtime: Runtime,
             *, seed: int = 0, restart: bool = False, on_epoch=lambda folder: None) -> FoldResult:
    """Train and validate one fold, or go on with it, or read its result if it is finished."""
    started = time.monotonic()
    folder = claim_model(workspace, planned, configuration, fold, restart)
    if folder.result.is_file():
        logger.info("fold %s is finished: %s; --restart begins anew", fold, folder.path)
        return read_model(folder.result, FoldResult)
    job, truths = assemble(workspace, planned, configuration, fold, folder, seed)
    if not folder.checkpoint.is_file():
        train_fold(job, runtime, started, lambda: on_epoch(folder))
    model = load_model(planned, job.configuration, folder.checkpoint, runtime)
    schedule = read_model(folder.schedule, Schedule)
    trained = time.monotonic() - started
    summary, unscored = validate_fold(job, model, truths, runtime, schedule.validation_mirroring)
    mean_dice = None if summary is None else summary.foreground_means["dice"].value
    result = FoldResult(dataset=planned.dataset, planner=planned.planner, configuration=configuration, fold=fold,
                        seed=seed, schedule=schedule, training_seconds=round(trained, 1),
                        total_seconds=round(time.monotonic() - started, 1),
                        mean_dice=mean_dice, scores=summary, unscored=unscored)
    write_json(folder.result, result)
    return result


def assemble(workspace: Workspace, planned: Plan, configuration: str, fold: int | str, folder: FoldFolder, seed: int
             ) -> tuple[FoldJob, dict[str, Path]]:
    """The job of a fold and the raw label file of each of its cases; a UserError where cases are not prepared."""
    raw = workspace.raw(planned.dataset)
    files = {case.name: case for case in find_training_cases(raw, read_manifest(raw))}
    split = choose_fold(read_splits(workspace, planned.dataset, sorted(files)), fold, sorted(files))
    chosen = planned.configurations[configuration]
    cases = workspace.cases(planned.dataset, planned.planner, chosen.data or configuration)
    missing = sorted({*split.train, *split.validation} - set(prepared_names(cases)))
    if missing:
        raise UserError(f"{len(missing)} cases are not prepared for {chosen.data or configuration}", where=cases,
                        found="missing: " + ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else ""),
                        do=f"run autoseg_plan_and_preprocess -d {planned.dataset} -p {planned.planner}")
    if chosen.previous:
        cases = add_previous(workspace, planned, configuration, cases, [*split.train, *split.validation])
    job = FoldJob(plan=planned, name=configuration, fold=fold, folder=folder, cases=cases, training=split.train,
                  validation=split.validation, seed=seed)
    return job, {name: case.label for name, case in files.items()}
