"""What identifies one training, and the folders that it reads and writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoded import NO_CONDITIONS, EncodedConditions, Layout
from autoseg.clinical.encoders import ConditionEncoder, encode
from autoseg.prediction.trained_with import InitialWeights, TrainedWith
from autoseg.workspace.folders import FoldFolder
from planners.rules.budget import extended
from planners.rules.splits import Split
from planners.schema.plan import Configuration, Plan, Schedule

_SEEDS_APART = 1_000_003


@dataclass(frozen=True)
class Pause:
    """Where a training pauses, to go on later from its saved state: when its own time and one prediction of its validation
    cases, without mirroring, take `seconds` together. Its averaged weights are written to `weights`.
    """

    seconds: float
    weights: Path


@dataclass(frozen=True)
class Extension:
    """A training that goes on from the finished `weights` of its fold, under a fresh schedule of `seconds` with validation.

    It is the extension of this `number`; the first is 1.
    """

    seconds: float
    weights: Path
    number: int


@dataclass(frozen=True)
class FoldJob:
    """One fold of one configuration.

    `cases` is the folder of prepared cases; those of a cascade hold the earlier stage's predictions. `validation` is empty
    for the fold `all`. `conditions` are of every case of the fold, and `encoder`, fitted on its training cases, makes
    numbers of them; without it nothing conditions the model. `annotated` names what was annotated in the cases that are
    labelled in part. `made_from` are digests of what each case was made from (`training.inputs`),
    and `splits` all folds of the dataset. An `extension` has a folder of its own. `initial_weights` are the weights that the
    training begins with, None of untrained ones.
    """

    plan: Plan
    name: str  # of the configuration
    fold: int | str
    folder: FoldFolder
    cases: Path
    training: tuple[str, ...]
    validation: tuple[str, ...]
    seed: int = 0
    conditions: Mapping[str, CaseConditions] = field(default_factory=dict)
    encoder: ConditionEncoder | None = None
    annotated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)  # how often cases are drawn; of others it is 1
    made_from: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    splits: tuple[Split, ...] = ()
    extension: Extension | None = None
    initial_weights: InitialWeights | None = None

    @cached_property
    def trained_with(self) -> TrainedWith:
        """All that the training depends on, as its state and its weights say it."""
        plan = self.plan.model_copy(update={"configurations": {self.name: self.configuration}, "reasons": (), "first": None})
        return TrainedWith(plan=plan, training=self.training, validation=self.validation,
                           cases={name: dict(digests) for name, digests in self.made_from.items()},
                           initial_weights=self.initial_weights)

    @property
    def configuration(self) -> Configuration:
        return self.plan.configurations[self.name]

    @property
    def schedule(self) -> Schedule:
        """The schedule of the plan, or that of the extension."""
        planned = self.configuration.schedule
        return planned if self.extension is None else extended(planned, self.extension.seconds)

    @property
    def scheduled(self) -> Configuration:
        """The configuration with the schedule of this training."""
        return self.configuration.model_copy(update={"schedule": self.schedule})

    @property
    def sampling_seed(self) -> int:
        """An extension sees other patches than the training before."""
        return self.seed + (0 if self.extension is None else _SEEDS_APART * self.extension.number)

    @property
    def planned_seconds(self) -> float | None:
        """The time budget of the plan; None where the iterations are given."""
        return self.configuration.schedule.budget_seconds

    @property
    def drawn(self) -> tuple[str, ...]:
        """The training cases that patches are drawn from: all but those of weight 0."""
        return tuple(name for name in self.training if self.weights.get(name, 1.0) > 0)

    @property
    def title(self) -> str:
        return f"{self.plan.dataset} {self.name} fold {self.fold}"

    @property
    def layout(self) -> Layout:
        """The inputs of the model beside the images."""
        return NO_CONDITIONS if self.encoder is None else self.encoder.layout

    def encoded(self, names: Sequence[str]) -> dict[str, EncodedConditions] | None:
        """The encoded conditions of cases; None where nothing conditions the model."""
        if self.encoder is None:
            return None
        return {name: encode(self.encoder, self.conditions.get(name, CaseConditions())) for name in names}

    def annotated_heads(self) -> dict[str, tuple[bool, ...]]:
        """For each case that is labelled in part, whether each foreground name was annotated."""
        return {case: tuple(name in names for name in self.plan.labels.foreground)
                for case, names in self.annotated.items()}
