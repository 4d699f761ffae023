"""What a search is about: recipes, tasks, blocks, and the results of single runs."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue

from autoseg.workspace.files import read_edited_json
from planners.schema.base import Frozen

BASELINE = "baseline"
Role = Literal["choose", "judge"]


class Recipe(Frozen):
    """How a training differs from the planner's own. All of it is relative to the plan of the task.

    `set` are values of the configuration by their path, as `--set` takes them; `scaled` are factors of numbers that the plan
    has there (each entry of a list; whole numbers stay whole). `mirroring` replaces the axes that are mirrored: `none` or
    `all`. The network is planned for `planned_for` times the budget. `why` cites the evidence.
    """

    set: dict[str, JsonValue] = Field(default_factory=dict)
    scaled: dict[str, float] = Field(default_factory=dict)
    mirroring: Literal["as_planned", "none", "all"] = "as_planned"
    planner: str = "budgeted"
    planned_for: float = Field(default=1.0, gt=0)
    why: str = ""

    @property
    def digest(self) -> str:
        return digest_of(self.model_dump(mode="json", exclude={"why"}))


class Task(Frozen):
    """A dataset, what of it is trained on, and for how long.

    `raw` is a folder below the folder of data, `declare` is added to its dataset.json; without it `phantoms` of the demo are
    made. `training_cases`: only so many
    of a fold's training cases are trained on. `channels` are names of channels; empty: all. Folds of the two roles are
    never the same, so no case that judges has chosen.
    """

    raw: str = ""
    declare: dict[str, JsonValue] = Field(default_factory=dict)
    phantoms: int = 0
    configuration: str
    channels: tuple[str, ...] = ()
    training_cases: int | None = Field(default=None, gt=0)
    budget_seconds: float = Field(gt=0)
    choose_folds: tuple[int, ...]
    judge_folds: tuple[int, ...]

    def folds(self, role: Role) -> tuple[int, ...]:
        return self.choose_folds if role == "choose" else self.judge_folds

    @property
    def digest(self) -> str:
        return digest_of(self.model_dump(mode="json", exclude={"choose_folds", "judge_folds"}))


class Block(Frozen):
    """What recipes are compared on: each block gives one paired difference."""

    task: str
    fold: int
    seed: int


class Result(Frozen):
    """One line of the results: a run that ended. `dice` is None where it failed, and `error` says why."""

    key: str
    recipe: str
    block: Block
    role: Role
    version: str
    dice: float | None
    dice_by_label: dict[str, float] = Field(default_factory=dict)
    iterations: int | None = None
    training_seconds: float | None = None
    total_seconds: float | None = None
    seconds_per_step: float | None = None
    configuration: str = ""  # digest of what was decided, after all changes
    machine: dict[str, JsonValue] = Field(default_factory=dict)
    error: str = ""


def read_recipes(path: Path) -> dict[str, Recipe]:
    """The recipes of a file by name; one must be the baseline."""
    recipes = {name: Recipe.model_validate(values) for name, values in read_edited_json(path).items()}
    if BASELINE not in recipes:
        raise SystemExit(f"{path}: no recipe is named {BASELINE!r}, to which the others are compared")
    return recipes


def read_tasks(path: Path) -> dict[str, Task]:
    """The tasks of a file by name. A fold that both chooses and judges is an error, and so is one that judges a dataset in
    one task and chooses on it in another: their cases are the same.
    """
    tasks = {name: Task.model_validate(values) for name, values in read_edited_json(path).items()}
    for name, task in tasks.items():
        if bool(task.raw) == bool(task.phantoms):
            raise SystemExit(f"{path}: {name} needs either 'raw' or 'phantoms'")
        for other_name, other in tasks.items():
            both = set(task.choose_folds) & set(other.judge_folds)
            if both and (task.raw, task.phantoms) == (other.raw, other.phantoms):
                raise SystemExit(f"{path}: fold {min(both)} chooses in {name} and judges in {other_name}")
    return tasks


def key_of(recipe: Recipe, task: Task, block: Block, version: str) -> str:
    """What a run is known by: the same key is the same run."""
    return digest_of([recipe.digest, task.digest, block.fold, block.seed, version])


def digest_of(value: Mapping[str, Any] | list[Any]) -> str:
    return blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()
