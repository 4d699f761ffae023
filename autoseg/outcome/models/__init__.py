"""Models of outcomes: blocks of features of training cases and their target -> a fitted model.

A model is made by `factory(options, ModelContext)`. What it fits before (medians, scales, components) it fits to the
training cases that it is given, and its hyper-parameters are chosen on inner folds of these.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoseg.clinical.outcomes import FEWEST_EVENTS
from autoseg.outcome.fitted import Blocks as Blocks
from autoseg.outcome.fitted import Coefficient as Coefficient
from autoseg.outcome.fitted import Fitted as Fitted
from autoseg.outcome.fitted import FittedHeader as FittedHeader
from autoseg.outcome.fitted import FittedState as FittedState
from autoseg.outcome.fitted import Kind as Kind
from autoseg.outcome.fitted import OutcomeModel as OutcomeModel
from autoseg.outcome.fitted import kind_of as kind_of
from autoseg.outcome.targets import CategoryTarget, SurvivalTarget, Target
from planners.registry import Registry
from planners.schema.base import Frozen, Part

KINDS: tuple[Kind, ...] = ("survival", "category", "number")


@dataclass(frozen=True)
class ModelContext:
    """Where networks are trained (a torch device); the other models use the CPU."""

    device: str = "cpu"


class ModelTraits(Frozen):
    """`blocks`: the features that it reads; it runs where one of them is given, or where it reads none. `kinds` of targets.

    `baseline`: it runs beside every other model. `univariate`: it fits one coefficient at most.
    """

    blocks: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    baseline: bool = False
    univariate: bool = False


OUTCOME_MODELS: Registry[Callable[[Any, ModelContext], OutcomeModel], ModelTraits] = Registry("outcome model", ModelTraits)


def restore(name: str, state: FittedState, context: ModelContext | None = None) -> Fitted:
    """The fitted model of this name from what `state()` gave."""
    part = Part(name=name, options=state.header.options)
    return OUTCOME_MODELS.make(part, context or ModelContext()).restore(state)


def n_events(target: Target) -> int:
    """What limits a model: the events, the cases of the smallest category, or the cases."""
    if isinstance(target, SurvivalTarget):
        return int(target.event_N.sum())
    if isinstance(target, CategoryTarget):
        return int(np.bincount(target.code_N, minlength=len(target.names)).min())
    return len(target)


def models_that_run(blocks: Collection[str], target: Target) -> tuple[str, ...]:
    """The names of the models for this kind of target and these blocks; with fewer than 5 events only univariate ones."""
    few = n_events(target) < FEWEST_EVENTS
    return tuple(name for name in OUTCOME_MODELS.names()
                 if _runs(OUTCOME_MODELS.traits(name), blocks, kind_of(target)) and
                 (OUTCOME_MODELS.traits(name).univariate or not few))


def _runs(traits: ModelTraits, blocks: Collection[str], kind: Kind) -> bool:
    return kind in traits.kinds and (not traits.blocks or not set(blocks).isdisjoint(traits.blocks))


from autoseg.outcome.models import crop as crop  # noqa: E402  (they register themselves)
from autoseg.outcome.models import linear as linear  # noqa: E402
from autoseg.outcome.models import mlp as mlp  # noqa: E402
from autoseg.outcome.models import null as null  # noqa: E402
from autoseg.outcome.models import trees as trees  # noqa: E402
