"""Choose the postprocessing step by step; each step must pass the same paired test as a costlier configuration.

The order of the stages is fixed: the largest component of the whole foreground, the largest component of each label,
holes, minimum volumes. The steps of a stage are compared with the result of the earlier stages. All labels of a stage are
tested at once. Labels do not share voxels, so this gives the same result as one label after the other. Regions overlap;
for them the result is nearly the same.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from autoseg.evaluation.score import score_case
from autoseg.evaluation.types import Scoring
from autoseg.grids.components import component_voxels
from autoseg.prediction.inference_settings import Postprocessing
from autoseg.prediction.postprocess import apply
from autoseg.selection.candidates import compare
from autoseg.selection.cases import CandidateCase, decision_dice, mapped
from autoseg.selection.types import Comparison
from planners.schema.labels import LabelSpec

# Minimum volumes that are tried: half of the smallest true component, and these percentiles of all true components.
PERCENTILES = (5, 25)

_DICE = Scoring(metrics=("dice",))
_Step = tuple[str, str, dict[str, Any]]  # title, label name (or ""), and the values of Postprocessing that it sets


def choose_steps(cases: Sequence[CandidateCase], labels: LabelSpec, workers: int, seed: int = 0
                 ) -> tuple[Postprocessing, list[Comparison]]:
    """The steps that improve the masks, and every comparison that was made."""
    accepted, comparisons = Postprocessing(), []
    for stage in ("largest of all", "largest", "holes", "volume"):
        steps = _steps(stage, accepted, labels, _volumes(cases, labels, workers) if stage == "volume" else {})
        if not steps:
            continue
        options = tuple(accepted.model_copy(update=changes) for *_, changes in steps)
        rows = mapped(partial(_dice_of, base=accepted, options=options), cases, workers, f"postprocessing: {stage}")
        base, *others = zip(*rows, strict=True)
        incumbents = {name: (describe(accepted), base) for _, name, _ in steps}
        for (title, name, changes), dice in zip(steps, others, strict=True):
            comparison = compare(title, dice, *incumbents[name], seed)
            comparisons.append(comparison)
            if comparison.accepted:
                incumbents[name] = (title, dice)
                accepted = _merged(accepted, changes)
    return accepted, comparisons


def describe(steps: Postprocessing) -> str:
    """The steps in words."""
    words = ["keep the largest component of the foreground"] if steps.keep_largest_of_all else []
    words += [f"keep the largest component of {name}" for name in steps.keep_largest]
    words += [f"fill holes of {name}" for name in steps.fill_holes]
    words += [f"remove components of {name} under {ml:g} mL" for name, ml in steps.minimum_ml.items()]
    return ", ".join(words) or "no postprocessing"


def _steps(stage: str, accepted: Postprocessing, labels: LabelSpec, volumes: Mapping[str, Sequence[float]]) -> list[_Step]:
    names = labels.foreground
    if stage == "largest of all":
        return [_step("", {"keep_largest_of_all": True})]
    if stage == "largest":  # with a single label the stage before did the same
        return [_step(name, {"keep_largest": (*accepted.keep_largest, name)}) for name in names] if len(names) > 1 else []
    if stage == "holes":
        return [_step(name, {"fill_holes": (*accepted.fill_holes, name)}) for name in names]
    return [_step(name, {"minimum_ml": {**accepted.minimum_ml, name: ml}}) for name in names for ml in volumes[name]]


def _step(name: str, changes: dict[str, Any]) -> _Step:
    return describe(Postprocessing(**changes)), name, changes


def _merged(steps: Postprocessing, changes: dict[str, Any]) -> Postprocessing:
    """The steps with the changes; names are added to the names that are there."""
    update = {}
    for key, value in changes.items():
        known = getattr(steps, key)
        if isinstance(value, tuple):
            value = tuple(dict.fromkeys((*known, *value)))
        update[key] = {**known, **value} if isinstance(value, dict) else value
    return steps.model_copy(update=update)


def _dice_of(case: CandidateCase, base: Postprocessing, options: Sequence[Postprocessing]) -> list[float | None]:
    """The Dice that decides: of the base, then of each option. An option that changes nothing is not scored again."""
    truth, geometry = case.read_truth()
    raw = case.read_mask()

    def dice(label: np.ndarray) -> float | None:
        return decision_dice(score_case(truth, label, case.labels, geometry.spacing_mm, case.name, scoring=_DICE,
                                        annotated=case.annotated), case.annotated)

    before = apply(base, raw, case.labels, geometry)
    rows = [dice(before)]
    for option in options:
        after = apply(option, raw, case.labels, geometry)
        rows.append(rows[0] if np.array_equal(after, before) else dice(after))
    return rows


def _volumes(cases: Sequence[CandidateCase], labels: LabelSpec, workers: int) -> dict[str, list[float]]:
    """The minimum volumes [mL] to try for each name, ascending; a volume that cannot remove a voxel is left out."""
    measured = mapped(_true_volumes, cases, workers, "postprocessing: true sizes")
    voxel_ml = min(voxel for voxel, _ in measured)
    volumes = {}
    for name in labels.foreground:
        all_ml = np.concatenate([by_name[name] for _, by_name in measured])
        tried = [all_ml.min() / 2, *np.percentile(all_ml, PERCENTILES)] if len(all_ml) else []
        rounded = {float(f"{ml:.3g}") for ml in tried}
        volumes[name] = sorted(ml for ml in rounded if ml > voxel_ml)
    return volumes


def _true_volumes(case: CandidateCase) -> tuple[float, dict[str, np.ndarray]]:
    """The volume of a voxel, and the volumes of the true components of each name [mL]."""
    truth, geometry = case.read_truth()
    voxel_ml = geometry.voxel_ml()
    return voxel_ml, {name: voxel_ml * component_voxels(np.isin(truth, case.labels.names[name]))
                      if name in case.annotated else np.zeros(0) for name in case.labels.foreground}
