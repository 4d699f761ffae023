"""Which phase of a training an iteration belongs to, how large its batches are, and how many iterations fit a time.

Phases are shares of the iterations, as the learning rate is a function of them. So a phase follows from the schedule and the
number of the iteration alone: a resume, a shorter or a longer schedule has nothing to remember.
"""

import math
from collections.abc import Sequence

from planners.rules.pooling import MIN_EDGE
from planners.schema.base import Frozen
from planners.schema.phases import Phase
from planners.schema.plan import Configuration, ResolvedSchedule, Schedule

_ROUNDING = 1e-9  # 0.7 * 40 / 4 is 7 and not a little more


class Size(Frozen):
    """The patch [voxels] and the batch of a phase, and the share of a batch's voxels that it has of the plan's."""

    patch: tuple[int, ...]
    batch: int
    voxels_share: float


def ends_of(phases: Sequence[Phase]) -> tuple[float, ...]:
    """The share of the iterations at which each phase ends; after the last that is named, the plan's own sizes hold to the
    end.

    >>> ends_of([Phase(until=0.5, patch_share=0.5)]), ends_of([])
    ((0.5, 1.0), (1.0,))
    """
    ends = tuple(phase.until for phase in phases)
    return ends if ends and ends[-1] == 1 else (*ends, 1.0)


def phase_at(schedule: ResolvedSchedule, iteration: int) -> int:
    """The number of the phase, from 0, of an iteration (0-based)."""
    ends = ends_of(schedule.phases)[:-1]
    return sum(iteration >= round(end * schedule.iterations) for end in ends)


def left_of_phase(schedule: ResolvedSchedule, iteration: int) -> int:
    """How many iterations are left of the phase of an iteration, itself among them."""
    return round(ends_of(schedule.phases)[phase_at(schedule, iteration)] * schedule.iterations) - iteration


def steps_of_epoch(schedule: ResolvedSchedule, iteration: int) -> int:
    """The iterations of the epoch that begins with this one. It ends where its phase ends, so that its time is of one size.

    A rest of less than half an epoch belongs to the one before: what is measured of a few iterations misleads the budget.
    """
    left, steps = left_of_phase(schedule, iteration), schedule.iterations_per_epoch
    is_last = iteration + left == schedule.iterations
    return left if left <= steps or (not is_last and left < 1.5 * steps) else steps


def sizes_of(configuration: Configuration) -> tuple[Size, ...]:
    """The sizes of each phase of a training; of one without phases, the plan's."""
    phases = configuration.schedule.phases
    named = tuple(_size(configuration, phase) for phase in phases)
    return named if len(named) == len(ends_of(phases)) else (*named, planned_size(configuration))


def planned_size(configuration: Configuration) -> Size:
    return Size(patch=configuration.patch, batch=configuration.batch, voxels_share=1.0)


def _size(configuration: Configuration, phase: Phase) -> Size:
    patch = tuple(_edge(edge, divisor, phase.patch_share)
                  for edge, divisor in zip(configuration.patch, configuration.architecture.divisor, strict=True))
    voxels_share = math.prod(patch) / math.prod(configuration.patch)
    if phase.batch_factor == "same_voxels":
        batch = math.floor(configuration.batch / voxels_share + _ROUNDING)
    else:
        batch = max(1, round(configuration.batch * phase.batch_factor))
    return Size(patch=patch, batch=batch, voxels_share=voxels_share * batch / configuration.batch)


def _edge(planned: int, divisor: int, share: float) -> int:
    """A share of an edge, rounded up to what the network divides; it leaves `MIN_EDGE` voxels to the deepest feature map, as
    the planned edges do, or as many as the planned one leaves.
    """
    rounded = math.ceil(share * planned / divisor - _ROUNDING) * divisor
    return min(planned, max(rounded, MIN_EDGE * divisor))


def seconds_between(ends: Sequence[float], seconds: Sequence[float], first: int, iterations: int) -> float:
    """Seconds of the iterations from `first` on, of so many `iterations`, each of `seconds` by its phase."""
    starts = (0.0, *ends[:-1])
    return sum(second * max(0.0, end * iterations - max(start * iterations, first))
               for start, end, second in zip(starts, ends, seconds, strict=True))


def affordable(ends: Sequence[float], seconds: Sequence[float], done: int, left_seconds: float) -> int:
    """How many iterations fit into the seconds that are left after `done` ones: of the longest schedule whose rest does.

    A longer schedule has longer phases. So the more iterations there are, the earlier is the phase in which the rest begins:
    first it is the last one alone, and from done / `until` iterations on the one that ends there, too.
    """
    iterations = float(done)
    for phase in reversed(range(len(ends))):
        starts = (0.0, *ends[:-1])
        later = sum((ends[i] - starts[i]) * seconds[i] for i in range(phase + 1, len(ends)))
        each = ends[phase] * seconds[phase] + later  # seconds that one more iteration of the schedule takes
        limit = done / starts[phase] if starts[phase] else math.inf
        if left_seconds <= each * (limit - iterations):
            return int(iterations - done + left_seconds / each)
        left_seconds -= each * (limit - iterations)
        iterations = limit
    raise AssertionError("the first phase has no limit")


def mean_voxels_share(configuration: Configuration) -> float:
    """Voxels of a batch, of those of the plan's batch, in the mean over all iterations."""
    ends = ends_of(configuration.schedule.phases)
    return seconds_between(ends, [size.voxels_share for size in sizes_of(configuration)], 0, 1)


def at_the_end(schedule: Schedule) -> tuple[Phase, ...]:
    """The phases of a training that goes on as another one ended."""
    last = schedule.phases[-1:]
    return tuple(phase for phase in last if phase.until == 1)
