"""One run: plan, prepare, train in a process of its own, read what came of it."""

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoseg.base.errors import AutosegError
from autoseg.training.validate import FoldResult
from autoseg.workspace.files import read_model
from autoseg.workspace.names import Workspace
from planners.schema.plan import Plan
from speedrun_parts.machine import ROOT, description, watched
from speedrun_parts.plans import planned, prepare_task
from speedrun_parts.types import Block, Recipe, Result, Role, Task, digest_of

_TOO_LATE = 3  # times the budget: a training that takes longer hangs
_SAID = 300  # characters of an error that are kept


@dataclass(frozen=True)
class Trainer:
    """Trains runs in workspaces below `out`, one per task; of a run nothing is left but its result, unless `keep`."""

    data: Path
    out: Path
    device: str
    version: str
    keep: bool = False
    _facts: dict[str, Any] = field(default_factory=dict)

    def run(self, name: str, recipe: Recipe, task: Task, block: Block, role: Role, key: str) -> Result:
        """The result of a recipe on a block; of a recipe that cannot be trained, why."""
        home = self.out / "work" / f"{block.task}_{task.digest}"
        result = Result(key=key, recipe=name, block=block, role=role, version=self.version, dice=None,
                        machine=self._machine())
        run = f"run_{key}"
        try:
            dataset = prepare_task(task, self.data, home)
            plan = planned(recipe, task, dataset, home, self.device, run)
        except AutosegError as error:
            return result.model_copy(update={"error": str(error)[:_SAID]})
        model = Workspace(home).model(dataset, run, task.configuration).path
        shutil.rmtree(model, ignore_errors=True)  # a run that was stopped begins anew: its time would not be one piece
        measured: dict[str, Any] = {}
        with watched(measured):
            error = self._train(home, dataset, task, block, run)
        result = result.model_copy(update={"machine": {**result.machine, **measured}, "error": error})
        if not error:
            result = _completed(result, read_model(Workspace(home).fold(dataset, run, task.configuration, block.fold).result,
                                                   FoldResult), plan)
        if not self.keep:
            shutil.rmtree(model, ignore_errors=True)
            Workspace(home).plan(dataset, run).unlink(missing_ok=True)
        return result

    def _machine(self) -> dict[str, Any]:
        if not self._facts:
            self._facts.update(description(self.device))
        return dict(self._facts)

    def _train(self, home: Path, dataset: str, task: Task, block: Block, run: str) -> str:
        """Train in a process of its own; what went wrong, or nothing."""
        command = [sys.executable, "-m", "autoseg.cli.train", dataset, task.configuration, str(block.fold), "-p", run,
                   "--seed", str(block.seed), "--home", str(home.resolve()), "--device", self.device]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_TOO_LATE * task.budget_seconds)
        except subprocess.TimeoutExpired:
            return f"not finished after {_TOO_LATE} times its budget"
        return done.stderr.strip()[-_SAID:] or f"ended with status {done.returncode}" if done.returncode else ""


def _completed(result: Result, trained: FoldResult, plan: Plan) -> Result:
    labels = {} if trained.scores is None else {label.name: label.means["dice"].value for label in trained.scores.labels}
    return result.model_copy(update={
        "dice": trained.mean_dice, "dice_by_label": {name: value for name, value in labels.items() if value is not None},
        "iterations": trained.schedule.iterations, "training_seconds": round(trained.training_seconds, 2),
        "total_seconds": round(trained.total_seconds, 2),
        "seconds_per_step": round(trained.training_seconds / trained.schedule.iterations, 5),
        "configuration": digest_of(plan.configurations[trained.configuration].decided().model_dump(mode="json")),
        "error": "" if trained.mean_dice is not None else "no validation case could be scored"})
