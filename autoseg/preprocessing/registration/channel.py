"""One channel to the reference: stages that are kept only if they prove better, and all of them only if the two images
belong together.
"""

import logging
from dataclasses import dataclass

import numpy as np

from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import Registered, Stage, Transform
from autoseg.preprocessing.registration.checks import implausible, least_jacobian
from autoseg.preprocessing.registration.deform import deformable_stage
from autoseg.preprocessing.registration.images import Volume, clipped, common_part, pyramid, shrunk, working_spacing
from autoseg.preprocessing.registration.metric import Comparison, Score
from autoseg.preprocessing.registration.optimise import linear_step, one_thread
from planners.schema.channels import Registration

log = logging.getLogger(__name__)

# A stage has to raise the shared information by this factor: for a pair that is aligned already it changes by less than 1 %.
_GAIN = 1.02
_LEAST_KEPT = 0.5  # of the common field of view, by a stage
_LEAST_COVERAGE = 0.05  # of the smaller field of view, to begin with
_LIKENESS = 1.4  # unrelated pairs reach about 1.1, related ones 1.6 and more (benchmarks/registration.py)
_LIKENESS_ELSEWHERE = 2.0  # where the files share no frame: the thighs of two patients reached 1.8
_START_GAIN = 1.5  # files of one study share a world frame: another start has to look much better
_FEWEST_VOXELS = 4  # along an axis
_MARGIN_MM = 50.0  # around the smaller field of view; the rest of the larger one is not looked at
_REACHES = (0.35, 0.15, 0.1)  # of the levels, coarse to fine: radians, and shares of half the field of view
_STAGES = {"rigid": ("rigid",), "affine": ("rigid", "affine"), "deformable": ("rigid", "affine", "deformable")}


@dataclass(frozen=True)
class _Pair:
    """The reference and the moving image, and where the search began."""

    fixed: Volume
    moving: Volume
    comparison: Comparison
    start: Transform
    start_score: Score
    seed: int

    def worth(self, transform: Transform) -> float:
        return self.comparison.score(transform).worth(self.start_score)


def register_channel(fixed_DHW: np.ndarray, fixed: Geometry, moving_DHW: np.ndarray, moving: Geometry, *,
                     kind: Registration, seed: int = 0) -> Registered:
    """The transform that brings points of the fixed image (z, y, x) to those of the moving one, which has its own grid.

    `rigid`; `affine`: after a rigid stage; `deformable`: a B-spline after both. A stage is kept if the mutual information
    over all voxels that both images see grows by 2 %, nothing folds, and the common field of view stays; else the
    stage before it is used. Where the result is no better than what random displacements of the same images reach, the
    images probably do not show the same: the identity is returned, with the reason. The same images and seed give
    the same transform.
    """
    if kind not in _STAGES:
        raise ValueError(f"unknown kind of registration {kind!r}; known: {', '.join(_STAGES)}")
    reason = _unfit(fixed_DHW, fixed) or _unfit(moving_DHW, moving)
    if reason:
        return Registered(kind, Transform.identity(), reason=reason)
    images = clipped(fixed_DHW, fixed), clipped(moving_DHW, moving)
    comparison = Comparison(*images)
    start, score, stages = _start(*images, comparison)
    if score.coverage < _LEAST_COVERAGE:
        return Registered(kind, Transform.identity(), reason="the fields of view have nothing in common")
    pair = _Pair(*images, comparison, start, score, seed)
    current = start
    with one_thread():
        for name in _STAGES[kind]:
            candidate = _deformed(pair, current) if name == "deformable" else _linear(pair, name, current)
            stage = _judged(pair, name, current, candidate)
            stages.append(stage)
            current = candidate if stage.accepted else current
    likeness = comparison.likeness(current, score, seed)
    apart = bool(stages) and stages[0].before is None
    needed = _LIKENESS_ELSEWHERE if apart else _LIKENESS
    if likeness < needed:
        reason = (f"the images are not more alike than unrelated ones: {likeness:.2f} times the best of random "
                  f"displacements, at least {needed} expected" + (", as the files share no world frame" if apart else ""))
        return Registered(kind, Transform.identity(), tuple(stages), likeness, reason)
    return Registered(kind, current, tuple(stages), likeness)


def _unfit(image_DHW: np.ndarray, geometry: Geometry) -> str:
    """Why an image cannot be registered, or nothing."""
    if geometry.dimensions == 2 or min(geometry.shape) < _FEWEST_VOXELS:
        return f"only volumes of {_FEWEST_VOXELS} voxels or more along every axis are registered"
    return "an image is constant" if image_DHW.min() == image_DHW.max() else ""


def _start(fixed: Volume, moving: Volume, comparison: Comparison) -> tuple[Transform, Score, list[Stage]]:
    """Where the search begins: the world frame as the files say, or, where these look much less alike, the centres of the
    fields of view or the centres of mass laid on one another.
    """
    best, as_said = Transform.identity(), comparison.score(Transform.identity())
    best_score, stages = as_said, []
    centres = [volume.corners_N3_mm.mean(axis=0) for volume in (fixed, moving)]
    masses = [volume.centre_of_mass_mm() for volume in (fixed, moving)]
    for name, (fixed_mm, moving_mm) in (("centres", centres), ("moments", masses)):
        other = Transform(np.column_stack([np.eye(3), moving_mm - fixed_mm]))
        score = comparison.score(other)
        if _promise(score) > _START_GAIN * _promise(best_score):
            stages = [Stage(kind=name, before=as_said.information, after=score.information, accepted=True)]
            best, best_score = other, score
    return best, best_score, stages


def _promise(score: Score) -> float:
    return 0.0 if score.coverage < _LEAST_COVERAGE else (score.information or 0.0) * score.coverage


def _linear(pair: _Pair, kind: str, current: Transform) -> Transform:
    """The stage's map, level by level; a level that makes the images less alike is left out.

    Samples are drawn from the smaller field of view, of which most is seen by the larger one; drawn from the larger one,
    few of them would tell anything, and fewer the further the images drift apart.
    """
    turned = pair.moving.volume_mm3 < pair.fixed.volume_mm3
    first, second = (pair.moving, pair.fixed) if turned else (pair.fixed, pair.moving)
    mapped = current.linear_inverse() if turned else current
    best = current
    levels = pyramid(first, common_part(second, first, mapped, _MARGIN_MM))
    for level, reach in zip(levels, _REACHES, strict=False):
        step = linear_step(kind, level, mapped, reach=reach, seed=pair.seed)
        if step is None:
            continue
        candidate = step.linear_inverse() if turned else step
        if pair.worth(candidate) > pair.worth(best):
            mapped, best = step, candidate
    return best


def _deformed(pair: _Pair, current: Transform) -> Transform:
    """A displacement before the linear map, over the part of the reference that the moving image sees."""
    seen = common_part(pair.fixed, pair.moving, current.linear_inverse(), _MARGIN_MM)
    levels = pyramid(seen, common_part(pair.moving, seen, current, _MARGIN_MM))
    return deformable_stage(levels, current, pair.seed)


def _judged(pair: _Pair, kind: str, before: Transform, after: Transform) -> Stage:
    """Whether a stage is kept, and why not."""
    scores = pair.comparison.score(before), pair.comparison.score(after)
    reason = ""
    if scores[1].worth(scores[0]) < _GAIN * scores[0].worth(scores[0]) or after is before:
        reason = f"the shared information does not grow by {_GAIN - 1:.0%}"
    elif scores[1].coverage < _LEAST_KEPT * scores[0].coverage:
        reason = f"{1 - scores[1].coverage / scores[0].coverage:.0%} of the common field of view would be lost"
    else:
        reason = implausible(after, pair.start, pair.fixed, pair.moving)
    if not reason and after.displacement_mm is not None:
        grid = shrunk(pair.fixed, working_spacing(pair.fixed)).geometry
        least = least_jacobian(after, grid)
        reason = "" if least > 0 else f"it folds: the least Jacobian determinant is {least:.2f}"
    return Stage(kind=kind, before=scores[0].information, after=scores[1].information, accepted=not reason, reason=reason)
