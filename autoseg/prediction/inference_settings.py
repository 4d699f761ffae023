"""What a prediction uses: which models together, what is done to their masks, and which cases need review."""

from pydantic import Field

from planners.schema.base import Frozen, formerly, versioned
from planners.schema.names import Name


class Member(Frozen):
    """The folds of one configuration, whose logits are averaged.

    `digests` are of the folds' weights, in their order, so that a fold that was trained again since is noticed. `previous`
    is the earlier stage of a cascade, whose finished folds predict together, too.
    """

    planner: Name
    configuration: Name
    folds: tuple[Name, ...]
    digests: tuple[str, ...] = ()
    previous: "Member | None" = None

    @property
    def title(self) -> str:
        return f"{self.configuration} ({self.planner})"


class Postprocessing(Frozen):
    """What is done to a label map, in this order (`prediction.postprocess`); names are those of the foreground. Nothing by
    default.
    """

    keep_largest_of_all: bool = False  # of the whole foreground, the largest component
    keep_largest: tuple[str, ...] = ()  # of each of these, the largest component
    fill_holes: tuple[str, ...] = ()
    minimum_ml: dict[str, float] = Field(default_factory=dict)  # name -> smaller components become background


class FoldPostprocessing(Frozen):
    """`postprocessing.json` of a fold: what is done to masks that this fold predicts alone.

    It was chosen on the fold's validation cases, of which there are `n_cases`, for the weights with this `digest`.
    """

    schema_version: int = versioned(1)
    digest: str
    n_cases: int
    postprocessing: Postprocessing
    reasons: tuple[str, ...] = ()


class QualityControl(Frozen):
    """How the Dice of a case is predicted without its truth, and below which value the case needs review.

    predicted Dice = intercept + slope * expected Dice, clipped to 0..1; the expected Dice of a mask follows from the
    probabilities of its model (`prediction.uncertainty`). Of several models each has its own, and their
    mean counts. `correlation` is of cases that the rule never saw; docs/decisions/0013-quality-control.md.
    """

    temperature: float = Field(gt=0)  # of calibrated probabilities, in entropy and disagreement: logits are divided by it
    intercept: float
    slope: float
    # A case of a lower predicted Dice needs review.
    review_below: float = Field(validation_alias=formerly("review_below", "look_below"))
    correlation: float | None  # of predicted and true Dice over the cross-validation cases (Pearson)
    n: int


class Adaptation(Frozen):
    """How a copy of a network is adapted to the case that it predicts (`prediction.adapt`): an experiment, off by default.

    Each epoch is one step of AdamW on `patches` patches, each seen twice: turned by up to `rotation_degrees` about each
    axis, scaled, and its intensities multiplied by a `gain`.
    """

    seed: int = 0
    epochs: int = Field(default=12, ge=1)
    patches: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=1e-5, gt=0)
    rotation_degrees: float = Field(default=15.0, ge=0, le=45)
    scaling: tuple[float, float] = (0.9, 1.1)
    gain: tuple[float, float] = (0.9, 1.1)


class InferenceSettings(Frozen):
    """`inference.json`: the answer of a dataset's cross-validation to how new cases are to be predicted."""

    schema_version: int = versioned(1)
    dataset: str
    members: tuple[Member, ...] = Field(min_length=1)
    postprocessing: Postprocessing = Postprocessing()
    quality_control: QualityControl | None = Field(default=None, validation_alias=formerly("quality_control", "trust"))
    reasons: tuple[str, ...] = ()
