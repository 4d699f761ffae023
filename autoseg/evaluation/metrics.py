"""The metrics of a pair of masks, each with everything that scoring, tables, comparison and report need to know.

To add a metric of your own, call `register(Metric(...))`. NaN means not defined, such as the Dice of two empty masks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from autoseg.evaluation.statistics import MARGIN
from autoseg.evaluation.surface import SurfaceDistances

# What a metric is computed from: counts of voxels, volumes, distances between surfaces (a hundred times slower), lesions.
Group = Literal["overlap", "volume", "surface", "detection"]


@dataclass(frozen=True)
class Overlap:
    """Voxels that truth and prediction share (tp), that only the prediction has (fp), that only the truth has (fn)."""

    tp: int
    fp: int
    fn: int

    @property
    def is_empty(self) -> bool:
        return self.tp + self.fp + self.fn == 0


class Masks(Protocol):
    """What a metric may ask about the masks of one label in one case. Costly values are computed once, at the first use."""

    @property
    def overlap(self) -> Overlap: ...

    @property
    def lesions(self) -> Overlap:
        """Found lesions (tp), false lesions (fp) and missed lesions (fn); only for metrics of the group `detection`."""

    @property
    def missed_ml(self) -> float:
        """Volume of the missed lesions."""

    @property
    def false_ml(self) -> float:
        """Volume of the false lesions."""

    @property
    def distances(self) -> SurfaceDistances:
        """Between the surfaces of two masks, neither of them empty."""

    @property
    def voxel_ml(self) -> float: ...

    @property
    def nsd_tolerance_mm(self) -> float: ...


@dataclass(frozen=True)
class Metric:
    """A metric of one label in one case.

    `best` is the score of two empty masks where these count as perfect (None: the value of `compute`). A metric of the
    group `surface` is computed where neither mask is empty; where one mask is empty, it has its `worst` value (None: the
    diagonal of the image in mm). `better` says whether a comparison prefers the `higher` or the `lower` value; a metric
    with `neither` is not compared. A difference within the `margin` does not matter; for a volume (`unit` mL) the margin is
    a share of the true volume.
    """

    name: str  # its key in summary.json
    title: str
    group: Group
    compute: Callable[[Masks], float]
    better: Literal["higher", "lower", "neither"]
    best: float | None
    worst: float | None
    unit: str = ""
    margin: float = MARGIN
    without_sign: bool = False  # compared as absolute values
    shows_interval: bool = False  # in tables; the JSON has an interval for every metric
    column: str = ""  # heading in a narrow table (default: the title and its unit)

    @property
    def heading(self) -> str:
        return self.column or f"{self.title} {self.unit}".rstrip()


METRICS: dict[str, Metric] = {}  # in the order of a table's columns


def register(metric: Metric) -> Metric:
    """Register a metric under its name. Raises ValueError where the name is already used."""
    if metric.name in METRICS:
        raise ValueError(f"metric {metric.name!r} is registered twice; choose another name")
    METRICS[metric.name] = metric
    return metric


def metrics_of(*groups: str) -> tuple[str, ...]:
    """Names of all metrics of some groups.

    >>> metrics_of("surface")
    ('hd_mm', 'hd95_mm', 'assd_mm', 'nsd')
    """
    return tuple(name for name, metric in METRICS.items() if metric.group in groups)


def overlap(truth: np.ndarray, predicted: np.ndarray) -> Overlap:
    """Counts of two bool masks of the same shape."""
    tp = int(np.count_nonzero(truth & predicted))
    return Overlap(tp, int(np.count_nonzero(predicted)) - tp, int(np.count_nonzero(truth)) - tp)


def dice(counts: Overlap) -> float:
    """2 tp / (2 tp + fp + fn), 0 to 1."""
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def iou(counts: Overlap) -> float:
    """tp / (tp + fp + fn), 0 to 1."""
    return _ratio(counts.tp, counts.tp + counts.fp + counts.fn)


def precision(counts: Overlap) -> float:
    """tp / (tp + fp); 0 where a true label is missed completely: otherwise misses would raise the mean."""
    return 0.0 if counts.tp + counts.fp == 0 and counts.fn else _ratio(counts.tp, counts.tp + counts.fp)


def sensitivity(counts: Overlap) -> float:
    """tp / (tp + fn); NaN where the truth is empty."""
    return _ratio(counts.tp, counts.tp + counts.fn)


def relative_volume_error(counts: Overlap) -> float:
    """(predicted - true) / true volume, from -1 on; NaN where the truth is empty."""
    return _ratio(counts.fp - counts.fn, counts.tp + counts.fn)


def hausdorff_mm(distances: SurfaceDistances, percent: float = 100.0) -> float:
    """The larger of the two directed percentiles of the distance: 100 is the Hausdorff distance, 95 is HD95."""
    return max(_percentile(distances.of_truth_mm, distances.truth_area, percent),
               _percentile(distances.of_predicted_mm, distances.predicted_area, percent))


def assd_mm(distances: SurfaceDistances) -> float:
    """Average symmetric surface distance: the mean over the area of both surfaces together."""
    moment = distances.of_truth_mm @ distances.truth_area + distances.of_predicted_mm @ distances.predicted_area
    return float(moment / (distances.truth_area.sum() + distances.predicted_area.sum()))


def nsd(distances: SurfaceDistances, tolerance_mm: float) -> float:
    """Normalised surface Dice: the share of both surfaces that lies within the tolerance of the other, 0 to 1."""
    tolerance_mm *= 1 + 1e-9  # five steps of 0.8 mm are 4 mm, whatever a rounding error says
    near = (distances.truth_area[distances.of_truth_mm <= tolerance_mm].sum()
            + distances.predicted_area[distances.of_predicted_mm <= tolerance_mm].sum())
    return float(near / (distances.truth_area.sum() + distances.predicted_area.sum()))


def diagonal_mm(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> float:
    """Diagonal of the image; an axis of one voxel has no extent."""
    sides = [size * spacing for size, spacing in zip(shape, spacing_mm, strict=True) if size > 1]
    return float(np.linalg.norm(sides))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _percentile(sorted_mm: np.ndarray, area: np.ndarray, percent: float) -> float:
    share = np.cumsum(area) / area.sum()
    return float(sorted_mm[min(int(np.searchsorted(share, percent / 100)), len(sorted_mm) - 1)])


def _volume_error_ml(masks: Masks) -> float:
    return (masks.overlap.fp - masks.overlap.fn) * masks.voxel_ml


for _metric in (
    Metric("dice", "Dice", "overlap", lambda masks: dice(masks.overlap), "higher", best=1.0, worst=0.0, shows_interval=True),
    Metric("iou", "IoU", "overlap", lambda masks: iou(masks.overlap), "higher", best=1.0, worst=0.0),
    Metric("precision", "precision", "overlap", lambda masks: precision(masks.overlap), "higher", best=1.0, worst=0.0),
    Metric("sensitivity", "sensitivity", "overlap", lambda masks: sensitivity(masks.overlap), "higher", best=1.0, worst=0.0),
    Metric("truth_ml", "truth", "volume", lambda masks: (masks.overlap.tp + masks.overlap.fn) * masks.voxel_ml, "neither",
           best=None, worst=None, unit="mL"),
    Metric("predicted_ml", "predicted", "volume", lambda masks: (masks.overlap.tp + masks.overlap.fp) * masks.voxel_ml,
           "neither", best=None, worst=None, unit="mL"),
    Metric("volume_error_ml", "volume error", "volume", _volume_error_ml, "lower", best=0.0, worst=None, unit="mL",
           without_sign=True, shows_interval=True, column="error mL"),
    Metric("relative_volume_error", "relative volume error", "volume", lambda masks: relative_volume_error(masks.overlap),
           "lower", best=0.0, worst=None, without_sign=True, column="relative error"),
    Metric("hd_mm", "HD", "surface", lambda masks: hausdorff_mm(masks.distances), "lower", best=0.0, worst=None, unit="mm",
           margin=0.1),
    Metric("hd95_mm", "HD95", "surface", lambda masks: hausdorff_mm(masks.distances, 95), "lower", best=0.0, worst=None,
           unit="mm", margin=0.1, shows_interval=True),
    Metric("assd_mm", "ASSD", "surface", lambda masks: assd_mm(masks.distances), "lower", best=0.0, worst=None, unit="mm",
           margin=0.1),
    Metric("nsd", "NSD", "surface", lambda masks: nsd(masks.distances, masks.nsd_tolerance_mm), "higher", best=1.0,
           worst=0.0, shows_interval=True),
    Metric("lesion_f1", "lesion F1", "detection", lambda masks: dice(masks.lesions), "higher", best=1.0, worst=0.0,
           shows_interval=True),
    Metric("lesion_recall", "lesion recall", "detection", lambda masks: sensitivity(masks.lesions), "higher", best=1.0,
           worst=0.0),
    Metric("lesion_precision", "lesion precision", "detection", lambda masks: precision(masks.lesions), "higher", best=1.0,
           worst=0.0),
    Metric("false_lesions", "false lesions per case", "detection", lambda masks: masks.lesions.fp, "lower", best=0,
           worst=None, margin=0.1),
    Metric("missed_ml", "missed lesions", "detection", lambda masks: masks.missed_ml, "lower", best=0, worst=None,
           unit="mL"),
    Metric("false_ml", "false lesions", "detection", lambda masks: masks.false_ml, "lower", best=0, worst=None,
           unit="mL"),
):
    register(_metric)
