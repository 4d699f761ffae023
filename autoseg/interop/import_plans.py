"""Plans of nnU-Net (`nnUNetPlans.json`) as a plan of a dataset, by which it is prepared and trained."""

from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.datasets.dataset import Dataset
from autoseg.interop.nnunet_plans import plan_of
from autoseg.planning.store import is_planned_by_machine
from autoseg.workspace.files import read_json, write_json
from autoseg.workspace.names import Workspace
from planners.schema.names import fault_of_name
from planners.schema.plan import Plan


def read_nnunet_plans(file: Path, raw: Path, dataset: str) -> Plan:
    """The plan of a file of nnU-Net for the raw dataset in a folder, with all configurations. Its planner is `plans_name`.

    Raises UserError where the file is no plans of nnU-Net v2, where a configuration has no counterpart here, where it is of
    other channels than the dataset, and where its name is that of a planner or of no file.
    """
    plans = read_json(file)
    if not isinstance(plans, dict) or not isinstance(plans.get("configurations"), dict) or not plans["configurations"]:
        raise UserError("the plans are not as nnU-Net v2 writes them", where=file, found="no configurations")
    planner = str(plans.get("plans_name", ""))
    if fault := "it is the name of a planner of autoseg" if is_planned_by_machine(planner) else fault_of_name(planner):
        raise UserError("the name of the plans cannot be that of a plan here", where=file,
                        found=f"{planner[:80]!r}, {fault}", do="correct plans_name in a copy of this file")
    plan = plan_of(plans, Dataset.open(raw).manifest, tuple(plans["configurations"]), dataset=dataset, planner=planner)
    return plan.with_content_hash()


def import_plans(file: Path, workspace: Workspace, dataset: str) -> Plan:
    """Write the plans of nnU-Net as a plan of a dataset in the workspace; `-p plans_name` prepares and trains by it. Raises
    UserError as `read_nnunet_plans`, and where another plan has this name.
    """
    plan = read_nnunet_plans(file, workspace.raw(dataset), dataset)
    path = workspace.plan(dataset, plan.planner)
    if path.exists():
        raise UserError("the dataset has a plan of this name", where=path, do="remove it, or change plans_name in a copy")
    write_json(path, plan)
    return plan
