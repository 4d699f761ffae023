"""Scores a case, and sums up a set of cases. Volume-wise, never a slice at a time."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.base.errors import UserError
from autoseg.evaluation import metrics
from autoseg.evaluation.detection import detect, no_lesions, summed
from autoseg.evaluation.metrics import Overlap
from autoseg.evaluation.statistics import bootstrap_mean, interval, resampled_means
from autoseg.evaluation.surface import surface_distances
from autoseg.evaluation.types import (
    DETECTION_METRICS,
    SURFACE_METRICS,
    AccuracySummary,
    CaseScore,
    Detection,
    LabelScore,
    LabelSummary,
    Mean,
    Metric,
    Scoring,
    Summary,
    VoxelAccuracy,
    mean,
)
from autoseg.grids.boxes import Box, cropped_masks, label_boxes, occupied
from autoseg.grids.geometry import Geometry
from planners.schema.labels import LabelSpec

_OVERLAPS = {"dice": metrics.dice, "iou": metrics.iou, "precision": metrics.precision,
             "sensitivity": metrics.sensitivity, "relative_volume_error": metrics.relative_volume_error}
_BEST = {"dice": 1.0, "iou": 1.0, "precision": 1.0, "sensitivity": 1.0, "relative_volume_error": 0.0, "hd_mm": 0.0,
         "hd95_mm": 0.0, "assd_mm": 0.0, "nsd": 1.0, "lesion_f1": 1.0, "lesion_recall": 1.0, "lesion_precision": 1.0}


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
    window = occupied(truth_DHW, predicted_DHW)
    pair = _Pair(truth_DHW[window], predicted_DHW[window], truth_DHW.shape, spacing_mm, labels.ignore, scoring)
    counts = _Counts.of(pair.truth_DHW, pair.predicted_DHW, labels, name)
    needs_masks = set(scoring.metrics) & {*SURFACE_METRICS, *DETECTION_METRICS}
    boxes = label_boxes(pair.truth_DHW, pair.predicted_DHW) if needs_masks else {}
    scores = [_score_label(pair, label, labels.names[label], counts, boxes)
              if annotated is None or label in annotated else _not_annotated(label) for label in labels.foreground]
    voxels = None
    if scoring.voxel_accuracy and (annotated is None or set(annotated) >= set(labels.foreground)):
        voxels = counts.accuracy(truth_DHW.size - pair.truth_DHW.size)
    return CaseScore(name=name, labels=tuple(scores), voxels=voxels)


@dataclass(frozen=True)
class _Pair:
    """Truth and prediction, cut down to where either has anything; `shape` is that of the whole image."""

    truth_DHW: np.ndarray
    predicted_DHW: np.ndarray
    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    ignore: int | None
    scoring: Scoring

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel; the one slice of a 2D image, known by its spacing, counts as 1 mm thick (see Geometry)."""
        flat = self.shape[0] == 1 and self.spacing_mm[0] >= 900 * max(self.spacing_mm[1:])
        return Geometry(self.shape, self.spacing_mm, dimensions=2 if flat else 3).voxel_ml()


def _score_label(pair: _Pair, label: str, values: tuple[int, ...], counts: "_Counts", boxes: dict[int, list[Box]]
                 ) -> LabelScore:
    of, scoring = counts.overlap(values), pair.scoring
    found = {metric: measure(of) for metric, measure in _OVERLAPS.items()}
    detection = None
    masks: tuple[np.ndarray, ...] = ()
    if boxes and not of.is_empty:
        masks = cropped_masks(pair.truth_DHW, pair.predicted_DHW, values, pair.ignore, boxes)
    if masks and set(scoring.metrics) & set(SURFACE_METRICS):
        found |= _surface_metrics(pair, masks, of, label)
    if set(scoring.metrics) & set(DETECTION_METRICS):
        detection = detect(*masks, pair.voxel_ml, scoring.detection) if masks else no_lesions(scoring.detection)
        found |= _detection_metrics(detection)
    if of.is_empty and scoring.empty == "one":
        found |= _BEST
    defined = {metric: value for metric, value in found.items() if metric in scoring.metrics and not math.isnan(value)}
    return LabelScore(
        name=label, true_positives=of.tp, false_positives=of.fp, false_negatives=of.fn,
        truth_ml=(of.tp + of.fn) * pair.voxel_ml, predicted_ml=(of.tp + of.fp) * pair.voxel_ml,
        volume_error_ml=(of.fp - of.fn) * pair.voxel_ml, detection=detection, **defined)


def _not_annotated(label: str) -> LabelScore:
    return LabelScore(name=label, true_positives=0, false_positives=0, false_negatives=0, truth_ml=0, predicted_ml=0,
                      volume_error_ml=0, annotated=False)


def summarize(cases: Sequence[CaseScore], labels: LabelSpec, scoring: Scoring | None = None, *,
              faults: Iterable[str] = (), warnings: Iterable[str] = ()) -> Summary:
    """ExecutionOptions over cases of each label, and over labels; how many values each mean has stands beside it."""
    scoring = scoring or Scoring()
    values_NLM = np.array([[[_value(label, metric) for metric in scoring.metrics] for label in case.labels]
                           for case in cases], np.float64).reshape(len(cases), len(labels.foreground), len(scoring.metrics))
    resampled_RLM = resampled_means(values_NLM)
    summaries = []
    for index, name in enumerate(labels.foreground):
        of_cases = [case.labels[index] for case in cases if case.labels[index].annotated]
        detections = [score.detection for score in of_cases if score.detection is not None]
        summaries.append(LabelSummary(
            name=name, n_empty=sum(score.is_empty for score in of_cases),
            means={metric: _mean(values_NLM[:, index, m], resampled_RLM[:, index, m])
                   for m, metric in enumerate(scoring.metrics)},
            detection=summed(detections) if detections else None))
    foreground = {metric: _mean_of_labels([label.means[metric] for label in summaries], values_NLM[..., m],
                                          resampled_RLM[..., m]) for m, metric in enumerate(scoring.metrics)}
    return Summary(scoring=scoring, n_cases=len(cases), foreground_means=foreground, voxels=_mean_accuracy(cases),
                   labels=tuple(summaries), cases=tuple(cases), faults=tuple(faults), warnings=tuple(warnings))


def _value(label: LabelScore, metric: Metric) -> float:
    value = getattr(label, metric) if label.annotated else None
    return math.nan if value is None else value


def _mean(values_N: np.ndarray, resampled_R: np.ndarray) -> Mean:
    known = values_N[~np.isnan(values_N)].tolist()
    low, high = interval(resampled_R, len(known))
    return mean(known).model_copy(update={"low": low, "high": high})


def _mean_of_labels(means: Sequence[Mean], values_NL: np.ndarray, resampled_RL: np.ndarray) -> Mean:
    """Resampled as wholes, cases vary in all labels at once."""
    defined_RL = ~np.isnan(resampled_RL)
    n_R = defined_RL.sum(1)
    low, high = interval(np.where(defined_RL, resampled_RL, 0).sum(1)[n_R > 0] / n_R[n_R > 0],
                         int((~np.isnan(values_NL)).any(1).sum()))
    return mean([of.value for of in means]).model_copy(update={"low": low, "high": high})


def _mean_accuracy(cases: Sequence[CaseScore]) -> AccuracySummary | None:
    known = [case.voxels for case in cases if case.voxels is not None]
    if not known:
        return None
    accuracy, baseline = (Mean(value=of.mean, n=of.n, low=of.low, high=of.high)
                          for of in (bootstrap_mean([one.accuracy for one in known]),
                                     bootstrap_mean([one.background_only for one in known])))
    return AccuracySummary(accuracy=accuracy, background_only=baseline)


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

    def accuracy(self, n_outside: int) -> VoxelAccuracy | None:
        """With `n_outside` more voxels that are background in both; None where every voxel is ignored."""
        n = int(self.confusion.sum()) + n_outside
        if n == 0:
            return None
        return VoxelAccuracy(accuracy=(int(np.trace(self.confusion)) + n_outside) / n,
                             background_only=(int(self.confusion[self.row_of[0]].sum()) + n_outside) / n)


def _surface_metrics(pair: _Pair, masks: tuple[np.ndarray, np.ndarray], of: Overlap, label: str) -> dict[str, float]:
    if of.tp + of.fn == 0 or of.tp + of.fp == 0:
        far = metrics.diagonal_mm(pair.shape, pair.spacing_mm)
        return {"hd_mm": far, "hd95_mm": far, "assd_mm": far, "nsd": 0.0}
    distances = surface_distances(*masks, pair.spacing_mm, pair.shape)
    tolerance = pair.scoring.nsd_tolerance_mm_of.get(label, pair.scoring.nsd_tolerance_mm)
    return {"hd_mm": metrics.hausdorff_mm(distances), "hd95_mm": metrics.hausdorff_mm(distances, 95),
            "assd_mm": metrics.assd_mm(distances), "nsd": metrics.nsd(distances, tolerance)}


def _detection_metrics(detection: Detection) -> dict[str, float]:
    of = Overlap(detection.true_positives, detection.false_positives, detection.false_negatives)
    return {"lesion_f1": metrics.dice(of), "lesion_recall": metrics.sensitivity(of),
            "lesion_precision": metrics.precision(of), "false_lesions": of.fp}
