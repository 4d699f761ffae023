"""What the service says of datasets and of their training. No name of a case is in it."""

from typing import Literal

from pydantic import Field

from planners.schema.base import Frozen
from planners.schema.fingerprint import IntensityStats

FoldState = Literal["not started", "starting", "running", "stopped", "finished"]
ReportState = Literal["none", "being made", "made", "failed"]


class ShownFold(Frozen):
    """One fold in a list. `dice`: the validation Dice of a finished fold, over its cases at full size; of another one that
    of patches, at its last epoch.
    """

    fold: str = Field(examples=["0"])
    state: FoldState
    iteration: int = 0
    iterations: int | None = None
    dice: float | None = None


class ShownModel(Frozen):
    """A configuration of a planner, and all folds that it has or may have. `is_planned`: whether folds can be started."""

    planner: str
    configuration: str
    is_planned: bool
    is_advised: bool = False  # to be trained first
    budget_seconds: float | None = None  # of each fold, as planned
    mean_dice: float | None = None  # of the finished folds
    folds: tuple[ShownFold, ...]


class ShownDataset(Frozen):
    """A dataset of the workspace. `fault` says why it cannot be read; then little else is known."""

    name: str
    number: int
    cases: int | None = None
    channels: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    has_fingerprint: bool = False
    models: tuple[ShownModel, ...] = ()
    report: ReportState = "none"
    report_made: float | None = None  # seconds since 1970
    fault: str = ""


class DatasetList(Frozen):
    """All datasets by number. `can_train`: whether this service starts and stops trainings."""

    datasets: tuple[ShownDataset, ...]
    can_train: bool


class Quartiles(Frozen):
    """Of all cases."""

    low: float
    quarter: float
    median: float
    three_quarters: float
    high: float


class ShownChannel(Frozen):
    """One channel over all cases; the intensities are those of the voxels that have a label, in the image's own unit."""

    name: str
    required: bool
    presence: float | None = None  # share of the cases that have it
    intensities: IntensityStats | None = None


class ShownLabel(Frozen):
    """One label over all cases: how many have it, and how large all of it is."""

    name: str
    cases: int | None = None
    volume_ml: float | None = None


class ShownFingerprint(Frozen):
    """A fingerprint in few numbers. Axes are those of the arrays, z, y, x, in the common orientation."""

    cases: int
    spacing_mm: tuple[Quartiles, Quartiles, Quartiles]
    shape: tuple[Quartiles, Quartiles, Quartiles]  # in voxels, after cropping
    channels: tuple[ShownChannel, ...]
    labels: tuple[ShownLabel, ...]
    conditions: tuple[str, ...] = ()  # columns of the clinical table that the models take
    orientation: str = ""


class DatasetDetails(Frozen):
    """A dataset with its fingerprint, if it was measured."""

    dataset: ShownDataset
    fingerprint: ShownFingerprint | None = None


class Curve(Frozen):
    """A training over time, at most 500 points: after `iterations[i]` steps the mean loss of the last epoch, the Dice of
    patches of the validation cases, and the learning rate. None where there was no such number.
    """

    iterations: tuple[int, ...] = ()
    train_loss: tuple[float | None, ...] = ()
    validation_dice: tuple[float | None, ...] = ()
    learning_rate: tuple[float | None, ...] = ()


class ShownTraining(Frozen):
    """The training of one fold. `device` is known where this service started it; `changed` is the time of its last epoch."""

    dataset: str
    planner: str
    configuration: str
    fold: str
    state: FoldState
    iteration: int = 0
    iterations: int | None = None
    seconds: float = 0.0
    seconds_left: float | None = None  # of a running one
    budget_seconds: float | None = None
    device: str = ""
    machine: str = ""  # that it runs on
    changed: float | None = None  # seconds since 1970
    dice: float | None = None  # as that of a fold in the list
    is_asked_to_finish: bool = False
    curve: Curve = Curve()
    fault: str = ""  # of a process that this service started, and that ended with a fault


class TrainingList(Frozen):
    """The folds that run, then those that ran last."""

    trainings: tuple[ShownTraining, ...]
    can_train: bool


class TrainingRequest(Frozen):
    """The fold to train, or to go on with. A budget makes a new plan for so many seconds, with validation."""

    dataset: str = Field(examples=["Dataset004_Hippocampus"], max_length=200)
    planner: str = Field(default="budgeted", max_length=100)
    configuration: str = Field(examples=["3d_fullres"], max_length=100)
    fold: str = Field(default="0", max_length=10, examples=["0", "all"])
    budget_seconds: float | None = Field(default=None, ge=60, le=30 * 86400)


class Log(Frozen):
    """The last lines of what a training printed, where this service or another process wrote it to a file."""

    lines: tuple[str, ...]


class ReportLink(Frozen):
    """An address that shows the report without a token, once and soon: a frame of the page cannot send one."""

    path: str
