"""The blocks of features and the target of the cases that have an outcome. N counts these cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.base.errors import UserError, listed, raise_faults
from autoseg.clinical.cells import clean
from autoseg.clinical.outcomes import OutcomesRead, OutcomeValues
from autoseg.datasets.headers import attempt
from autoseg.nn.conditioning import CONDITIONERS
from autoseg.outcome.features import (
    Anchors,
    CaseFeatures,
    TableLayout,
    crop_block,
    embedding_names,
    measured_blocks,
    relative_embedding,
    table_blocks,
    table_layout,
)
from autoseg.outcome.fold_features import Segmenter, choose_anchors, fold_features
from autoseg.outcome.targets import CategoryTarget, Features, NumberTarget, SurvivalTarget, Target
from autoseg.workspace.names import DATASET_JSON

_FEWEST_ANCHORS = 2
_WITHOUT = "plan and train it again without them, or name another configuration or planner with -c or -p"


@dataclass(frozen=True)
class Gathered:
    """What models of an outcome are fitted to. `anchors` are those of the model of each fold."""

    cases: tuple[str, ...]
    blocks: Mapping[str, Features]
    target: Target
    fold_N: np.ndarray
    layout: TableLayout
    anchors: Mapping[str, Anchors]
    notes: tuple[str, ...] = ()


def read_outcome(segmenter: Segmenter, name: str, *, allow_leaks: bool) -> tuple[OutcomeValues, tuple[str, ...]]:
    """An outcome of all cases that a fold validates, and warnings. Raises UserError or ManyFaults: it is not declared, what
    `read_outcomes` raises, a condition that says it.
    """
    raw = segmenter.raw
    if name not in raw.manifest.outcomes:
        known = ", ".join(raw.manifest.outcomes)
        raise UserError(f"unknown outcome {name!r}", where=raw.folder / DATASET_JSON, found=known or "no outcome",
                        do="" if known else "declare it under 'outcomes' (autoseg_describe_inputs proposes some)")
    read = raw.outcomes_of(sorted(segmenter.fold_of), [name])
    outcome = read.outcomes[name]
    _refuse_masks_that_know(segmenter, read, outcome, allow_leaks=allow_leaks)
    if not allow_leaks:
        raise_faults(raw.folder, raw.outcome_leaks(read))
    return outcome, (*read.warnings, *_several_scans(segmenter, outcome))


def _refuse_masks_that_know(segmenter: Segmenter, read: OutcomesRead, outcome: OutcomeValues, *, allow_leaks: bool) -> None:
    """Raise where the segmentation was trained with a column of the outcome, or with a condition that says it, which
    dataset.json has dropped since: its masks say it, too.
    """
    plan, raw = segmenter.plan, segmenter.raw
    conditioning = plan.configurations[segmenter.model.configuration].conditioning.name
    if not CONDITIONERS.traits(conditioning).reads_conditions:
        return
    given = {clean(spec.name) for spec in plan.conditions.specs}
    both = [column for column in outcome.spec.columns if clean(column) in given]
    if both:
        raise UserError(f"the segmentation was trained with columns of the outcome {outcome.name!r}: its masks know it",
                        where=segmenter.model.path, found=", ".join(both), do=_WITHOUT)
    if allow_leaks or plan.conditions == raw.manifest.conditions:
        return
    faults = attempt(lambda seen: raw.outcome_leaks(seen, plan.conditions), read, []) or ()  # a column may be gone by now
    raise_faults(segmenter.model.path, [f"the segmentation was trained with a condition that says the outcome: {_WITHOUT}. "
                                        f"{fault}" for fault in faults])


def _several_scans(segmenter: Segmenter, outcome: OutcomeValues) -> tuple[str, ...]:
    """A warning where patients have several cases: their outcome then counts several times."""
    patients = segmenter.raw.groups(outcome.cases)[0]
    n = len(outcome.cases if patients is None else set(patients.values()))
    if n == len(outcome.cases):
        return ()
    return (f"the {len(outcome.cases)} cases with the outcome {outcome.name!r} are of {n} patients: one patient's outcome "
            "counts several times, and intervals are too narrow; declare the outcome for one case of each",)


def gather(segmenter: Segmenter, outcome: OutcomeValues, seed: int) -> Gathered:
    """The features of the cases with an outcome; those of the images are computed where they are not kept."""
    anchors = choose_anchors(segmenter, seed)
    folds = [fold_features(segmenter, fold, anchors) for fold in segmenter.validated]
    seen = {name: case for fold in folds for name, case in fold.cases.items()}
    conditions = segmenter.raw.conditions(outcome.cases)
    known = [conditions.cases[name] for name in outcome.cases]
    layout = table_layout(segmenter.raw.manifest.conditions, known)
    own = {fold.fold: fold.anchors for fold in folds}
    blocks, notes = image_blocks(segmenter.fold_of, own, outcome.cases, [seen[name] for name in outcome.cases])
    blocks |= table_blocks(layout, known)
    kept = {name: block for name, features in blocks.items() if (block := _known(features)) is not None}
    fold_N = np.array([int(segmenter.fold_of[name]) for name in outcome.cases])
    return Gathered(outcome.cases, kept, target_of(outcome), fold_N, layout, own, notes)


def image_blocks(fold_of: Mapping[str, str], anchors: Mapping[str, Anchors], names: Sequence[str],
                 cases: Sequence[CaseFeatures]) -> tuple[dict[str, Features], tuple[str, ...]]:
    """The blocks of the images of some cases, each compared with the anchors of its fold; and what is left out, in words."""
    blocks, notes = measured_blocks([case.measures for case in cases]), []
    blocks["crop"] = crop_block([case.crop for case in cases])
    n_anchors = min(len(some.names) for some in anchors.values())
    if n_anchors >= _FEWEST_ANCHORS:
        values = [relative_embedding(name, case.embeddings[0], anchors[fold_of[name]])
                  for name, case in zip(names, cases, strict=True)]
        blocks["embedding"] = Features("embedding", embedding_names(next(iter(anchors.values())).names), np.array(values))
    else:
        notes.append(f"embeddings are left out: a lesion was predicted in {n_anchors} cases, and they are compared with "
                     f"at least {_FEWEST_ANCHORS}")
    empty = [name for name, case in zip(names, cases, strict=True) if not np.isfinite(case.crop).all()]
    if empty:
        notes.append(f"in {len(empty)} of {len(names)} cases no lesion was predicted ({listed(empty)}): its shape and "
                     "intensities are missing there")
    return blocks, tuple(notes)


def target_of(outcome: OutcomeValues) -> Target:
    """The outcome as models take it."""
    values = np.array(outcome.values, np.float64)
    if outcome.spec.kind == "survival":
        return SurvivalTarget(values, np.array(outcome.events, bool))
    if outcome.spec.kind == "category":
        return CategoryTarget(values.astype(np.int64), outcome.names)
    return NumberTarget(values)


def _known(features: Features) -> Features | None:
    """The block without features that no case has; None where nothing is left."""
    if features.shape:
        return features if np.isfinite(features.values_NF).any() else None
    known_F = np.isfinite(features.values_NF).any(0)
    if not known_F.any():
        return None
    names = tuple(name for name, known in zip(features.names, known_F, strict=True) if known)
    return Features(features.block, names, features.values_NF[:, known_F])
