"""From the names of a dataset, a configuration and a fold to the job that trains it."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoseg.base.errors import UserError
from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoders import fit_encoder
from autoseg.datasets.dataset import Dataset
from autoseg.nn.conditioning import CONDITIONERS
from autoseg.preprocessing.run import preprocess_dataset, recipe_digest
from autoseg.preprocessing.store import Origin, origin_of, prepared_names
from autoseg.training.cascade import add_previous
from autoseg.training.inputs import (
    declared_changes,
    digests_of,
    prepare_command,
    raw_changes,
    refuse_changes,
    refuse_stale,
    started_splits,
)
from autoseg.training.job import FoldJob
from autoseg.training.repair import read_encoder, read_started_with
from autoseg.training.splits import choose_fold, read_splits
from autoseg.workspace.checkpoint import read_facts
from autoseg.workspace.folders import ModelFolder
from autoseg.workspace.locks import locked
from autoseg.workspace.names import Workspace
from planners.rules.splits import Split
from planners.schema.plan import Plan, differing_fields

logger = logging.getLogger(__name__)


def assemble(workspace: Workspace, planned: Plan, configuration: str, fold: int | str, seed: int = 0, *,
             restart: bool = False, as_started: bool = False) -> tuple[FoldJob, dict[str, Path]]:
    """The job of a fold and the raw label file of each of its cases; a UserError where cases are not prepared, or where the
    raw files were changed since they were, and folds of the model were started with these.

    A fold that was started keeps the encoder of its conditions, unless it is to `restart`. With `as_started` the folds are
    those that it, or its model, was started with, and the cases are taken as they were prepared.
    """
    model = workspace.model(planned.dataset, planned.planner, configuration)
    folder = workspace.fold(planned.dataset, planned.planner, configuration, fold)
    raw = Dataset.open(workspace.raw(planned.dataset)).seen_by(planned)
    splits, split = _chosen(workspace, planned, configuration, fold, raw, as_started)
    settings = planned.configurations[configuration]
    wanted = [*split.train, *split.validation]
    if gone := sorted(set(wanted) - set(raw.names)):
        raise UserError(f"{len(gone)} cases of this fold are no longer in the dataset", where=raw.folder,
                        found="missing: " + ", ".join(gone[:5]) + (" ..." if len(gone) > 5 else ""),
                        do="put them back, or begin anew with --restart")
    cases = workspace.cases(planned.dataset, planned.preparer, settings.data or configuration)
    missing = sorted(set(wanted) - set(prepared_names(cases)))
    if missing:
        raise UserError(f"{len(missing)} cases are not prepared for {settings.data or configuration}", where=cases,
                        found="missing: " + ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else ""),
                        do=_prepared_again(planned, configuration, model))
    _check_recipe(planned, configuration, cases, {name: origin_of(cases, name) for name in wanted}, model)
    kept = [other for other in model.started_folds() if not (restart and other.path == folder.path)]
    origins = _current(workspace, planned, configuration, fold, raw, wanted, as_started=as_started, is_started=bool(kept))
    if settings.previous:
        cases = add_previous(workspace, planned, configuration, cases, wanted)
        origins = {name: origin_of(cases, name) for name in wanted}
    weights = _weights(raw, split)
    conditions: Mapping[str, CaseConditions] = {}
    encoder = None
    if CONDITIONERS.traits(settings.conditioning.name).reads_conditions:
        conditions = _conditions(raw, planned, wanted)
        encoder = ((None if restart else read_encoder(folder))
                   or fit_encoder(planned.conditions, [conditions[name] for name in split.train
                                                       if weights.get(name, 1.0) > 0]))
    annotated = raw.annotated() or {}
    job = FoldJob(plan=planned, name=configuration, fold=fold, folder=folder, cases=cases, training=split.train,
                  validation=split.validation, seed=seed, conditions=conditions, encoder=encoder,
                  annotated=annotated, weights=weights,
                  made_from=digests_of(origins, conditions, annotated, weights), splits=splits)
    return job, {case.name: case.label for case in raw.cases if case.label is not None}


def _current(workspace: Workspace, planned: Plan, configuration: str, fold: int | str, raw: Dataset, wanted: Sequence[str],
             *, as_started: bool, is_started: bool) -> dict[str, Origin]:
    """What the prepared cases were made from, which is what the dataset holds now.

    Where raw files were changed since, their cases are prepared again, unless a training `is_started` that knows the former
    ones: UserError. With `as_started` cases are taken as they are.
    """
    data, transforms = planned.configurations[configuration].data or configuration, transforms_folder(workspace, raw)
    cases = workspace.cases(planned.dataset, planned.preparer, data)
    origins = {name: origin_of(cases, name) for name in wanted}
    declared, changes = declared_changes(planned, raw), raw_changes(raw, origins, transforms)
    if as_started and (declared or changes):
        logger.warning("%s: the cases are used as they were prepared, although these were changed since: %s",
                       planned.dataset, "; ".join([*declared, *changes]))
    elif declared or (changes and is_started):
        refuse_stale(planned, configuration, fold, [*declared, *changes], where=cases, is_started=is_started)
    elif changes:
        logger.warning("%s: changed since the cases were prepared, and prepared again: %s", planned.dataset,
                       "; ".join(changes))
        with locked(cases, wait=True):  # folds that start at the same time prepare the same cases
            preprocess_dataset(raw, planned, data, cases, transforms=transforms, only=set(wanted)).raise_faults()
        origins = {name: origin_of(cases, name) for name in wanted}
    return origins


def check_finished(workspace: Workspace, planned: Plan, configuration: str, fold: int | str) -> None:
    """A UserError where the dataset is no longer what a finished fold was trained on: its folds, or its files as far as the
    prepared cases are still there to tell.
    """
    started = read_started_with(workspace.fold(planned.dataset, planned.planner, configuration, fold))
    if started is None or not workspace.has_raw(planned.dataset):
        return
    raw = Dataset.open(workspace.raw(planned.dataset)).seen_by(planned)
    split = choose_fold(_splits(workspace, planned.dataset, raw), fold, raw.names)
    cases = workspace.cases(planned.dataset, planned.preparer, planned.configurations[configuration].data or configuration)
    prepared = set(prepared_names(cases))
    origins = {name: origin_of(cases, name) for name in started.cases if name in prepared}
    refuse_changes(planned, configuration, fold, [*started.changes_of_folds(split.train, split.validation),
                                                  *declared_changes(planned, raw),
                                                  *raw_changes(raw, origins, transforms_folder(workspace, raw))],
                   started.changes_of_cases(digests_of(origins, {}, {}, raw.weights() or {})))


def transforms_folder(workspace: Workspace, raw: Dataset) -> Path | None:
    """The folder of what registration found; None where no channel is registered."""
    moved = any(channel.is_registered for channel in raw.manifest.channels)
    return workspace.transforms(raw.folder.name) if moved else None


def known_folds(workspace: Workspace, dataset: str) -> list[int]:
    """The numbers of a dataset's folds, none where it has too few cases."""
    return list(range(len(_splits(workspace, dataset, Dataset.open(workspace.raw(dataset))))))


def _splits(workspace: Workspace, dataset: str, raw: Dataset) -> tuple[Split, ...]:
    return read_splits(workspace, dataset, raw.names, *raw.groups())


def _chosen(workspace: Workspace, planned: Plan, configuration: str, fold: int | str, raw: Dataset, as_started: bool
            ) -> tuple[tuple[Split, ...], Split]:
    """All folds, and the one that is trained; `as_started`, those that the fold or its model was started with."""
    model = workspace.model(planned.dataset, planned.planner, configuration)
    known = started_splits(model) if as_started else ()
    splits = known or _splits(workspace, planned.dataset, raw)
    started = read_started_with(model.fold(fold)) if as_started else None
    if started is not None:
        return splits, Split(train=started.training, validation=started.validation)
    names = sorted({name for split in known for name in (*split.train, *split.validation)}) or raw.names
    return splits, choose_fold(splits, fold, names)


def check_training(job: FoldJob) -> dict[str, Any]:
    """What the fold's checkpoint says of its training; a UserError where it was trained on cases that it should validate."""
    facts = read_facts(job.folder.checkpoint)
    seen = sorted(set(facts.get("training", ())) & set(job.validation))
    if seen:
        raise UserError("the folds were changed since this fold was trained", where=job.title,
                        found=f"trained on {', '.join(seen[:5])}, which it should validate",
                        do="restore the folds, or train it again with --restart")
    return facts


def _weights(raw: Dataset, split: Split) -> Mapping[str, float]:
    """How often cases are drawn, of those that the table gives a weight. A UserError where no training case is drawn."""
    weights = raw.weights() or {}
    if not any(weights.get(name, 1.0) > 0 for name in split.train):
        raise UserError("every training case of this fold has the weight 0", where=raw.folder,
                        do=f"give some of them a weight above 0 in the column {raw.manifest.case_weight_column!r}")
    return weights


def _conditions(raw: Dataset, planned: Plan, names: Sequence[str]) -> Mapping[str, CaseConditions]:
    """What the table, vectors and token bags say of the cases, warnings logged."""
    conditions = raw.conditions(names, planned.conditions)
    for warning in conditions.warnings:
        logger.warning("%s", warning)
    return conditions.cases


def _check_recipe(planned: Plan, configuration: str, cases: Path, origins: Mapping[str, Origin], model: ModelFolder) -> None:
    """A UserError where cases were prepared as another plan says: prediction would prepare them as this one does.

    The plan of a model that was started prepares them again as it needs them.
    """
    recipe = recipe_digest(planned, planned.configurations[configuration])
    others = [name for name, origin in origins.items() if origin.provenance.get("recipe") != recipe]
    if others:
        raise UserError(f"{len(others)} cases were prepared for another plan", where=cases,
                        found=", ".join(others[:5]) + (" ..." if len(others) > 5 else ""),
                        expected="the spacing, resampling, normalisers, labels and intensities of the plan that is trained",
                        do=_prepared_again(planned, configuration, model))


def _prepared_again(planned: Plan, configuration: str, model: ModelFolder) -> str:
    """The commands that prepare cases as a plan says; of a model that was started with it, the two ways on."""
    is_own = (model.has_plan and model.started_folds()
              and not differing_fields(model.read_plan(), planned, configuration))
    if not is_own:
        return f"run {prepare_command(planned)}"
    return (f"go on with the plan that this model was started with: autoseg_plan_and_preprocess -d {planned.dataset} "
            f"-p {model.plan} -c {configuration}; or begin anew by the dataset's plan: autoseg_train {planned.dataset} "
            f"{configuration} all-folds -p {planned.planner} --restart")
