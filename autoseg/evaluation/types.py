"""What is measured, and the scores of a label, a case and a set of cases. A value that is not defined is None."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from autoseg.evaluation.metrics import METRICS, metrics_of
from autoseg.evaluation.surface import Surface
from planners.schema.base import Frozen, versioned

SCHEMA_VERSION = 1

# Groups of metrics. `accuracy` is voxel accuracy; it has no metric per label.
GROUPS = ("overlap", "volume", "surface", "detection", "accuracy")

# Written in every score file, because tools differ by more than 100 mm in HD (Podobnik et al. 2024).
SURFACE_DEFINITIONS: dict[Surface, str] = {
    "mesh": "marching-cubes mesh with staircases smoothed, exact distances weighted by area",
    "surfel": "marching-cubes surfels weighted by area, as in Nikolov et al. 2018 (surface-distance)"}


class DetectionRule(Frozen):
    """When a lesion counts as found. Lesions are components whose voxels share a corner (26), an edge (18) or a face (6).

    `matching`: lesions match `one_to_one` from an IoU of `min_iou`; or a true lesion is found by `any_overlap`, and a
    predicted lesion is false if it meets no true one. `dilation` is for `any_overlap`: true lesions are dilated by so many
    steps (18 neighbours); those that touch then are one lesion, which predictions meet within this distance.
    `min_mm3`: a smaller true lesion is neither found nor missed. A smaller predicted lesion that meets nothing is false
    (`small_false` is `count`), or is counted apart (`leave_out`). `sizes_ml` are the limits between the size classes for
    which recall is reported, by the volume of the true lesion. The default limits 0.1, 1 and 10 mL are balls of 5.8, 12.4
    and 26.7 mm diameter.
    """

    matching: Literal["one_to_one", "any_overlap"] = "one_to_one"
    min_iou: float = Field(default=0.1, gt=0, le=1)
    connectivity: Literal[6, 18, 26] = 26
    dilation: int = Field(default=0, ge=0)
    min_mm3: float = Field(default=0.0, ge=0)
    small_false: Literal["count", "leave_out"] = "count"
    sizes_ml: tuple[float, ...] = (0.1, 1.0, 10.0)

    @field_validator("sizes_ml")
    @classmethod
    def _check(cls, sizes_ml: tuple[float, ...]) -> tuple[float, ...]:
        if any(low >= high for low, high in itertools.pairwise((0.0, *sizes_ml))):
            raise ValueError("sizes of lesions must be above zero and increase")
        return sizes_ml

    @model_validator(mode="after")
    def _fits(self) -> "DetectionRule":
        if self.dilation and self.matching == "one_to_one":
            raise ValueError("true lesions are dilated only where any overlap counts")
        if self.matching == "any_overlap" and "min_iou" in self.model_fields_set and self.min_iou != 0.1:
            raise ValueError("an IoU is not asked for where any overlap counts")
        return self


# What challenges and packages count (sources in docs/reference/metrics.md). BraTS drops true lesions of 50 mm^3 and less.
DETECTION_RULES = {
    "one_to_one": DetectionRule(),
    "brats": DetectionRule(matching="any_overlap", dilation=3, min_mm3=50.00001),
    "isles": DetectionRule(matching="any_overlap"),
    "autopet": DetectionRule(matching="any_overlap", connectivity=18),
    "panoptica": DetectionRule(min_iou=0.5),
}


class Scoring(Frozen):
    """What is measured and how.

    `empty` is the policy for two empty masks: `nan` leaves the case out of the mean and counts it, `one` gives the best
    value. Where only one mask is empty, overlaps are 0 and distances are the diagonal of the image in both policies.
    Volumes are always defined. False lesions are too, so that false alarms in healthy cases count.
    """

    metrics: tuple[str, ...] = Field(default_factory=lambda: metrics_of("overlap", "volume"))
    voxel_accuracy: bool = False
    empty: Literal["nan", "one"] = "nan"
    nsd_tolerance_mm: float = Field(default=2.0, ge=0)
    nsd_tolerance_mm_of: dict[str, float] = Field(default_factory=dict)  # label name -> its own tolerance
    surface: Surface = "mesh"
    detection: DetectionRule = DetectionRule()

    @field_validator("metrics")
    @classmethod
    def _check(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        return _registered(metrics)


def _with_earlier_rules(scoring: Any) -> Any:
    """What a file says; one without `surface` is of a version that had surfels only, and left small false lesions out."""
    if not isinstance(scoring, dict) or "surface" in scoring:
        return scoring
    return {**scoring, "surface": "surfel", "detection": {"small_false": "leave_out", **scoring.get("detection", {})}}


StoredScoring = Annotated[Scoring, BeforeValidator(_with_earlier_rules)]


def scoring_of(groups: Sequence[str], **changes: Any) -> Scoring:
    """The scoring with all metrics of some groups, and other changes of the default.

    >>> scoring_of(["surface"], nsd_tolerance_mm=1).metrics
    ('hd_mm', 'hd95_mm', 'assd_mm', 'nsd')
    """
    return Scoring(metrics=metrics_of(*groups), voxel_accuracy="accuracy" in groups, **changes)


class SizeClass(Frozen):
    """True lesions from `low_ml` up to, not including, `high_ml` (None: no limit), and how many of them were found."""

    low_ml: float
    high_ml: float | None
    n: int
    found: int

    @property
    def recall(self) -> float | None:
        return self.found / self.n if self.n else None


class Detection(Frozen):
    """Found lesions (tp), false lesions (fp) and missed lesions (fn); recall by size. Of one case, or summed over cases.

    `small_lesions` (true) and `small_false` (predicted) are below the minimum size and are left out of these. The volumes
    of missed and false lesions are those of the lesions that count; None in files of versions that did not measure them.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    sizes: tuple[SizeClass, ...]
    small_lesions: int = 0
    small_false: int = 0
    missed_ml: float | None = None
    false_ml: float | None = None


class LabelScore(Frozen):
    """One label or region of one case. Counts are of voxels; volumes are those of the whole mask.

    In JSON every other registered metric is one more key; its value is null where it was not asked for or not defined.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int | float | None] = Field(init=False)

    name: str
    true_positives: int
    false_positives: int
    false_negatives: int
    truth_ml: float
    predicted_ml: float
    volume_error_ml: float  # predicted less truth
    annotated: bool = True  # False: the label was not annotated in this case and is part of no mean
    detection: Detection | None = None

    @model_validator(mode="after")
    def _check(self) -> "LabelScore":
        _registered(self.__pydantic_extra__)
        return self

    def value(self, metric: str) -> float | None:
        """The value of a metric; None where it was not asked for, is not defined, or the label was not annotated."""
        if not self.annotated:
            return None
        return self.__pydantic_extra__[metric] if metric in self.__pydantic_extra__ else self.__dict__.get(metric)

    @property
    def dice(self) -> float | None:
        return self.value("dice")

    @property
    def is_empty(self) -> bool:
        """Neither the truth nor the prediction has the label."""
        return self.true_positives + self.false_positives + self.false_negatives == 0


class VoxelAccuracy(Frozen):
    """The share of voxels with the right label, and the share that a prediction of background alone would get right.

    Both are always shown together: where nine voxels in ten are background, an accuracy of 0.9 means nothing.
    """

    accuracy: float
    background_only: float


class CaseScore(Frozen):
    """One case: a score per foreground name, in declared order."""

    name: str
    labels: tuple[LabelScore, ...]
    voxels: VoxelAccuracy | None = None

    @property
    def mean_dice(self) -> float | None:
        """Mean over the labels whose Dice is defined."""
        return mean([label.dice for label in self.labels]).value


class Mean(Frozen):
    """A mean over `n` values; None for n = 0. `low` to `high` is its 95 % bootstrap interval over two or more cases."""

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None


class LabelSummary(Frozen):
    """One label over all scored cases: one mean per metric; `n_empty` cases have it in neither mask."""

    name: str
    n_empty: int
    means: dict[str, Mean]
    detection: Detection | None = None  # lesions of all cases together


class AccuracySummary(Frozen):
    """Means over cases of the voxel accuracy and of the accuracy of background alone."""

    accuracy: Mean
    background_only: Mean


class Summary(Frozen):
    """Scores of a set of cases. `foreground_means` are the means over labels of their means over cases.

    `faults` lists every case that could not be scored, `warnings` every prediction without a label; none is part of a mean.
    """

    schema_version: int = versioned(SCHEMA_VERSION)
    scoring: StoredScoring
    surface_definition: str = SURFACE_DEFINITIONS["mesh"]
    n_cases: int
    foreground_means: dict[str, Mean]
    voxels: AccuracySummary | None = None
    labels: tuple[LabelSummary, ...]
    cases: tuple[CaseScore, ...]
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def mean(values: list[float | None]) -> Mean:
    """The mean of the values that are defined.

    >>> mean([0.5, None, 1.0])
    Mean(value=0.75, n=2, low=None, high=None)
    """
    known = [value for value in values if value is not None]
    return Mean(value=sum(known) / len(known) if known else None, n=len(known))


def _registered(metrics: Iterable[str]) -> tuple[str, ...]:
    """The names. Raises ValueError for an unknown metric, such as one of a plug-in that is not loaded."""
    names = tuple(metrics)
    if unknown := [name for name in names if name not in METRICS]:
        raise ValueError(f"unknown metric {', '.join(unknown)}; known: {', '.join(METRICS)}")
    return names
