"""Every decision of a run, as data: written as JSON that a person can read and edit.

Axes are in the transposed order of the plan: `transpose` says which array axis (z, y, x) comes first, second, third, once
a case has the plan's `orientation`.
A 2D configuration has two axes, the last two of the transposed order.
"""

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import Field, model_validator

from planners.architectures import Architecture
from planners.schema.base import FILE_DIGEST, Frozen, Part, formerly, versioned
from planners.schema.ceiling import Ceiling
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionTable
from planners.schema.fingerprint import IntensityStats
from planners.schema.labels import LabelSpec
from planners.schema.names import FileEnding, Name
from planners.schema.phases import Phases

SCHEMA_VERSION = 1

# Fields of a configuration by the names that version 0.1 gave them: its plans and its `--set` are still understood.
FORMER_FIELDS = {"topology": "architecture", "hiding": "input_dropout"}
FORMER_ARCHITECTURE_FIELDS = {"encoder": "block"}  # of development versions
Iterations = TypeVar("Iterations", int, int | None)


class Resampling(Frozen):
    """Spline orders of resampling; `order_z` is used across slices where a case or the plan is anisotropic."""

    order_image: int = 3
    order_label: int = 1
    order_logits: int = 1
    order_z: int = 0
    anisotropy_threshold: float = 3.0


class ScheduleOf(Frozen, Generic[Iterations]):
    """How long and how a fold trains: a `Schedule` of a plan, or a `ResolvedSchedule` of a training."""

    iterations: Iterations = Field(default=None, gt=0, validate_default=True)
    budget_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    iterations_per_epoch: int = Field(default=250, gt=0)
    optimizer: Part = Part(name="sgd")
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    decay: Literal["poly", "cosine", "stable", "constant"] = "poly"
    decay_share: float = Field(default=0.25, gt=0, lt=1)  # of the iterations, at the end; only `stable` reads it
    warmup_iterations: int = Field(default=0, ge=0)
    warmup_share: float = Field(default=0.0, ge=0, lt=1)  # of the iterations, the warm-up takes at least
    clip_norm: float = Field(default=12.0, gt=0)
    ema: float = Field(default=0.0, ge=0, lt=1)  # decay of the weight average that is validated; 0: none
    foreground_share: float = Field(default=1 / 3, ge=0, le=1)  # of a batch's patches that are centred on foreground
    validation_mirroring: bool = True  # at the end; a short budget may not afford it
    phases: Phases = ()  # with patches or batches of other sizes; empty: the plan's from start to end
    deterministic: bool = False  # nothing follows from the clock, and torch takes algorithms that repeat their result


# `iterations=None` means: as many as `budget_seconds` allows, once the throughput is measured.
Schedule = ScheduleOf[int | None]
ResolvedSchedule = ScheduleOf[int]


Probability = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# Of n mirrored axes, `alternating` shows the 2**n mirrored forms of a case one after the other, then again.
MirrorViews = Literal["random", "alternating"]


class InputDropout(Frozen):
    """What training hides, swaps and displaces of the inputs, so that a model can do without them.

    `channels` is, per channel, the probability that a present one is hidden in a sample (at least one stays); empty: none
    is. `row` hides all conditions of a sample, `column` each of them. Of the conditions `swap` a sample has, each with
    probability `p_swap`, those of another patient. `shift_voxels` is, per channel, the largest displacement along each axis
    of the patch, which a sample has with probability `p_shift`; empty: none is displaced.
    """

    channels: tuple[Probability, ...] = ()
    row: Probability = 0.0
    column: Probability = 0.0
    swap: tuple[str, ...] = ()
    p_swap: Probability = 0.0
    shift_voxels: tuple[Annotated[float, Field(ge=0)], ...] = ()
    p_shift: Probability = 0.0


class Transfer(Frozen):
    """A training that begins with the weights of another one.

    `source` is its folder, from the home of the workspace on where it lies there; it `learned_from` labels, or from images
    alone. `learning_rate` and `warmup_share` are what the schedule would have from scratch. With `freeze` these parameters
    stay as they are. `allow_seen`: the weights may have been trained on cases that a fold is validated on.
    """

    source: str
    learned_from: Literal["labels", "images"] = "labels"
    freeze: Literal["none", "encoder"] = "none"
    learning_rate: float | None = Field(default=None, gt=0)
    warmup_share: float = Field(default=0.0, ge=0, lt=1)
    allow_seen: bool = False


# What is foreseen of a configuration, and the decisions from which it follows.
_FORESEEN_FROM = {
    "step_seconds": ("patch", "batch", "architecture", "network"),
    "views": ("spacing_mm", "patch", "batch", "architecture", "network", "schedule"),
    "ceiling": ("spacing_mm",),
}


class Configuration(Frozen):
    """One network to train: what it sees, what it is and how it is trained."""

    spacing_mm: tuple[float, ...]
    median_shape: tuple[float, ...]
    patch: tuple[int, ...]
    batch: int = Field(gt=0)
    batch_dice: bool
    architecture: Architecture
    network: Part
    preprocess: Part = Part(name="none")  # changes all channels of a case together, before they are normalised
    normalizers: tuple[Part, ...]
    resampling: Resampling = Resampling()
    fusion: Part = Part(name="concat")
    conditioning: Part = Part(name="none")
    input_dropout: InputDropout = InputDropout()
    augmentation: Part
    appearance: tuple[Part, ...] = ()  # augmentations of intensity alone that follow `augmentation`, such as gin
    loss: Part = Part(name="dice_ce")
    class_weights: dict[str, Weight] = Field(default_factory=dict)  # of foreground names, in the loss and in sampling
    prior: tuple[Share, ...] = ()  # probability of each foreground name that a network starts with; empty: all equal
    schedule: Schedule
    transfer: Transfer | None = None  # None: it begins with untrained weights
    step_seconds: float | None = Field(default=None, gt=0)  # of training, as planned on the machine; None: not planned
    mirror_axes: tuple[int, ...] = ()  # axes of the patch that are mirrored in training and in prediction
    mirror_views: MirrorViews = "random"  # which views of a case training mirrors: by a coin, or in turn
    pair_axis: int | None = None  # axis of the patch along which left and right lie; None: none of them
    data: Name | Literal[""] = ""  # configuration whose prepared cases are used; empty: its own
    previous: Name | Literal[""] = ""  # configuration whose prediction is an extra input (cascade); empty: none
    views: float | None = None  # how often the budget is expected to show a voxel of the dataset; None: not planned to time
    ceiling: Ceiling | None = None  # what the grid leaves of the labels at best; None: not measured

    @property
    def dimensions(self) -> int:
        return len(self.patch)

    def weights_of(self, names: Sequence[str]) -> tuple[float, ...]:
        """The weight of each of these names, 1 where none is given; empty where all of them are 1."""
        weights = tuple(self.class_weights.get(name, 1.0) for name in names)
        return () if set(weights) <= {1.0} else weights

    def trains_like(self, other: "Configuration | None") -> bool:
        """Whether both are the same training: what is foreseen of it is measured again whenever a plan is made."""
        return other is not None and self.decided() == other.decided()

    def decided(self) -> "Configuration":
        """The configuration without what is only foreseen of it: the time of a step, views of a voxel, the ceiling."""
        return self.model_copy(update=dict.fromkeys(_FORESEEN_FROM))

    def foreseen_only_as(self, before: "Configuration") -> "Configuration":
        """The configuration without what was foreseen for the one `before` and does not hold for this one."""
        stale = [fact for fact, fields in _FORESEEN_FROM.items()
                 if any(getattr(self, field) != getattr(before, field) for field in fields)]
        return self.model_copy(update=dict.fromkeys(stale))

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, data: Any) -> Any:
        return _renewed(data) if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _check(self) -> "Configuration":
        for name in ("channels", "shift_voxels"):
            given = len(getattr(self.input_dropout, name))
            if given not in (0, len(self.normalizers)):
                raise ValueError(f"input_dropout.{name} needs one value per channel, {len(self.normalizers)}, or none, "
                                 f"got {given}")
        return self


def _renewed(data: dict[str, Any]) -> dict[str, Any]:
    """The fields of a configuration that an earlier version wrote, as this one calls them.

    The architecture was `topology`, and the network's name said which blocks its encoder has.
    """
    data = {FORMER_FIELDS.get(key, key): value for key, value in data.items()}
    network, architecture = data.get("network"), data.get("architecture")
    network = network.model_dump() if isinstance(network, Part) else network
    architecture = architecture.model_dump() if isinstance(architecture, Frozen) else architecture
    former = {"plain_unet": "plain", "residual_unet": "residual"}
    name = network.get("name") if isinstance(network, dict) else None
    if isinstance(name, str) and name in former and isinstance(network, dict) and isinstance(architecture, dict):
        data["architecture"] = {**architecture, "block": former[name]}
        data["network"] = {**network, "name": "unet"}
    return data


class Advice(Frozen):
    """The configuration that is worth training first, as far as can be said before any is trained, and why in a sentence."""

    configuration: Name
    reason: str


class Plan(Frozen):
    """All decisions for a dataset, with what prediction needs to know of it."""

    is_edited_by_people: ClassVar[bool] = True

    schema_version: int = versioned(SCHEMA_VERSION)
    dataset: Name
    planner: Name
    channels: tuple[ChannelSpec, ...]
    labels: LabelSpec
    intensities: tuple[IntensityStats, ...] = ()
    conditions: ConditionTable = ConditionTable()
    # Channels of several modalities: the column of the table that says which one a case has there.
    modality_columns: dict[str, str] = Field(default_factory=dict)
    # Cases are turned to this orientation first (where the axes x, y, z run to, such as RAS); empty: taken as stored.
    orientation: str = ""
    turned: int = 0  # of the training cases, how many are stored otherwise
    transpose: tuple[int, int, int]
    file_ending: FileEnding = ".nii.gz"
    # Which channels of the dataset these are, by the numbers in the names of their files; empty: all of them.
    channel_numbers: tuple[int, ...] = ()
    grid_number: int | None = None  # of the channel on whose grid the labels lie, where it is none of these and one is moved
    prepared_by: Name | Literal[""] = ""  # the planner whose prepared cases are used; empty: its own
    fingerprint_digest: str = ""
    memory_bytes: int | None = None  # that was asked for; None: what the machine has
    device: str = ""  # that was asked for: auto, cpu, cuda or mps; empty: an earlier version did not say
    reasons: tuple[str, ...] = ()  # why, in words
    configurations: dict[Name, Configuration]
    first: Advice | None = None  # which configuration to train first; None: an earlier version did not say
    # Of all the rest as the planner made it (`content_hash_of`).
    content_hash: str = Field(default="", validation_alias=formerly("content_hash", "seal"))

    @property
    def numbers(self) -> tuple[int, ...]:
        """The number of each channel among all that the dataset has."""
        return self.channel_numbers or tuple(range(len(self.channels)))

    @property
    def preparer(self) -> str:
        """The planner under whose name the prepared cases lie."""
        return self.prepared_by or self.planner

    def with_content_hash(self) -> "Plan":
        """The plan with its content hash."""
        return self.model_copy(update={"content_hash": content_hash_of(self.model_dump(mode="json"))})


# What every configuration of a plan is trained by.
SHARED_FIELDS = ("channels", "labels", "intensities", "conditions", "modality_columns", "transpose", "file_ending")


def differing_fields(plan: Plan, other: Plan, name: str) -> list[str]:
    """The fields by which one configuration of two plans is trained differently; empty where it is the same training.

    What is only foreseen is not compared: it is measured again whenever a plan is made.
    """
    mine, theirs = plan.configurations.get(name), other.configurations.get(name)
    shared = [key for key in SHARED_FIELDS if getattr(plan, key) != getattr(other, key)]
    shared += ["channel_numbers"] if plan.channel_numbers != other.channel_numbers else []
    shared += [] if _turn_alike(plan, other) else ["orientation"]
    if mine is None or theirs is None:
        return shared + ([] if mine is theirs else [name])
    if mine.trains_like(theirs):
        return shared
    return shared + _differing("", mine.decided(), theirs.decided())


def _turn_alike(plan: Plan, other: Plan) -> bool:
    """Whether training images are in one orientation by both plans: where a plan turns none, it may say so or not."""
    silent, said = sorted((plan, other), key=lambda known: known.orientation != "")
    return silent.orientation == said.orientation or (silent.orientation == "" and said.turned == 0)


def _differing(prefix: str, mine: Frozen, theirs: Frozen) -> list[str]:
    differing = []
    for key in type(mine).model_fields:
        a, b = getattr(mine, key), getattr(theirs, key)
        if a != b:
            is_inner = isinstance(a, Frozen) and type(a) is type(b)
            differing += _differing(f"{prefix}{key}.", a, b) if is_inner else [f"{prefix}{key}"]
    return differing


def content_hash_of(plan: dict[str, Any]) -> str:
    """Digest of a plan as JSON data, without its content hash. Where it differs from the hash that the plan bears, somebody
    edited the plan. Fields that were added after this hash count where they change something.
    """
    rest = {key: value for key, value in plan.items() if key not in ("content_hash", "seal", FILE_DIGEST)}
    if isinstance(rest.get("configurations"), dict):
        rest["configurations"] = {name: _without_neutral(known) for name, known in rest["configurations"].items()}
    return blake2b(json.dumps(rest, sort_keys=True).encode(), digest_size=16).hexdigest()


def _without_neutral(configuration: dict[str, Any]) -> dict[str, Any]:
    """A configuration as JSON data without fields that were added after the content hash and are neutral here."""
    rest = {key: value for key, value in configuration.items() if (key, value) != ("mirror_views", "random")}
    if isinstance(rest.get("schedule"), dict):
        rest["schedule"] = {key: value for key, value in rest["schedule"].items() if (key, value) != ("phases", [])}
    return rest
