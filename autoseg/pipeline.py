"""The order of the stages, for people who write Python: fingerprint, plan, preprocess, train, predict, evaluate.

Every function takes a dataset by number or name and the workspace's home, and returns the boundary object that it wrote.
What needs torch is imported by the stages that do: checking, measuring and scoring wait for nothing.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.base.command import called
from autoseg.base.errors import AutosegError, CannotWrite, UserError, listed
from autoseg.base.processes import WorkerPool, cores
from autoseg.base.progress import progress_bar
from autoseg.base.ranks import agreed, is_first
from autoseg.datasets.dataset import Dataset, read_manifest
from autoseg.datasets.integrity import Report
from autoseg.datasets.integrity import verify as verify_folder
from autoseg.datasets.manifest import Manifest
from autoseg.datasets.measure import measure
from autoseg.evaluation.comparison import PairedComparison
from autoseg.evaluation.folders import evaluate_folders
from autoseg.evaluation.sources import compare_sources
from autoseg.evaluation.types import Scoring, Summary
from autoseg.explain.ablation import Ablation
from autoseg.planning.make import plan_dataset
from autoseg.planning.store import configuration_of, read_plan
from autoseg.preprocessing.run import preprocess_dataset
from autoseg.reporting.curves import LiveCurves
from autoseg.reporting.predictions import draw_validation
from autoseg.reporting.registration import draw_registration
from autoseg.selection.types import Selection
from autoseg.workspace.files import DamagedFile, read_model, write_json
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.locks import remove_locks
from autoseg.workspace.names import Workspace
from autoseg.workspace.partial import remove_leftovers, remove_leftovers_below
from autoseg.workspace.provenance import note_result, now, provenance, seconds_since
from planners.schema.fingerprint import Fingerprint
from planners.schema.hardware import Budget
from planners.schema.plan import Plan

if TYPE_CHECKING:
    from autoseg.datasets.dicom_cases import DicomInput
    from autoseg.prediction.inference_settings import Adaptation
    from autoseg.training.validate import FoldResult

logger = logging.getLogger(__name__)

DEFAULT_PLANNER = "budgeted"


def verify(dataset: str | int, *, home: str | Path | None = None, workers: int | None = None,
           allow_outcomes: bool = False) -> Report:
    """Check every file of a raw dataset, and the folds that a person gave it; a report of faults and warnings."""
    from autoseg.training.splits import check_splits

    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    report = verify_folder(workspace.raw(name), workers or cores(), allow_outcomes=allow_outcomes)
    if not report.cases:
        return report
    faults, warnings = check_splits(workspace, name, report.cases, report.patients)
    return replace(report, faults=(*report.faults, *faults), warnings=(*report.warnings, *warnings))


@called
def fingerprint(dataset: str | int, *, home: str | Path | None = None, workers: int | None = None,
                allow_outcomes: bool = False, worker_pool: WorkerPool | None = None) -> Fingerprint:
    """Register the channels that ask for it, measure a raw dataset and write its fingerprint.

    Results that are up to date are kept. A condition that looks like an outcome is refused, unless outcomes are allowed.
    A `worker_pool` that is given to `preprocess` afterwards remembers small cases.
    """
    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    _tidy(workspace, name)
    raw = Dataset.open(workspace.raw(name))
    if not allow_outcomes:
        raw.refuse_outcomes()
    raw.refuse_regions()
    for warning in raw.scanned.warnings:
        logger.warning("%s", warning)
    register(workspace, name, raw, workers or cores())
    transforms = registered(workspace, name, raw.manifest)
    path = workspace.fingerprint(name)
    known = _known_fingerprint(path)
    if known is not None and known.digest and known.digest == raw.digest(transforms):
        if known.ceilings:
            logger.info("%s: the fingerprint is up to date", name)
            return known
        logger.info("%s: the fingerprint is of an earlier version, without the ceilings of grids; it is measured again",
                    name)
    started = now()
    with progress_bar("measuring", len(raw.cases)) as bar:
        measured = measure(raw, name, workers or cores(), bar.update, transforms=transforms, worker_pool=worker_pool)
    note_result(path, provenance(started, seconds_since(started)), measured.digest)  # first: what is there is not made again
    write_json(path, measured)
    return measured


def _known_fingerprint(path: Path) -> Fingerprint | None:
    """The fingerprint that is there; None where there is none, or where it is damaged, with a warning."""
    try:
        return read_model(path, Fingerprint) if path.is_file() else None
    except DamagedFile as error:
        logger.warning("the dataset is measured again: %s", error)
        return None


def _tidy(workspace: Workspace, dataset: str) -> None:
    """Remove what killed processes left beside the prepared cases."""
    remove_leftovers_below(workspace.prepared(dataset))
    remove_locks(workspace.prepared(dataset))


def register(workspace: Workspace, name: str, raw: Dataset, workers: int) -> None:
    """Register every channel that asks for it to the reference, and draw the results; cases that are done are kept."""
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
    moved = any(channel.is_registered for channel in manifest.channels)
    return workspace.transforms(dataset) if moved else None


@called
def plan(dataset: str | int, *, planner: str = DEFAULT_PLANNER, budget_seconds: float | None = None,
         memory_bytes: int | None = None, home: str | Path | None = None, device: str = "auto", replan: bool = False,
         like: str | Path | None = None) -> Plan:
    """Plan the training of a dataset that has a fingerprint, and write the plan. A plan that a person made is kept, and one
    of the same data, budget, memory and device, unless it is to `replan`: speed is measured, a new plan could differ.

    `budget_seconds` is the time of each fold. `like` is the folder of a model whose topology the plan takes over, in place
    of a planner's. Raises UserError where a plan that was edited would be replaced, and, unless it is to `replan`, where
    models were started whose cases would be prepared differently.
    """
    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    remove_leftovers(workspace.prepared(name))
    budget = Budget(memory_bytes=memory_bytes, seconds_per_fold=budget_seconds)
    if like is None:
        planned = plan_dataset(workspace, name, planner, budget, device, replan=replan)
    else:
        from autoseg.planning.like import plan_like

        planned = plan_like(workspace, name, Path(like), budget, device, replan=replan)
    _warn_of_unknown_groups(workspace, name)
    return planned


def _warn_of_unknown_groups(workspace: Workspace, name: str) -> None:
    """Say which cases no fold can hold, because the table does not say whose they are; folds of the others are written."""
    from autoseg.training.splits import write_partial_splits

    raw = Dataset.open(workspace.raw(name)) if workspace.has_raw(name) else None
    if raw is None or not (raw.manifest.groups.patient or raw.manifest.groups.site):
        return
    known = raw.known_groups()
    if known.fault is not None:
        left = [case for case in raw.names if case not in set(known.names)]
        path = write_partial_splits(workspace, name, known.names, *known.groups)
        logger.warning("%s: %d of %d cases belong to no known patient or site (%s)%s; autoseg_train refuses until the table "
                       "names them", raw.folder / raw.manifest.conditions.table, len(left), len(raw.names), listed(left),
                       f", and the folds in {path} leave them out" if path else "")


@called
def preprocess(dataset: str | int, *, planner: str = DEFAULT_PLANNER, configurations: Sequence[str] | None = None,
               home: str | Path | None = None, workers: int | None = None, only: Collection[str] | None = None,
               worker_pool: WorkerPool | None = None, planned: Plan | None = None) -> list[Path]:
    """Prepare the cases of each configuration (default: all of the plan), or `only` those named; cases that are ready
    are kept. `planned` is a plan to take in place of the dataset's, such as that of a model.

    Raises ManyFaults for the cases that failed when all are done.
    """
    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    planned = planned or read_plan(workspace, name, planner)
    _tidy(workspace, name)
    raw = Dataset.open(workspace.raw(name)).seen_by(planned)
    chosen = planned.configurations if configurations is None else configurations
    wanted = {configuration_of(planned, c).data or c for c in chosen}
    results = []
    for configuration in sorted(wanted):
        target = workspace.cases(name, planned.preparer, configuration)
        with progress_bar(f"preparing {configuration}", len(raw.cases) if only is None else len(only)) as bar:
            results.append(preprocess_dataset(raw, planned, configuration, target, workers=workers or cores(),
                                              progress=bar.update, transforms=registered(workspace, name, raw.manifest),
                                              only=only, worker_pool=worker_pool))
    for result in results:
        result.raise_faults()
    return [result.folder for result in results]


@called
def train(dataset: str | int, configuration: str, fold: int | str, *, planner: str = DEFAULT_PLANNER,
          budget_seconds: float | None = None, memory_bytes: int | None = None, changes: Sequence[str] = (), seed: int = 0,
          restart: bool = False, as_started: bool = False, planned: Plan | None = None, save_probabilities: bool = False,
          deterministic: bool = False, extend_seconds: float | None = None, begin_from: str | Path | None = None,
          freeze: str = "none", allow_seen: bool = False, home: str | Path | None = None, device: str = "auto"
          ) -> "FoldResult":
    """Train a fold, resume it, or read the result of a finished one. With `extend_seconds` a finished one goes on.

    It is trained by the plan that `planning.resolve` gives, or by `planned`, which is resolved already. Raises UserError
    where the dataset is no longer what the training was started with, or its cases were prepared from: `as_started` goes
    on with the folds and the prepared cases as they were, `restart` begins anew. A `deterministic` training gives the
    same weights again for the same plan, data, seed and machine. With `save_probabilities` those of the validation cases
    are written too; of a finished fold, those that are missing. It may `begin_from` the model in a folder, with its encoder
    frozen (`freeze` "encoder"); one that has seen validation cases is refused, unless `allow_seen`. Several processes
    train it together within `training.distributed.joined`.
    """
    from autoseg.base.runtime import open_runtime
    from autoseg.planning.resolve import resolve_plan
    from autoseg.training.memory_estimate import check_step
    from autoseg.training.run import run_fold
    from autoseg.training.source import transfer_from

    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    if planned is None:
        budget = Budget(memory_bytes=memory_bytes, seconds_per_fold=budget_seconds)
        planned = agreed(resolve_plan(workspace, name, configuration, planner=planner, budget=budget, changes=changes,
                                      restart=restart, device=device, deterministic=deterministic,
                                      transfer=transfer_from(workspace, begin_from, freeze, allow_seen=allow_seen)))
    runtime = open_runtime(device)
    if is_first():
        check_step(planned, configuration, runtime)
    if is_first():
        _tidy(workspace, name)
    result = run_fold(workspace, planned, configuration, fold, runtime, seed=seed, restart=restart, as_started=as_started,
                      save_probabilities=save_probabilities, extend_seconds=extend_seconds, on_epoch=LiveCurves())
    folder = workspace.fold(name, planned.planner, configuration, fold)
    if is_first() and result.scores is not None and not folder.sheet.is_file():
        try:
            raw = Dataset.open(workspace.raw(name))
            draw_validation(raw, folder, result.scores, registered(workspace, name, raw.manifest))
        except CannotWrite:  # the same command draws them when the disk is well
            raise
        except Exception as error:  # a picture is no reason to fail a fold that is finished
            logger.warning("the validation cases could not be drawn: %s: %s", type(error).__name__, error)
    if is_first() and result.scores is not None:
        _postprocess_alone(workspace, planned, folder, result.scores)
    return result


@called
def ask_to_finish(dataset: str | int, configuration: str, fold: int | str, *, planner: str = DEFAULT_PLANNER,
                  home: str | Path | None = None) -> bool:
    """Ask a training, or an extension, to end with what it has. True: another process works on it now, and ends after its
    current iteration. Otherwise `train` ends it. Raises UserError where no iteration is saved.
    """
    from autoseg.training.bend import ask_to_finish as ask

    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    return ask(workspace.fold(name, planner, configuration, fold), f"{name} {configuration} fold {fold}")


def _postprocess_alone(workspace: Workspace, planned: Plan, folder: FoldFolder, scores: Summary) -> None:
    """Choose the postprocessing of a fold that predicts alone, on the cases that it was validated on."""
    from autoseg.selection.single_fold import choose_fold_postprocessing

    if not workspace.has_raw(planned.dataset):
        return
    try:
        raw = Dataset.open(workspace.raw(planned.dataset))
        labels = {case.name: case.label for case in raw.cases if case.label is not None}
        truths = {case.name: labels[case.name] for case in scores.cases if case.name in labels}
        choose_fold_postprocessing(folder, planned, truths, raw.annotated() or {})
    except CannotWrite:  # the same command chooses it when the disk is well
        raise
    except AutosegError as error:  # such as a mask that was removed: the fold is finished all the same
        logger.warning("no postprocessing was chosen for fold %s: %s", folder.name, error)


@called
def find_best(dataset: str | int, *, seed: int = 0, home: str | Path | None = None, workers: int | None = None) -> Selection:
    """Choose by cross-validation how new cases are predicted: which configurations, with which postprocessing."""
    from autoseg.selection.run import find_best as select_best

    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    remove_leftovers(workspace.selection(name).parent)
    return select_best(workspace, name, workers=workers or cores(), seed=seed)


@called
def ablate(dataset: str | int, configuration: str, fold: int | str, *, planner: str = DEFAULT_PLANNER, seed: int = 0,
           mirroring: bool = False, home: str | Path | None = None, device: str = "auto") -> Ablation:
    """What each input of a finished fold contributes, on its validation cases."""
    from autoseg.base.runtime import open_runtime
    from autoseg.explain.ablate import ablate_fold, patient_of
    from autoseg.prediction.models import trained_model
    from autoseg.training.assemble import assemble

    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    planned = trained_model(workspace.model(name, planner, configuration)).read_plan()
    remove_leftovers(workspace.fold(name, planner, configuration, fold).path)
    job, truths = assemble(workspace, planned, configuration, int(fold) if str(fold).isdecimal() else fold, as_started=True)
    return ablate_fold(job, truths, open_runtime(device), seed, mirroring=mirroring, patients=patient_of(workspace, planned))


@called
def predict(source: "str | Path | DicomInput", target: str | Path, *, dataset: str | int | None = None,
            configuration: str | None = None, planner: str | None = None, folds: Sequence[int | str] | None = None,
            folder: str | Path | None = None, probabilities: bool = False, uncertainty: bool = False,
            keep_existing: bool = False, table: str | Path | None = None, modality: str = "", mirroring: bool = True,
            skip_background: bool = False, adaptation: "Adaptation | None" = None, part: str | None = None,
            home: str | Path | None = None, device: str = "auto", output_format: str | None = None) -> list[Path]:
    """Predict every case of `source` (a folder or one file), or a `part` such as `1/4`, into `target`; the masks' paths.

    Which model predicts is said as in `Predictor.open`; what is written, as in `predict_folder` and
    `predict_outcomes`. With an `adaptation` copies of its networks are adapted to each case (`Predictor.adapting`).
    """
    from autoseg.outcome.predict import predict_outcomes
    from autoseg.prediction.folder import predict_folder
    from autoseg.prediction.predictor import Predictor

    predictor = Predictor.open(dataset=dataset, configuration=configuration, planner=planner, folds=folds, folder=folder,
                               home=home, device=device, mirroring=mirroring, skip_background=skip_background,
                               modality=modality)
    if adaptation is not None:
        predictor = predictor.adapting(adaptation)
    masks = predict_folder(predictor, source, target, probabilities=probabilities, uncertainty=uncertainty,
                           keep_existing=keep_existing, table=table, part=part, output_format=output_format)
    predict_outcomes(predictor, source, target, table=table, part=part, output_format=output_format)
    return masks


@called
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


@called
def compare(a: str | Path, b: str | Path, *, truth: str | Path | None = None, dataset_json: str | Path | None = None,
            scoring: Scoring | None = None, seed: int = 0, workers: int | None = None) -> PairedComparison:
    """Compare two sets of predictions of the same cases, each a folder of masks or a summary.json.

    Folders need `truth` and `dataset_json`. Raises ManyFaults where a case of a folder cannot be scored.
    """
    def scored(folder: Path) -> Summary:
        if truth is None or dataset_json is None:
            raise UserError("a folder is compared by its masks, but the true labels are not given", where=folder,
                            do="name them with -r and -d or --dataset_json, or give the folder's summary.json")
        return evaluate(truth, folder, dataset_json, workers=workers, scoring=scoring)

    return compare_sources(Path(a), Path(b), scored, seed=seed)


@called
def report(dataset: str | int, *, output: str | Path | None = None, home: str | Path | None = None) -> Path:
    """Write all that is known of a dataset and its models as one HTML file; its path (default: models/DATASET/report.html).

    Raises UserError where the package jinja2 is missing (extra `report`).
    """
    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    from autoseg.reporting.html.render import write_report  # which no other stage should wait for

    path = Path(output) if output is not None else workspace.report(name)
    remove_leftovers(path.parent)
    return write_report(workspace, name, path)


def overlay(image: str | Path, label: str | Path, output: str | Path, *, predicted: str | Path | None = None,
            dataset_json: str | Path | None = None) -> Path:
    """Draw an image in three planes with the contours of a label and of a prediction, as a PNG; its path.

    `dataset_json` (a file, or a raw dataset's folder) says what label values mean; without it each value stands for itself.
    """
    from autoseg.reporting.one_case import draw_case

    manifest = None if dataset_json is None else read_manifest(Path(dataset_json))
    remove_leftovers(Path(output).parent)
    return draw_case(Path(output), Path(image), Path(label), None if predicted is None else Path(predicted), manifest)
