"""The comparisons behind the choice of a model, and their results: `selection.json`."""

from pydantic import Field

from autoseg.evaluation.calibration import Calibration
from autoseg.evaluation.statistics import PairedDifference
from autoseg.evaluation.types import Summary
from autoseg.prediction.inference_settings import InferenceSettings, Member
from planners.schema.base import Frozen, formerly, versioned


class Candidate(Frozen):
    """One configuration, or several as an ensemble. Each cross-validation case is scored with the fold that never saw it."""

    members: tuple[Member, ...]
    scores: Summary
    cost: float  # FLOPs per predicted case, by arithmetic, of all members together

    @property
    def title(self) -> str:
        return " + ".join(member.title for member in self.members)


class Comparison(Frozen):
    """Whether `candidate` replaces `incumbent`. The candidate is costlier or has one more step, so it must be better.

    `difference` is that of the mean foreground Dice per case, in which a label that is rightly absent counts 1.
    """

    incumbent: str = Field(validation_alias=formerly("incumbent", "holder"))
    candidate: str = Field(validation_alias=formerly("candidate", "challenger"))
    difference: PairedDifference  # candidate less incumbent
    accepted: bool


class CaseEstimate(Frozen):
    """A cross-validation case: its Dice as predicted by a rule that never saw its fold, and its true Dice.

    `true_dice` counts a label that is rightly absent as 1.
    """

    name: str
    predicted_dice: float
    true_dice: float | None
    needs_review: bool = Field(validation_alias=formerly("needs_review", "look"))


class Selection(Frozen):
    """Everything that led to `inference`; `final` holds the scores of the choice, postprocessing included."""

    schema_version: int = versioned(1)
    dataset: str
    n_cases: int
    candidates: tuple[Candidate, ...]
    comparisons: tuple[Comparison, ...]
    postprocessing: tuple[Comparison, ...]
    calibration: Calibration | None = None
    cases: tuple[CaseEstimate, ...] = ()
    final: Summary
    inference: InferenceSettings
    notes: tuple[str, ...] = ()  # what could not be compared, and the reason
