"""What was compared to choose a model, and with which result: `selection.json`."""

from autoseg.evaluate.calibration import Calibration
from autoseg.evaluate.compare import PairedDifference
from autoseg.evaluate.types import Summary
from autoseg.predict.inference import Inference, Member
from planners.base import Frozen


class Candidate(Frozen):
    """One configuration, or several as an ensemble, scored on every cross-validation case by the folds that never saw it."""

    members: tuple[Member, ...]
    scores: Summary
    cost: float  # of predicting a case, by arithmetic, in FLOPs of all members together

    @property
    def title(self) -> str:
        return " + ".join(member.title for member in self.members)


class Comparison(Frozen):
    """Whether `challenger`, dearer than `holder` or with a step more, takes its place: only if it is `better`.

    `difference` is of the mean foreground Dice of each case, in which a label that is rightly absent counts 1.
    """

    holder: str
    challenger: str
    difference: PairedDifference  # challenger less holder
    accepted: bool


class CaseTrust(Frozen):
    """A cross-validation case: the Dice that was predicted for it by a rule that never saw its fold, and its true Dice.

    `true_dice` counts a label that is rightly absent as 1.
    """

    name: str
    predicted_dice: float
    true_dice: float | None
    look: bool


class Selection(Frozen):
    """Everything that led to `inference`; the scores of what was chosen, postprocessing included, are `final`."""

    schema_version: int = 1
    dataset: str
    n_cases: int
    candidates: tuple[Candidate, ...]
    comparisons: tuple[Comparison, ...]
    postprocessing: tuple[Comparison, ...]
    calibration: Calibration | None = None
    cases: tuple[CaseTrust, ...] = ()
    final: Summary
    inference: Inference
    notes: tuple[str, ...] = ()  # what could not be compared, and why
