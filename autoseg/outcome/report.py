"""What `outcome.json` says of an outcome: its models with their scores, which of them predicts, and what to doubt."""

from autoseg.base.version import __version__
from autoseg.clinical.outcomes import OutcomeSpec
from autoseg.evaluation.outcome_scores import CategoryScores, NumberScores, OutcomeScores, SurvivalScores
from autoseg.evaluation.resampling import OutcomeScore, PermutationControl, ScoreDifference
from autoseg.outcome.fitted import Coefficient
from planners.schema.base import Frozen, versioned

NULL = "null"  # the model that knows nothing of a case


class ModelOfOutcome(Frozen):
    """A model's out-of-fold scores, and by how much it is better than the reference."""

    name: str
    baseline: bool
    blocks: tuple[str, ...]  # that it read
    scores: OutcomeScores
    against_reference: tuple[ScoreDifference, ...] = ()
    coefficients: tuple[Coefficient, ...] = ()  # of the fit to all cases


class OutcomeReport(Frozen):
    """`n_events` are those of survival, the cases of the rarest category, or the cases. `refitted` is the score of the model
    that predicts, fitted anew to shuffled outcomes.
    """

    schema_version: int = versioned(1)
    autoseg_version: str = __version__
    dataset: str
    planner: str
    configuration: str
    outcome: str
    spec: OutcomeSpec
    n_cases: int
    n_events: int
    n_folds: int
    seed: int
    lesion: str
    blocks: dict[str, int]  # the number of features of each
    models: tuple[ModelOfOutcome, ...]
    skipped: tuple[str, ...] = ()
    reference: str = NULL
    predicts: str = NULL
    why: str = ""
    refitted: OutcomeScore | None = None
    warnings: tuple[str, ...] = ()

    def model(self, name: str) -> ModelOfOutcome:
        return next(model for model in self.models if model.name == name)


def order_of(scores: SurvivalScores | CategoryScores | NumberScores) -> tuple[str, OutcomeScore, PermutationControl]:
    """The score by which models are compared: its name, its value, and its control with the score of chance."""
    if isinstance(scores, SurvivalScores):
        return "C-index", scores.concordance, scores.permutation
    if isinstance(scores, CategoryScores):
        return "AUROC", scores.auroc, scores.permutation
    return "rank correlation", scores.rank_correlation, scores.permutation


def chance_of(scores: SurvivalScores | CategoryScores | NumberScores) -> float:
    return 0.0 if isinstance(scores, NumberScores) else 0.5


def above_chance(scores: SurvivalScores | CategoryScores | NumberScores) -> bool:
    """Whether the whole interval lies above what a model has that knows nothing."""
    low = order_of(scores)[1].low
    return low is not None and low > chance_of(scores)


def with_interval(score: OutcomeScore) -> str:
    """`0.61 (0.45 to 0.74)`, or why there is none."""
    if score.value is None:
        return score.reason or "not defined"
    if score.low is None or score.high is None:
        return f"{score.value:.3f}"
    return f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"
