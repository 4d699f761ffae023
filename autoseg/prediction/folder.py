"""Predicts a folder of cases and writes the masks, with a sidecar that says what the values mean, and what is known of
their quality.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path

from autoseg.base.command import called
from autoseg.base.errors import AutosegError, ManyFaults, UserError
from autoseg.base.memory import free_host_bytes
from autoseg.base.progress import progress
from autoseg.base.runtime import free_device_bytes, is_out_of_memory
from autoseg.base.version import __version__
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.dicom_cases import DicomInput
from autoseg.datasets.digests import case_digest
from autoseg.formats.files import is_folder, list_files
from autoseg.formats.results import DicomResults, is_dicom_name, named_format
from autoseg.formats.source import no_series
from autoseg.prediction.inference_settings import QualityControl
from autoseg.prediction.mask_folders import written_values
from autoseg.prediction.outputs import ARRAYS, Outputs
from autoseg.prediction.predictor import CasesToPredict, Prediction, Predictor, ReadyCase
from autoseg.prediction.prefetch import prefetch
from autoseg.prediction.shard import Shard
from autoseg.prediction.sidecar import SIDECAR, Sidecar, add_masks, begin
from autoseg.prediction.uncertainty import CaseQuality, QualityReport
from autoseg.workspace.files import DamagedFile, keep_copy, read_model, remove_folder, write_json
from autoseg.workspace.locks import held
from autoseg.workspace.partial import remove_leftovers
from autoseg.workspace.paths import below
from autoseg.workspace.provenance import PROVENANCE, Provenance, note, now, provenance, seconds_since
from planners.schema.plan import content_hash_of

logger = logging.getLogger(__name__)

QUALITY = "quality.json"
QUALITY_OF_CASES = "quality"  # a folder

# Of the free memory, for a case that is predicted and one that is read beside it; estimates are rough.
_SHARE = 0.7

Task = tuple[CaseFiles, Path]  # a case and its mask


@called
def predict_folder(predictor: Predictor, source: str | Path | DicomInput, target: str | Path, *, probabilities: bool = False,
                   uncertainty: bool = False, keep_existing: bool = False, table: str | Path | None = None,
                   only: Collection[str] | None = None, part: str | None = None, output_format: str | None = None
                   ) -> list[Path]:
    """Predict every case of `source` (a folder or one file, also of DICOM), or `only` those named, or one `part`, into
    `target`; the masks written now.

    `table` holds what is known of the patients beside the images (see `Predictor.find`). `part` is K/N, such as 1/4: N
    processes, each with a part of its own, predict all cases into one folder. The first part names the files left out.

    `target` is a folder, or of one case the file of its mask. In a folder each mask is `CASE<ending>` on the grid of the
    case, or has the name of its `output_format` (`formats/results.py`); probabilities go to `CASE_probabilities<ending>`,
    one channel per head; with `uncertainty` the models' entropy and disagreement to `CASE_entropy` and `CASE_disagreement`.
    What is known of the quality of each case goes to `quality.json`. With `keep_existing`, cases are skipped of which
    everything that is asked for is there already, unless other models made it (`prediction.sidecar`). One bad case does not
    stop the others: all faults, and the files that are left out, are raised together as ManyFaults when the rest is done.
    """
    share = Shard(1, 1) if part is None else Shard.parse(part)
    cases = predictor.find(source, table)
    files = [case_files for case_files in share.cases_of(cases.files) if only is None or case_files.name in only]
    if not files and share.n > 1:
        logger.warning("part %s has no case: there are %d cases in %s", share, len(cases.files), Path(source))
    outputs = Outputs.open(Path(target), predictor.plan.file_ending, cases.files, named_format(output_format))
    dicom = _dicom(predictor, outputs, files)
    kinds = ARRAYS[:1] * probabilities + ARRAYS[1:] * uncertainty
    _spare_images(files, outputs, kinds)
    if only is None and share.n == 1:
        _collect_quality(outputs, predictor.quality_control)
    remove_leftovers(outputs.folder)
    remove_leftovers(outputs.folder / QUALITY_OF_CASES)
    own, path = _sidecar(predictor), outputs.record(SIDECAR)
    tasks = [(case_files, outputs.mask(case_files.name)) for case_files in files]
    if tasks:
        known = begin(path, own, [mask.name for _, mask in tasks if mask.is_file()])
        if keep_existing:
            tasks = _left_to_do(tasks, outputs, kinds, known)
    write = partial(_write, outputs=outputs, dicom=dicom, quality_control=predictor.quality_control, alone=only is None)
    started, names = now(), [mask.name for _, mask in tasks]
    if names:
        note(outputs.record(PROVENANCE), dict.fromkeys(names, ""), _provenance(predictor, started, None))
    done, faults = _predict_each(predictor, tasks, cases, write, (probabilities, uncertainty))
    written = [mask for _, mask in tasks if mask in done]
    if written:
        add_masks(path, own, [mask.name for mask in written])
        note(outputs.record(PROVENANCE), {mask.name: done[mask] for mask in written},
             _provenance(predictor, started, seconds_since(started)), forget=names)
    if only is None and share.is_first:
        faults = [*cases.left_out, *faults]
    if faults:
        n_kept = len(files) - len(tasks)
        raise ManyFaults(f"{len(written)} of {len(files)} cases predicted to {target}"
                         + (f", {n_kept} were there already" if n_kept else ""), faults)
    return written


def _left_to_do(tasks: Sequence[Task], outputs: Outputs, kinds: Sequence[str], known: Sidecar) -> list[Task]:
    """The cases that lack something, or of which other models made the mask; the log says how many are kept."""
    others = set(known.masks_of_other_models)
    lacking = [task for task in tasks if task[1].name in others or not task[1].is_file()
               or not all(outputs.array(task[0].name, kind).is_file() for kind in kinds)]
    redone = sum(mask.name in others for _, mask in lacking)
    if redone:
        logger.warning("%s: other models made %d of the masks here; they are predicted again", outputs.folder, redone)
    kept = {mask.name for _, mask in tasks} - {mask.name for _, mask in lacking}
    unknown = kept.intersection(known.masks_of_unknown_origin)
    if unknown:
        logger.warning("%s: of %d masks that are kept it is not known what made them (%s)", outputs.folder, len(unknown),
                       ", ".join(sorted(unknown)[:3]))
    logger.info("%s: %d masks were there already and are kept", outputs.folder, len(kept))
    return lacking


def _predict_each(predictor: Predictor, tasks: Sequence[Task], cases: CasesToPredict, write: Callable[..., str],
                  outputs: tuple[bool, bool]) -> tuple[dict[Path, str], list[str]]:
    """The masks that were written, with the digests of their images, and the faults of the cases that were not.

    While one case is predicted the next is read and prepared, if both fit into memory, and the mask of the one before is
    written.
    """
    done: dict[Path, str] = {}
    faults: list[str] = []

    def finish(task: Task, outcome: Future | AutosegError) -> None:
        try:
            if isinstance(outcome, AutosegError):
                raise outcome
            done[task[1]] = outcome.result()
        except Exception as error:
            fault = str(_as_fault(error))
            logger.warning("%s was not predicted: %s", task[0].name, fault)
            names = [f"case {task[0].name}", *(path.name for path in task[0].images if path is not None)]
            faults.append(fault if any(name in fault for name in names) else f"case {task[0].name}: {fault}")

    prefetched = prefetch(tasks, lambda task: _ready(predictor, task[0], cases),
                          lambda task, following: _both_fit(predictor, task[0], following[0], all_heads=any(outputs)))
    with ThreadPoolExecutor(1, thread_name_prefix="write") as pool:
        before: tuple[Task, Future | AutosegError] | None = None
        for task, ready in progress(prefetched, "predicting", len(tasks)):
            outcome = ready if isinstance(ready, AutosegError) else _predict_case(predictor, ready, outputs)
            if before is not None:  # so that no more than one prediction waits to be written
                finish(*before)
            before = task, outcome if isinstance(outcome, AutosegError) else pool.submit(write, task, outcome)
            del outcome
            if any(outputs):  # arrays of all heads, of which writing makes copies: never beside a prediction
                finish(*before)
                before = None
        if before is not None:
            finish(*before)
    return done, faults


def _as_fault(error: Exception) -> AutosegError:
    """Any error as a fault of its case, so that it does not end the good ones."""
    if isinstance(error, AutosegError):
        return error
    logger.debug("an error that is no user's", exc_info=error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_out_of_memory(error)):
        return UserError("the case needs more memory than there is", found=error)
    return UserError("the case could not be predicted", found=f"{type(error).__name__}: {error}",
                     do="see the traceback with --debug; if the files are sound, report it")


def _ready(predictor: Predictor, files: CaseFiles, cases: CasesToPredict) -> ReadyCase:
    try:
        return predictor.ready(predictor.load(files, cases.conditions))
    except Exception as error:
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_out_of_memory(error)):
            raise  # alone there may be enough
        raise _as_fault(error) from error


def _predict_case(predictor: Predictor, ready: ReadyCase, outputs: tuple[bool, bool]) -> Prediction | AutosegError:
    try:
        return predictor.predict_ready(ready, *outputs)
    except Exception as error:
        return _as_fault(error)


def _both_fit(predictor: Predictor, case: CaseFiles, following: CaseFiles, *, all_heads: bool) -> bool:
    """Whether one case can be predicted while another is read. A case whose headers cannot be read waits for its turn."""
    try:
        bytes_to_read = predictor.bytes_to_read(following)
        needed = predictor.bytes_to_predict(case, all_heads=all_heads) + bytes_to_read
    except Exception:
        return False  # the fault is reported when the case is read
    device = predictor.runtime.device
    if device.type == "cuda" and bytes_to_read > _SHARE * free_device_bytes(device):
        return False  # it is resampled there
    free = free_host_bytes()
    if needed > _SHARE * free:
        logger.info("%s is not read ahead of time: %.1f GiB are needed beside the case before it, %.1f GiB are free",
                    following.name, needed / 2**30, free / 2**30)
    return needed <= _SHARE * free


def _write(task: Task, prediction: Prediction, *, outputs: Outputs, dicom: DicomResults | None,
           quality_control: QualityControl | None, alone: bool) -> str:
    """Everything of a case; the mask last, which says that the case is done. The digest of its images.

    The report of quality names no case without a mask, so another prediction into the same folder waits until both are
    written.
    """
    (files, mask), case = task, prediction.case
    results = case.results if dicom is None else case.results_in_dicom(dicom)
    for kind, array in zip(ARRAYS, (prediction.probabilities_KDHW, prediction.entropy_DHW, prediction.disagreement_DHW),
                           strict=True):
        if array is not None:
            results.write_array(outputs.array(case.name, kind), array if array.ndim == 4 else array[None])
    with held(outputs.folder):
        if prediction.quality is not None:
            _note_quality(outputs, quality_control, prediction.quality, alone=alone)
        else:
            _forget_quality(outputs, case.name)
        results.write_label(mask, prediction.label_DHW)
    try:
        return case_digest(files)
    except OSError:  # they were removed meanwhile
        return ""


def _provenance(predictor: Predictor, started: datetime, seconds: float | None) -> Provenance:
    return provenance(started, seconds, plan=content_hash_of(predictor.plan.model_dump(mode="json")),
                      models=predictor.identity, device=predictor.runtime.device_name)


def _note_quality(outputs: Outputs, quality_control: QualityControl | None, quality: CaseQuality, *, alone: bool) -> None:
    """Write what is known of a case: to the report of all cases or, where other processes predict the others, to a file of
    its own, which whoever predicts them all collects.
    """
    if alone:
        _write_quality(outputs, quality_control, [quality])
    else:
        write_json(below(outputs.folder / QUALITY_OF_CASES, f"{quality.name}.json"), quality)
    if quality.needs_review:
        logger.warning("%s needs review: its Dice is predicted to be %.2f", quality.name, quality.predicted_dice)


def _collect_quality(outputs: Outputs, quality_control: QualityControl | None) -> None:
    """Bring what several processes have noted into one report; the notes are then removed."""
    folder = outputs.folder / QUALITY_OF_CASES
    notes = [read_model(path, CaseQuality) for path in list_files(folder)] if is_folder(folder) else []
    if notes:
        with held(outputs.folder):
            _write_quality(outputs, quality_control, notes)
        remove_folder(folder)


def _write_quality(outputs: Outputs, quality_control: QualityControl | None, qualities: Sequence[CaseQuality]) -> None:
    """Write what is known of some cases beside what the same rule said of others, of which there are masks."""
    rule = QualityReport(review_below=None, correlation=None, n=None, cases=())
    if quality_control is not None:
        rule = QualityReport(review_below=quality_control.review_below, correlation=quality_control.correlation,
                             n=quality_control.n, cases=())
    path = outputs.record(QUALITY)
    before = _report(path) or rule
    known = before.cases if before.model_copy(update={"cases": ()}) == rule else ()
    cases = {case.name: case for case in known if outputs.mask(case.name).is_file()}
    cases |= {case.name: case for case in qualities}
    write_json(path, rule.model_copy(update={"cases": tuple(cases[name] for name in sorted(cases))}))


def _forget_quality(outputs: Outputs, case: str) -> None:
    """Take a case out of the report: what was said of it was of another model's mask."""
    path = outputs.record(QUALITY)
    if (report := _report(path)) is not None:
        write_json(path, report.model_copy(update={"cases": tuple(
            known for known in report.cases if known.name != case)}))


def _report(path: Path) -> QualityReport | None:
    """The report that is there; None where there is none. A damaged one gets another name, with a warning."""
    try:
        return read_model(path, QualityReport) if path.is_file() else None
    except DamagedFile as error:
        logger.warning("a new report is started, and the former one is kept as %s: %s", keep_copy(path).name, error)
        return None


def _spare_images(files: Sequence[CaseFiles], outputs: Outputs, kinds: Sequence[str]) -> None:
    """A UserError where an output would replace an image (names of single channels need no `_0000`), or another output."""
    written = [path for case in files for path in (outputs.mask(case.name), *(outputs.array(case.name, kind)
                                                                              for kind in kinds))]
    images = {image.resolve() for case_files in files for image in case_files.images if image is not None}
    replaced = [path.name for path in written if path.resolve() in images]
    if replaced:
        raise UserError("masks would replace the images", where=outputs.folder, found=", ".join(replaced[:5]),
                        do="name another folder for the masks with -o")
    twice = [path.name for path, n in Counter(written).items() if n > 1]
    if twice:
        raise UserError("two outputs would have one name", where=outputs.folder, found=", ".join(twice[:5]),
                        do="rename one of these cases")


def _dicom(predictor: Predictor, outputs: Outputs, cases: Sequence[CaseFiles]) -> DicomResults | None:
    """How masks are written as objects of DICOM; None where they are files.

    Raises UserError where a case is no series of DICOM, or the name of the mask alone asks for DICOM.
    """
    if outputs.dicom is None:
        if is_dicom_name(outputs.ending):
            raise UserError("the name of the mask does not say which object of DICOM it shall be", where=outputs.folder,
                            found=f"{outputs.stem}{outputs.ending}",
                            do="add --output-format seg or --output-format rtstruct")
        return None
    for case in cases:
        image = case.source(next(path for path in (case.grid, *case.images) if path is not None))
        if not image.is_dicom:
            raise no_series(image.path, outputs.dicom)
    return predictor.in_dicom(outputs.dicom)


def _sidecar(predictor: Predictor) -> Sidecar:
    plan = predictor.plan
    planners = " + ".join(dict.fromkeys(member.plan.planner for member in predictor.members))
    return Sidecar(autoseg_version=__version__, dataset=plan.dataset, planner=planners, configuration=predictor.name,
                   folds=len(predictor.models), labels=written_values(plan.labels),
                   postprocessing=predictor.postprocessing, model=predictor.identity,
                   adaptation=predictor.adaptation)
