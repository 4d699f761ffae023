"""The outcomes of new cases, from their images, their predicted masks and what the table says of them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.base.errors import AutosegError
from autoseg.clinical.conditions import CaseConditions, read_conditions_to_predict
from autoseg.datasets.case import Case, CaseFiles
from autoseg.datasets.dicom_cases import DicomInput
from autoseg.formats import read_label
from autoseg.formats.files import is_folder
from autoseg.formats.results import named_format
from autoseg.outcome.features import (
    TABLE_BLOCKS,
    CaseFeatures,
    crop_block,
    embedding_names,
    measured_blocks,
    relative_embedding,
    table_blocks,
)
from autoseg.outcome.fold_features import measure_case, seen_by
from autoseg.outcome.predictor import Answer, OutcomePredictor, open_predictor
from autoseg.outcome.targets import Features
from autoseg.prediction.inference_settings import Postprocessing
from autoseg.prediction.member import ConfigurationModel
from autoseg.prediction.outputs import Outputs
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.shard import Shard
from autoseg.workspace.files import DamagedFile, read_model, write_json
from autoseg.workspace.locks import held
from planners.schema.base import Frozen, versioned

logger = logging.getLogger(__name__)

OUTCOMES = "outcomes.json"


class OutcomeOfCase(Frozen):
    """What is said of a case. `missing` are the blocks of features that the model reads and this case lacks."""

    case: str
    answers: tuple[Answer, ...]
    present: tuple[str, ...]
    missing: tuple[str, ...] = ()


class PredictedOutcome(Frozen):
    """An outcome of some cases, and what it rests on."""

    outcome: str
    model: str
    rests_on: str
    cases: tuple[OutcomeOfCase, ...]


class PredictedOutcomes(Frozen):
    """What `outcomes.json` says."""

    schema_version: int = versioned(1)
    outcomes: tuple[PredictedOutcome, ...]


@dataclass(frozen=True)
class _Task:
    """An outcome that a member of a predictor can tell of new cases, and what the table says of these."""

    member: ConfigurationModel
    predictor: OutcomePredictor
    conditions: Mapping[str, CaseConditions]


def predict_outcomes(predictor: Predictor, source: str | Path | DicomInput, target: str | Path, *,
                     table: str | Path | None = None, part: str | None = None, output_format: str | None = None
                     ) -> PredictedOutcomes | None:
    """Predict the outcomes of the cases of `source` that have a mask in `target`, or of a `part` of them such as `1/4`, and
    write them beside the masks; None where no model has an outcome, or masks are objects of DICOM. A case that fails is
    named in the log: its mask stays.
    """
    opened = {name: member for member in reversed(predictor.members) if member.folder is not None
              for name in member.folder.fitted_outcomes()}  # of several configurations the first
    if not opened:
        return None
    form = named_format(output_format)
    if form is not None and form.dicom is not None:
        logger.warning("%s: outcomes are not predicted: they are read from masks as files, and these are objects of DICOM",
                       target)
        return None
    share = Shard(1, 1) if part is None else Shard.parse(part)
    files = share.cases_of(predictor.find(source, table).files)
    outputs = Outputs.open(Path(target), predictor.plan.file_ending, files, form)
    tasks = _tasks(predictor.postprocessing, opened, Path(source), [case.name for case in files],
                   None if table is None else Path(table))
    answers: dict[str, list[OutcomeOfCase]] = {task.predictor.facts.outcome: [] for task in tasks}
    for case_files in files:
        if outputs.mask(case_files.name).is_file():
            for name, answer in _of_case(predictor, tasks, case_files, outputs.mask(case_files.name)).items():
                answers[name].append(answer)
    facts = {task.predictor.facts.outcome: task.predictor.facts for task in tasks}
    predicted = PredictedOutcomes(outcomes=tuple(
        PredictedOutcome(outcome=name, model=facts[name].model, rests_on=facts[name].rests_on, cases=tuple(cases))
        for name, cases in answers.items()))
    _write(outputs, predicted)
    for outcome in predicted.outcomes:
        logger.info("%s: the outcome %s of %d cases; it rests on %s", outputs.record(OUTCOMES), outcome.outcome,
                    len(outcome.cases), outcome.rests_on)
    return predicted


def _tasks(postprocessing: Postprocessing, opened: Mapping[str, ConfigurationModel], source: Path, names: Sequence[str],
           table: Path | None) -> list[_Task]:
    folder = source if is_folder(source) else source.parent
    tasks = []
    for name, member in opened.items():
        assert member.folder is not None  # `opened` has no others
        try:
            fitted = open_predictor(member.folder, name)
            known = read_conditions_to_predict(folder, fitted.facts.layout.table, names, table_path=table)
        except AutosegError as error:
            logger.warning("the outcome %s is not predicted: %s", name, error)
            continue
        for warning in known.warnings if set(TABLE_BLOCKS) & set(fitted.facts.blocks) else ():
            logger.warning("%s", warning)
        if fitted.facts.postprocessing != postprocessing:
            logger.warning("the outcome %s was fitted to masks with another postprocessing, so that volumes and shapes may "
                           "differ: fit it again with autoseg_outcome", name)
        tasks.append(_Task(member, fitted, known.cases))
    return tasks


def _of_case(predictor: Predictor, tasks: Sequence[_Task], files: CaseFiles, mask: Path) -> dict[str, OutcomeOfCase]:
    """The outcomes of a case by name; none where an error stops it, or it has no image for the model."""
    try:
        case = predictor.load(files, {})
        label_DHW = read_label(mask)[0]
        seen = {task.predictor.facts.outcome: (task, predictor.seen_by(task.member, case)) for task in tasks}
        return {name: _outcome(task, part, label_DHW) for name, (task, part) in seen.items() if part.present_C.any()}
    except AutosegError as error:
        logger.warning("%s: its outcomes are not predicted: %s", files.name, error)
    except Exception as error:  # such as a lack of memory: it does not end the good ones
        logger.debug("an error that is no user's", exc_info=error)
        logger.warning("%s: its outcomes are not predicted: %s: %s", files.name, type(error).__name__, error)
    return {}


def _outcome(task: _Task, case: Case, label_DHW: np.ndarray) -> OutcomeOfCase:
    facts = task.predictor.facts
    lesion_DHW = np.isin(label_DHW, task.member.plan.labels.names[facts.lesion])
    embeddings, crop = seen_by(task.member, case, lesion_DHW)
    seen = CaseFeatures(measure_case(task.member.plan, case, label_DHW, facts.lesion), embeddings, crop)
    blocks = new_blocks(task.predictor, task.member.folds, seen, task.conditions.get(case.name, CaseConditions()))
    present = tuple(block for block in facts.blocks if block in blocks and np.isfinite(blocks[block].values_NF).any())
    return OutcomeOfCase(case=case.name, answers=task.predictor.estimates(blocks), present=present,
                         missing=tuple(block for block in facts.blocks if block not in present))


def new_blocks(predictor: OutcomePredictor, folds: Sequence[str], seen: CaseFeatures, conditions: CaseConditions
               ) -> dict[str, Features]:
    """The blocks of a new case, a row for each segmentation model: only embeddings differ between them."""
    known = [(fold, vector) for fold, vector in zip(folds, seen.embeddings, strict=True) if fold in predictor.anchors]
    n = max(1, len(known))
    blocks = measured_blocks([seen.measures] * n) | {"crop": crop_block([seen.crop] * n)}
    if known and len(predictor.facts.anchors) > 1:
        rows = np.array([relative_embedding("", vector, predictor.anchors[fold]) for fold, vector in known])
        blocks["embedding"] = Features("embedding", embedding_names(predictor.facts.anchors), rows)
    return blocks | table_blocks(predictor.facts.layout, [conditions] * n)


def _write(outputs: Outputs, predicted: PredictedOutcomes) -> None:
    """Write them beside those of other cases, which other processes may have predicted by the same models."""
    path = outputs.record(OUTCOMES)
    with held(outputs.folder):
        try:
            before = read_model(path, PredictedOutcomes).outcomes if path.is_file() else ()
        except DamagedFile as error:
            logger.warning("the outcomes of earlier cases are lost: %s", error)
            before = ()
        rests = {outcome.outcome: outcome for outcome in before}
        write_json(path, PredictedOutcomes(outcomes=tuple(_joined(rests.get(outcome.outcome), outcome, outputs)
                                                          for outcome in predicted.outcomes)))


def _joined(before: PredictedOutcome | None, now: PredictedOutcome, outputs: Outputs) -> PredictedOutcome:
    """The cases of both, where the same model says it, and the mask of the case is still there."""
    if before is None or before.rests_on != now.rests_on:
        return now
    new = {case.case for case in now.cases}
    kept = [case for case in before.cases if case.case not in new and outputs.mask(case.case).is_file()]
    return now.model_copy(update={"cases": tuple(sorted((*kept, *now.cases), key=lambda case: case.case))})
