"""What is measured, and the scores of a label, a case and a set of cases. A value that is not defined is None."""

from typing import Literal

from pydantic import Field

from planners.base import Frozen

SCHEMA_VERSION = 1

Metric = Literal["dice", "iou", "precision", "sensitivity", "volume_error_ml", "hd_mm", "hd95_mm", "assd_mm", "nsd"]
OVERLAP_METRICS: tuple[Metric, ...] = ("dice", "iou", "precision", "sensitivity", "volume_error_ml")
SURFACE_METRICS: tuple[Metric, ...] = ("hd_mm", "hd95_mm", "assd_mm", "nsd")  # a hundred times slower

# Every score file says it, because tools differ by more than 100 mm in HD (Podobnik et al. 2024).
SURFACE_DEFINITION = "marching-cubes surfels weighted by area, as in Nikolov et al. 2018 (surface-distance)"


class Scoring(Frozen):
    """What is measured and how.

    `empty` says what two empty masks score: `nan` leaves the case out of the mean and counts it, `one` gives the best
    value. Where one mask only is empty, overlaps are 0 and distances the image's diagonal in both policies.
    """

    metrics: tuple[Metric, ...] = OVERLAP_METRICS
    empty: Literal["nan", "one"] = "nan"
    nsd_tolerance_mm: float = Field(default=2.0, ge=0)
    nsd_tolerance_mm_of: dict[str, float] = Field(default_factory=dict)  # label name -> its own tolerance


class LabelScore(Frozen):
    """One label or region of one case. Counts are of voxels; volumes are those of the whole mask."""

    name: str
    true_positives: int
    false_positives: int
    false_negatives: int
    truth_ml: float
    predicted_ml: float
    volume_error_ml: float  # predicted less truth
    dice: float | None = None
    iou: float | None = None
    precision: float | None = None
    sensitivity: float | None = None
    hd_mm: float | None = None
    hd95_mm: float | None = None
    assd_mm: float | None = None
    nsd: float | None = None

    @property
    def is_empty(self) -> bool:
        """Neither the truth nor the prediction has the label."""
        return self.true_positives + self.false_positives + self.false_negatives == 0


class CaseScore(Frozen):
    """One case: a score a foreground name, in declared order."""

    name: str
    labels: tuple[LabelScore, ...]

    @property
    def mean_dice(self) -> float | None:
        """Mean over the labels whose Dice is defined."""
        return mean([label.dice for label in self.labels]).value


class Mean(Frozen):
    """A mean and of how many values; None of none."""

    value: float | None
    n: int


class LabelSummary(Frozen):
    """One label over all scored cases: a mean a metric, and how many cases neither have nor predict it."""

    name: str
    n_empty: int
    means: dict[Metric, Mean]


class Summary(Frozen):
    """Scores of a set of cases. `foreground_means` are the means over labels of their means over cases.

    `faults` names every case that could not be scored, `warnings` what was left aside; neither is part of a mean.
    """

    schema_version: int = SCHEMA_VERSION
    scoring: Scoring
    surface_definition: str = SURFACE_DEFINITION
    n_cases: int
    foreground_means: dict[Metric, Mean]
    labels: tuple[LabelSummary, ...]
    cases: tuple[CaseScore, ...]
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def mean(values: list[float | None]) -> Mean:
    """The mean of the values that are defined.

    >>> mean([0.5, None, 1.0])
    Mean(value=0.75, n=2)
    """
    known = [value for value in values if value is not None]
    return Mean(value=sum(known) / len(known) if known else None, n=len(known))
