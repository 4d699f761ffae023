"""The order of the stages, for people who write Python: fingerprint, plan, preprocess, train, predict, evaluate.

Every function takes a dataset by number or name and the workspace's home, and returns the boundary object that it wrote.
What needs torch is imported by the stages that do: checking, measuring and scoring wait for nothing.
"""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autoseg.base.errors import ManyFaults, UserError
from autoseg.base.processes import WorkerPool, cores
from autoseg.base.progress import progress_bar
from autoseg.base.ranks import agreed, is_first
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.integrity import Report
from autoseg.datasets.integrity import verify as verify_folder
from autoseg.datasets.manifest import Manifest
from autoseg.datasets.measure import measure
from autoseg.evaluation.comparison import PairedComparison, compare_summaries
from autoseg.evaluation.folders import PREDICTION_MISSING, evaluate_folders
from autoseg.evaluation.types import Scoring, Summary
from autoseg.explain.ablation import Ablation
from autoseg.planning.probe import ProbedHardware
from autoseg.preprocessing.run import preprocess_dataset, recipe_digest
from autoseg.reporting.curves import LiveCurves
from autoseg.reporting.predictions import sheet_of_masks
from autoseg.reporting.registration import draw_registration
from autoseg.selection.types import Selection
from autoseg.workspace.files import read_json, read_model, write_json
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.names import Workspace
from planners import PLANNERS
from planners.rules.budget import with_budget
from planners.schema.fingerprint import Fingerprint
from planners.schema.hardware import Budget
from planners.schema.plan import Plan, content_hash_of

if TYPE_CHECKING:
    from autoseg.training.validate import FoldResult

logger = logging.getLogger(__name__)

DEFAULT_PLANNER = "budgeted"
SHOWN_CASES = 5  # of a fold, on its contact sheet


def verify(dataset: str | int, *, home: str | Path | None = None, workers: int | None = None,
           allow_outcomes: bool = False) -> Report:
    """Check every file of a raw dataset; a report of faults and warnings."""
    workspace = Workspace.open(home)
    return verify_folder(workspace.raw(workspace.dataset(dataset)), workers or cores(), allow_outcomes=allow_outcomes)


def fingerprint(dataset: str | int, *, home: str | Path | None = None, workers: int | None = None,
                allow_outcomes: bool = False, worker_pool: WorkerPool | None = None) -> Fingerprint:
    """Register the channels that ask for it, measure a raw dataset and write its fingerprint.

    What is there and still true is kept. A condition that looks like an outcome is refused, unless outcomes are allowed.
    A `worker_pool` that is given to `preprocess` afterwards remembers small cases.
    """
    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    raw = Dataset.open(workspace.raw(name))
    if not allow_outcomes:
        raw.refuse_outcomes()
    register(workspace, name, raw, workers or cores())
    transforms = registered(workspace, name, raw.manifest)
    path = workspace.fingerprint(name)
    if path.is_file():
        known = read_model(path, Fingerprint)
        if known.digest and known.digest == raw.digest(transforms):
            logger.info("%s: the fingerprint is up to date", name)
            return known
    with progress_bar("measuring", len(raw.cases)) as bar:
        measured = measure(raw, name, workers or cores(), bar.update, transforms=transforms, worker_pool=worker_pool)
    write_json(path, measured)
    return measured


def register(workspace: Workspace, name: str, raw: Dataset, workers: int) -> None:
    """Register every channel that asks for it to the reference, and draw what came of it; cases that are done are kept."""
    target = registered(workspace, name, raw.manifest)
    if target is None:
        return
    from autoseg.preprocessing.registration import (
        register_dataset,
    )  # and with it SimpleITK, which a training machine may lack

    with progress_bar("registering", len(raw.cases)) as bar:
        result = register_dataset(raw, target, workers=workers, progress=bar.update)
    for case in result.done:
        draw_registration(target, raw.case(case), raw.manifest.channels)
    result.raise_faults()


def registered(workspace: Workspace, dataset: str, manifest: Manifest) -> Path | None:
    """The folder of what registration found; None where no channel is registered."""
    moved = any(channel.registration not in ("none", "regrid") for channel in manifest.channels)
    return workspace.transforms(dataset) if moved else None


def plan(dataset: str | int, *, planner: str = DEFAULT_PLANNER, budget_seconds: float | None = None,
         memory_bytes: int | None = None, home: str | Path | None = None, device: str = "auto") -> Plan:
    """Plan the training of a dataset that has a fingerprint, and write the plan.

    A plan that is of no planner, a file that somebody made of another, is kept as it is. Raises UserError where it, or a
    planner's plan that was edited, would have to be replaced.
    """
    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    budget = Budget(memory_bytes=memory_bytes, seconds_per_fold=budget_seconds)
    path = workspace.plan(name, planner)
    if path.is_file():
        if planner not in PLANNERS.names():
            return _own_plan(workspace, name, planner, budget)
        if read_model(path, Plan).content_hash not in ("", content_hash_of(read_json(path))):
            raise UserError("the plan was edited by hand, and would be replaced", where=path,
                            do=f"give it a name of its own, such as mv -n {path} {workspace.plan(name, 'mine')}, and say "
                               "-p mine in place of a planner; or remove it")
    made = make_plan(workspace, name, planner, budget, device).with_content_hash()
    write_json(path, made)
    return made


def _own_plan(workspace: Workspace, dataset: str, planner: str, budget: Budget) -> Plan:
    own = read_plan(workspace, dataset, planner)
    if budget != Budget(memory_bytes=own.memory_bytes) and budget != Budget():
        raise UserError("a plan of your own is not planned again for a budget or a memory",
                        where=workspace.plan(dataset, planner), do="write schedule.budget_seconds into the file")
    if own.fingerprint_digest != read_model(workspace.fingerprint(dataset), Fingerprint).digest:
        logger.warning("%s was made of other data than there are now; it is used as it is (the planner of a plug-in needs "
                       "--plugin)", workspace.plan(dataset, planner))
    return own


def make_plan(workspace: Workspace, dataset: str, planner: str, budget: Budget, device: str) -> Plan:
    """The plan for a fingerprint, this machine and a budget; nothing is written."""
    path = workspace.fingerprint(dataset)
    if not path.is_file():
        raise UserError("the dataset has no fingerprint", where=dataset,
                        do=f"run autoseg_plan_and_preprocess -d {dataset}")
    if device not in ("auto", "cpu"):  # one that is not there is an error, whether the planner asks for it or not
        from autoseg.base.runtime import open_runtime

        open_runtime(device)
    hardware = ProbedHardware(device)
    try:
        make = PLANNERS.get(planner)
        made = make(read_model(path, Fingerprint), hardware, budget)
    except (KeyError, ValueError) as error:
        raise UserError(f"{dataset} cannot be planned", found=error.args[0] if error.args else error) from error
    ending = Dataset.open(workspace.raw(dataset)).manifest.file_ending
    # Folders bear the name that was asked for, whatever a plug-in calls itself.
    return with_budget(made.model_copy(update={"file_ending": ending, "planner": planner,
                                            "memory_bytes": budget.memory_bytes}), budget.seconds_per_fold)


def preprocess(dataset: str | int, *, planner: str = DEFAULT_PLANNER, configurations: Sequence[str] | None = None,
               home: str | Path | None = None, workers: int | None = None, only: Collection[str] | None = None,
               worker_pool: WorkerPool | None = None) -> list[Path]:
    """Prepare the cases of each configuration (default: all of the plan), or `only` those named; cases that are ready
    are kept.

    Raises ManyFaults for the cases that failed when all are done.
    """
    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    planned = read_plan(workspace, name, planner)
    raw = Dataset.open(workspace.raw(name))
    wanted = {planned.configurations[c].data or c for c in configurations or planned.configurations
              if check_configuration(planned, c)}
    results = []
    for configuration in sorted(wanted):
        target = workspace.cases(name, planner, configuration)
        with progress_bar(f"preparing {configuration}", len(raw.cases) if only is None else len(only)) as bar:
            results.append(preprocess_dataset(raw, planned, configuration, target, workers=workers or cores(),
                                              progress=bar.update, transforms=registered(workspace, name, raw.manifest),
                                              only=only, worker_pool=worker_pool))
    for result in results:
        result.raise_faults()
    return [result.folder for result in results]


def train(dataset: str | int, configuration: str, fold: int | str, *, planner: str = DEFAULT_PLANNER,
          budget_seconds: float | None = None, memory_bytes: int | None = None, changes: Sequence[str] = (), seed: int = 0,
          restart: bool = False, planned: Plan | None = None, save_probabilities: bool = False,
          home: str | Path | None = None, device: str = "auto") -> "FoldResult":
    """Train a fold, or go on with it, or read the result of a finished one.

    It is trained by the plan that `settle` gives, or by `planned`, which is settled already. With `save_probabilities` those
    of the validation cases are written too, of a finished fold what is missing of them. Several processes train it together
    within `train.distributed.joined`.
    """
    from autoseg.base.runtime import open_runtime
    from autoseg.training.memory_estimate import check_step
    from autoseg.training.run import run_fold

    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    if planned is None:
        planned = agreed(settle(dataset, configuration, planner=planner, budget_seconds=budget_seconds,
                                memory_bytes=memory_bytes, changes=changes, restart=restart, home=home, device=device))
    runtime = open_runtime(device)
    if is_first():
        check_step(planned, configuration, runtime)
    result = run_fold(workspace, planned, configuration, fold, runtime, seed=seed, restart=restart,
                      save_probabilities=save_probabilities, on_epoch=LiveCurves())
    folder = FoldFolder(workspace.fold(name, planned.planner, configuration, fold))
    if is_first() and result.scores is not None and not folder.sheet.is_file():
        try:
            _draw_validation(workspace, name, folder, result.scores)
        except Exception as error:  # a picture is no reason to fail a fold that is finished
            logger.warning("the validation cases could not be drawn: %s: %s", type(error).__name__, error)
    return result


def settle(dataset: str | int, configuration: str, *, planner: str = DEFAULT_PLANNER, budget_seconds: float | None = None,
           memory_bytes: int | None = None, changes: Sequence[str] = (), restart: bool = False,
           home: str | Path | None = None, device: str = "auto") -> Plan:
    """The plan that the folds of a configuration are to be trained by; nothing is written.

    A budget or a memory given here plans this training anew; `changes` are `key=value` on its plan. A model that was
    begun keeps its plan, where nothing else is asked for: planning again could answer otherwise, as speed is measured.
    """
    from autoseg.training.run import apply_changes, started_plan

    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    planned = read_plan(workspace, name, planner)
    begun = None if restart else started_plan(workspace, name, planner, configuration)
    if begun is not None and _grants(begun, configuration, budget_seconds, memory_bytes, changes):
        if begun.configurations[configuration] != planned.configurations.get(configuration):
            logger.info("%s %s keeps the plan that it was begun with", name, configuration)
        planned = begun
    elif budget_seconds is not None or memory_bytes is not None:
        planned = _replanned(workspace, planned, configuration, Budget(memory_bytes=memory_bytes,
                                                                       seconds_per_fold=budget_seconds), device)
    return apply_changes(planned, configuration, changes)


def find_best(dataset: str | int, *, seed: int = 0, home: str | Path | None = None, workers: int | None = None) -> Selection:
    """Choose by cross-validation how new cases are predicted: which configurations, with which postprocessing."""
    from autoseg.selection.run import find_best as select_best

    workspace = Workspace.open(home)
    return select_best(workspace, workspace.dataset(dataset), workers=workers or cores(), seed=seed)


def ablate(dataset: str | int, configuration: str, fold: int | str, *, planner: str = DEFAULT_PLANNER, seed: int = 0,
           mirroring: bool = False, home: str | Path | None = None, device: str = "auto") -> Ablation:
    """What each input of a finished fold contributes, on its validation cases."""
    from autoseg.base.runtime import open_runtime
    from autoseg.explain.ablate import ablate_fold
    from autoseg.prediction.models import trained_model
    from autoseg.training.assemble import assemble

    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    planned = trained_model(workspace.model(name, planner, configuration)).read_plan()
    job, truths = assemble(workspace, planned, configuration, int(fold) if str(fold).isdecimal() else fold)
    return ablate_fold(job, truths, open_runtime(device), seed, mirroring=mirroring)


def _draw_validation(workspace: Workspace, dataset: str, folder: FoldFolder, scores: Summary) -> None:
    """The worst, the best and cases evenly between them, by mean Dice."""
    raw = Dataset.open(workspace.raw(dataset))
    ranked = sorted(scores.cases, key=lambda case: case.mean_dice if case.mean_dice is not None else -1.0)
    chosen = {ranked[round(i)].name for i in np.linspace(0, len(ranked) - 1, min(SHOWN_CASES, len(ranked)))}
    files = [case for case in raw.cases if case.name in chosen]
    sheet_of_masks(folder.sheet, files, {"prediction": folder.validation}, raw.manifest,
                   registered(workspace, dataset, raw.manifest))


def _grants(begun: Plan, configuration: str, budget_seconds: float | None, memory_bytes: int | None,
            changes: Sequence[str]) -> bool:
    """Whether the plan of a model that was begun is already all that is asked for."""
    from autoseg.training.run import apply_changes

    known = begun.configurations[configuration]
    return (budget_seconds in (None, known.schedule.budget_seconds) and memory_bytes in (None, begun.memory_bytes)
            and apply_changes(begun, configuration, changes).configurations[configuration] == known)


def _replanned(workspace: Workspace, planned: Plan, configuration: str, budget: Budget, device: str) -> Plan:
    """The plan with one configuration planned for another budget; the prepared cases must still fit it."""
    check_configuration(planned, configuration)
    known = planned.configurations[configuration]
    made = make_plan(workspace, planned.dataset, planned.planner, budget, device)
    fresh = made.configurations.get(configuration)
    if fresh is None or recipe_digest(planned, known) != recipe_digest(planned, fresh):
        raise UserError(f"{configuration} needs other prepared cases for this budget", where=planned.dataset,
                        do=f"run autoseg_plan_and_preprocess -d {planned.dataset} -p {planned.planner} with this budget")
    return planned.model_copy(update={"configurations": {**planned.configurations, configuration: fresh},
                                      "reasons": made.reasons, "memory_bytes": made.memory_bytes})


def evaluate(truth: str | Path, predicted: str | Path, dataset_json: str | Path, *, workers: int | None = None,
             scoring: Scoring | None = None) -> Summary:
    """Score a folder of predictions against a folder of labels; `dataset_json` says what the labels mean, and which of them
    were annotated in cases that are labelled in part.
    """
    described = Dataset.open(Path(dataset_json))
    manifest = described.manifest
    annotated = described.annotated() if manifest.labels_present_column else manifest.labels_present
    return evaluate_folders(Path(truth), Path(predicted), manifest.labels, manifest.file_ending, workers or cores(),
                            scoring=scoring, annotated=annotated)


def compare(a: str | Path, b: str | Path, *, truth: str | Path | None = None, dataset_json: str | Path | None = None,
            scoring: Scoring | None = None, seed: int = 0, workers: int | None = None) -> PairedComparison:
    """Compare two sets of predictions of the same cases, each a folder of masks or a summary.json.

    Folders need `truth` and `dataset_json`. Raises ManyFaults where a case of a folder cannot be scored: on a part of
    the cases nobody asked which is better.
    """
    def scored(of: Path) -> Summary:
        if of.suffix == ".json":
            return read_model(of, Summary)
        if truth is None or dataset_json is None:
            raise UserError("a folder is compared by its masks, but the true labels are not given", where=of,
                            do="name them with -r and -d or --dataset_json, or give the folder's summary.json")
        return evaluate(truth, of, dataset_json, workers=workers, scoring=scoring)

    summaries = {}
    for of in (Path(a), Path(b)):
        summaries[of] = scored(of)
        # A case that one of the two lacks is left out and said; one that cannot be scored is a fault.
        faults = [fault for fault in summaries[of].faults if PREDICTION_MISSING not in fault]
        if faults:
            raise ManyFaults(of, faults)
    return compare_summaries(summaries[Path(a)], summaries[Path(b)], str(a), str(b), seed=seed)


def report(dataset: str | int, *, output: str | Path | None = None, home: str | Path | None = None) -> Path:
    """Write all that is known of a dataset and its models as one HTML file; its path (default: models/DATASET/report.html).

    Raises UserError where the package jinja2 is missing (extra `report`).
    """
    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    from autoseg.reporting.html.render import write_report  # which no other stage should wait for

    return write_report(workspace, name, Path(output) if output is not None else workspace.report(name))


def overlay(image: str | Path, label: str | Path, output: str | Path, *, predicted: str | Path | None = None,
            dataset_json: str | Path | None = None) -> Path:
    """Draw an image in three planes with the contours of a label and of a prediction, as a PNG; its path.

    `dataset_json` (a file, or a raw dataset's folder) says what label values mean; without it each value stands for itself.
    """
    from autoseg.reporting.one_case import draw_case

    manifest = None if dataset_json is None else Dataset.open(Path(dataset_json)).manifest
    return draw_case(Path(output), Path(image), Path(label), None if predicted is None else Path(predicted), manifest)


def read_plan(workspace: Workspace, dataset: str, planner: str) -> Plan:
    """A plan that was made before; a UserError that lists the planners if there is none."""
    path = workspace.plan(dataset, planner)
    if planner not in PLANNERS.names() and not path.is_file():
        raise UserError(f"unknown planner {planner!r}", found=", ".join(PLANNERS.names()))
    if not path.is_file():
        raise UserError(f"the dataset is not planned by {planner}", where=dataset,
                        do=f"run autoseg_plan_and_preprocess -d {dataset} -p {planner}")
    found = read_model(path, Plan)
    if found.dataset != dataset:
        raise UserError("the plan is of another dataset", where=path, found=found.dataset, expected=dataset,
                        do=f"make one of this dataset's: autoseg_plan_and_preprocess -d {dataset}")
    # Models lie under the name that was asked for, which may be that of a file somebody made of another plan.
    return found.model_copy(update={"planner": planner})


def check_configuration(planned: Plan, configuration: str) -> bool:
    """True, or a UserError that lists the configurations of the plan."""
    if configuration not in planned.configurations:
        raise UserError(f"unknown configuration {configuration!r}", where=f"{planned.dataset}, plan {planned.planner}",
                        found=", ".join(planned.configurations))
    return True
