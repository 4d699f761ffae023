"""What a fold is trained on: what its cases were made from, and whether that is still what the dataset holds, and what its
training was started with. A difference is a UserError that names it and both ways on; `--as_started` is one of them.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError
from autoseg.clinical.conditions import CaseConditions
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.digests import case_digest, changed_kinds, map_files, transforms_of
from autoseg.formats.files import combined_digest
from autoseg.prediction.trained_with import KINDS, WEIGHT, TrainedWith, counted
from autoseg.preprocessing.store import Origin
from autoseg.training.job import FoldJob
from autoseg.training.repair import read_started_with
from autoseg.workspace.files import read_json, read_model
from autoseg.workspace.folders import ModelFolder
from planners import PLANNERS
from planners.rules.splits import Split
from planners.schema.base import Frozen, versioned
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)


class StartedFolds(Frozen):
    """`splits.json` of a model: the folds of the dataset when its first fold was started."""

    schema_version: int = versioned(1)
    folds: tuple[Split, ...]


def plan_of_model(model: ModelFolder) -> Plan | None:
    """The plan that the folds of a model were started with: its plan.json or, where that is gone, what a fold says of it;
    None where neither is known.
    """
    if model.has_plan:
        return model.read_plan()
    known = (read_started_with(fold) for fold in model.started_folds())
    return next((started.plan for started in known if started is not None), None)


def started_splits(model: ModelFolder) -> tuple[Split, ...]:
    """The folds of the dataset when the model was started; none where that is not known."""
    if not model.splits.is_file():
        return ()
    if isinstance(known := read_json(model.splits), list):  # of earlier versions
        return tuple(map(Split.model_validate, known))
    return read_model(model.splits, StartedFolds).folds


def digests_of(origins: Mapping[str, Origin], conditions: Mapping[str, CaseConditions],
               annotated: Mapping[str, tuple[str, ...]], weights: Mapping[str, float]) -> dict[str, dict[str, str]]:
    """For every case digests of what it was made from, by the kinds of `prediction.trained_with`; a weight other than 1 is
    written as it is.
    """
    digests: dict[str, dict[str, str]] = {}
    for name, origin in origins.items():
        known: dict[str, str] = {kind: digest for kind, digest in origin.provenance.items()
                                 if kind in ("raw", "previous", "modalities")}
        for kind in ("image", "label"):
            parts = [f"{file.channel} {file.digest}" for file in origin.raw_files if file.kind == kind]
            known |= {kind: combined_digest(parts)} if parts else {}
        known |= {"conditions": _conditions_digest(conditions[name])} if name in conditions else {}
        known |= {"annotated": combined_digest(annotated[name])} if name in annotated else {}
        known |= {WEIGHT: repr(weights[name])} if weights.get(name, 1.0) != 1 else {}
        digests[name] = known
    return digests


def declared_changes(planned: Plan, raw: Dataset) -> list[str]:
    """What dataset.json declares otherwise than the plan has it, one phrase each."""
    declared = {"the labels that dataset.json declares": planned.labels.means_the_same_as(raw.manifest.labels),
                "the channels that dataset.json declares":
                    [channel.modality for channel in planned.channels]
                    == [channel.modality for channel in raw.manifest.channels]
                    and planned.modality_columns == raw.manifest.modality_columns}
    return [what for what, is_same in declared.items() if not is_same]


def raw_changes(raw: Dataset, origins: Mapping[str, Origin], transforms: Path | None) -> list[str]:
    """What of the raw files is no longer what the cases were prepared from, one phrase each.

    Only files whose size or time changed are read, or all of those that an earlier version prepared.
    """
    known = set(raw.names)
    names = [name for name in origins if name in known]
    differing: dict[str, set[str]] = {}
    images = raw.case(names[0]).images if names else ()
    for name, kinds in zip(names, map_files(lambda name: _changed(raw, name, origins[name], transforms), names, images),
                           strict=True):
        for kind in kinds:
            differing.setdefault(kind, set()).add(name)
    return [counted(cases, f"{KINDS[kind]} of {{}}") for kind, cases in differing.items()]


def refuse_stale(planned: Plan, configuration: str, fold: int | str, changes: Sequence[str], *, where: Path, is_started: bool
                 ) -> None:
    """A UserError where the raw files are no longer those that the cases were prepared from."""
    if changes:
        again = prepare_command(planned)
        anew = f"begin anew with {again} --replan and then {_command(planned, configuration, fold)} --restart"
        raise UserError("the dataset was changed since its cases were prepared", where=where,
                        found=f"changed: {'; '.join(changes)}",
                        do=f"{anew if is_started else 'prepare them again with ' + again}; or go on with the cases as they "
                           f"were prepared: {_command(planned, configuration, fold)} --as_started")


def refuse_changes(planned: Plan, configuration: str, fold: int | str, folds: Sequence[str], rest: Sequence[str] = ()
                   ) -> None:
    """A UserError where a training was started with other `folds`, or where the `rest` is not as it was."""
    if folds or rest:
        command = _command(planned, configuration, fold)
        restore = ("put back what it was started with (files: put them back and run "
                   f"{prepare_command(planned)}; a plan: use the same options)")
        way_on = restore if rest else f"{command} --as_started"
        raise UserError("what this training was started with has changed since", found="; ".join([*folds, *rest]),
                        where=f"{planned.dataset} {configuration} fold {fold}",
                        do=f"go on with what it was started with: {way_on}; or begin anew: {command} --restart")


def check_one_way(*, restart: bool, as_started: bool) -> None:
    """A UserError where both ways on are asked for at once."""
    if restart and as_started:
        raise UserError("--restart begins anew, --as_started goes on with what was started", do="give one of them")


def check_goes_on(job: FoldJob, started: TrainedWith | None) -> None:
    """A UserError where a training would go on with something else than it was started with. Its budget may be another one,
    if the plan of its model has that (`adopt_plan`).
    """
    if started is None:
        return
    known = started.plan.configurations[started.configuration]
    schedule = known.schedule.model_copy(update={"budget_seconds": job.planned_seconds})
    plan = {"configurations": {started.configuration: known.model_copy(update={"schedule": schedule})}}
    started, now = started.model_copy(update={"plan": started.plan.model_copy(update=plan)}), job.trained_with
    folds = started.changes_of_folds(now.training, now.validation)
    refuse_changes(job.plan, job.name, job.fold, folds, [change for change in started.changes(now) if change not in folds])


def prepare_command(planned: Plan) -> str:
    """The command that plans and prepares with what was granted to this plan; a plan of one's own is not planned again."""
    command = f"autoseg_plan_and_preprocess -d {planned.dataset} -p {planned.planner}"
    if planned.planner not in PLANNERS.names():
        return command
    seconds = {configuration.schedule.budget_seconds for configuration in planned.configurations.values()}
    budget = seconds.pop() if len(seconds) == 1 else None
    return (command + (f" --budget {budget:g}s" if budget is not None else "")
            + (f" --memory {planned.memory_bytes / 2**20:g}M" if planned.memory_bytes is not None else ""))


def _changed(raw: Dataset, name: str, origin: Origin, transforms: Path | None) -> tuple[str, ...]:
    files = raw.case(name)
    if origin.raw_files:
        is_same = " ".join(files.modalities) == origin.provenance.get("modalities", "")
        return (*changed_kinds(files, origin.raw_files), *(() if is_same else ("modalities",)))
    known = origin.provenance.get("raw")
    return () if known in (None, case_digest(files, transforms_of(transforms, files))) else ("raw",)


def _conditions_digest(conditions: CaseConditions) -> str:
    parts = [f"{name} {value!r}" for name, value in sorted(conditions.values.items())]
    for arrays in (conditions.vectors, conditions.tokens):
        for name, array in sorted(arrays.items()):
            parts.append(f"{name} {None if array is None else (array.shape, np.asarray(array).tobytes().hex())}")
    return combined_digest(parts)


def _command(planned: Plan, configuration: str, fold: int | str) -> str:
    return f"autoseg_train {planned.dataset} {configuration} {fold} -p {planned.planner}"
