"""How a training with a time budget comes to its end in time: what was seen last says how long the rest takes."""

import math
from collections.abc import Sequence

from planners.rules.budget import LATEST_SHARE
from planners.rules.phases import left_of_phase
from planners.schema.base import Frozen
from planners.schema.plan import ResolvedSchedule

# The last epochs are shorter, down to this share: what the machine does in the last one cannot be corrected any more.
SHORTEST_EPOCH_SHARE = 1 / 4


class PredictedCase(Frozen):
    """How long a validation case took with mirroring, from reading to scoring."""

    voxels: int
    seconds: float


def weight_of_latest(epoch_seconds: float, left_seconds: float) -> float:
    """The weight of the latest epoch in the throughput that is expected for the rest of the training.

    What is left is expected to run as a past of the same length did: with little left, the latest epoch says most. With
    much left one busy minute must not change the schedule.
    """
    return max(LATEST_SHARE, epoch_seconds / (epoch_seconds + left_seconds))


def epoch_iterations(schedule: ResolvedSchedule, done: int) -> int:
    """The iterations of the next epoch; the last epochs of a time budget are halves of what is left.

    An epoch ends where its phase ends, so that its time is of one size. A rest of less than half an epoch belongs to the one
    before: what is measured of a few iterations misleads the budget.
    """
    left, usual = schedule.iterations - done, schedule.iterations_per_epoch
    left_in_phase = left_of_phase(schedule, done)
    if left_in_phase < left:
        return left_in_phase if left_in_phase < 1.5 * usual else usual
    if schedule.budget_seconds is None:
        return min(usual, left)
    shortest = max(1, math.ceil(SHORTEST_EPOCH_SHARE * usual))
    steps = max(shortest, min(usual, left // 2))
    return left if left - steps < shortest else steps


def affords_mirroring(mirrored: Sequence[PredictedCase], voxels_left: int, seconds_left: float) -> bool:
    """Whether all cases that are left can be predicted with mirroring in the time that is left of a budget.

    They are expected to run as the latest mirrored cases of as many voxels did. The first case is mirrored: nothing is
    known before it.
    """
    voxels, seconds = 0, 0.0
    for case in reversed(mirrored):
        voxels, seconds = voxels + case.voxels, seconds + case.seconds
        if voxels >= voxels_left:
            break
    return voxels == 0 or seconds * voxels_left <= seconds_left * voxels
