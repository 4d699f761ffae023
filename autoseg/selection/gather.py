"""Find the configurations whose finished folds together validated every case exactly once; say what the others lack."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import ManyFaults, UserError
from autoseg.datasets.dataset import Dataset
from autoseg.evaluation.types import CaseScore
from autoseg.formats.files import digest
from autoseg.prediction.inference_settings import Member
from autoseg.prediction.models import check_weights, trained_model, without_plan
from autoseg.prediction.trained_with import check_plan_of, different_data, trained_with
from autoseg.selection.race_types import Race
from autoseg.training.splits import read_splits
from autoseg.training.validate import FoldResult
from autoseg.workspace.checkpoint import read_facts
from autoseg.workspace.files import read_model
from autoseg.workspace.folders import FoldFolder, ModelFolder
from autoseg.workspace.names import Workspace
from planners.schema.labels import LabelSpec
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CrossValidation:
    """The cross-validation cases of a dataset, in the order of their names.

    `annotated` holds the annotated names of each case that is only partly labelled; `validation` holds the cases of each
    fold.
    """

    name: str
    truths: Mapping[str, Path]
    labels: LabelSpec
    annotated: Mapping[str, tuple[str, ...]]
    validation: tuple[frozenset[str], ...]


@dataclass(frozen=True)
class Contender:
    """One configuration whose folds cover every case; `fold_of` gives the fold of each case."""

    member: Member
    plan: Plan
    model: ModelFolder
    fold_of: Mapping[str, str]

    def mask(self, case: str) -> Path:
        return self._fold(case).mask(case, self.plan.file_ending)

    def probabilities(self, case: str) -> Path:
        return self._fold(case).probabilities(case)

    def folds_without_probabilities(self) -> list[str]:
        """The folds in which the probabilities of any case are missing."""
        return sorted({fold for case, fold in self.fold_of.items() if not self.probabilities(case).is_file()}, key=int)

    def commands_for_probabilities(self) -> str:
        """The commands that write the missing probabilities."""
        return _commands(self.plan, self.member.configuration, self.folds_without_probabilities(), " --save_probabilities")

    def _fold(self, case: str) -> FoldFolder:
        return self.model.fold(self.fold_of[case])


def read_cross_validation(workspace: Workspace, dataset: str) -> CrossValidation:
    """The cases of the cross-validation."""
    raw = Dataset.open(workspace.raw(dataset))
    splits = read_splits(workspace, dataset, raw.names, *raw.groups())
    return CrossValidation(dataset, {case.name: case.label for case in raw.cases if case.label is not None},
                           raw.manifest.labels, raw.annotated() or {},
                           tuple(frozenset(split.validation) for split in splits))


def gather(workspace: Workspace, dataset: CrossValidation) -> tuple[list[Contender], list[str]]:
    """The contenders, and for every other configuration what it lacks, with the commands that finish it.

    Raises UserError where nothing was trained, ManyFaults where no configuration covers every case.
    """
    contenders = []
    faults = [str(without_plan(model)) for model in workspace.models_without_plan() if model.dataset == dataset.name]
    started = [model for model in workspace.models(dataset.name) if model.started_folds()]
    if not started and not faults:
        raise UserError("nothing was trained", where=dataset.name, do=f"train all folds with autoseg_train {dataset.name}")
    dropped = read_dropped(workspace, dataset.name)
    for model in started:
        result = _contender(model, dataset, dropped.get(model.title, ""))
        if isinstance(result, Contender):
            contenders.append(result)
        else:
            faults.append(result)
            logger.warning("left out: %s", result)
    if not contenders:
        raise ManyFaults(f"{dataset.name}: no configuration was validated on every case", faults)
    return contenders, faults


def read_dropped(workspace: Workspace, dataset: str) -> dict[str, str]:
    """Why a race dropped each configuration that it dropped, by the title of its model; empty where there was no race."""
    path = workspace.race(dataset)
    return read_model(path, Race).dropped if path.is_file() else {}


def _contender(model: ModelFolder, dataset: CrossValidation, dropped: str) -> Contender | str:
    plan = model.read_plan()
    title = f"{model.configuration} ({plan.planner})"
    if not plan.labels.means_the_same_as(dataset.labels):
        return f"{title}: it was trained with other labels than dataset.json declares"
    finished = [fold.name for fold in model.all_folds() if fold.name.isdecimal() and fold.is_finished]
    missing = [str(fold) for fold in range(len(dataset.validation)) if str(fold) not in finished]
    if missing:
        if dropped and not finished:
            return (f"{title}: dropped in the race, since {dropped}; to train it nevertheless: "
                    f"{_commands(plan, model.configuration, missing)}")
        return (f"{title}: {_folds(missing)} not finished; finish with "
                f"{_commands(plan, model.configuration, missing)}")
    return _contender_of(model, plan, dataset, finished)


def contender_of_folds(model: ModelFolder, dataset: CrossValidation, folds: Sequence[str]) -> Contender | str:
    """The contender of some finished folds, whose validation cases are those of `dataset`; or why it is none."""
    missing = [fold for fold in folds if not model.fold(fold).is_finished]
    if missing:
        return f"{model.title}: {_folds(missing)} not finished"
    return _contender_of(model, model.read_plan(), dataset, folds)


def _contender_of(model: ModelFolder, plan: Plan, dataset: CrossValidation, finished: Sequence[str]) -> Contender | str:
    title = f"{model.configuration} ({plan.planner})"
    results = {fold: read_model(model.fold(fold).result, FoldResult) for fold in finished}
    fault = (_coverage_fault(results, dataset.truths, model) or _splits_fault(results, dataset.validation)
             or _training_fault(model, plan, finished))
    if fault:
        return f"{title}: {fault}"
    fold_of = {case.name: fold for fold, result in results.items() for case in _validated(result)}
    earlier = plan.configurations[model.configuration].previous
    try:
        previous = _previous(model.beside(earlier)) if earlier else None
    except UserError as error:
        return f"{title}: {error}"
    contender = Contender(_member(model, finished, previous), plan, model, {name: fold_of[name] for name in dataset.truths})
    lost = [name for name in dataset.truths if not contender.mask(name).is_file()]
    if lost:
        return f"{title}: the masks of {_listed(lost)} are missing; {_validate_again(model, {fold_of[n] for n in lost})}"
    return contender


def _member(model: ModelFolder, folds: Sequence[str], previous: Member | None = None) -> Member:
    digests = tuple(digest(model.fold(fold).checkpoint) for fold in folds)
    return Member(planner=model.planner, configuration=model.configuration, folds=tuple(folds), digests=digests,
                  previous=previous)


def _previous(model: ModelFolder) -> Member:
    """The earlier stage of a cascade; a UserError where it is not whole."""
    folds = trained_model(model).folds
    check_weights(model, folds)
    return _member(model, folds)


def _validated(result: FoldResult) -> tuple[CaseScore, ...]:
    return result.scores.cases if result.scores else ()


def _coverage_fault(results: Mapping[str, FoldResult], truths: Mapping[str, Path], model: ModelFolder) -> str:
    """Why these folds do not cover every case exactly once; empty where they do."""
    folds_of: dict[str, list[str]] = {}
    for fold, result in results.items():
        for case in _validated(result):
            folds_of.setdefault(case.name, []).append(fold)
    twice = [name for name, folds in folds_of.items() if len(folds) > 1]
    if twice:
        return (f"{_listed(twice)} were validated by more than one fold (fold {', '.join(folds_of[twice[0]])}); let each "
                "case be validated once, and train the folds again")
    removed = sorted(set(folds_of) - set(truths))
    if removed:
        return f"{_listed(removed)} were validated, but are no longer training cases; train the folds again"
    unscored = {fold: result.unscored for fold, result in results.items() if result.unscored}
    if unscored:
        sentences = "; ".join(fault for faults in unscored.values() for fault in faults)
        return f"cases could not be scored ({sentences}); correct them, then {_validate_again(model, unscored)}"
    missing = sorted(set(truths) - set(folds_of))
    if missing:
        return (f"{_listed(missing)} were validated by no fold; make the folds cover every case (splits_final.json) and "
                "train them")
    return ""


def _splits_fault(results: Mapping[str, FoldResult], validation: Sequence[frozenset[str]]) -> str:
    """The folds that were trained with other splits than the dataset has now; empty where there are none.

    Such a fold may have been scored on cases, or on patients, that it was trained on.
    """
    changed = [fold for fold, result in results.items() if int(fold) >= len(validation)
               or {case.name for case in _validated(result)} != validation[int(fold)]]
    if not changed:
        return ""
    return (f"the splits were changed since fold {', '.join(changed)} was trained; restore them, or train again with "
            "--restart")


def _training_fault(model: ModelFolder, plan: Plan, folds: Sequence[str]) -> str:
    """Why these folds are not of one model: another plan, or different data; empty where they are."""
    try:
        trained = {fold: trained_with(read_facts(path), path) for fold in folds for path in [model.fold(fold).checkpoint]}
        for fold, facts in trained.items():
            check_plan_of(facts, plan, plan.configurations[model.configuration], model.fold(fold).checkpoint)
    except UserError as error:
        return str(error)
    difference = different_data(trained)
    return f"{difference}; train the older ones again with --restart" if difference else ""


def _folds(names: Sequence[str]) -> str:
    return f"fold {names[0]} is" if len(names) == 1 else f"folds {', '.join(names)} are"


def _validate_again(model: ModelFolder, folds: Iterable[str]) -> str:
    paths = ", ".join(str(model.fold(fold).result) for fold in sorted(folds))
    return f"remove {paths} and run autoseg_train of the fold again, which then only validates"


def _commands(plan: Plan, configuration: str, folds: Sequence[str], options: str = "") -> str:
    return "; ".join(f"autoseg_train {plan.dataset} {configuration} {fold} -p {plan.planner}{options}" for fold in folds)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} others" if len(names) > 5 else "")
