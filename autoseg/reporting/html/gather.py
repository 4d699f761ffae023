"""Everything that the disk says of a dataset, read once. A file that cannot be read is named, and ends nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from autoseg.base.errors import AutosegError
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.manifest import Manifest
from autoseg.evaluation.types import CaseScore
from autoseg.explain.ablation import Ablation
from autoseg.formats.files import digest, is_file
from autoseg.selection.types import Selection
from autoseg.training.splits import N_FOLDS, USERS_OWN
from autoseg.training.validate import FoldResult
from autoseg.workspace.files import read_json, read_model, read_records
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.names import DATASET_JSON, Workspace
from planners.schema.fingerprint import Fingerprint
from planners.schema.plan import Configuration, Plan

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Fold:
    """What there is of one fold; `records` has a line an epoch. Without a `result` it is not finished."""

    name: str
    folder: FoldFolder
    records: tuple[dict[str, Any], ...]
    result: FoldResult | None
    ablation: Ablation | None

    @property
    def state(self) -> str:
        if self.result is not None:
            return "finished"
        if is_file(self.folder.checkpoint):
            return "trained, not validated"
        return "in training or stopped" if self.folder.begun or self.records else "not begun"


@dataclass(frozen=True)
class Model:
    """One configuration of one planner with its folds; `plan` is the one that they were trained with."""

    planner: str
    configuration: str
    plan: Plan
    folds: tuple[Fold, ...]

    @property
    def title(self) -> str:
        return f"{self.configuration} ({self.planner})"

    @property
    def chosen(self) -> Configuration:
        return self.plan.configurations[self.configuration]

    @property
    def finished(self) -> tuple[FoldResult, ...]:
        return tuple(fold.result for fold in self.folds if fold.result is not None)

    @property
    def cases(self) -> tuple[CaseScore, ...]:
        """Every validation case that was scored, once: a case that several folds validated counts in the first."""
        found: dict[str, CaseScore] = {}
        for result in self.finished:
            for case in result.scores.cases if result.scores is not None else ():
                found.setdefault(case.name, case)
        return tuple(found.values())

    def fold_of(self, case: str) -> Fold | None:
        """The fold that validated a case."""
        return next((fold for fold in self.folds if fold.result is not None and fold.result.scores is not None
                     and any(score.name == case for score in fold.result.scores.cases)), None)


@dataclass(frozen=True)
class Gathered:
    """A dataset and all that was made of it. What is not there is None or empty."""

    dataset: str
    workspace: Workspace
    raw: Dataset | None
    fingerprint: Fingerprint | None
    plans: dict[str, Plan]
    models: tuple[Model, ...]
    selection: Selection | None
    n_folds: int
    digests: tuple[tuple[str, str], ...]  # a file below the home or the raw folder, and its BLAKE2b
    faults: tuple[str, ...]

    @property
    def manifest(self) -> Manifest | None:
        return None if self.raw is None else self.raw.manifest

    @property
    def number(self) -> str:
        """By which commands know the dataset."""
        return str(int(self.dataset.removeprefix("Dataset").split("_")[0]))


def gather(workspace: Workspace, dataset: str) -> Gathered:
    """Read a dataset's fingerprint, plans, folds, selection and ablations; voxels are not read."""
    reading = _Reading(workspace, [], [])
    prepared, models = workspace.prepared(dataset), workspace.home / "models" / dataset
    raw = reading.raw(dataset)
    fingerprint = reading.model(workspace.fingerprint(dataset), Fingerprint)
    paths = sorted(prepared.glob("plan_*.json"))
    plans = {path.stem.removeprefix("plan_"): plan for path in paths if (plan := reading.model(path, Plan)) is not None}
    splits = [path for path in (*([raw.folder / USERS_OWN] if raw else []), prepared / USERS_OWN, workspace.splits(dataset))
              if is_file(path)]
    found = [reading.trained(path) for path in sorted(models.glob("*/*/plan.json"))]
    return Gathered(dataset=dataset, workspace=workspace, raw=raw, fingerprint=fingerprint, plans=plans,
                    models=tuple(model for model in found if model is not None),
                    selection=reading.model(workspace.selection(dataset), Selection),
                    n_folds=reading.count(splits[0]) if splits else N_FOLDS,
                    digests=tuple(reading.digests), faults=tuple(reading.faults))


@dataclass
class _Reading:
    """Reads, and remembers digests and faults."""

    workspace: Workspace
    digests: list[tuple[str, str]]
    faults: list[str]

    def raw(self, dataset: str) -> Dataset | None:
        try:
            raw = self.workspace.raw(dataset)
            self._remember(raw / DATASET_JSON, f"raw/{dataset}/{DATASET_JSON}")
            return Dataset.open(raw)
        except AutosegError as error:
            self.faults.append(str(error))
            return None

    def model(self, path: Path, kind: type[M]) -> M | None:
        """None where there is no file, or none that can be read."""
        if not is_file(path):
            return None
        self._remember(path)
        try:
            return read_model(path, kind)
        except AutosegError as error:
            self.faults.append(str(error))
            return None

    def trained(self, path: Path) -> Model | None:
        """A model by its plan's path."""
        plan = self.model(path, Plan)
        if plan is None or path.parent.name not in plan.configurations:
            return None
        folds = [self._fold(folder) for folder in _in_order(list(path.parent.glob("fold_*")))]
        return Model(path.parent.parent.name, path.parent.name, plan, tuple(folds))

    def count(self, splits: Path) -> int:
        self._remember(splits)
        try:
            return len(read_json(splits))
        except (AutosegError, TypeError) as error:
            self.faults.append(str(error))
            return N_FOLDS

    def _fold(self, path: Path) -> Fold:
        folder = FoldFolder(path)
        result = self.model(folder.result, FoldResult)
        return Fold(path.name.removeprefix("fold_"), folder, tuple(read_records(folder.metrics)), result,
                    self.model(folder.ablation(".json"), Ablation))

    def _remember(self, path: Path, name: str = "") -> None:
        if is_file(path):
            home = self.workspace.home
            self.digests.append((name or (str(path.relative_to(home)) if path.is_relative_to(home) else path.name),
                                 digest(path)))


def _in_order(folders: Sequence[Path]) -> list[Path]:
    """Folds by number, `all` last."""
    def key(folder: Path) -> tuple[int, str]:
        name = folder.name.removeprefix("fold_")
        return (int(name), "") if name.isdecimal() else (1 << 30, name)

    return sorted(folders, key=key)
