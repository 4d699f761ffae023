"""Predicts a fold's validation cases at full size, writes the masks and scores them against the raw labels."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from autoseg.base.errors import AutosegError, ManyFaults, UserError
from autoseg.base.progress import progress
from autoseg.base.ranks import gathered, is_first, share_of
from autoseg.base.runtime import Runtime
from autoseg.base.version import __version__
from autoseg.clinical.conditions import CaseConditions
from autoseg.evaluation.score import score_case, summarize
from autoseg.evaluation.types import CaseScore, Summary
from autoseg.formats import read_label, write_label
from autoseg.formats.probabilities import write_probabilities
from autoseg.prediction.collect import Progress
from autoseg.prediction.export import restore_label, restore_probabilities
from autoseg.prediction.memory_plan import PredictionMemory
from autoseg.prediction.models import FoldModel
from autoseg.prediction.prepared import predict_prepared
from autoseg.preprocessing.store import open_prepared
from autoseg.training.bend import Extended
from autoseg.training.disturbance import Disturbance
from autoseg.training.job import FoldJob
from autoseg.training.mirroring import Mirroring
from autoseg.training.throughput import Clock
from autoseg.workspace.files import write_json
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.partial import partial_folder
from planners.schema.base import Frozen, versioned
from planners.schema.plan import ResolvedSchedule

logger = logging.getLogger(__name__)


class FoldResult(Frozen):
    """The result of a finished fold; `mean_dice` is the mean over foreground classes of the mean over cases."""

    schema_version: int = versioned(1)
    autoseg_version: str = __version__
    dataset: str
    planner: str
    configuration: str
    fold: int | str
    seed: int
    schedule: ResolvedSchedule
    training_seconds: float
    total_seconds: float
    mean_dice: float | None
    scores: Summary | None  # None for the fold `all`, which has no case left to validate on
    unscored: tuple[str, ...] = ()
    unmirrored: tuple[str, ...] = ()  # validation cases without the mirroring of the schedule: the budget ended
    disturbance: Disturbance | None = None  # by other work, during the last training; None where it cannot be known
    planned_iterations: int | None = None  # of a training that was asked to end before them
    extended: tuple[Extended, ...] = ()  # the seconds are the sums of all; `schedule` is that of the last extension

    def about_time(self) -> tuple[str, ...]:
        """Sentences about what the time budget lost to other work, and what was left out to keep its end."""
        sentences = [] if self.disturbance is None else [self.disturbance.sentence()]
        if self.unmirrored:
            n_cases = "" if self.scores is None else f" of {self.scores.n_cases}"
            sentences.append(f"{len(self.unmirrored)}{n_cases} validation cases were predicted without mirroring, because "
                             "the time budget ended")
        return tuple(filter(None, sentences))


def validate_fold(job: FoldJob, model: FoldModel, truths: Mapping[str, Path], runtime: Runtime, mirroring: bool, *,
                  save_probabilities: bool = False, seconds_left: float | None = None, clock: Clock = time.monotonic
                  ) -> tuple[Summary | None, tuple[str, ...]]:
    """Predict, write and score every validation case; a mask that is there already is only scored.

    Where the `seconds_left` of a budget do not suffice with `mirroring`, some cases are predicted without it; a file names
    them (`unmirrored_cases`). `truths` are the raw label files. One bad case does not stop the others: the second value
    says what went wrong. With `save_probabilities` each case's are written too, on the grid of its file. Several processes
    share the cases, and all of them have the result.
    """
    if not job.validation:
        return None, ()
    scores: list[CaseScore] = []
    faults: list[str] = []
    memory = PredictionMemory()
    names = share_of(job.validation)
    mirrors = Mirroring(job, names, mirroring, seconds_left, clock)
    with runtime.same_shapes():  # as the cases that were timed during the training
        for name in progress(names, f"validating fold {job.fold}", len(names)):
            try:
                with mirrors.timed(name, is_predicted=not _mask(job, name).is_file()):
                    _predict_missing(job, name, model, runtime, mirrors, save_probabilities, memory=memory)
                    scores.append(_scored(job, name, truths[name], _mask(job, name)))
            except AutosegError as error:
                logger.warning("%s was not scored: %s", name, error)
                faults.append(f"{name}: {error}")
    order = {name: number for number, name in enumerate(job.validation)}
    scores, faults = sorted(gathered(scores), key=lambda score: order[score.name]), gathered(faults)
    if not scores:
        raise ManyFaults(job.title, faults)
    summary = summarize(scores, job.plan.labels)
    if is_first():
        write_json(job.folder.summary, summary)
    return summary, tuple(faults)


def try_case(job: FoldJob, name: str, model: FoldModel, truth_file: Path, runtime: Runtime, *, mirroring: bool,
             memory: PredictionMemory, clock: Clock = time.monotonic, progress: Progress = lambda done, total: None
             ) -> tuple[float, float]:
    """Predict, write and score a validation case, of which nothing is kept; the seconds of the prediction, and of all else.

    `progress` is that of `predict_prepared`. Raises AutosegError where the case cannot be predicted or scored.
    """
    start = clock()
    prepared = open_prepared(job.cases, name)
    before = clock()
    logits = predict_prepared([model], prepared, job.plan, job.configuration, runtime, mirroring=mirroring,
                              conditions=job.conditions.get(name, CaseConditions()), memory=memory, progress=progress)
    runtime.wait()
    predicting = clock() - before
    with partial_folder(job.folder.path) as folder:
        mask = folder / f"{name}{job.plan.file_ending}"
        write_label(mask, restore_label(logits, prepared, job.plan, job.configuration), prepared.geometry)
        _scored(job, name, truth_file, mask)
    return predicting, clock() - start - predicting


def _scored(job: FoldJob, name: str, truth_file: Path, mask: Path) -> CaseScore:
    truth, geometry = read_label(truth_file)
    predicted, grid = read_label(mask)
    if geometry.difference(grid):
        raise UserError("the predicted mask is not on the label's grid", where=mask, found=geometry.difference(grid),
                        do="remove this mask and run the same command again")
    return score_case(truth, predicted, job.plan.labels, geometry.spacing_mm, name, annotated=job.annotated.get(name))


def without_probabilities(folder: FoldFolder, names: Iterable[str]) -> list[str]:
    """The cases of a fold whose probabilities were not saved."""
    return [name for name in names if not folder.probabilities(name).is_file()]


def without_masks(folder: FoldFolder, names: Iterable[str], ending: str) -> list[str]:
    """The cases of a fold whose masks are not there."""
    masks = folder.masks(ending)
    return [name for name in names if name not in masks]


def predict_again(job: FoldJob, model: FoldModel, runtime: Runtime, mirroring: bool, *, save_probabilities: bool) -> None:
    """Write the masks of the validation cases that have none and, where they are asked for, the probabilities. One bad case
    does not stop the others: ManyFaults.
    """
    missing = {*without_masks(job.folder, job.validation, job.plan.file_ending),
               *(without_probabilities(job.folder, job.validation) if save_probabilities else ())}
    memory, mirrors = PredictionMemory(), Mirroring(job, (), mirroring, None)
    faults: list[str] = []
    for name in progress(sorted(missing), f"predicting fold {job.fold} again", len(missing)):
        try:
            _predict_missing(job, name, model, runtime, mirrors, save_probabilities, memory=memory)
        except AutosegError as error:
            logger.warning("%s was not predicted again: %s", name, error)
            faults.append(f"{name}: {error}")
    if faults:
        raise ManyFaults(job.title, faults)


def predict_missing(job: FoldJob, model: FoldModel, runtime: Runtime, path_of: Callable[[str], Path]) -> None:
    """Write the probabilities of the validation cases, without mirroring, to files of one's own; what is there is kept."""
    missing, memory = [name for name in job.validation if not path_of(name).is_file()], PredictionMemory()
    for name in progress(missing, f"comparing fold {job.fold}", len(missing)):
        prepared = open_prepared(job.cases, name)
        logits = predict_prepared([model], prepared, job.plan, job.configuration, runtime, mirroring=False,
                                  conditions=job.conditions.get(name, CaseConditions()), memory=memory)
        write_probabilities(path_of(name), restore_probabilities(logits, prepared, job.plan, job.configuration),
                            job.plan.labels.has_regions)


def _mask(job: FoldJob, name: str) -> Path:
    return job.folder.mask(name, job.plan.file_ending)


def _predict_missing(job: FoldJob, name: str, model: FoldModel, runtime: Runtime, mirrors: Mirroring,
                     save_probabilities: bool, *, memory: PredictionMemory) -> None:
    """Write the mask of a case, and its probabilities where they are asked for; what is there is kept."""
    mask, probabilities = _mask(job, name), job.folder.probabilities(name)
    wants_probabilities = save_probabilities and not probabilities.is_file()
    if mask.is_file() and not wants_probabilities:
        return
    prepared = open_prepared(job.cases, name)
    logits = predict_prepared([model], prepared, job.plan, job.configuration, runtime, mirroring=mirrors.of(name),
                              conditions=job.conditions.get(name, CaseConditions()), memory=memory)
    if wants_probabilities:
        write_probabilities(probabilities, restore_probabilities(logits, prepared, job.plan, job.configuration),
                            job.plan.labels.has_regions)
    if not mask.is_file():
        write_label(mask, restore_label(logits, prepared, job.plan, job.configuration), prepared.geometry)
