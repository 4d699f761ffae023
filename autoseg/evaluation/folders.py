"""Score a folder of predictions against a folder of labels, in one process or in several."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError, as_fault, listed
from autoseg.base.parallel import Effort, each_case
from autoseg.base.progress import progress
from autoseg.evaluation.score import score_case, summarize
from autoseg.evaluation.types import CaseScore, Scoring, Summary
from autoseg.formats import READERS, known_ending, read_label
from autoseg.formats.files import Entries, is_file, is_folder, list_entries
from autoseg.formats.memory_estimate import most_voxels
from autoseg.formats.registry import reader_of
from autoseg.workspace.files import read_json
from planners.schema.labels import LabelSpec

logger = logging.getLogger(__name__)

# Starting processes takes a second or two: without them two hundred hippocampi are scored sooner.
_SECONDS_WORTH_PROCESSES = 6.0
# The most memory that scoring needs per voxel: two label maps, and distances and indices within the box of a label.
BYTES_PER_VOXEL = 40

SIDECAR = "labels.json"  # what prediction writes beside its masks
# What lies beside masks without being one: with the labels, and what predictions and their scores are written to.
_BESIDE_LABELS = (".json", ".raw", ".zraw", ".img")
_BESIDE_PREDICTIONS = (*_BESIDE_LABELS, ".npz", ".npy", ".pkl", ".csv", ".html", ".txt", ".log")
PREDICTION_MISSING = "the prediction is missing"


def evaluate_folders(truth_folder: Path, predicted_folder: Path, labels: LabelSpec, file_ending: str, workers: int = 1,
                     *, scoring: Scoring | None = None, annotated: Mapping[str, Sequence[str]] | None = None) -> Summary:
    """Score every label file of a folder against the prediction of the same name. Both may have any format that is read.

    `annotated` holds the annotated foreground names of each case that is only partly labelled. The summary lists in its
    `faults` each case without a prediction, on another grid or with undeclared values, and in its `warnings` each
    prediction without a label, and each file that is no mask. Raises UserError where a folder is missing or has no label
    file, neither has a file with `file_ending`, a case has two files, the labels.json of the predictions declares other
    labels, or a tolerance is set for an unknown label.
    """
    scoring = scoring or Scoring()
    _check_tolerances(scoring, labels)
    truth_entries, predicted_entries = _entries(truth_folder), _entries(predicted_folder)
    truths = find_masks(truth_folder, truth_entries, file_ending)
    predictions = find_masks(predicted_folder, predicted_entries, file_ending, cases=truths)
    truths = {name: path for name, path in truths.items() if name in predictions or not _is_picture(path, file_ending)}
    declared = [path for path in (*truths.values(), *predictions.values())
                if path.name.lower().endswith(file_ending.lower())]
    if not truths or not declared:
        raise UserError("the folder has no label file", where=truth_folder, expected=f"CASE{file_ending}",
                        found=listed(path.name for path in truth_entries.files) or None)
    check_sidecar(predicted_folder, labels)
    faults = [f"case {name}: {PREDICTION_MISSING} ({predicted_folder / path.name})"
              for name, path in truths.items() if name not in predictions]
    warnings = [f"{path}: this prediction has no label and is not scored"
                for name, path in predictions.items() if name not in truths and not _is_picture(path, file_ending)]
    warnings += [*_not_used(truth_folder, truth_entries, truths, _BESIDE_LABELS),
                 *_not_used(predicted_folder, predicted_entries, predictions, _BESIDE_PREDICTIONS)]
    for warning in warnings:
        logger.warning("%s", warning)
    pairs = [_Pair(name, path, predictions[name], labels, scoring, (annotated or {}).get(name))
             for name, path in truths.items() if name in predictions]
    results = list(progress(_mapped(pairs, workers), "scoring", len(pairs)))
    faults += [result for result in results if isinstance(result, str)]
    return summarize([result for result in results if isinstance(result, CaseScore)], labels, scoring, faults=faults,
                     warnings=warnings)


def find_masks(folder: Path, entries: Entries, file_ending: str, cases: Collection[str] | None = None) -> dict[str, Path]:
    """The label file of each case, with any ending that is read. A link to nothing has its place, too: reading it says so.

    Where volumes are expected, a picture counts only without a volume of its name: it is a drawing otherwise. Raises
    UserError where one of `cases` (default: any) has two files: in two formats, or with names that differ only in upper
    and lower case, which some disks do not distinguish.
    """
    paths_of: dict[str, list[tuple[str, Path]]] = {}
    readable = [(path, ending) for path in (*entries.files, *entries.broken, *entries.folders)
                if not path.name.startswith(".") and (ending := _ending(path.name, file_ending)) is not None]
    for path, ending in sorted(readable, key=lambda pair: _is_picture(pair[0], file_ending)):  # volumes first
        name = path.name[:-len(ending)]
        same = paths_of.setdefault(name.lower(), [])
        if not (same and _is_picture(path, file_ending)):
            same.append((name, path))
    lower = None if cases is None else {name.lower() for name in cases}
    duplicates = [" and ".join(path.name for _, path in sorted(same)) for name, same in paths_of.items()
                  if len(same) > 1 and (lower is None or name in lower)]
    if duplicates:
        raise UserError("several files belong to one case", where=folder, found="; ".join(duplicates[:5]),
                        expected="one file per case", do="remove or rename the others")
    return dict(sorted(pair for same in paths_of.values() for pair in same))


def _entries(folder: Path) -> Entries:
    if not is_folder(folder):
        raise UserError("the folder is missing", where=folder)
    return list_entries(folder)


def _ending(name: str, file_ending: str) -> str | None:
    return file_ending if name.lower().endswith(file_ending.lower()) else known_ending(name)


def _is_picture(path: Path, file_ending: str) -> bool:
    """Whether a file is a picture where volumes are expected."""
    return reader_of(path).flat and not READERS.get(file_ending.lower()).flat


def _not_used(folder: Path, entries: Entries, masks: Mapping[str, Path], expected: tuple[str, ...]) -> list[str]:
    """A sentence that names what is no mask, but for files with an `expected` ending, and drawings of masks."""
    drawn, used = {name.lower() for name in masks}, set(masks.values())
    used |= {other for path in masks.values() if (find := reader_of(path).beside) is not None and (other := find(path))}
    idle = []
    for path in (*entries.files, *entries.broken, *entries.folders):
        name, ending = path.name.lower(), known_ending(path.name)
        is_hidden = ending is None and name.startswith(".")
        is_drawing = ending is not None and name.removesuffix(ending) in drawn
        if path not in used and not is_hidden and not is_drawing and not name.endswith(expected):
            idle.append(path.name)
    return [f"{folder}: {len(idle)} {'file is' if len(idle) == 1 else 'files or folders are'} not used ({listed(idle)})"
            ] if idle else []


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
