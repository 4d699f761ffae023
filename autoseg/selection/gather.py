"""Which configurations have finished folds that together validated every case exactly once, and what others lack."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import ManyFaults, UserError
from autoseg.datasets.dataset import Dataset as RawDataset
from autoseg.formats.files import digest
from autoseg.prediction.inference_settings import Member
from autoseg.prediction.models import trained_model
from autoseg.training.splits import read_splits
from autoseg.training.validate import FoldResult
from autoseg.workspace.files import read_model
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.names import Workspace
from planners.schema.labels import LabelSpec
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """The cross-validation cases of a dataset in the order of their names. `annotated` holds the names that were
    annotated in the cases that are labelled in part; `validation` are the cases of each fold that it is split into.
    """

    name: str
    truths: Mapping[str, Path]
    labels: LabelSpec
    annotated: Mapping[str, tuple[str, ...]]
    validation: tuple[frozenset[str], ...]


@dataclass(frozen=True)
class Contender:
    """One configuration whose folds cover every case, and by case its fold."""

    member: Member
    plan: Plan
    folder: Path
    fold_of: Mapping[str, str]

    def mask(self, case: str) -> Path:
        return self._fold(case).validation / f"{case}{self.plan.file_ending}"

    def probabilities(self, case: str) -> Path:
        return self._fold(case).probabilities(case)

    def folds_without_probabilities(self) -> list[str]:
        """The folds that lack those of any case."""
        return sorted({fold for case, fold in self.fold_of.items() if not self.probabilities(case).is_file()}, key=int)

    def how_to_save_probabilities(self) -> str:
        """The commands that write what is missing."""
        return _commands(self.plan, self.member.configuration, self.folds_without_probabilities(), " --save_probabilities")

    def _fold(self, case: str) -> FoldFolder:
        return FoldFolder(self.folder / f"fold_{self.fold_of[case]}")


def read_dataset(workspace: Workspace, dataset: str) -> Dataset:
    """The cases that cross-validation is about."""
    raw = RawDataset.open(workspace.raw(dataset))
    splits = read_splits(workspace, dataset, raw.names, *raw.groups())
    return Dataset(dataset, {case.name: case.label for case in raw.cases if case.label is not None}, raw.manifest.labels,
                   raw.annotated() or {}, tuple(frozenset(split.validation) for split in splits))


def gather(workspace: Workspace, dataset: Dataset) -> tuple[list[Contender], list[str]]:
    """The contenders, and what is wrong with the configurations that are none: each with the commands that finish it.

    Raises UserError where nothing was trained, ManyFaults where no configuration covers every case.
    """
    contenders, faults = [], []
    folders = sorted(path.parent for path in (workspace.home / "models" / dataset.name).glob("*/*/plan.json"))
    begun = [folder for folder in folders if any(FoldFolder(fold).begun for fold in folder.glob("fold_*"))]
    if not begun:
        raise UserError("nothing was trained", where=dataset.name, do=f"train all folds with autoseg_train {dataset.name}")
    for folder in begun:
        found = _contender(folder, dataset)
        if isinstance(found, Contender):
            contenders.append(found)
        else:
            faults.append(found)
            logger.warning("left out: %s", found)
    if not contenders:
        raise ManyFaults(f"{dataset.name}: no configuration was validated on every case", faults)
    return contenders, faults


def _contender(folder: Path, dataset: Dataset) -> Contender | str:
    plan = read_model(folder / "plan.json", Plan)
    title = f"{folder.name} ({plan.planner})"
    if not plan.labels.means_the_same_as(dataset.labels):
        return f"{title}: it was trained with other labels than dataset.json declares"
    numbers = sorted((path.name[5:] for path in folder.glob("fold_*") if path.name[5:].isdecimal()), key=int)
    finished = [fold for fold in numbers if FoldFolder(folder / f"fold_{fold}").result.is_file()]
    missing = [str(fold) for fold in range(len(dataset.validation)) if str(fold) not in finished]
    if missing:
        return (f"{title}: fold {', '.join(missing)} is not finished; finish with "
                f"{_commands(plan, folder.name, missing)}")
    results = {fold: read_model(FoldFolder(folder / f"fold_{fold}").result, FoldResult) for fold in finished}
    fault = _coverage_fault(results, dataset.truths, folder) or _splits_fault(results, dataset.validation)
    if fault:
        return f"{title}: {fault}"
    fold_of = {case.name: fold for fold, result in results.items() for case in result.scores.cases}
    earlier = plan.configurations[folder.name].previous
    previous = _member(folder.with_name(earlier), trained_model(folder.with_name(earlier)).folds) if earlier else None
    found = Contender(_member(folder, finished, previous), plan, folder, {name: fold_of[name] for name in dataset.truths})
    lost = [name for name in dataset.truths if not found.mask(name).is_file()]
    if lost:
        return f"{title}: the masks of {_listed(lost)} are missing; {_validate_again(folder, {fold_of[n] for n in lost})}"
    return found


def _member(folder: Path, folds: Sequence[str], previous: Member | None = None) -> Member:
    digests = tuple(digest(FoldFolder(folder / f"fold_{fold}").checkpoint) for fold in folds)
    return Member(planner=folder.parent.name, configuration=folder.name, folds=tuple(folds), digests=digests,
                  previous=previous)


def _coverage_fault(results: Mapping[str, FoldResult], truths: Mapping[str, Path], folder: Path) -> str:
    """What keeps these folds from covering every case exactly once; empty where nothing does."""
    folds_of: dict[str, list[str]] = {}
    for fold, result in results.items():
        for case in result.scores.cases if result.scores else ():
            folds_of.setdefault(case.name, []).append(fold)
    twice = [name for name, folds in folds_of.items() if len(folds) > 1]
    if twice:
        return (f"{_listed(twice)} were validated by more than one fold (fold {', '.join(folds_of[twice[0]])}); let each "
                "case be validated once, and train the folds again")
    strange = sorted(set(folds_of) - set(truths))
    if strange:
        return f"{_listed(strange)} were validated, but are no training cases any more; train the folds again"
    unscored = {fold: result.unscored for fold, result in results.items() if result.unscored}
    if unscored:
        said = "; ".join(fault for faults in unscored.values() for fault in faults)
        return f"cases could not be scored ({said}); correct them, then {_validate_again(folder, unscored)}"
    missing = sorted(set(truths) - set(folds_of))
    if missing:
        return (f"{_listed(missing)} were validated by no fold; make the folds cover every case (splits_final.json) and "
                "train them")
    return ""


def _splits_fault(results: Mapping[str, FoldResult], validation: Sequence[frozenset[str]]) -> str:
    """What fold was trained on other splits than the dataset has now: its scores may be of cases, or of patients, that it
    was trained on.
    """
    changed = [fold for fold, result in results.items() if int(fold) >= len(validation)
               or {case.name for case in result.scores.cases} != validation[int(fold)]]
    if not changed:
        return ""
    return (f"the splits were changed since fold {', '.join(changed)} was trained; restore them, or train again with "
            "--restart")


def _validate_again(folder: Path, folds: Sequence[str]) -> str:
    paths = ", ".join(str(FoldFolder(folder / f"fold_{fold}").result) for fold in sorted(folds))
    return f"remove {paths} and run autoseg_train of the fold again, which then only validates"


def _commands(plan: Plan, configuration: str, folds: Sequence[str], options: str = "") -> str:
    return "; ".join(f"autoseg_train {plan.dataset} {configuration} {fold} -p {plan.planner}{options}" for fold in folds)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} others" if len(names) > 5 else "")
