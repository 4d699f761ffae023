"""What was compared to choose a model, and with which result: `selection.json`."""

from pydantic import Field

from autoseg.evaluation.calibration import Calibration
from autoseg.evaluation.statistics import PairedDifference
from autoseg.evaluation.types import Summary
from autoseg.prediction.inference_settings import InferenceSettings, Member
from planners.schema.base import Frozen, formerly


class Candidate(Frozen):
    """One configuration, or several as an ensemble, scored on every cross-validation case by the folds that never saw it."""

    members: tuple[Member, ...]
    scores: Summary
    cost: float  # of predicting a case, by arithmetic, in FLOPs of all members together

    @property
    def title(self) -> str:
        return " + ".join(member.title for member in self.members)


class Comparison(Frozen):
    """Whether `candidate`, costlier than `incumbent` or with a step more, takes its place: only if it is `better`.

    `difference` is of the mean foreground Dice of each case, in which a label that is rightly absent counts 1.
    """

    incumbent: str = Field(validation_alias=formerly("incumbent", "holder"))
    candidate: str = Field(validation_alias=formerly("candidate", "challenger"))
    difference: PairedDifference  # candidate less incumbent
    accepted: bool


class CaseEstimate(Frozen):
    """A cross-validation case: the Dice that was predicted for it by a rule that never saw its fold, and its true Dice.

    `true_dice` counts a label that is rightly absent as 1.
    """

    name: str
    predicted_dice: float
    true_dice: float | None
    needs_review: bool = Field(validation_alias=formerly("needs_review", "look"))


class Selection(Frozen):
    """Everything that led to `inference`; the scores of what was chosen, postprocessing included, are `final`."""

    schema_version: int = 1
    dataset: str
    n_cases: int
    candidates: tuple[Candidate, ...]
    comparisons: tuple[Comparison, ...]
    postprocessing: tuple[Comparison, ...]
    calibration: Calibration | None = None
    cases: tuple[CaseEstimate, ...] = ()
    final: Summary
    inference: InferenceSettings
    notes: tuple[str, ...] = ()  # what could not be compared, and why
