"""Gives the prepared cases of a cascade their earlier stage's predictions, out of fold."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.base.progress import progress
from autoseg.formats import read_label
from autoseg.formats.files import digest
from autoseg.preprocessing.cascade import with_previous
from autoseg.preprocessing.store import is_current, open_prepared, write_prepared
from autoseg.workspace.locks import locked
from autoseg.workspace.names import Workspace
from planners.schema.plan import Plan


def add_previous(workspace: Workspace, planned: Plan, configuration: str, cases: Path, names: Sequence[str]) -> Path:
    """A folder of the prepared cases `names` with the earlier stage's validation predictions in them.

    Each case's prediction comes from the fold that did not train on it. Raises UserError where a case has none: the
    earlier stage must have finished all its folds.
    """
    settings = planned.configurations[configuration]
    earlier = workspace.model(planned.dataset, planned.planner, settings.previous)
    masks = {name: mask for fold in earlier.all_folds() for name, mask in fold.masks(planned.file_ending).items()}
    missing = sorted(set(names) - set(masks))
    if missing:
        raise UserError(f"{configuration} needs a prediction of {settings.previous} for every case", where=earlier.path,
                        found=f"{len(missing)} cases without: " + ", ".join(missing[:5]),
                        do=f"run autoseg_train {planned.dataset} {settings.previous} all-folds -p {planned.planner}: it "
                           "trains the folds that are not finished, and predicts again what is missing of finished ones")
    target = workspace.cases(planned.dataset, planned.planner, configuration)
    with locked(target, wait=True):  # folds that start at the same time join the same cases
        for name in progress(names, "joining the earlier stage", len(names)):
            prepared = open_prepared(cases, name)
            provenance = {**prepared.provenance, "previous": digest(masks[name])}
            if not is_current(target, name, provenance):
                joined = with_previous(prepared, read_label(masks[name])[0], settings)
                write_prepared(target, replace(joined, provenance=provenance), settings.patch)
    return target
