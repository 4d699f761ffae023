"""Predicts a folder of cases and writes the masks, with a sidecar that says what the values mean."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from autoseg import __version__
from autoseg.base.errors import AutosegError, ManyFaults, UserError
from autoseg.base.progress import progress
from autoseg.base.workspace import write_json
from autoseg.data.case import CaseFiles
from autoseg.data.readers import write_array, write_label
from autoseg.predict.predictor import Predictor
from planners.fingerprint import LabelSpec

logger = logging.getLogger(__name__)

SIDECAR = "labels.json"


def predict_folder(predictor: Predictor, source: str | Path, target: str | Path, *, probabilities: bool = False,
                   keep_existing: bool = False, table: str | Path | None = None,
                   only: Collection[str] | None = None) -> list[Path]:
    """Predict every case of `source` (a folder or one file), or `only` those named, into `target`; the masks' paths.

    `table` holds what is known of the patients beside the images (see `Predictor.find`).

    Each mask is `CASE<ending>` on the grid of the case; probabilities go to `CASE_probabilities<ending>`, one channel a
    head. With `keep_existing`, cases that have a mask already are left alone. One bad case never ends the others: all
    faults are raised together as ManyFaults when the rest is done.
    """
    plan, source, target = predictor.plan, Path(source), Path(target)
    found = predictor.find(source, table)
    files = [files for files in found.files if only is None or files.name in only]
    masks = [target / f"{case_files.name}{plan.file_ending}" for case_files in files]
    _spare_images(files, masks)
    written, faults = [], []
    for case_files, mask in progress(list(zip(files, masks, strict=True)), "predicting", len(files)):
        if keep_existing and mask.is_file():
            written.append(mask)
            continue
        try:
            case = predictor.load(case_files, found.conditions)
            prediction = predictor.predict(case, probabilities)
            if prediction.probabilities_KDHW is not None:
                soft = target / f"{case_files.name}_probabilities{_soft_ending(plan.file_ending)}"
                write_array(soft, prediction.probabilities_KDHW, case.geometry)
            write_label(mask, prediction.label_DHW, case.geometry)
            written.append(mask)
        except AutosegError as error:
            logger.warning("%s was not predicted: %s", case_files.name, error)
            faults.append(str(error))
    if written:
        write_json(target / SIDECAR, _sidecar(predictor, written))
    if faults:
        raise ManyFaults(f"{len(written)} of {len(files)} cases predicted to {target}", faults)
    return written


def _spare_images(files: Sequence[CaseFiles], masks: Sequence[Path]) -> None:
    """A UserError where a mask would replace an image: names of single channels need no `_0000`."""
    images = {image.resolve() for case_files in files for image in case_files.images if image is not None}
    replaced = [mask.name for mask in masks if mask.resolve() in images]
    if replaced:
        raise UserError("masks would replace the images", where=masks[0].parent, found=", ".join(replaced[:5]),
                        do="name another folder for the masks with -o")


def _sidecar(predictor: Predictor, masks: Sequence[Path]) -> dict:
    labels = predictor.plan.labels
    return {"autoseg_version": __version__, "dataset": predictor.plan.dataset, "planner": predictor.plan.planner,
            "configuration": predictor.name, "folds": len(predictor.models), "labels": _written_values(labels),
            "masks": [mask.name for mask in masks]}


def _written_values(labels: LabelSpec) -> dict[str, int]:
    """What each value of a mask means; regions are painted in their order, so that a later one covers an earlier."""
    if labels.has_regions:
        return {"background": 0, **dict(zip(labels.foreground, labels.region_order, strict=True))}
    return {name: values[0] for name, values in labels.names.items()}


def _soft_ending(ending: str) -> str:
    """Images of whole numbers cannot hold probabilities; TIFF can."""
    return ".tif" if ending in (".png", ".jpg", ".jpeg", ".bmp") else ending
