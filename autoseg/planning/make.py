"""Fingerprint, machine and budget -> a plan, written."""

import logging

from autoseg.base.errors import UserError
from autoseg.datasets.dataset import Dataset
from autoseg.planning.probe import ProbedHardware
from autoseg.planning.store import (
    check_not_edited,
    check_started_models,
    device_kind,
    is_planned_by_machine,
    kept_plan,
    read_fingerprint,
    read_plan,
)
from autoseg.workspace.files import write_json
from autoseg.workspace.names import Workspace
from autoseg.workspace.provenance import note_result, now, provenance, seconds_since
from planners import PLANNERS
from planners.rules.advice import with_advice
from planners.rules.budget import with_budget
from planners.rules.ceiling import low_ceilings, refreshed, with_ceilings
from planners.schema.hardware import Budget
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)

DEFAULT_BUDGET = Budget()  # what the planner takes where nobody asks for a time or a memory


def plan_dataset(workspace: Workspace, dataset: str, planner: str, budget: Budget, device: str, *, replan: bool = False
                 ) -> Plan:
    """Make the plan of a dataset that has a fingerprint, and write it. A plan of the same data, budget, memory and device is
    kept, unless it is to `replan`: speed is measured, so that a new plan could differ.

    A plan that a person made is read instead: `planner` is then the name of its file. Raises UserError where it would have
    to be made again, where a planner's plan was edited and would be replaced, and, unless it is to `replan`, where the cases
    of a model that was started would be prepared differently.
    """
    if not is_planned_by_machine(planner) and workspace.plan(dataset, planner).is_file():
        return _own_plan(workspace, dataset, planner, budget, replan=replan)
    check_not_edited(workspace, dataset, planner)
    plan = None if replan else kept_plan(workspace, dataset, planner, budget, device)
    if plan is not None:
        logger.info("%s: the plan is kept; --replan makes it anew", dataset)
    else:
        started = now()
        plan = make_plan(workspace, dataset, planner, budget, device).with_content_hash()
        if not replan:
            check_started_models(workspace, plan)
        path = workspace.plan(dataset, planner)
        note_result(path, provenance(started, seconds_since(started), plan=plan.content_hash), plan.fingerprint_digest)
        write_json(path, plan)
    for warning in low_ceilings(plan, read_fingerprint(workspace, dataset)):
        logger.warning("%s", warning)
    return plan


def make_plan(workspace: Workspace, dataset: str, planner: str, budget: Budget, device: str) -> Plan:
    """The plan for a fingerprint, this machine and a budget; nothing is written."""
    fingerprint = read_fingerprint(workspace, dataset)
    if device not in ("auto", "cpu"):  # one that is not there is an error, whether the planner asks for it or not
        from autoseg.base.runtime import open_runtime

        open_runtime(device)
    hardware = ProbedHardware(device)
    try:
        plan = PLANNERS.get(planner)(fingerprint, hardware, budget)
    except (KeyError, ValueError) as error:
        raise UserError(f"{dataset} cannot be planned", found=error.args[0] if error.args else error) from error
    ending = Dataset.open(workspace.raw(dataset)).manifest.file_ending
    plan = with_advice(with_ceilings(plan, fingerprint), fingerprint)
    # Folders bear the name that was asked for, whatever a plug-in calls itself.
    return with_budget(plan.model_copy(update={"file_ending": ending, "planner": planner,
                                               "orientation": fingerprint.orientation, "turned": fingerprint.turned,
                                               "memory_bytes": budget.memory_bytes,
                                               "device": device_kind(device)}), budget.seconds_per_fold)


def _own_plan(workspace: Workspace, dataset: str, planner: str, budget: Budget, *, replan: bool) -> Plan:
    own = read_plan(workspace, dataset, planner)
    if not replan:
        check_started_models(workspace, own)
    if budget not in (DEFAULT_BUDGET, Budget(memory_bytes=own.memory_bytes)):
        raise UserError("a plan of your own is not planned again for a budget or a memory",
                        where=workspace.plan(dataset, planner), do="write schedule.budget_seconds into the file")
    fingerprint = read_fingerprint(workspace, dataset)
    if own.fingerprint_digest != fingerprint.digest:
        logger.warning("%s was made of other data than there are now; it is used as it is (the planner of a plug-in needs "
                       "--plugin)", workspace.plan(dataset, planner))
    return refreshed(own, fingerprint) if fingerprint.ceilings else own
