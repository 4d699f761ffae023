"""The plan of a dataset with the topology of another model, written."""

from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.planning.make import make_plan
from autoseg.planning.store import check_not_edited, check_started_models, is_planned_by_machine, read_fingerprint
from autoseg.training.source import Source, opened_source
from autoseg.workspace.files import write_json
from autoseg.workspace.names import Workspace
from autoseg.workspace.provenance import note_result, now, provenance, seconds_since
from planners.like import LIKE, like
from planners.rules.advice import with_advice
from planners.rules.ceiling import with_ceilings
from planners.schema.hardware import Budget
from planners.schema.plan import Plan

OTHERWISE = "budgeted"  # plans what the topology does not say, where the model's planner is no planner of autoseg


def plan_like(workspace: Workspace, dataset: str, model: Path, budget: Budget, device: str, *, replan: bool = False) -> Plan:
    """Plan a dataset that has a fingerprint with the topology of the model in a folder or file, and write the plan as
    `like_<planner>`.

    Raises UserError where the dataset does not fit the topology, where the plan was edited, and, unless it is to `replan`,
    where the cases of a model that was started would be prepared differently.
    """
    with opened_source(model, 0) as source:
        return _plan_like(workspace, dataset, source, budget, device, replan=replan)


def _plan_like(workspace: Workspace, dataset: str, source: Source, budget: Budget, device: str, *, replan: bool) -> Plan:
    started = now()
    planner = source.plan.planner.removeprefix(LIKE)
    own = make_plan(workspace, dataset, planner if is_planned_by_machine(planner) else OTHERWISE, budget, device)
    fingerprint = read_fingerprint(workspace, dataset)
    try:
        plan = like(own, source.plan, source.name, fingerprint)
    except ValueError as error:
        raise UserError("the dataset cannot be planned like this model", where=source.folder.path, found=error,
                        do="train it by a plan of its own, or begin from another model") from error
    plan = with_advice(with_ceilings(plan, fingerprint), fingerprint).with_content_hash()
    path = workspace.plan(dataset, plan.planner)
    check_not_edited(workspace, dataset, plan.planner)
    if not replan:
        check_started_models(workspace, plan)
    write_json(path, plan)
    note_result(path, provenance(started, seconds_since(started), plan=plan.content_hash, source=source.digest),
                plan.fingerprint_digest)
    return plan
