"""What was compared to choose a model, and with which result: `selection.json`."""

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
    """Whether `challenger`, dearer than `holder` or with a step more, takes its place: only if significantly better."""

    holder: str
    challenger: str
    difference: PairedDifference  # challenger less holder, of the mean foreground Dice of each case
    accepted: bool


class CalibrationBin(Frozen):
    """Voxels whose confidence (the probability of the label they were given) lies between two limits."""

    low: float
    high: float
    n: int
    confidence: float | None  # their mean
    accuracy: float | None  # the share of them that is right


class Calibration(Frozen):
    """Expected calibration error over the voxels near a foreground, before and after the temperature."""

    temperature: float
    error_before: float
    error_after: float
    bins_before: tuple[CalibrationBin, ...]
    bins_after: tuple[CalibrationBin, ...]
    n_voxels: int


class CaseTrust(Frozen):
    """A cross-validation case: the Dice that was predicted for it by a rule that never saw it, and its true Dice."""

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
