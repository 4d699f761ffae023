"""Scores a case, a set of cases, and two folders of label files. Volume-wise, never a slice at a time."""

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from autoseg.base.errors import AutosegError, UserError
from autoseg.base.progress import progress
from autoseg.base.workers import worker_pool
from autoseg.data.geometry import Geometry
from autoseg.data.readers import read_label
from autoseg.data.readers.files import is_folder, list_files
from autoseg.evaluate import metrics
from autoseg.evaluate.metrics import Overlap
from autoseg.evaluate.surface import surface_distances
from autoseg.evaluate.types import (
    SURFACE_METRICS,
    CaseScore,
    LabelScore,
    LabelSummary,
    Metric,
    Scoring,
    Summary,
    mean,
)
from planners.fingerprint import LabelSpec

logger = logging.getLogger(__name__)

# Starting processes takes a second or two: two hundred hippocampi are scored sooner without.
_SECONDS_WORTH_PROCESSES = 6.0

_OVERLAPS = {"dice": metrics.dice, "iou": metrics.iou, "precision": metrics.precision,
             "sensitivity": metrics.sensitivity}
_BEST = {"dice": 1.0, "iou": 1.0, "precision": 1.0, "sensitivity": 1.0, "hd_mm": 0.0, "hd95_mm": 0.0, "assd_mm": 0.0,
         "nsd": 1.0}


def score_case(truth_DHW: np.ndarray, predicted_DHW: np.ndarray, labels: LabelSpec,
               spacing_mm: tuple[float, float, float], name: str, *, scoring: Scoring | None = None,
               annotated: Sequence[str] | None = None) -> CaseScore:
    """Score a predicted label map against the true one, on the same grid (z, y, x), for every foreground name.

    A region is the union of its values. Voxels whose truth is the ignore label belong to no mask. Where only the names
    `annotated` were annotated, the others are as if neither mask had them. Raises UserError where the shapes differ or a
    value is not declared.
    """
    scoring = scoring or Scoring()
    if truth_DHW.shape != predicted_DHW.shape:
        raise UserError("the prediction has another shape than the truth", where=name, found=predicted_DHW.shape,
                        expected=truth_DHW.shape)
    shape, voxel_ml = truth_DHW.shape, _voxel_ml(truth_DHW.shape, spacing_mm)
    window = _occupied(truth_DHW, predicted_DHW)
    truth_DHW, predicted_DHW = truth_DHW[window], predicted_DHW[window]
    counts = _Counts.of(truth_DHW, predicted_DHW, labels, name)
    boxes = _boxes(truth_DHW, predicted_DHW) if set(scoring.metrics) & set(SURFACE_METRICS) else {}
    scores = []
    for label in labels.foreground:
        values = labels.names[label]
        known = annotated is None or label in annotated
        of = counts.overlap(values) if known else Overlap(0, 0, 0)
        found = {metric: measure(of) for metric, measure in _OVERLAPS.items()}
        if boxes and not of.is_empty:
            masks = _cropped_masks(truth_DHW, predicted_DHW, values, labels.ignore, boxes)
            found |= _surface_metrics(masks, of, shape, spacing_mm, scoring, label)
        if of.is_empty and known and scoring.empty == "one":
            found = dict(_BEST)
        defined = {metric: value for metric, value in found.items()
                   if metric in scoring.metrics and not math.isnan(value)}
        scores.append(LabelScore(
            name=label, true_positives=of.tp, false_positives=of.fp, false_negatives=of.fn,
            truth_ml=(of.tp + of.fn) * voxel_ml, predicted_ml=(of.tp + of.fp) * voxel_ml,
            volume_error_ml=(of.fp - of.fn) * voxel_ml, **defined))
    return CaseScore(name=name, labels=tuple(scores))


def summarize(cases: Sequence[CaseScore], labels: LabelSpec, scoring: Scoring | None = None, *,
              faults: Iterable[str] = (), warnings: Iterable[str] = ()) -> Summary:
    """Means over cases of each label, and over labels; how many values each mean has stands beside it."""
    scoring = scoring or Scoring()
    summaries = []
    for index, name in enumerate(labels.foreground):
        of_cases = [case.labels[index] for case in cases]
        summaries.append(LabelSummary(
            name=name, n_empty=sum(score.is_empty for score in of_cases),
            means={metric: mean([getattr(score, metric) for score in of_cases]) for metric in scoring.metrics}))
    foreground = {metric: mean([label.means[metric].value for label in summaries]) for metric in scoring.metrics}
    return Summary(scoring=scoring, n_cases=len(cases), foreground_means=foreground, labels=tuple(summaries),
                   cases=tuple(cases), faults=tuple(faults), warnings=tuple(warnings))


def evaluate_folders(truth_folder: Path, predicted_folder: Path, labels: LabelSpec, file_ending: str, workers: int = 1,
                     *, scoring: Scoring | None = None) -> Summary:
    """Score every label file of a folder against the prediction of the same name.

    A case without a prediction, on another grid or with undeclared values is listed in the summary's `faults`, a
    prediction without a label in its `warnings`. Raises UserError where a folder is missing or holds no label.
    """
    truths = _files(truth_folder, file_ending)
    predictions = _files(predicted_folder, file_ending)
    if not truths:
        raise UserError("the folder holds no label file", where=truth_folder, expected=f"CASE{file_ending}")
    faults = [f"case {name}: the prediction is missing ({predicted_folder / path.name})"
              for name, path in truths.items() if name not in predictions]
    warnings = [f"{path}: a prediction without a label, left aside"
                for name, path in predictions.items() if name not in truths]
    for warning in warnings:
        logger.warning("%s", warning)
    pairs = [_Pair(name, path, predictions[name], labels, scoring or Scoring())
             for name, path in truths.items() if name in predictions]
    results = list(progress(_mapped(pairs, workers), "scoring", len(pairs)))
    faults += [result for result in results if isinstance(result, str)]
    return summarize([result for result in results if isinstance(result, CaseScore)], labels, scoring, faults=faults,
                     warnings=warnings)


def table(summary: Summary) -> str:
    """The summary as a text table: a row a label, then their mean, then what could not be scored.

    `n` counts the cases of the first metric's mean; a mean of another number of cases says so in brackets.
    """
    head = ["label", "n", "empty", *(_TITLES[metric] for metric in summary.scoring.metrics)]
    rows = []
    for label in summary.labels:
        n = label.means[summary.scoring.metrics[0]].n
        rows.append([label.name, str(n), str(label.n_empty), *(_cell(mean_, n) for mean_ in label.means.values())])
    if len(rows) > 1:
        rows.append(["mean", "", "", *(_cell(mean_, len(rows)) for mean_ in summary.foreground_means.values())])
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                       for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
             for row in [head, *rows]]
    lines.insert(1, "-" * max(map(len, lines)))
    lines.append(f"{summary.n_cases} case{'s' if summary.n_cases != 1 else ''} scored")
    if summary.faults:
        lines += [f"{len(summary.faults)} not scored:", *(f"  - {fault}" for fault in summary.faults)]
    return "\n".join(lines)


_TITLES: dict[Metric, str] = {
    "dice": "Dice", "iou": "IoU", "precision": "precision", "sensitivity": "sensitivity",
    "volume_error_ml": "volume error mL", "hd_mm": "HD mm", "hd95_mm": "HD95 mm", "assd_mm": "ASSD mm", "nsd": "NSD"}


def _cell(mean_, n: int) -> str:
    text = "-" if mean_.value is None else f"{mean_.value:.3f}"
    return text if mean_.n == n else f"{text} ({mean_.n})"


@dataclass(frozen=True)
class _Counts:
    """Voxels of each pair of label values; rows are the truth's, without the ignore label's."""

    confusion: np.ndarray
    row_of: dict[int, int]

    @classmethod
    def of(cls, truth_DHW: np.ndarray, predicted_DHW: np.ndarray, labels: LabelSpec, name: str) -> "_Counts":
        values = labels.values
        row_of = {value: row for row, value in enumerate(values)}
        n = len(values) + 1
        # The last row is of undeclared values; a negative int16 indexes the table from its end.
        table_V = np.full(2**16, n - 1)
        table_V[list(values)] = range(n - 1)
        confusion = np.zeros(n * n, dtype=np.int64)
        for truth_HW, predicted_HW in zip(truth_DHW, predicted_DHW, strict=True):
            confusion += np.bincount((table_V[truth_HW] * n + table_V[predicted_HW]).ravel(), minlength=n * n)
        confusion = confusion.reshape(n, n)
        for what, label_DHW, undeclared in (("truth", truth_DHW, confusion[-1]),
                                            ("prediction", predicted_DHW, confusion[:, -1])):
            if undeclared.any():
                found = sorted(set(np.unique(label_DHW).tolist()) - set(values))
                raise UserError(f"the {what} has label values that are not declared", where=name,
                                found=", ".join(map(str, found)), expected=", ".join(map(str, values)))
        if labels.ignore is not None:
            confusion[row_of[labels.ignore]] = 0
        return cls(confusion, row_of)

    def overlap(self, values: tuple[int, ...]) -> Overlap:
        rows = [self.row_of[value] for value in values]
        tp = int(self.confusion[np.ix_(rows, rows)].sum())
        return Overlap(tp, int(self.confusion[:, rows].sum()) - tp, int(self.confusion[rows].sum()) - tp)


def _voxel_ml(shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> float:
    """Volume of a voxel; the one slice of a 2D image, known by its spacing, counts as 1 mm thick (see Geometry)."""
    flat = shape[0] == 1 and spacing_mm[0] >= 900 * max(spacing_mm[1:])
    return Geometry(shape, spacing_mm, dimensions=2 if flat else 3).voxel_ml()


Box = tuple[slice, ...]


def _occupied(*label_maps: np.ndarray) -> Box:
    """The box beyond which all label maps are background, which is most of many images."""
    box = []
    for axis in range(label_maps[0].ndim):
        others = tuple(other for other in range(label_maps[0].ndim) if other != axis)
        used = np.flatnonzero(np.any([label_map.any(axis=others) for label_map in label_maps], axis=0))
        box.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 1))
    return tuple(box)


def _boxes(truth_DHW: np.ndarray, predicted_DHW: np.ndarray) -> dict[int, list[Box]]:
    """Bounding boxes of each label value in the truth and in the prediction."""
    boxes: dict[int, list[Box]] = {}
    for label_DHW in (truth_DHW, predicted_DHW):
        for value, box in enumerate(ndimage.find_objects(label_DHW), start=1):
            if box is not None:
                boxes.setdefault(value, []).append(box)
    return boxes


def _cropped_masks(truth_DHW: np.ndarray, predicted_DHW: np.ndarray, values: tuple[int, ...], ignore: int | None,
                   boxes: dict[int, list[Box]]) -> tuple[np.ndarray, np.ndarray]:
    """Both masks of a name within the box that holds both; `surfels` adds the voxel around it."""
    found = [box for value in values for box in boxes.get(value, ())]
    window = tuple(slice(min(box[axis].start for box in found), max(box[axis].stop for box in found))
                   for axis in range(truth_DHW.ndim))
    truth, predicted = (np.isin(label_DHW[window], values) for label_DHW in (truth_DHW, predicted_DHW))
    if ignore is not None:
        predicted &= truth_DHW[window] != ignore
    return truth, predicted


def _surface_metrics(masks: tuple[np.ndarray, np.ndarray], of: Overlap, shape: tuple[int, ...],
                     spacing_mm: tuple[float, float, float], scoring: Scoring, label: str) -> dict[str, float]:
    if of.tp + of.fn == 0 or of.tp + of.fp == 0:
        far = metrics.diagonal_mm(shape, spacing_mm)
        return {"hd_mm": far, "hd95_mm": far, "assd_mm": far, "nsd": 0.0}
    distances = surface_distances(*masks, spacing_mm)
    tolerance = scoring.nsd_tolerance_mm_of.get(label, scoring.nsd_tolerance_mm)
    return {"hd_mm": metrics.hausdorff_mm(distances), "hd95_mm": metrics.hausdorff_mm(distances, 95),
            "assd_mm": metrics.assd_mm(distances), "nsd": metrics.nsd(distances, tolerance)}


def _files(folder: Path, file_ending: str) -> dict[str, Path]:
    if not is_folder(folder):
        raise UserError("the folder is missing", where=folder)
    return {path.name.removesuffix(file_ending): path for path in list_files(folder) if path.name.endswith(file_ending)}


@dataclass(frozen=True)
class _Pair:
    """One case to score in a worker."""

    name: str
    truth: Path
    predicted: Path
    labels: LabelSpec
    scoring: Scoring


def _score_pair(pair: _Pair) -> CaseScore | str:
    """The score, or what is wrong with the case: one bad case never ends the others."""
    try:
        truth_DHW, geometry = read_label(pair.truth)
        predicted_DHW, predicted_geometry = read_label(pair.predicted)
        difference = geometry.difference(predicted_geometry)
        if difference:
            raise UserError("truth and prediction lie on different grids", where=f"case {pair.name}", found=difference,
                            do="predict from the image that the label was drawn on")
        return score_case(truth_DHW, predicted_DHW, pair.labels, geometry.spacing_mm, f"case {pair.name}",
                          scoring=pair.scoring).model_copy(update={"name": pair.name})
    except AutosegError as error:
        return str(error)


def _mapped(pairs: list[_Pair], workers: int) -> Iterator[CaseScore | str]:
    """Scores in order. The second case tells the pace: the first one loads what reading needs."""
    yield from map(_score_pair, pairs[:1])
    started = time.monotonic()
    yield from map(_score_pair, pairs[1:2])
    rest = pairs[2:]
    if workers < 2 or (time.monotonic() - started) * len(rest) < _SECONDS_WORTH_PROCESSES:
        yield from map(_score_pair, rest)
        return
    with worker_pool(min(workers, len(rest))) as pool:
        try:
            yield from pool.map(_score_pair, rest)
        except BrokenProcessPool as error:
            raise UserError("a scoring process was ended by the system, most likely for lack of memory",
                            do="use --workers 1") from error
