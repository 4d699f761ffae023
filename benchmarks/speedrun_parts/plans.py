"""From a task to prepared cases, and from a recipe to the plan of a run."""

import json
from pathlib import Path

import numpy as np

from autoseg import pipeline
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.phantom import write_phantoms
from autoseg.planning.resolve import apply_changes
from autoseg.preprocessing.run import recipe_digest
from autoseg.training.splits import USERS_OWN, read_splits
from autoseg.workspace.files import read_json, read_model, write_json
from autoseg.workspace.names import Workspace
from planners.rules.input_sets import InputSet, with_inputs
from planners.schema.fingerprint import Fingerprint
from planners.schema.plan import Configuration, Plan
from speedrun_parts.raw import link_dataset
from speedrun_parts.types import Recipe, Task

_PHANTOM_SEED = 0
_SUBSET_SEED = 0
_WHOLE = 8  # channels of a scaled network come in multiples of this


def prepare_task(task: Task, data: Path, home: Path) -> str:
    """A workspace with the raw dataset, its fingerprint and its folds; the dataset's name. What is there is kept."""
    workspace = Workspace(home)
    name = Path(task.raw).name or "Dataset001_AbdomenPhantom"
    raw = home / "raw" / name
    if task.phantoms:
        if not (raw / "dataset.json").is_file():
            write_phantoms(raw, task.phantoms, _PHANTOM_SEED)
    else:
        link_dataset(data / task.raw, raw, task.declare)
    pipeline.fingerprint(name, home=home)
    own = workspace.prepared(name) / USERS_OWN
    if task.training_cases is not None and not own.is_file():
        opened = Dataset.open(raw)
        folds = read_splits(workspace, name, opened.names, *opened.groups())
        write_json(own, [{"train": _some(fold.train, task.training_cases), "val": list(fold.validation)} for fold in folds])
    return name


def _some(names: tuple[str, ...], n: int) -> list[str]:
    if len(names) < n:
        raise SystemExit(f"{n} training cases are wanted, the fold has {len(names)}")
    return sorted(np.random.default_rng(_SUBSET_SEED).permutation(names)[:n].tolist())


def planned(recipe: Recipe, task: Task, name: str, home: Path, device: str, run: str) -> Plan:
    """The plan of a run, under a name of its own, with its cases prepared. All runs of one task share the planner's plan,
    which is made once: speed is measured, and another plan could differ; runs of the same grid share its prepared cases.
    """
    workspace = Workspace(home)
    plan = apply_changes(_base(recipe, task, name, home, device), task.configuration,
                         [f"schedule.budget_seconds={task.budget_seconds}"])
    configuration = changed(plan, task.configuration, recipe)
    plan = plan.model_copy(update={"planner": run, "first": None, "content_hash": "", "prepared_by": "",
                                   "configurations": {task.configuration: configuration}})
    grid = f"grid_{recipe_digest(plan, configuration)[:16]}"
    pipeline.preprocess(name, home=home, configurations=[task.configuration],
                        planned=plan.model_copy(update={"planner": grid}))
    plan = plan.model_copy(update={"prepared_by": grid})
    write_json(workspace.plan(name, run), plan)
    return plan


def changed(plan: Plan, name: str, recipe: Recipe) -> Configuration:
    """The configuration with all that a recipe changes. Raises UserError where it does not fit the plan."""
    values = plan.configurations[name].model_dump(mode="json")
    changes = {path: _scaled(path, _at(values, path), factor) for path, factor in recipe.scaled.items()} | recipe.set
    if recipe.mirroring != "as_planned":
        changes["mirror_axes"] = list(range(plan.configurations[name].dimensions)) if recipe.mirroring == "all" else []
    return apply_changes(plan, name, [f"{path}={json.dumps(value)}" for path, value in changes.items()]).configurations[name]


def _base(recipe: Recipe, task: Task, name: str, home: Path, device: str) -> Plan:
    """The planner's plan, made once and kept."""
    workspace = Workspace(home)
    seconds = task.budget_seconds * recipe.planned_for
    kept = workspace.prepared(name) / "speedrun" / f"{recipe.planner}_{seconds:g}.json"
    if not kept.is_file():
        plan = pipeline.plan(name, planner=recipe.planner, budget_seconds=seconds, home=home, device=device, replan=True)
        if task.channels:
            inputs = InputSet(channels=task.channels, conditions=tuple(spec.name for spec in plan.conditions.specs))
            plan = with_inputs(plan, task.configuration, inputs, read_model(workspace.fingerprint(name), Fingerprint))
        write_json(kept, plan)
    return Plan.model_validate(read_json(kept))


def _at(values: object, path: str) -> object:
    for key in path.split("."):
        if not isinstance(values, dict) or key not in values:
            raise SystemExit(f"a recipe scales {path}, which the plan does not have")
        values = values[key]
    return values


def _scaled(path: str, value: object, factor: float) -> object:
    if isinstance(value, list):
        return [_scaled(path, each, factor) for each in value]
    if isinstance(value, int) and not isinstance(value, bool):
        unit = _WHOLE if path.endswith("features") else 1
        return max(unit, round(value * factor / unit) * unit)
    if isinstance(value, float):
        return value * factor
    raise SystemExit(f"a recipe scales {path}, which is no number: {value!r}")
