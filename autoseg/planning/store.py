"""The plans of a dataset on the disk: reading one, and distinguishing a planner's from one that a person edited."""

from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.preprocessing.run import recipe_digest
from autoseg.workspace.files import read_edited_json, read_model
from autoseg.workspace.names import Workspace
from planners import PLANNERS
from planners.schema.fingerprint import Fingerprint
from planners.schema.hardware import Budget
from planners.schema.plan import Configuration, Plan, content_hash_of


def read_plan(workspace: Workspace, dataset: str, planner: str) -> Plan:
    """A plan that was made before; a UserError that lists the planners if there is none."""
    path = workspace.plan(dataset, planner)
    if not is_planned_by_machine(planner) and not path.is_file():
        raise UserError(f"unknown planner {planner!r}", found=", ".join(PLANNERS.names()))
    if not path.is_file():
        raise UserError(f"the dataset is not planned by {planner}", where=dataset,
                        do=f"run autoseg_plan_and_preprocess -d {dataset} -p {planner}")
    plan = read_model(path, Plan)
    if plan.dataset != dataset:
        raise UserError("the plan is of another dataset", where=path, found=plan.dataset, expected=dataset,
                        do=f"make one of this dataset's: autoseg_plan_and_preprocess -d {dataset}")
    # Models lie under the name that was asked for, which may be that of a file that somebody made of another plan.
    return plan.model_copy(update={"planner": planner})


def read_plan_file(file: Path, dataset: str, budget: Budget) -> Plan:
    """The plan of a file that a user names; a UserError where it is of another dataset, or would be planned again."""
    plan = read_model(file, Plan)
    if plan.dataset != dataset:
        raise UserError("the plan is of another dataset", where=file, found=plan.dataset, expected=dataset)
    if budget != Budget():
        raise UserError("a plan that is given as a file is not planned again for a budget or a memory", where=file,
                        do="leave out --budget and --memory (in training, --set schedule.budget_seconds=SECONDS changes it)")
    return plan


def read_fingerprint(workspace: Workspace, dataset: str) -> Fingerprint:
    """A dataset's fingerprint; a UserError where it was not measured."""
    path = workspace.fingerprint(dataset)
    if not path.is_file():
        raise UserError("the dataset has no fingerprint", where=dataset,
                        do=f"run autoseg_plan_and_preprocess -d {dataset}")
    return read_model(path, Fingerprint)


def configuration_of(plan: Plan, name: str) -> Configuration:
    """A configuration of a plan; a UserError that lists those that there are."""
    if name not in plan.configurations:
        raise UserError(f"unknown configuration {name!r}", where=f"{plan.dataset}, plan {plan.planner}",
                        found=", ".join(plan.configurations))
    return plan.configurations[name]


def is_planned_by_machine(planner: str) -> bool:
    """Whether the name is that of a planner; any other is that of a plan that a person made."""
    return planner in PLANNERS.names()


def check_not_edited(workspace: Workspace, dataset: str, planner: str) -> None:
    """A UserError where a planner's plan was edited by hand: making it again would replace it."""
    path = workspace.plan(dataset, planner)
    if path.is_file() and read_model(path, Plan).content_hash not in ("", content_hash_of(read_edited_json(path))):
        raise UserError("the plan was edited by hand, and would be replaced", where=path,
                        do=f"give it a name of its own, such as mv -n {path} {workspace.plan(dataset, 'mine')}, and say "
                           "-p mine in place of a planner; or remove it")


def current_plan(workspace: Workspace, dataset: str, planner: str, budget: Budget) -> Plan | None:
    """The plan that is there, while it is of the measured dataset and the budget; else None."""
    if not workspace.plan(dataset, planner).is_file():
        return None
    plan = read_plan(workspace, dataset, planner)
    return plan if is_current(plan, read_fingerprint(workspace, dataset), budget) else None


def kept_plan(workspace: Workspace, dataset: str, planner: str, budget: Budget, device: str) -> Plan | None:
    """The planner's plan that is there, while it is of the measured dataset, the budget and the device; else None.

    A device that is left to autoseg is that of the plan. A plan without a content hash may be edited: it is made again.
    """
    plan = current_plan(workspace, dataset, planner, budget)
    if plan is None or not plan.content_hash or (device != "auto" and plan.device not in ("", device_kind(device))):
        return None
    return plan


def device_kind(device: str) -> str:
    """`cuda` of `cuda:1`."""
    return device.partition(":")[0]


def check_started_models(workspace: Workspace, plan: Plan) -> None:
    """A UserError where the cases of models that were started would be prepared as another plan says."""
    for name, configuration in plan.configurations.items():
        model = workspace.model(plan.dataset, plan.planner, name)
        started = model.read_plan() if model.has_plan and model.started_folds() else None
        known = started.configurations.get(name) if started is not None else None
        if started is None or known is None or recipe_digest(started, known) == recipe_digest(plan, configuration):
            continue
        command = f"autoseg_plan_and_preprocess -d {plan.dataset}"
        raise UserError(f"{name} was started with cases that are prepared differently from the new plan", where=model.path,
                        found="folds " + ", ".join(fold.name for fold in model.started_folds()),
                        do="go on with what it was started with: nothing was replaced; to prepare its cases: "
                           f"{command} -p {model.plan} -c {name}. Or begin anew: the same command with --replan, and then "
                           f"autoseg_train {plan.dataset} {name} all-folds -p {plan.planner} --restart")


def is_current(plan: Plan, fingerprint: Fingerprint, budget: Budget) -> bool:
    """Whether a plan was made of this fingerprint, and for this budget as far as one is given."""
    seconds = {configuration.schedule.budget_seconds for configuration in plan.configurations.values()}
    return (plan.fingerprint_digest == fingerprint.digest
            and (budget.seconds_per_fold is None or seconds == {budget.seconds_per_fold})
            and budget.memory_bytes in (None, plan.memory_bytes))
