"""Predicts a folder of cases and writes the masks, with a sidecar that says what the values mean, and what is known of
their quality.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from autoseg.base.errors import AutosegError, ManyFaults, UserError
from autoseg.base.memory import free_host_bytes
from autoseg.base.progress import progress
from autoseg.base.runtime import free_device_bytes
from autoseg.base.version import __version__
from autoseg.datasets.case import CaseFiles
from autoseg.formats.files import is_folder, list_files
from autoseg.prediction.inference_settings import QualityControl
from autoseg.prediction.predictor import CasesToPredict, Prediction, Predictor, ReadyCase
from autoseg.prediction.prefetch import prefetch
from autoseg.prediction.uncertainty import CaseQuality, QualityReport
from autoseg.workspace.files import read_model, remove_folder, write_json
from autoseg.workspace.paths import below
from planners.schema.labels import LabelSpec

logger = logging.getLogger(__name__)

SIDECAR = "labels.json"
QUALITY = "quality.json"
QUALITY_OF_CASES = "quality"  # a folder

# Of the free memory, for a case that is predicted and one that is read beside it; estimates are rough.
_SHARE = 0.7

Task = tuple[CaseFiles, Path]  # a case and its mask


def predict_folder(predictor: Predictor, source: str | Path, target: str | Path, *, probabilities: bool = False,
                   uncertainty: bool = False, keep_existing: bool = False, table: str | Path | None = None,
                   only: Collection[str] | None = None) -> list[Path]:
    """Predict every case of `source` (a folder or one file), or `only` those named, into `target`; the masks' paths.

    `table` holds what is known of the patients beside the images (see `Predictor.find`).

    Each mask is `CASE<ending>` on the grid of the case; probabilities go to `CASE_probabilities<ending>`, one channel
    per head; with `uncertainty` the models' entropy and disagreement to `CASE_entropy` and `CASE_disagreement`. What is
    known of the quality of each case goes to `quality.json`. With `keep_existing`, cases that have a mask already are
    skipped. One bad case does not stop the others: all faults are raised together as ManyFaults when the rest is done.
    """
    plan, source, target = predictor.plan, Path(source), Path(target)
    cases = predictor.find(source, table)
    files = [case_files for case_files in cases.files if only is None or case_files.name in only]
    masks = [below(target, f"{case_files.name}{plan.file_ending}") for case_files in files]
    kinds = (*(["probabilities"] if probabilities else []), *(["entropy", "disagreement"] if uncertainty else []))
    arrays = [_array_path(target, case_files.name, kind, plan.file_ending) for case_files in files for kind in kinds]
    _spare_images(files, [*masks, *arrays])
    if only is None:
        _collect_quality(target, predictor.quality_control, plan.file_ending)
    tasks = [task for task in zip(files, masks, strict=True) if not (keep_existing and task[1].is_file())]
    write = partial(_write, quality_control=predictor.quality_control, ending=plan.file_ending, alone=only is None)
    done, faults = _predict_each(predictor, tasks, cases, write, (probabilities, uncertainty))
    undone = {mask for _, mask in tasks} - done
    written = [mask for mask in masks if mask not in undone]
    if written:
        write_json(target / SIDECAR, _sidecar(predictor, written))
    if faults:
        raise ManyFaults(f"{len(written)} of {len(files)} cases predicted to {target}", faults)
    return written


def _predict_each(predictor: Predictor, tasks: Sequence[Task], cases: CasesToPredict, write: Callable[..., None],
                  outputs: tuple[bool, bool]) -> tuple[set[Path], list[str]]:
    """The masks that were written, and the faults of the cases that were not.

    While one case is predicted the next is read and prepared, if both fit into memory, and the mask of the one before is
    written.
    """
    done, faults = set(), []

    def finish(task: Task, outcome: Future | AutosegError) -> None:
        try:
            if isinstance(outcome, AutosegError):
                raise outcome
            outcome.result()
            done.add(task[1])
        except AutosegError as error:
            logger.warning("%s was not predicted: %s", task[0].name, error)
            faults.append(str(error))

    prefetched = prefetch(tasks, lambda task: predictor.ready(predictor.load(task[0], cases.conditions)),
                          lambda task, following: _both_fit(predictor, task[0], following[0], all_heads=any(outputs)))
    with ThreadPoolExecutor(1, thread_name_prefix="write") as pool:
        before: tuple[Task, Future | AutosegError] | None = None
        for task, ready in progress(prefetched, "predicting", len(tasks)):
            outcome = ready if isinstance(ready, AutosegError) else _predict_case(predictor, ready, outputs)
            if before is not None:  # so that no more than one prediction waits to be written
                finish(*before)
            before = task, outcome if isinstance(outcome, AutosegError) else pool.submit(write, task[1], outcome)
            del outcome
            if any(outputs):  # arrays of all heads, of which writing makes copies: never beside a prediction
                finish(*before)
                before = None
        if before is not None:
            finish(*before)
    return done, faults


def _predict_case(predictor: Predictor, ready: ReadyCase, outputs: tuple[bool, bool]) -> Prediction | AutosegError:
    try:
        return predictor.predict_ready(ready, *outputs)
    except AutosegError as error:
        return error


def _both_fit(predictor: Predictor, case: CaseFiles, following: CaseFiles, *, all_heads: bool) -> bool:
    """Whether one case can be predicted while another is read. A case whose headers cannot be read waits for its turn."""
    try:
        bytes_to_read = predictor.bytes_to_read(following)
        needed = predictor.bytes_to_predict(case, all_heads=all_heads) + bytes_to_read
    except AutosegError:
        return False  # the fault is reported when the case is read
    device = predictor.runtime.device
    if device.type == "cuda" and bytes_to_read > _SHARE * free_device_bytes(device):
        return False  # it is resampled there
    free = free_host_bytes()
    if needed > _SHARE * free:
        logger.info("%s is not read ahead of time: %.1f GiB are needed beside the case before it, %.1f GiB are free",
                    following.name, needed / 2**30, free / 2**30)
    return needed <= _SHARE * free


def _write(mask: Path, prediction: Prediction, *, quality_control: QualityControl | None, ending: str, alone: bool) -> None:
    """Everything of a case; the mask last, which says that the case is done."""
    _write_arrays(mask.parent, ending, prediction)
    if prediction.quality is not None:
        _note_quality(mask, quality_control, prediction.quality, alone=alone)
    else:
        _forget_quality(mask)
    prediction.case.results.write_label(mask, prediction.label_DHW)


def _write_arrays(target: Path, ending: str, prediction: Prediction) -> None:
    """Everything beside the mask that was asked for."""
    case = prediction.case
    for kind, array in (("probabilities", prediction.probabilities_KDHW), ("entropy", prediction.entropy_DHW),
                        ("disagreement", prediction.disagreement_DHW)):
        if array is not None:
            case.results.write_array(_array_path(target, case.name, kind, ending), array if array.ndim == 4 else array[None])


def _note_quality(mask: Path, quality_control: QualityControl | None, quality: CaseQuality, *, alone: bool) -> None:
    """Write what is known of a case: to the report of all cases or, where other processes predict the others, to a file of
    its own, which whoever predicts them all collects.
    """
    if alone:
        _write_quality(mask.parent, quality_control, [quality], mask.name.removeprefix(quality.name))
    else:
        write_json(below(mask.parent / QUALITY_OF_CASES, f"{quality.name}.json"), quality)
    if quality.needs_review:
        logger.warning("%s needs review: its Dice is predicted to be %.2f", quality.name, quality.predicted_dice)


def _collect_quality(target: Path, quality_control: QualityControl | None, ending: str) -> None:
    """Bring what several processes have noted into one report; the notes are then removed."""
    folder = target / QUALITY_OF_CASES
    notes = [read_model(path, CaseQuality) for path in list_files(folder)] if is_folder(folder) else []
    if notes:
        _write_quality(target, quality_control, notes, ending)
        remove_folder(folder)


def _write_quality(target: Path, quality_control: QualityControl | None, qualities: Sequence[CaseQuality],
                   ending: str) -> None:
    """Write what is known of some cases beside what the same rule said of others, of which there are masks."""
    rule = QualityReport(review_below=None, correlation=None, n=None, cases=())
    if quality_control is not None:
        rule = QualityReport(review_below=quality_control.review_below, correlation=quality_control.correlation,
                             n=quality_control.n, cases=())
    path = target / QUALITY
    before = read_model(path, QualityReport) if path.is_file() else rule
    known = before.cases if before.model_copy(update={"cases": ()}) == rule else ()
    cases = {case.name: case for case in known if below(target, f"{case.name}{ending}").is_file()}
    cases |= {case.name: case for case in qualities}
    write_json(path, rule.model_copy(update={"cases": tuple(cases[name] for name in sorted(cases))}))


def _forget_quality(mask: Path) -> None:
    """Take a case out of the report: what was said of it was of another model's mask."""
    path = mask.parent / QUALITY
    if path.is_file():
        report = read_model(path, QualityReport)
        write_json(path, report.model_copy(update={"cases": tuple(
            case for case in report.cases if not mask.name.startswith(f"{case.name}."))}))


def _spare_images(files: Sequence[CaseFiles], written: Sequence[Path]) -> None:
    """A UserError where a mask would replace an image, because names of single channels need no `_0000`, or where two cases
    would write one file, as `a` and `a_entropy` do.
    """
    images = {image.resolve() for case_files in files for image in case_files.images if image is not None}
    replaced = [path.name for path in written if path.resolve() in images]
    if replaced:
        raise UserError("masks would replace the images", where=written[0].parent, found=", ".join(replaced[:5]),
                        do="name another folder for the masks with -o")
    twice = [name for name, count in Counter(path.name for path in written).items() if count > 1]
    if twice:
        raise UserError("two cases would write one file", where=written[0].parent, found=", ".join(twice[:5]),
                        do="rename one of the cases, or predict them into different folders")


def _sidecar(predictor: Predictor, masks: Sequence[Path]) -> dict:
    labels = predictor.plan.labels
    planners = " + ".join(dict.fromkeys(member.plan.planner for member in predictor.members))
    return {"autoseg_version": __version__, "dataset": predictor.plan.dataset, "planner": planners,
            "configuration": predictor.name, "folds": len(predictor.models), "labels": _written_values(labels),
            "postprocessing": predictor.postprocessing.model_dump(mode="json"), "masks": [mask.name for mask in masks]}


def _written_values(labels: LabelSpec) -> dict[str, int]:
    """What each value of a mask means; regions are painted in their order, so that a later one covers an earlier."""
    if labels.region_order is not None:
        return {"background": 0, **dict(zip(labels.foreground, labels.region_order, strict=True))}
    return {name: values[0] for name, values in labels.names.items()}


def _array_path(target: Path, name: str, kind: str, ending: str) -> Path:
    return below(target, f"{name}_{kind}{_array_ending(ending)}")


def _array_ending(ending: str) -> str:
    """Images of whole numbers cannot hold probabilities; TIFF can."""
    return ".tif" if ending in (".png", ".jpg", ".jpeg", ".bmp") else ending
