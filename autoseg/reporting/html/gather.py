"""Read all files about a dataset once. A file that cannot be read is listed as a fault; the report goes on without it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from autoseg.base.errors import AutosegError
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.manifest import Manifest
from autoseg.evaluation.types import CaseScore
from autoseg.explain.ablation import Ablation
from autoseg.explain.explanations import EXPLANATIONS, Explanations
from autoseg.formats.files import digest, is_file
from autoseg.interop.external import ExternalValidation
from autoseg.outcome.report import OutcomeReport
from autoseg.prediction.inference_settings import FoldPostprocessing
from autoseg.selection.inputs import InputComparison
from autoseg.selection.race_types import Race
from autoseg.selection.types import Selection
from autoseg.training.splits import N_FOLDS, USERS_OWN
from autoseg.training.transfer import TransferReport
from autoseg.training.validate import FoldResult
from autoseg.workspace.files import read_json, read_model, read_records
from autoseg.workspace.folders import FoldFolder, ModelFolder
from autoseg.workspace.names import DATASET_JSON, Workspace
from autoseg.workspace.provenance import PROVENANCE, ProvenanceFile, Run
from planners.schema.base import Frozen
from planners.schema.fingerprint import Fingerprint
from planners.schema.plan import Configuration, Plan

M = TypeVar("M", bound=Frozen)


@dataclass(frozen=True)
class Fold:
    """The files of one fold; `records` has one entry per epoch. Without a `result` the fold is not finished."""

    name: str
    folder: FoldFolder
    records: tuple[dict[str, Any], ...]
    result: FoldResult | None
    ablation: Ablation | None
    postprocessing: FoldPostprocessing | None = None  # of masks that the fold predicts alone
    transfer: TransferReport | None = None  # what it took over from another model
    twin: FoldResult | None = None  # of the same fold from scratch
    explanations: Explanations | None = None  # of cases, with their controls

    @property
    def state(self) -> str:
        if self.result is not None:
            return "finished"
        if self.folder.is_trained:
            return "trained, not validated"
        return "in training or stopped" if self.folder.is_started or self.records else "not started"


@dataclass(frozen=True)
class Model:
    """One configuration of one planner with its folds; `plan` is the plan that they were trained with."""

    planner: str
    configuration: str
    plan: Plan
    folds: tuple[Fold, ...]

    @property
    def title(self) -> str:
        return f"{self.configuration} ({self.planner})"

    @property
    def planned(self) -> Configuration:
        return self.plan.configurations[self.configuration]

    @property
    def finished(self) -> tuple[FoldResult, ...]:
        return tuple(fold.result for fold in self.folds if fold.result is not None)

    @property
    def cases(self) -> tuple[CaseScore, ...]:
        """Each scored validation case, once: where several folds validated a case, the first one counts."""
        scores: dict[str, CaseScore] = {}
        for result in self.finished:
            for case in result.scores.cases if result.scores is not None else ():
                scores.setdefault(case.name, case)
        return tuple(scores.values())

    def fold_of(self, case: str) -> Fold:
        """The fold that validated one of `cases`."""
        return next(fold for fold in self.folds if fold.result is not None and fold.result.scores is not None
                    and any(score.name == case for score in fold.result.scores.cases))


@dataclass(frozen=True)
class ReportData:
    """A dataset and everything that was made from it. What does not exist is None or empty."""

    dataset: str
    workspace: Workspace
    raw: Dataset | None
    fingerprint: Fingerprint | None
    plans: dict[str, Plan]
    models: tuple[Model, ...]
    selection: Selection | None
    race: Race | None
    inputs: InputComparison | None
    n_folds: int
    origins: tuple[tuple[str, Run], ...]  # a folder below the home, and what made results there
    digests: tuple[tuple[str, str], ...]  # a file below the home or the raw folder, and its BLAKE2b
    faults: tuple[str, ...]
    external: tuple[ExternalValidation, ...] = ()  # on other datasets
    outcomes: tuple[OutcomeReport, ...] = ()

    @property
    def manifest(self) -> Manifest | None:
        return None if self.raw is None else self.raw.manifest

    def dropped(self, model: Model) -> str:
        """Why the race dropped a configuration that was not trained afterwards; empty for all others."""
        return "" if self.race is None or model.finished else self.race.dropped.get(model.title, "")

    @property
    def number(self) -> str:
        """The number of the dataset, as commands take it."""
        return str(int(self.dataset.removeprefix("Dataset").split("_")[0]))


def gather(workspace: Workspace, dataset: str) -> ReportData:
    """Read the fingerprint, plans, folds, selection and ablations of a dataset; voxels are not read."""
    reading = _Reading(workspace, [], [])
    prepared, raw = workspace.prepared(dataset), reading.raw(dataset)
    fingerprint = reading.model(workspace.fingerprint(dataset), Fingerprint)
    plans = {planner: plan for planner, path in workspace.plans(dataset).items()
             if (plan := reading.model(path, Plan)) is not None}
    splits = [path for path in (*([raw.folder / USERS_OWN] if raw else []), prepared / USERS_OWN, workspace.splits(dataset))
              if is_file(path)]
    trained = [reading.trained(model) for model in workspace.models(dataset)]
    outcomes = [reading.model(model.outcome(name), OutcomeReport) for model in workspace.models(dataset)
                for name in model.fitted_outcomes()]
    return ReportData(dataset=dataset, workspace=workspace, raw=raw, fingerprint=fingerprint, plans=plans,
                      models=tuple(model for model in trained if model is not None),
                      selection=reading.model(workspace.selection(dataset), Selection),
                      race=reading.model(workspace.race(dataset), Race),
                      inputs=reading.model(workspace.input_comparison(dataset), InputComparison),
                      n_folds=reading.count(splits[0]) if splits else N_FOLDS,
                      origins=tuple(reading.origins([prepared, workspace.selection(dataset).parent, *(
                          fold.folder.path for model in trained if model is not None for fold in model.folds)])),
                      external=tuple(result for path in workspace.external_results(dataset)
                                     if (result := reading.model(path, ExternalValidation)) is not None),
                      digests=tuple(reading.digests), faults=tuple(reading.faults),
                      outcomes=tuple(outcome for outcome in outcomes if outcome is not None))


@dataclass
class _Reading:
    """Reads files, and collects their digests and faults."""

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
        """The content of a file; None where there is no file, or where it cannot be read."""
        if not is_file(path):
            return None
        self._remember(path)
        try:
            return read_model(path, kind)
        except AutosegError as error:
            self.faults.append(str(error))
            return None

    def origins(self, folders: Sequence[Path]) -> Iterator[tuple[str, Run]]:
        """What made the results in some folders."""
        for folder in folders:
            known = self.model(folder / PROVENANCE, ProvenanceFile)
            home = self.workspace.home
            name = folder.relative_to(home).as_posix() if folder.is_relative_to(home) else folder.name
            yield from ((name, run) for run in (known.runs if known is not None else ()))

    def trained(self, model: ModelFolder) -> Model | None:
        """A model with all its folds; None where its plan cannot be read."""
        plan = self.model(model.plan, Plan)
        if plan is None or model.configuration not in plan.configurations:
            return None
        return Model(model.planner, model.configuration, plan,
                     tuple(self._fold(model, folder) for folder in model.all_folds()))

    def count(self, splits: Path) -> int:
        self._remember(splits)
        try:
            return len(read_json(splits))
        except (AutosegError, TypeError) as error:
            self.faults.append(str(error))
            return N_FOLDS

    def _fold(self, model: ModelFolder, folder: FoldFolder) -> Fold:
        result = self.model(folder.result, FoldResult)
        twin = self.workspace.twins.fold(model.dataset, model.planner, model.configuration, folder.name)
        return Fold(folder.name, folder, tuple(read_records(folder.metrics)), result,
                    self.model(folder.ablation(".json"), Ablation),
                    self.model(folder.postprocessing, FoldPostprocessing),
                    self.model(folder.transfer, TransferReport), self.model(twin.result, FoldResult),
                    self.model(folder.explanations / EXPLANATIONS, Explanations))

    def _remember(self, path: Path, name: str = "") -> None:
        if is_file(path):
            home = self.workspace.home
            self.digests.append((name or (str(path.relative_to(home)) if path.is_relative_to(home) else path.name),
                                 digest(path)))
