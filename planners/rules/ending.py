"""How a training with a time budget comes to its end in time: what was seen last says how long the rest takes."""

import math
import statistics
from collections.abc import Sequence

from planners.rules.budget import LATEST_SHARE, Throughput
from planners.rules.phases import left_of_phase
from planners.schema.base import Frozen
from planners.schema.plan import ResolvedSchedule

# The last epochs are shorter, down to this share: what the machine does in the last one cannot be corrected any more.
SHORTEST_EPOCH_SHARE = 1 / 4
# From this share of a budget on validation cases are timed between the epochs: masks of an untrained network take longer.
TIMED_FROM = 1 / 2
# Share of the budget that this may take. Of few large cases one may take this share of what the validation is expected to
# take: with fewer or larger ones more is lost by timing than by not knowing.
TIMING_SHARE, FIRST_TIMING_SHARE = 0.02, 1 / 8


class PredictedCase(Frozen):
    """How long a validation case took with mirroring, from reading to scoring."""

    voxels: int
    seconds: float


class TimedCase(Frozen):
    """A validation case that was predicted and scored between two epochs, as it will be after the training: seconds of one
    pass over it, and of reading, export and scoring, each as a multiple of what was expected at the start of the training.
    That the machine has become slower since then is taken out.
    """

    one_pass: float
    rest: float


def seconds_for_timing(schedule: ResolvedSchedule, throughput: Throughput, done: int, seconds: float, spent_seconds: float
                       ) -> float:
    """How long the next validation case that is timed may take; 0 where none is timed after so many iterations.

    `seconds` of the budget are over, `spent_seconds` of them were for such cases. Without a budget none is timed.
    """
    budget = schedule.budget_seconds
    if budget is None or done >= schedule.iterations or seconds < TIMED_FROM * budget:
        return 0.0
    first = 0.0 if spent_seconds else FIRST_TIMING_SHARE * throughput.reserve_seconds(schedule.validation_mirroring)
    return max(first, TIMING_SHARE * budget - spent_seconds)


def with_timed(throughput: Throughput, start: Throughput, cases: Sequence[TimedCase]) -> Throughput:
    """The throughput with the seconds that the timed cases say of the validation, at the present speed of the machine.

    `start` is what was measured at the start of the training. Without a timed case nothing changes.
    """
    if not cases:
        return throughput
    slower = throughput.seconds_per_iteration / start.seconds_per_iteration
    return throughput.model_copy(update={
        "validation_pass_seconds": slower * start.validation_pass_seconds * _believed([case.one_pass for case in cases]),
        "validation_rest_seconds": slower * start.validation_rest_seconds * _believed([case.rest for case in cases])})


def _believed(multiples: Sequence[float]) -> float:
    """The median, which a busy moment does not change, and how uncertain it is: the median deviation by the root of n."""
    middle = statistics.median(multiples)
    return middle + statistics.median(abs(each - middle) for each in multiples) / math.sqrt(len(multiples))


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
