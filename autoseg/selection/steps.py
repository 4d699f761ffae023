"""Which postprocessing is accepted: one step after the other, each by the same paired test as a costlier configuration.

The order is fixed: the largest component of the whole foreground, then of each label, then holes, then minimum volumes.
Steps of one stage are tested against what the stages before left. Labels do not take voxels from each other, so testing
them side by side is testing them in turn; of regions, which do, it is nearly so.
"""

from collections.abc import Mapping, Sequence
from functools import partial

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

# Minimum volumes that are tried: half of the smallest true component, and these percentiles of all of them.
PERCENTILES = (5, 25)

_DICE = Scoring(metrics=("dice",))
_Step = tuple[str, str, dict]  # what it does, to which name (or ""), and the values of Postprocessing that it sets


def choose_steps(cases: Sequence[CandidateCase], labels: LabelSpec, workers: int, seed: int = 0
                 ) -> tuple[Postprocessing, list[Comparison]]:
    """The steps that are better than going without, and every comparison that was made."""
    accepted, comparisons = Postprocessing(), []
    for stage in ("largest of all", "largest", "holes", "volume"):
        steps = _steps(stage, accepted, labels, _volumes(cases, labels, workers) if stage == "volume" else {})
        if not steps:
            continue
        options = tuple(accepted.model_copy(update=changes) for *_, changes in steps)
        rows = mapped(partial(_dice_of, base=accepted, options=options), cases, workers, f"postprocessing: {stage}")
        base, *others = zip(*rows, strict=True)
        held = {name: (describe(accepted), base) for _, name, _ in steps}
        for (title, name, changes), dice in zip(steps, others, strict=True):
            comparison = compare(title, dice, *held[name], seed)
            comparisons.append(comparison)
            if comparison.accepted:
                held[name] = (title, dice)
                accepted = _merged(accepted, changes)
    return accepted, comparisons


def describe(steps: Postprocessing) -> str:
    """What is done, in words."""
    words = ["keep the largest component of the foreground"] if steps.keep_largest_of_all else []
    words += [f"keep the largest component of {name}" for name in steps.keep_largest]
    words += [f"fill holes of {name}" for name in steps.fill_holes]
    words += [f"remove components of {name} under {ml:g} mL" for name, ml in steps.minimum_ml.items()]
    return ", ".join(words) or "no postprocessing"


def _steps(stage: str, accepted: Postprocessing, labels: LabelSpec, volumes: Mapping[str, Sequence[float]]) -> list[_Step]:
    names = labels.foreground
    if stage == "largest of all":
        return [_step("", {"keep_largest_of_all": True})]
    if stage == "largest":  # of a single label it is the same as of all
        return [_step(name, {"keep_largest": (*accepted.keep_largest, name)}) for name in names] if len(names) > 1 else []
    if stage == "holes":
        return [_step(name, {"fill_holes": (*accepted.fill_holes, name)}) for name in names]
    return [_step(name, {"minimum_ml": {**accepted.minimum_ml, name: ml}}) for name in names for ml in volumes[name]]


def _step(name: str, changes: dict) -> _Step:
    return describe(Postprocessing(**changes)), name, changes


def _merged(steps: Postprocessing, changes: dict) -> Postprocessing:
    """Both together: names are added to names."""
    update = {}
    for key, value in changes.items():
        known = getattr(steps, key)
        if isinstance(value, tuple):
            value = tuple(dict.fromkeys((*known, *value)))
        update[key] = {**known, **value} if isinstance(value, dict) else value
    return steps.model_copy(update=update)


def _dice_of(case: CandidateCase, base: Postprocessing, options: Sequence[Postprocessing]) -> list[float | None]:
    """The Dice that decides: of the base, then of each option. What changes nothing is not scored again."""
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
    """The minimum volumes [mL] to try for each name, ascending; what would not remove a voxel is left out."""
    found = mapped(_true_volumes, cases, workers, "postprocessing: true sizes")
    voxel_ml = min(voxel for voxel, _ in found)
    volumes = {}
    for name in labels.foreground:
        all_ml = np.concatenate([of_name[name] for _, of_name in found])
        tried = [all_ml.min() / 2, *np.percentile(all_ml, PERCENTILES)] if len(all_ml) else []
        rounded = {float(f"{ml:.3g}") for ml in tried}
        volumes[name] = sorted(ml for ml in rounded if ml > voxel_ml)
    return volumes


def _true_volumes(case: CandidateCase) -> tuple[float, dict[str, np.ndarray]]:
    """The volume of a voxel, and those of the true components of each name [mL]."""
    truth, geometry = case.read_truth()
    voxel_ml = geometry.voxel_ml()
    return voxel_ml, {name: voxel_ml * component_voxels(np.isin(truth, case.labels.names[name]))
                      if name in case.annotated else np.zeros(0) for name in case.labels.foreground}
