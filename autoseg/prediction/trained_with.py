"""What a model was trained with, as its weights and the state of its training say: a plan, cases, and their digests.

Weights that earlier versions wrote say nothing, and are believed. Plans are compared field by field, not by a hash: a field
that a later version adds would change every hash (docs/decisions/0027-what-a-training-was-started-with.md).
"""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from autoseg.base.errors import UserError
from autoseg.formats.files import combined_digest
from planners.schema.base import Frozen, versioned
from planners.schema.plan import Configuration, Plan, differing_fields

KEY = "trained_with"  # in the facts of weights, and in the state of a training
# What is digested of a case, in words. The image's and the label's are known of cases that this version prepared.
KINDS = {"image": "images", "label": "labels", "raw": "images or labels", "previous": "predictions of the earlier stage",
          "conditions": "conditions (table, vectors, tokens)", "annotated": "the column of annotated labels",
          "weight": "weights in the table", "modalities": "modalities"}
WEIGHT = "weight"  # among what is known of a case; where it is not there, it is 1
_SHOWN = 5


class InitialWeights(Frozen):
    """The weights that a training began with, by their digest, and the cases that these have seen: as `DATASET__CASE`, and
    by digests of their images.
    """

    digest: str
    seen: tuple[str, ...] = ()
    images: tuple[str, ...] = ()


class TrainedWith(Frozen):
    """The plan with its one configuration, the cases of the fold, and for every case digests of what it was made from;
    `initial_weights` is None where the weights were untrained at the start.
    """

    schema_version: int = versioned(1)
    plan: Plan
    training: tuple[str, ...]
    validation: tuple[str, ...]
    cases: dict[str, dict[str, str]] = Field(default_factory=dict)
    initial_weights: InitialWeights | None = None

    @property
    def configuration(self) -> str:
        return next(iter(self.plan.configurations))

    @property
    def data_digest(self) -> str:
        """One digest of all cases."""
        return combined_digest(f"{case} {kind} {digest}" for case, digests in sorted(self.cases.items())
                               for kind, digest in sorted(digests.items()))

    def changes(self, now: "TrainedWith") -> list[str]:
        """What is different now, one phrase each: the plan, the cases, the folds, what the cases are made from."""
        fields = differing_fields(self.plan, now.plan, self.configuration)
        plan = [f"the plan ({', '.join(fields)})"] if fields else []
        return [*plan, *self.changes_of_folds(now.training, now.validation), *self.changes_of_cases(now.cases)]

    def changes_of_folds(self, training: tuple[str, ...], validation: tuple[str, ...]) -> list[str]:
        """Cases that were added or removed, and cases that changed between training and validation."""
        before, after = {*self.training, *self.validation}, {*training, *validation}
        moved = before & after & ({*self.training} ^ {*training})
        return [counted(names, words) for names, words in
                ((after - before, "{} added"), (before - after, "{} removed"),
                 (moved, "the folds were changed: {} moved between training and validation")) if names]

    def changes_of_cases(self, cases: Mapping[str, Mapping[str, str]]) -> list[str]:
        """What differs of the cases that both know. A case that says no weight has that of all cases without a column."""
        differing: dict[str, set[str]] = {kind: set() for kind in KINDS}
        for name in self.cases.keys() & cases.keys():
            mine, theirs = self.cases[name], cases[name]
            comparable = (mine.keys() & theirs.keys()) - {WEIGHT}
            if mine.get(WEIGHT) != theirs.get(WEIGHT):
                differing[WEIGHT].add(name)
            if {"image", "label"} <= comparable:
                comparable -= {"raw"}
            for kind in comparable & KINDS.keys():
                if mine[kind] != theirs[kind]:
                    differing[kind].add(name)
        return [counted(names, f"{KINDS[kind]} of {{}}") for kind, names in differing.items() if names]


def counted(names: set[str], words: str) -> str:
    """`words` with the number of cases and the first of their names in the place of `{}`."""
    listed = sorted(names)
    more = f" and {len(listed) - _SHOWN} others" if len(listed) > _SHOWN else ""
    return words.format(f"{len(listed)} case{'s' if len(listed) > 1 else ''} ({', '.join(listed[:_SHOWN])}{more})")


def trained_with(facts: Mapping[str, Any], where: Path | str) -> TrainedWith | None:
    """What weights or a state say they were trained with; None where an earlier version wrote them. A UserError where what
    they say cannot be read.
    """
    if KEY not in facts:
        return None
    try:
        return TrainedWith.model_validate(facts[KEY])
    except ValidationError as error:
        raise UserError("what the weights say of their training cannot be read", where=where,
                        found=str(error).splitlines()[0], do="use the version of autoseg that wrote them") from error


def check_plan_of(trained: TrainedWith | None, plan: Plan, configuration: Configuration, checkpoint: Path) -> None:
    """A UserError where weights were trained by another plan than the one that they are used with."""
    if trained is None:
        return
    used = plan.model_copy(update={"configurations": {trained.configuration: configuration}})
    if differing := differing_fields(trained.plan, used, trained.configuration):
        raise UserError("the weights were trained by another plan than the plan.json of their model", where=checkpoint,
                        found=f"different: {', '.join(differing)}",
                        do="give the model its own plan.json back, move this fold to a model folder of its own, or train it "
                           "again with --restart")


def check_same_data(folds: Mapping[str, TrainedWith | None], where: Path) -> None:
    """A UserError where folds that predict together were trained on different data; it names the first two."""
    if difference := different_data(folds):
        raise UserError("folds of this model were trained on different data", where=where, found=difference,
                        do="train the older ones again with --restart, or name with -f the folds that belong together")


def different_data(folds: Mapping[str, TrainedWith | None]) -> str:
    """How the data of the first two folds differ whose common cases do; empty where those of all are the same."""
    known = [(name, trained) for name, trained in folds.items() if trained is not None]
    for (first, mine), (other, theirs) in combinations(known, 2):
        if changes := mine.changes_of_cases(theirs.cases):
            return f"fold {first} and fold {other} differ in {', '.join(changes)}"
    return ""
