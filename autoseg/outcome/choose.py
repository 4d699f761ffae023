"""Which model of an outcome predicts new cases: none that is not better than chance, and the simplest of equals."""

from collections.abc import Mapping, Sequence

import numpy as np

from autoseg.base.errors import UserError
from autoseg.outcome.compare import compare
from autoseg.outcome.report import NULL, ModelOfOutcome, above_chance, order_of, with_interval
from autoseg.outcome.targets import Estimate, Target

_SIMPLE = {"clinical", "volume"}

def reference_of(models: Sequence[ModelOfOutcome]) -> str:
    """What the others are compared with: the best baseline that reads neither intensities nor embeddings of the images, such
    as the clinical one; the null model where there is none.
    """
    simple = [model for model in models if model.baseline and model.blocks and set(model.blocks) <= _SIMPLE]
    return _best(simple).name if simple else NULL


def compared(models: Sequence[ModelOfOutcome], reference: str, estimates: Mapping[str, Estimate], target: Target,
             fold_N: np.ndarray, seed: int) -> tuple[ModelOfOutcome, ...]:
    """The models with their differences from the reference."""
    return tuple(model if model.name == reference else model.model_copy(update={"against_reference": compare(
        target, estimates[model.name], estimates[reference], seed=seed, fold_N=fold_N)}) for model in models)


def choose_model(models: Sequence[ModelOfOutcome], reference: str, wanted: str | None) -> tuple[str, str]:
    """The model that predicts, and why.

    It is the best of the models whose interval lies above chance. Where the reference is one of them, a model that reads
    more than the table or the volume must be better than it by the interval of the difference. Without any, the null
    model predicts: the same for every patient.
    """
    if wanted is not None:
        known = [model.name for model in models]
        if wanted not in known:
            raise UserError(f"the model {wanted!r} was not fitted", found=", ".join(known))
        return wanted, "it was asked for"
    better = [model for model in models if above_chance(model.scores)]
    if not better:
        return NULL, "no model's interval lies above chance: what predicts is the average of all patients"
    if any(model.name == reference for model in better):
        better = [model for model in better if set(model.blocks) <= _SIMPLE or _beats(model)]
    best = _best(better)
    name, score, _ = order_of(best.scores)
    return best.name, f"the best {name} of those that are proven: {with_interval(score)}"


def _beats(model: ModelOfOutcome) -> bool:
    """Whether the interval of its difference from the reference lies above 0."""
    return any(difference.low is not None and difference.low > 0 for difference in model.against_reference[:1])


def _best(models: Sequence[ModelOfOutcome]) -> ModelOfOutcome:
    """The model with the highest score; the first of equals."""
    def value(model: ModelOfOutcome) -> float:
        score = order_of(model.scores)[1].value
        return -np.inf if score is None else score

    return max(models, key=value)
