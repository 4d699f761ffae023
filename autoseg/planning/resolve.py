"""Which plan holds: the one that the folds of a configuration are trained by."""

import logging
from collections.abc import Sequence
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.base.progress import duration
from autoseg.planning.check import check_plan
from autoseg.planning.make import DEFAULT_BUDGET, make_plan
from autoseg.planning.store import configuration_of, read_plan, read_plan_file
from autoseg.preprocessing.run import recipe_digest
from autoseg.training.run import started_plan
from autoseg.workspace.files import read_model
from autoseg.workspace.names import Workspace
from planners.like import LIKE
from planners.rules.advice import advice_of
from planners.rules.budget import with_budget, without_clock
from planners.rules.transfer import for_transfer
from planners.schema.hardware import Budget
from planners.schema.override import override
from planners.schema.plan import Configuration, Plan, Transfer

logger = logging.getLogger(__name__)



def resolve_plan(workspace: Workspace, dataset: str, configuration: str, *, planner: str, budget: Budget = DEFAULT_BUDGET,
                 changes: Sequence[str] = (), file: Path | None = None, restart: bool = False, device: str = "auto",
                 deterministic: bool = False, transfer: Transfer | None = None) -> Plan:
    """The plan that the folds of a configuration are to be trained by; nothing is written.

    A `file` holds, where one is given. Otherwise a model that was started keeps its plan where nothing else is asked for,
    because planning again could answer otherwise: speed is measured. Otherwise a budget plans this training anew, and
    without a budget the dataset's plan holds. `changes` are `key=value` on the configuration. A `deterministic` training
    has the number of iterations that the plan foresees, not as many as the time allows.
    With a `transfer` it begins with other weights; one that was started so keeps them without a second word.
    """
    if deterministic:
        changes = [*changes, "schedule.deterministic=true"]
    if file is not None:
        plan = read_plan_file(file, dataset, budget)
        return apply_changes(_with_transfer(plan, configuration, transfer), configuration, changes)
    plan = read_plan(workspace, dataset, planner)
    started = None if restart else started_plan(workspace, dataset, planner, configuration)
    if started is not None:
        transfer = _same_transfer(workspace, started, configuration, transfer)
    if started is not None and _fulfils(started, configuration, budget, changes):
        if not started.configurations[configuration].trains_like(plan.configurations.get(configuration)):
            logger.info("%s %s keeps the plan that it was started with", dataset, configuration)
        plan = started
    elif planner.startswith(LIKE) and budget.memory_bytes is None:
        plan = with_budget(plan, budget.seconds_per_fold)  # its topology is that of a model, whatever the time
    elif budget != DEFAULT_BUDGET:
        plan = _planned_again(workspace, plan, configuration, budget, device)
    return apply_changes(_with_transfer(plan, configuration, transfer), configuration, changes)


def _with_transfer(plan: Plan, configuration: str, transfer: Transfer | None) -> Plan:
    """The plan with a configuration that begins by this transfer, unless it does already."""
    known = configuration_of(plan, configuration).transfer
    return plan if transfer is None or known == transfer else for_transfer(plan, configuration, transfer)


def _same_transfer(workspace: Workspace, started: Plan, configuration: str, transfer: Transfer | None) -> Transfer | None:
    """The transfer that a model was started with; a UserError where another one is asked for."""
    known = started.configurations[configuration].transfer if configuration in started.configurations else None
    if transfer is None or (known is not None and known == transfer.model_copy(
            update={"learning_rate": known.learning_rate, "learned_from": known.learned_from})):
        return known
    model = workspace.model(started.dataset, started.planner, configuration).path
    raise UserError("the folds of this model did not begin so", where=model,
                    found="from scratch" if known is None else _in_words(known), expected=_in_words(transfer),
                    do="go on without --from, or begin anew with --restart, which deletes these folds; to keep them, plan "
                       f"under another name: autoseg_plan_and_preprocess -d {started.dataset} --like "
                       f"{workspace.home / transfer.source}")


def _in_words(transfer: Transfer) -> str:
    return (f"--from {transfer.source}" + (f" --freeze {transfer.freeze}" if transfer.freeze != "none" else "")
            + (" --allow-seen" if transfer.allow_seen else ""))


def advised_configuration(workspace: Workspace, dataset: str, planner: str, file: Path | None = None) -> str:
    """The configuration that a plan advises to train first; the reason is logged."""
    plan = read_plan(workspace, dataset, planner) if file is None else read_model(file, Plan)
    advice = advice_of(plan)
    logger.info("%s is trained: %s", advice.configuration, advice.reason)
    return advice.configuration


def apply_changes(plan: Plan, configuration: str, changes: Sequence[str]) -> Plan:
    """The plan with `key=value` changes applied to one configuration; a UserError for a wrong change."""
    try:
        known = configuration_of(plan, configuration)
        changed = override(known, list(changes))
        changed = changed.foreseen_only_as(known)
    except ValueError as error:
        raise UserError("a --set does not fit the plan", found=error) from None
    if changed.schedule.deterministic:
        changed = _without_clock(changed, plan.planner)
    plan = plan.model_copy(update={"configurations": {**plan.configurations, configuration: changed}})
    check_plan(plan, configuration)
    return plan


def _without_clock(configuration: Configuration, planner: str) -> Configuration:
    try:
        return without_clock(configuration)
    except ValueError as error:
        raise UserError(f"{error}, and a deterministic training cannot take it from the clock", where=f"planner {planner}",
                        do="say how many: --set schedule.iterations=N") from None


def check_started(workspace: Workspace, plan: Plan, configurations: Sequence[str], budget: Budget) -> None:
    """A UserError where folds were started with other settings than are asked for now.

    Without the error, finished folds would silently keep the old settings.
    """
    for name in configurations:
        started = started_plan(workspace, plan.dataset, plan.planner, name)
        if started is None:
            continue
        known, folder = started.configurations[name], workspace.model(plan.dataset, plan.planner, name).path
        do = f"remove {folder}, or train its folds again with autoseg_train {plan.dataset} {name} all-folds --restart"
        if not _is_within(started, name, budget):
            raise UserError(f"{name} was started with another budget or memory", where=folder,
                            found=f"{duration(known.schedule.budget_seconds or 0)} per fold",
                            do=f"leave out --budget and --memory, or {do}")
        if recipe_digest(started, known) != recipe_digest(plan, plan.configurations[name]):
            raise UserError(f"{name} was started with cases that were prepared differently", where=folder, do=do)


def _fulfils(started: Plan, configuration: str, budget: Budget, changes: Sequence[str]) -> bool:
    """Whether the plan of a model that was started is already all that is asked for."""
    known = started.configurations[configuration]
    return (_is_within(started, configuration, budget)
            and apply_changes(started, configuration, changes).configurations[configuration].trains_like(known))


def _is_within(plan: Plan, configuration: str, budget: Budget) -> bool:
    """Whether a configuration was planned for the budget, as far as one is given."""
    return (budget.seconds_per_fold in (None, plan.configurations[configuration].schedule.budget_seconds)
            and budget.memory_bytes in (None, plan.memory_bytes))


def _options(budget: Budget) -> str:
    """The options of a command that give this budget."""
    seconds, memory = budget.seconds_per_fold, budget.memory_bytes
    time = f" --budget {seconds:g}s" if seconds is not None else ""
    return time + (f" --memory {memory // 2**20}M" if memory is not None else "")


def _planned_again(workspace: Workspace, plan: Plan, configuration: str, budget: Budget, device: str) -> Plan:
    """The plan with one configuration planned for another budget; the prepared cases must still fit it."""
    known = configuration_of(plan, configuration)
    fresh = make_plan(workspace, plan.dataset, plan.planner, budget, device)
    planned = fresh.configurations.get(configuration)
    if planned is None or recipe_digest(plan, known) != recipe_digest(plan, planned):
        raise UserError(f"{configuration} needs other prepared cases for this budget", where=plan.dataset,
                        do=f"run autoseg_plan_and_preprocess -d {plan.dataset} -p {plan.planner}{_options(budget)}")
    return plan.model_copy(update={"configurations": {**plan.configurations, configuration: planned},
                                   "reasons": fresh.reasons, "first": fresh.first,
                                   "memory_bytes": fresh.memory_bytes})
