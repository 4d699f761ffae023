"""One job of the service, from its files to its result."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from autoseg.base.errors import UserError
from autoseg.clinical.cells import is_missing, read_numbers
from autoseg.clinical.conditions import says_something
from autoseg.datasets.dicom_cases import Choice, DicomInput, fitting_series, read_study, studies_of
from autoseg.datasets.dicom_rules import Candidate, read_rules
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.watch import Cancelled
from autoseg.serve.outputs import Known, write_outputs
from autoseg.workspace.jobs.spool import JobFolder
from autoseg.workspace.jobs.types import Job, JobRequest, JobResult, Progress, Question, SeriesChoice, Stage
from planners.schema.plan import Plan

_NAME = "image"  # what messages call the case
_LEAST_SECONDS = 0.2  # between two notes of progress
_SHARE_PREDICTING = 0.9  # of the time of a job, after reading
_MOST_WARNINGS = 20  # that a client gets


@dataclass
class Notes:
    """Reports how far a job is, and asks whether it shall stop."""

    report: Callable[[Progress], None]
    is_cancelled: Callable[[], bool]
    most_seconds: float
    started: float = field(default_factory=time.monotonic)
    timed_out: bool = False
    _reported: float = 0.0
    _asked: float = 0.0
    _cancelled: bool = False
    _began_predicting: float = 0.0

    def stage(self, stage: Stage, fraction: float) -> None:
        """A stage begins. Raises Cancelled where the job shall stop."""
        self.report(Progress(stage=stage, fraction=fraction))
        self._asked = 0.0
        if self.stop():
            raise Cancelled("the job was cancelled")

    def predicting(self, done: int, total: int) -> None:
        """So much of the prediction is done."""
        now = time.monotonic()
        if now - self._reported < _LEAST_SECONDS and done < total:
            return
        self._reported = now
        share = done / max(1, total)
        seconds = now - self._began_predicting
        eta = seconds * (1 - share) / share / _SHARE_PREDICTING if share > 0.02 else None
        self.report(Progress(stage="predicting", fraction=0.1 + 0.8 * share, eta_seconds=eta))

    def begin_predicting(self) -> None:
        self.stage("predicting", 0.1)
        self._began_predicting = time.monotonic()

    def stop(self) -> bool:
        """Whether the job was cancelled or takes too long; the database is asked now and then."""
        now = time.monotonic()
        if now - self.started > self.most_seconds:
            self.timed_out = True
            return True
        if now - self._asked >= _LEAST_SECONDS:
            self._asked, self._cancelled = now, self.is_cancelled()
        return self._cancelled


def run_job(job: Job, folder: JobFolder, predictor: Predictor, notes: Notes) -> JobResult | Question:
    """Predict the case of a job and write its files, or ask which series are which channels.

    The mask is that of `autoseg_predict`. Raises UserError where the files or the row are not what the model takes,
    Cancelled where the job shall stop.
    """
    notes.stage("reading", 0.0)
    request, plan = job.request, predictor.plan
    images: Any
    if request.kind == "study":
        question = question_of(request, folder, plan)
        if question is not None:
            return question
        images = study_of(request, folder)
    else:
        images = {file.channel: folder.input_file(file.number, file.ending) for file in request.files}
    conditions = conditions_of_row(request, plan)
    with heard() as warnings:
        notes.begin_predicting()
        segmentation = predictor.predict(images, uncertainty=request.uncertainty, conditions=conditions, name=_NAME,
                                         progress=notes.predicting, cancel=notes.stop)
        notes.stage("writing", 0.9)
        known = known_of(segmentation.prediction.case, plan, conditions)
        return write_outputs(segmentation, plan, folder, request.files, known, identity=predictor.identity,
                             seconds=time.monotonic() - notes.started,
                             warnings=list(dict.fromkeys(warnings))[:_MOST_WARNINGS])


def study_of(request: JobRequest, folder: JobFolder) -> DicomInput:
    """The study of a job, with the series that its client chose."""
    return DicomInput(folder.input, series=tuple(f"{channel}={uid}" for channel, uid in request.series.items()))


def question_of(request: JobRequest, folder: JobFolder, plan: Plan) -> Question | None:
    """What the client must say before the study can be read; None where nothing is open.

    Raises UserError where the files are not of one study of one patient; neither is named.
    """
    studies = studies_of(read_study(folder.input))
    patients = {study.patient for study in studies}
    if len(patients) > 1:
        raise UserError("the files are of several patients", found=f"{len(patients)} patients", expected="one study of one",
                        do="send each study as a job of its own")
    if len(studies) > 1:
        raise UserError("the files are of several studies", found=f"{len(studies)} studies", expected="one",
                        do="send each study as a job of its own")
    if not studies:
        return None  # reading says what is wrong
    choices = [Choice.parse(text, plan.channels) for text in study_of(request, folder).series]
    rules = read_rules(None)
    fitting = fitting_series(studies[0], plan.channels, rules, choices)
    volumes = [candidate for candidate in studies[0].candidates if candidate.stack is not None]
    usual = [candidate for candidate in volumes if not rules.ignored.reason(candidate)]  # such as no localizers
    open_ones = {name: tuple(map(choice_of, candidates))
                 for name, candidates in open_channels(fitting, usual or volumes, plan).items() if candidates}
    if not open_ones:
        return None
    return Question(text="choose which series is which channel", channels=open_ones)


def open_channels(fitting: Mapping[str, Sequence[Candidate]], volumes: Sequence[Candidate], plan: Plan
                  ) -> dict[str, Sequence[Candidate]]:
    """The candidates of channels that several series fit. Where no series fits a channel that must be there, or the same one
    fits several channels, any of the volumes may be it.
    """
    alone = Counter(id(candidates[0]) for candidates in fitting.values() if len(candidates) == 1)
    found: dict[str, Sequence[Candidate]] = {}
    for channel in plan.channels:
        candidates = fitting[channel.name]
        if len(candidates) > 1:
            found[channel.name] = candidates
        elif (not candidates and (channel.required or channel.reference)) or (candidates and alone[id(candidates[0])] > 1):
            found[channel.name] = volumes
    return found


def choice_of(candidate: Candidate) -> SeriesChoice:
    """A series, or one volume of a series that has several, as a client chooses it."""
    facts = candidate.facts
    phase = f":{candidate.number}" if candidate.n_volumes > 1 else ""
    said = f"{facts.description} {candidate.phase}".strip() if phase else facts.description
    return SeriesChoice(uid=f"{facts.uid}{phase}", number=facts.number, description=said, modality=facts.modality,
                        n_slices=0 if candidate.stack is None else len(candidate.stack.slices))


def conditions_of_row(request: JobRequest, plan: Plan) -> dict[str, str | float | None]:
    """What the client said of the patient, and in the same form the modality of channels that may have several. A text that
    says nothing, such as n/a, is missing as in a table; of a column of numbers a text is the number that it names, else
    stays a text.
    """
    specs = {spec.name: spec for spec in plan.conditions.specs}
    numbers = {name for name, spec in specs.items() if spec.kind == "number"}
    row: dict[str, str | float | None]
    row = {name: value for name, value in request.row.items() if value is not None and (
        says_something(specs[name], str(value)) if name in specs else not is_missing(str(value)))}
    for name in numbers.intersection(row):
        number = read_numbers([str(row[name])])[0]
        row[name] = row[name] if number is None else number
    if request.modality:
        row |= {column: request.modality for column in plan.modality_columns.values()}
    return row


def known_of(case: Any, plan: Plan, conditions: Mapping[str, Any]) -> Known:
    """Which channels and columns there were; a column that DICOM's headers said counts."""
    asked = [spec.name for spec in plan.conditions.specs]
    said = {name for name, value in (*case.conditions.values.items(), *conditions.items()) if value is not None}
    channels = [channel.name for channel, present in zip(plan.channels, case.present_C, strict=True) if present]
    names = [*(channel.name for channel in plan.channels), *asked]
    present = [*channels, *(name for name in asked if name in said)]
    return Known(tuple(present), tuple(name for name in names if name not in present))


@contextmanager
def heard() -> Iterator[list[str]]:
    """The warnings that are logged within this context."""
    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("autoseg")
    logger.addHandler(handler)
    try:
        yield warnings
    finally:
        logger.removeHandler(handler)
