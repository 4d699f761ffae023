"""A race of configurations for a total time, as it is written: `race.json`."""

from pydantic import Field

from autoseg.evaluation.statistics import PairedDifference
from autoseg.evaluation.types import mean
from planners.schema.base import Frozen, versioned


class RaceCandidate(Frozen):
    """A configuration that takes part; `step_flops` is what one training step of it costs."""

    planner: str
    configuration: str
    step_flops: float

    @property
    def title(self) -> str:
        return f"{self.configuration} ({self.planner})"


class RungScore(Frozen):
    """A candidate at a rung: what it has used up to here, and its Dice of each validation case (None: not defined).

    `seconds` counts training and the predictions of all rungs so far. A candidate with a `fault` has no Dice.
    """

    candidate: str
    iterations: int = 0
    training_seconds: float = 0.0
    seconds: float = 0.0
    dice: tuple[float | None, ...] = ()
    fault: str = ""

    @property
    def mean_dice(self) -> float | None:
        return mean(list(self.dice)).value


class Decision(Frozen):
    """Whether a candidate goes on after a rung, and why; `difference` is its Dice less the leader's, paired by case."""

    candidate: str
    kept: bool
    reason: str
    difference: PairedDifference | None = None


class Rung(Frozen):
    """All candidates that were left, after the same `seconds` each; not decided yet where there are no decisions."""

    share: float  # of a fold's time
    seconds: float
    scores: tuple[RungScore, ...] = ()
    decisions: tuple[Decision, ...] = ()

    def score(self, candidate: str) -> RungScore | None:
        return next((score for score in self.scores if score.candidate == candidate), None)


class PairTest(Frozen):
    """The mean of two candidates at a rung against the winner at the next one, which had as much time as both together."""

    members: tuple[str, str]
    winner: str
    dice: tuple[float | None, ...]
    difference: PairedDifference  # pair less winner
    accepted: bool


class Race(Frozen):
    """Everything about a race. `winners` (two for an ensemble) and `fold_seconds` are there once it is decided.

    The digests are of what the race depends on: another dataset, other folds or another plan need another race. What a plan
    only foresees is not in its digest.
    """

    schema_version: int = versioned(1)
    dataset: str
    total_seconds: float
    folds: tuple[int | str, ...]
    fold: int | str  # whose validation cases decide
    seed: int = 0
    memory_bytes: int | None = None  # that was asked for; None: what the machine has
    cases: tuple[str, ...]  # in the order of every `dice`
    dataset_digest: str
    folds_digest: str
    plan_digests: dict[str, str]  # by planner
    candidates: tuple[RaceCandidate, ...]
    left_out: dict[str, str] = Field(default_factory=dict)  # by title, why
    spent_before_seconds: float
    planned_fold_seconds: float  # a fold's time if the race costs as much as it can
    shares: tuple[float, ...]  # of it, at which candidates are compared
    rungs: tuple[Rung, ...] = ()
    pair: PairTest | None = None
    winners: tuple[str, ...] = ()
    spent_seconds: float | None = None  # when it was decided
    fold_seconds: float | None = None  # of every fold that is trained after it

    def candidate(self, title: str) -> RaceCandidate:
        return next(candidate for candidate in self.candidates if candidate.title == title)

    def scores(self, title: str) -> tuple[RungScore, ...]:
        """A candidate's scores, rung by rung."""
        return tuple(score for rung in self.rungs if (score := rung.score(title)) is not None)

    @property
    def dropped(self) -> dict[str, str]:
        """Why each candidate that does not win was dropped, by its title."""
        reasons = {decision.candidate: decision.reason for rung in self.rungs for decision in rung.decisions
                   if not decision.kept}
        return {title: reason for title, reason in reasons.items() if title not in self.winners}

    @property
    def lost_seconds(self) -> float:
        """The time of those that did not win: what the race cost."""
        return sum(scores[-1].seconds for candidate in self.candidates if candidate.title not in self.winners
                   and (scores := self.scores(candidate.title)))
