"""What is said of a model of an outcome: scores with intervals, controls, curves and warnings; parts of `outcome.json`."""

from typing import Annotated, Literal

from pydantic import Field

from autoseg.clinical.outcomes import FEW_EVENTS
from autoseg.evaluation.classification import RocCurve
from autoseg.evaluation.outcome_calibration import OutcomeCalibration
from autoseg.evaluation.resampling import OutcomeScore, PermutationControl
from autoseg.evaluation.survival_curves import RiskGroups
from planners.schema.base import Frozen

# Beyond these, published models are rare whose input did not know the outcome.
SUSPECT_CONCORDANCE = 0.85
SUSPECT_AUROC = 0.95


class ScoreAt(Frozen):
    """A score at a time, in the unit of the table."""

    time: float
    score: OutcomeScore


class SurvivalScores(Frozen):
    """Out-of-fold scores of survival. `tau` limits the weighted C-index; `brier_span` is the span of the integral."""

    kind: Literal["survival"] = "survival"
    n_cases: int
    n_events: int
    concordance: OutcomeScore
    concordance_ipcw: OutcomeScore
    tau: float | None
    auc: tuple[ScoreAt, ...]
    brier: tuple[ScoreAt, ...]
    integrated_brier: OutcomeScore
    brier_span: tuple[float, float] | None
    calibration: OutcomeCalibration
    risk_groups: RiskGroups
    permutation: PermutationControl  # of the C-index
    warnings: tuple[str, ...]


class CategoryScore(Frozen):
    """One category against the others. `prevalence` is the average precision of a model that knows nothing."""

    name: str
    n: int
    prevalence: float
    auroc: OutcomeScore
    average_precision: OutcomeScore
    calibration: OutcomeCalibration
    roc: RocCurve | None


class CategoryScores(Frozen):
    """Out-of-fold scores of categories. Of two categories, `categories` has the second alone, which counts as positive."""

    kind: Literal["category"] = "category"
    n_cases: int
    auroc: OutcomeScore  # of more than two categories the mean of those that occur
    brier: OutcomeScore
    balanced_accuracy: OutcomeScore
    categories: tuple[CategoryScore, ...]
    permutation: PermutationControl  # of `auroc`
    warnings: tuple[str, ...]


class NumberScores(Frozen):
    """Out-of-fold scores of a number, errors in its unit."""

    kind: Literal["number"] = "number"
    n_cases: int
    mean_absolute_error: OutcomeScore
    root_mean_square_error: OutcomeScore
    r_squared: OutcomeScore
    rank_correlation: OutcomeScore
    permutation: PermutationControl  # of `rank_correlation`; its chance is 0
    warnings: tuple[str, ...]


OutcomeScores = Annotated[SurvivalScores | CategoryScores | NumberScores, Field(discriminator="kind")]


def few_events(n: int, what: str, which: str = "") -> tuple[str, ...]:
    """The warning where there are fewer than ten of `what` ("event", "case")."""
    if n >= FEW_EVENTS:
        return ()
    return (f"{n} {what}{'' if n == 1 else 's'}{which}: with fewer than {FEW_EVENTS}, no score says much, and "
            "its interval is a rough guess",)


def suspect_leakage(score: OutcomeScore, name: str, limit: float) -> tuple[str, ...]:
    """The warning where a score is better than what outcomes allow for."""
    if score.value is None or score.value <= limit:
        return ()
    return (f"{name} {score.value:.3f} is above {limit:g}: suspect leakage. Does a column, or an image taken later, know "
            "the outcome? Are cases of one patient in several folds?",)
