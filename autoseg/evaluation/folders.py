"""Score a folder of predictions against a folder of labels, in one process or in several."""

import logging
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError, as_fault
from autoseg.base.parallel import Effort, each_case
from autoseg.base.progress import progress
from autoseg.evaluation.score import score_case, summarize
from autoseg.evaluation.types import CaseScore, Scoring, Summary
from autoseg.formats import READERS, known_ending, read_label
from autoseg.formats.files import is_file, is_folder, list_files
from autoseg.formats.memory_estimate import most_voxels
from autoseg.workspace.files import read_json
from planners.schema.labels import LabelSpec

logger = logging.getLogger(__name__)

# Starting processes takes a second or two: without them two hundred hippocampi are scored sooner.
_SECONDS_WORTH_PROCESSES = 6.0
# The most memory that scoring needs per voxel: two label maps, and distances and indices within the box of a label.
BYTES_PER_VOXEL = 40

SIDECAR = "labels.json"  # what prediction writes beside its masks
PREDICTION_MISSING = "the prediction is missing"


def evaluate_folders(truth_folder: Path, predicted_folder: Path, labels: LabelSpec, file_ending: str, workers: int = 1,
                     *, scoring: Scoring | None = None, annotated: Mapping[str, Sequence[str]] | None = None) -> Summary:
    """Score every label file of a folder against the prediction of the same name, which may have another format.

    `annotated` holds the annotated foreground names of each case that is only partly labelled. The summary lists in its
    `faults` each case without a prediction, on another grid or with undeclared values, and in its `warnings` each
    prediction without a label. Raises UserError where a folder is missing or has no label file, a case has two files, the
    labels.json of the predictions declares other labels, or a tolerance is set for an unknown label.
    """
    scoring = scoring or Scoring()
    _check_tolerances(scoring, labels)
    truths = find_masks(truth_folder, file_ending)
    predictions = find_masks(predicted_folder, file_ending, others_of=truths)
    if not truths:
        raise UserError("the folder has no label file", where=truth_folder, expected=f"CASE{file_ending}")
    check_sidecar(predicted_folder, labels)
    faults = [f"case {name}: {PREDICTION_MISSING} ({predicted_folder / path.name})"
              for name, path in truths.items() if name not in predictions]
    warnings = [f"{path}: this prediction has no label and is not scored"
                for name, path in predictions.items() if name not in truths]
    for warning in warnings:
        logger.warning("%s", warning)
    pairs = [_Pair(name, path, predictions[name], labels, scoring, (annotated or {}).get(name))
             for name, path in truths.items() if name in predictions]
    results = list(progress(_mapped(pairs, workers), "scoring", len(pairs)))
    faults += [result for result in results if isinstance(result, str)]
    return summarize([result for result in results if isinstance(result, CaseScore)], labels, scoring, faults=faults,
                     warnings=warnings)


def find_masks(folder: Path, file_ending: str, others_of: Container[str] = ()) -> dict[str, Path]:
    """The label file of each case: with the given ending, or for cases in `others_of` with any known ending.

    Raises UserError where the folder is missing or a case has two files: in two formats, or with names that differ only in
    upper and lower case, which some disks do not distinguish. Pictures in a folder of volumes are ignored.
    """
    if not is_folder(folder):
        raise UserError("the folder is missing", where=folder)
    paths_of: dict[str, list[Path]] = {}
    masks = {}
    for path in list_files(folder):
        ending = file_ending if path.name.lower().endswith(file_ending.lower()) else known_ending(path.name)
        if ending is None or (READERS.get(ending.lower()).flat and not READERS.get(file_ending.lower()).flat):
            continue
        name = path.name[:-len(ending)]
        paths_of.setdefault(name.lower(), []).append(path)
        if ending == file_ending or name in others_of:
            masks[name] = path
    lower = {name.lower() for name in masks}
    duplicates = [" and ".join(path.name for path in paths) for name, paths in paths_of.items()
                  if len(paths) > 1 and name in lower]
    if duplicates:
        raise UserError("several files belong to one case", where=folder, found="; ".join(duplicates[:5]),
                        expected="one file per case", do="remove or rename the others")
    return masks


def check_sidecar(predicted_folder: Path, labels: LabelSpec) -> None:
    """Raise UserError where the labels.json that prediction writes beside its masks declares other labels than these."""
    path = predicted_folder / SIDECAR
    content = read_json(path) if is_file(path) else {}
    known = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(known, dict):
        return
    lacking = [f"{name} (only the predictions)" for name in known if name not in labels.names]
    lacking += [f"{name} (only the reference)" for name in labels.names if name not in known]
    if not lacking:
        lacking = [f"{name} ({known[name]} in the predictions, {values[0]} in the reference)"
                   for name, values in labels.names.items() if not labels.has_regions and [known[name]] != list(values)]
    if lacking:
        raise UserError("predictions and reference have different labels", where=path, found=", ".join(lacking),
                        do=f"give the dataset.json that fits both; where the values mean the same, remove {SIDECAR}")


def _check_tolerances(scoring: Scoring, labels: LabelSpec) -> None:
    unknown = [name for name in scoring.nsd_tolerance_mm_of if name not in labels.foreground]
    if unknown:
        raise UserError("a tolerance is set for a label that is not declared", found=", ".join(unknown),
                        expected=", ".join(labels.foreground))


@dataclass(frozen=True)
class _Pair:
    """One case to score in a worker."""

    name: str
    truth: Path
    predicted: Path
    labels: LabelSpec
    scoring: Scoring
    annotated: Sequence[str] | None


def _score_pair(pair: _Pair) -> CaseScore | str:
    """The score, or what is wrong with the case: one bad case does not stop the others."""
    try:
        truth_DHW, geometry = read_label(pair.truth)
        predicted_DHW, predicted_geometry = read_label(pair.predicted)
        difference = geometry.difference(predicted_geometry)
        if difference:
            raise UserError("truth and prediction lie on different grids", where=f"case {pair.name}", found=difference,
                            do="predict from the image that the label was drawn on")
        return score_case(truth_DHW, predicted_DHW, pair.labels, geometry.spacing_mm, f"case {pair.name}",
                          scoring=pair.scoring, annotated=pair.annotated).model_copy(update={"name": pair.name})
    except Exception as error:
        return str(as_fault(error, f"case {pair.name}"))


def _mapped(pairs: list[_Pair], workers: int) -> Iterator[CaseScore | str]:
    """Scores in order. The second case gives the time per case: the first one also loads modules."""
    effort = Effort("scoring", most_voxels(pair.truth for pair in pairs) * BYTES_PER_VOXEL, tried=2,
                    worth_seconds=_SECONDS_WORTH_PROCESSES)
    return each_case(_score_pair, pairs, workers, effort=effort, died=lambda pair, why: f"case {pair.name}: {why}")
