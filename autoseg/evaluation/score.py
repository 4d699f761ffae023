"""Score a case, and summarize a set of cases. Metrics are those of the whole volume, not means over slices."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.base.errors import UserError
from autoseg.evaluation.detection import summed
from autoseg.evaluation.metrics import METRICS, Overlap, metrics_of
from autoseg.evaluation.pair import CasePair, LabelPair
from autoseg.evaluation.statistics import bootstrap_mean, interval, resampled_means
from autoseg.evaluation.types import (
    SURFACE_DEFINITIONS,
    AccuracySummary,
    CaseScore,
    LabelScore,
    LabelSummary,
    Mean,
    Scoring,
    Summary,
    VoxelAccuracy,
    mean,
)
from autoseg.grids.boxes import occupied
from planners.schema.labels import LabelSpec

_ALWAYS = ("truth_ml", "predicted_ml", "volume_error_ml")  # they cost nothing


def score_case(truth_DHW: np.ndarray, predicted_DHW: np.ndarray, labels: LabelSpec,
               spacing_mm: tuple[float, float, float], name: str, *, scoring: Scoring | None = None,
               annotated: Sequence[str] | None = None) -> CaseScore:
    """Score a predicted label map against the true one, on the same grid (z, y, x), for every foreground name.

    A region is the union of its values. Voxels whose truth is the ignore label belong to no mask. Where `annotated` is
    given, all other names are left out, as if neither mask had them. Raises UserError where the shapes differ or a value is
    not declared.
    """
    scoring = scoring or Scoring()
    if truth_DHW.shape != predicted_DHW.shape:
        raise UserError("the prediction has another shape than the truth", where=name, found=predicted_DHW.shape,
                        expected=truth_DHW.shape)
    window = occupied(truth_DHW, predicted_DHW)
    pair = CasePair(truth_DHW[window], predicted_DHW[window], truth_DHW.shape, spacing_mm, labels.ignore, scoring)
    counts = _Counts.count(pair.truth_DHW, pair.predicted_DHW, labels, name)
    scores = [_score_label(LabelPair(pair, label, labels.names[label], counts.overlap(labels.names[label])))
              if annotated is None or label in annotated else _not_annotated(label) for label in labels.foreground]
    voxels = None
    if scoring.voxel_accuracy and (annotated is None or set(annotated) >= set(labels.foreground)):
        voxels = counts.accuracy(truth_DHW.size - pair.truth_DHW.size)
    return CaseScore(name=name, labels=tuple(scores), voxels=voxels)


def _score_label(pair: LabelPair) -> LabelScore:
    asked = pair.case.scoring.metrics
    values = {name: pair.measure(metric) for name, metric in METRICS.items() if name in (*asked, *_ALWAYS)}
    known = {name: None if math.isnan(value) else value for name, value in values.items()}
    counts = pair.overlap
    return LabelScore(name=pair.label, true_positives=counts.tp, false_positives=counts.fp, false_negatives=counts.fn,
                      detection=pair.detection if set(asked) & set(metrics_of("detection")) else None,
                      **{name: known.get(name) for name in METRICS})


def _not_annotated(label: str) -> LabelScore:
    values = {name: 0.0 if name in _ALWAYS else None for name in METRICS}
    return LabelScore(name=label, true_positives=0, false_positives=0, false_negatives=0, annotated=False, **values)


def summarize(cases: Sequence[CaseScore], labels: LabelSpec, scoring: Scoring | None = None, *,
              faults: Iterable[str] = (), warnings: Iterable[str] = ()) -> Summary:
    """Means over the cases for each label, and means over the labels; each mean has its number of values."""
    scoring = scoring or Scoring()
    values_NLM = np.array([[[_value(label, metric) for metric in scoring.metrics] for label in case.labels]
                           for case in cases], np.float64).reshape(len(cases), len(labels.foreground), len(scoring.metrics))
    resampled_RLM = resampled_means(values_NLM)
    summaries = []
    for index, name in enumerate(labels.foreground):
        scores = [case.labels[index] for case in cases if case.labels[index].annotated]
        detections = [score.detection for score in scores if score.detection is not None]
        summaries.append(LabelSummary(
            name=name, n_empty=sum(score.is_empty for score in scores),
            means={metric: _mean(values_NLM[:, index, m], resampled_RLM[:, index, m])
                   for m, metric in enumerate(scoring.metrics)},
            detection=summed(detections) if detections else None))
    foreground = {metric: _mean_of_labels([label.means[metric] for label in summaries], values_NLM[..., m],
                                          resampled_RLM[..., m]) for m, metric in enumerate(scoring.metrics)}
    return Summary(scoring=scoring, surface_definition=SURFACE_DEFINITIONS[scoring.surface],
                   n_cases=len(cases), foreground_means=foreground, voxels=_mean_accuracy(cases),
                   labels=tuple(summaries), cases=tuple(cases), faults=tuple(faults), warnings=tuple(warnings))


def _value(label: LabelScore, metric: str) -> float:
    value = label.value(metric)
    return math.nan if value is None else value


def _mean(values_N: np.ndarray, resampled_R: np.ndarray) -> Mean:
    known = values_N[~np.isnan(values_N)].tolist()
    low, high = interval(resampled_R, len(known))
    return mean(known).model_copy(update={"low": low, "high": high})


def _mean_of_labels(means: Sequence[Mean], values_NL: np.ndarray, resampled_RL: np.ndarray) -> Mean:
    """The mean of the labels' means. Whole cases are resampled: a drawn case counts for all its labels."""
    defined_RL = ~np.isnan(resampled_RL)
    n_R = defined_RL.sum(1)
    low, high = interval(np.where(defined_RL, resampled_RL, 0).sum(1)[n_R > 0] / n_R[n_R > 0],
                         int((~np.isnan(values_NL)).any(1).sum()))
    return mean([one_label.value for one_label in means]).model_copy(update={"low": low, "high": high})


def _mean_accuracy(cases: Sequence[CaseScore]) -> AccuracySummary | None:
    known = [case.voxels for case in cases if case.voxels is not None]
    if not known:
        return None
    accuracy, baseline = (Mean(value=bootstrapped.mean, n=bootstrapped.n, low=bootstrapped.low, high=bootstrapped.high)
                          for bootstrapped in (bootstrap_mean([voxels.accuracy for voxels in known]),
                                               bootstrap_mean([voxels.background_only for voxels in known])))
    return AccuracySummary(accuracy=accuracy, background_only=baseline)


@dataclass(frozen=True)
class _Counts:
    """The number of voxels of each pair of label values: rows for the truth, columns for the prediction.

    The row of the ignore label is 0.
    """

    confusion: np.ndarray
    row_of: dict[int, int]

    @classmethod
    def count(cls, truth_DHW: np.ndarray, predicted_DHW: np.ndarray, labels: LabelSpec, name: str) -> "_Counts":
        values = labels.values
        row_of = {value: row for row, value in enumerate(values)}
        n = len(values) + 1
        # The last row and column count undeclared values; a negative int16 indexes the table from its end.
        table_V = np.full(2**16, n - 1)
        table_V[list(values)] = range(n - 1)
        counts = np.zeros(n * n, dtype=np.int64)
        for truth_HW, predicted_HW in zip(truth_DHW, predicted_DHW, strict=True):
            counts += np.bincount((table_V[truth_HW] * n + table_V[predicted_HW]).ravel(), minlength=n * n)
        confusion = counts.reshape(n, n)
        for what, label_DHW, undeclared in (("truth", truth_DHW, confusion[-1]),
                                            ("prediction", predicted_DHW, confusion[:, -1])):
            if undeclared.any():
                others = sorted(set(np.unique(label_DHW).tolist()) - set(values))
                raise UserError(f"the {what} has label values that are not declared", where=name,
                                found=", ".join(map(str, others)), expected=", ".join(map(str, values)))
        if labels.ignore is not None:
            confusion[row_of[labels.ignore]] = 0
        return cls(confusion, row_of)

    def overlap(self, values: tuple[int, ...]) -> Overlap:
        rows = [self.row_of[value] for value in values]
        tp = int(self.confusion[np.ix_(rows, rows)].sum())
        return Overlap(tp, int(self.confusion[:, rows].sum()) - tp, int(self.confusion[rows].sum()) - tp)

    def accuracy(self, n_outside: int) -> VoxelAccuracy | None:
        """The accuracy with `n_outside` more voxels that are background in both; None where every voxel is ignored."""
        n = int(self.confusion.sum()) + n_outside
        if n == 0:
            return None
        return VoxelAccuracy(accuracy=(int(np.trace(self.confusion)) + n_outside) / n,
                             background_only=(int(self.confusion[self.row_of[0]].sum()) + n_outside) / n)
