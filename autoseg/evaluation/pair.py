"""The truth and the prediction of a case, and what metrics ask about one of its labels, computed at the first use."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autoseg.evaluation.detection import detect, no_lesions
from autoseg.evaluation.metrics import Metric, Overlap, diagonal_mm
from autoseg.evaluation.surface import SurfaceDistances, surface_distances
from autoseg.evaluation.types import Detection, Scoring
from autoseg.grids.boxes import Box, cropped_masks, label_boxes
from autoseg.grids.geometry import Geometry


@dataclass(frozen=True)
class CasePair:
    """Truth and prediction, cropped to the voxels that are not background in either; `shape` is that of the whole image."""

    truth_DHW: np.ndarray
    predicted_DHW: np.ndarray
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    ignore: int | None
    scoring: Scoring

    @cached_property
    def voxel_ml(self) -> float:
        """Volume of a voxel. A 2D image, recognised by its spacing, counts as a slice of 1 mm thickness (see Geometry)."""
        flat = self.shape[0] == 1 and self.spacing_mm[0] >= 900 * max(self.spacing_mm[1:])
        return Geometry(self.shape, self.spacing_mm, dimensions=2 if flat else 3).voxel_ml()

    @cached_property
    def boxes(self) -> dict[int, list[Box]]:
        return label_boxes(self.truth_DHW, self.predicted_DHW)


@dataclass(frozen=True)
class LabelPair:
    """The two masks of one label; see `metrics.Masks`."""

    case: CasePair
    label: str
    values: tuple[int, ...]
    overlap: Overlap

    @property
    def voxel_ml(self) -> float:
        return self.case.voxel_ml

    @property
    def nsd_tolerance_mm(self) -> float:
        scoring = self.case.scoring
        return scoring.nsd_tolerance_mm_of.get(self.label, scoring.nsd_tolerance_mm)

    @cached_property
    def masks(self) -> tuple[np.ndarray, np.ndarray]:
        """Truth and prediction (bool) within the box that holds both; not defined for two empty masks."""
        return cropped_masks(self.case.truth_DHW, self.case.predicted_DHW, self.values, self.case.ignore, self.case.boxes)

    @cached_property
    def distances(self) -> SurfaceDistances:
        return surface_distances(*self.masks, self.case.spacing_mm, self.case.shape, surface=self.case.scoring.surface)

    @cached_property
    def detection(self) -> Detection:
        rule = self.case.scoring.detection
        if self.overlap.is_empty:
            return no_lesions(rule)
        truth, predicted = self.masks
        return detect(truth, predicted, self.case.voxel_ml, rule)

    @property
    def lesions(self) -> Overlap:
        return Overlap(self.detection.true_positives, self.detection.false_positives, self.detection.false_negatives)

    @property
    def missed_ml(self) -> float:
        return math.nan if self.detection.missed_ml is None else self.detection.missed_ml

    @property
    def false_ml(self) -> float:
        return math.nan if self.detection.false_ml is None else self.detection.false_ml

    def measure(self, metric: Metric) -> float:
        """The value of a metric, by the policy for empty masks; NaN where it is not defined."""
        if self.overlap.is_empty and metric.best is not None and self.case.scoring.empty == "one":
            return metric.best
        if metric.group != "surface":
            return metric.compute(self)
        if self.overlap.is_empty:
            return math.nan
        if self.overlap.tp + self.overlap.fn and self.overlap.tp + self.overlap.fp:
            return metric.compute(self)
        return diagonal_mm(self.case.shape, self.case.spacing_mm) if metric.worst is None else metric.worst
