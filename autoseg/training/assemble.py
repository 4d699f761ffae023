"""From the names of a dataset, a configuration and a fold to the job that trains it."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoseg.base.errors import UserError
from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoders import ConditionEncoder, fit_encoder
from autoseg.datasets.dataset import Dataset
from autoseg.nn.conditioning import CONDITIONERS
from autoseg.preprocessing.run import recipe_digest
from autoseg.preprocessing.store import prepared_names, provenance_of
from autoseg.training.cascade import add_previous
from autoseg.training.job import FoldJob
from autoseg.training.splits import choose_fold, read_splits
from autoseg.workspace.checkpoint import load_weights
from autoseg.workspace.files import read_model
from autoseg.workspace.names import Workspace
from planners.rules.splits import Split
from planners.schema.plan import Configuration, Plan

logger = logging.getLogger(__name__)


def assemble(workspace: Workspace, planned: Plan, configuration: str, fold: int | str, seed: int = 0, *,
             restart: bool = False) -> tuple[FoldJob, dict[str, Path]]:
    """The job of a fold and the raw label file of each of its cases; a UserError where cases are not prepared.

    A fold that was started keeps the encoder of its conditions, unless it is to `restart`.
    """
    folder = workspace.fold(planned.dataset, planned.planner, configuration, fold)
    raw = Dataset.open(workspace.raw(planned.dataset))
    split = choose_fold(_splits(workspace, planned.dataset, raw), fold, raw.names)
    settings = planned.configurations[configuration]
    wanted = [*split.train, *split.validation]
    cases = workspace.cases(planned.dataset, planned.planner, settings.data or configuration)
    missing = sorted(set(wanted) - set(prepared_names(cases)))
    if missing:
        raise UserError(f"{len(missing)} cases are not prepared for {settings.data or configuration}", where=cases,
                        found="missing: " + ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else ""),
                        do=f"run autoseg_plan_and_preprocess -d {planned.dataset} -p {planned.planner}")
    _check_recipe(planned, settings, cases, wanted)
    if settings.previous:
        cases = add_previous(workspace, planned, configuration, cases, wanted)
    conditions: Mapping[str, CaseConditions] = {}
    encoder = None
    if CONDITIONERS.traits(settings.conditioning.name).reads_conditions:
        conditions = _conditions(raw, planned, wanted)
        started = not restart and folder.encoder.is_file()
        encoder = (read_model(folder.encoder, ConditionEncoder) if started
                   else fit_encoder(planned.conditions, [conditions[name] for name in split.train]))
    job = FoldJob(plan=planned, name=configuration, fold=fold, folder=folder, cases=cases, training=split.train,
                  validation=split.validation, seed=seed, conditions=conditions, encoder=encoder,
                  annotated=raw.annotated() or {})
    return job, {case.name: case.label for case in raw.cases if case.label is not None}


def known_folds(workspace: Workspace, dataset: str) -> list[int]:
    """The numbers of a dataset's folds, none where it has too few cases."""
    return list(range(len(_splits(workspace, dataset, Dataset.open(workspace.raw(dataset))))))


def _splits(workspace: Workspace, dataset: str, raw: Dataset) -> tuple[Split, ...]:
    return read_splits(workspace, dataset, raw.names, *raw.groups())


def check_training(job: FoldJob) -> dict[str, Any]:
    """What the fold's checkpoint says of its training; a UserError where it was trained on cases that it should validate."""
    _, facts = load_weights(job.folder.checkpoint)
    seen = sorted(set(facts.get("training", ())) & set(job.validation))
    if seen:
        raise UserError("the folds were changed since this fold was trained", where=job.title,
                        found=f"trained on {', '.join(seen[:5])}, which it should validate",
                        do="restore the folds, or train it again with --restart")
    return facts


def _conditions(raw: Dataset, planned: Plan, names: Sequence[str]) -> Mapping[str, CaseConditions]:
    """What the table, vectors and token bags say of the cases, warnings logged."""
    conditions = raw.conditions(names, planned.conditions)
    for warning in conditions.warnings:
        logger.warning("%s", warning)
    return conditions.cases


def _check_recipe(planned: Plan, settings: Configuration, cases: Path, names: Sequence[str]) -> None:
    """A UserError where cases were prepared as another plan says: prediction would prepare them as this one does."""
    recipe = recipe_digest(planned, settings)
    others = [name for name in names if provenance_of(cases, name).get("recipe") != recipe]
    if others:
        raise UserError(f"{len(others)} cases were prepared for another plan", where=cases,
                        found=", ".join(others[:5]) + (" ..." if len(others) > 5 else ""),
                        expected="the spacing, resampling, normalisers, labels and intensities of the plan that is trained",
                        do=f"run autoseg_plan_and_preprocess -d {planned.dataset} -p {planned.planner}; a model that was "
                           "started with the older plan needs --restart")
