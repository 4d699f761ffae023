"""Metrics of a pair of masks. Of two empty masks an overlap is NaN: what that means for a mean is decided elsewhere."""

from dataclasses import dataclass

import numpy as np

from autoseg.evaluation.surface import SurfaceDistances


@dataclass(frozen=True)
class Overlap:
    """Voxels that truth and prediction share (tp), that only the prediction has (fp), that only the truth has (fn)."""

    tp: int
    fp: int
    fn: int

    @property
    def is_empty(self) -> bool:
        return self.tp + self.fp + self.fn == 0


def overlap(truth: np.ndarray, predicted: np.ndarray) -> Overlap:
    """Counts of two bool masks of the same shape."""
    tp = int(np.count_nonzero(truth & predicted))
    return Overlap(tp, int(np.count_nonzero(predicted)) - tp, int(np.count_nonzero(truth)) - tp)


def dice(of: Overlap) -> float:
    """2 tp / (2 tp + fp + fn), 0 to 1."""
    return _ratio(2 * of.tp, 2 * of.tp + of.fp + of.fn)


def iou(of: Overlap) -> float:
    """tp / (tp + fp + fn), 0 to 1."""
    return _ratio(of.tp, of.tp + of.fp + of.fn)


def precision(of: Overlap) -> float:
    """tp / (tp + fp); 0 where nothing is predicted of what is there, or the mean would rise with every miss."""
    return 0.0 if of.tp + of.fp == 0 and of.fn else _ratio(of.tp, of.tp + of.fp)


def sensitivity(of: Overlap) -> float:
    """tp / (tp + fn); NaN where the truth is empty: there was nothing to find."""
    return _ratio(of.tp, of.tp + of.fn)


def relative_volume_error(of: Overlap) -> float:
    """(predicted - true) / true volume, -1 and up; NaN where the truth is empty, of which no error is a share."""
    return _ratio(of.fp - of.fn, of.tp + of.fn)


def hausdorff_mm(distances: SurfaceDistances, percent: float = 100.0) -> float:
    """The larger of the two directed percentiles of the distance; 100: the Hausdorff distance, 95: HD95."""
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
    return float(sorted_mm[min(np.searchsorted(share, percent / 100), len(sorted_mm) - 1)])
