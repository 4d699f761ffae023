"""The phases of a training: its batches, and the seconds of an iteration in each of them."""

import logging
from collections.abc import Callable

from autoseg.base.runtime import Runtime
from autoseg.batches.loader import BatchStream
from autoseg.batches.phased import PhasedStream
from autoseg.training.job import FoldJob
from autoseg.training.state import TrainState
from autoseg.training.step import Forward
from autoseg.training.tasks import Task
from autoseg.training.throughput import VALIDATION_SHARE, Clock, iteration_of, measuring_seconds, time_steps
from planners.rules.budget import Throughput
from planners.rules.phases import Size, ends_of, phase_at, planned_size, sizes_of
from planners.schema.plan import Configuration, ResolvedSchedule

logger = logging.getLogger(__name__)

# Of the time for which the plan's size is measured: that for each phase. The budget pays for both.
_MEASURED_SHARE = 0.25

StreamOf = Callable[[Configuration], BatchStream]


def sized(configuration: Configuration, size: Size) -> Configuration:
    """The configuration with the patch and the batch of a phase."""
    return configuration.model_copy(update={"patch": size.patch, "batch": size.batch})


def phased_batches(configuration: Configuration, stream_of: StreamOf) -> PhasedStream:
    """The batches of all phases; `stream_of` makes those of a configuration."""
    return PhasedStream([stream_of(sized(configuration, size)) for size in sizes_of(configuration)])


def with_phases(throughput: Throughput, configuration: Configuration, stream_of: StreamOf, task: Task, state: TrainState,
                forward: Forward, runtime: Runtime, clock: Clock) -> Throughput:
    """The throughput with the seconds of an iteration in each phase, measured where its size is not the plan's.

    The state is trained meanwhile.
    """
    sizes, seconds = sizes_of(configuration), _MEASURED_SHARE * measuring_seconds(configuration.schedule)
    known = {_shape(planned_size(configuration)): throughput.seconds_per_iteration}
    for size in sizes:
        if _shape(size) not in known:
            trial = stream_of(sized(configuration, size))
            step = time_steps(task, state, forward, trial, runtime, seconds, clock=clock).seconds
            trial.close()
            known[_shape(size)] = iteration_of(step)
            logger.info("%s: one iteration takes %.0f ms", in_words(size), 1000 * step)
    return throughput.model_copy(update={"phase_seconds": tuple(known[_shape(size)] for size in sizes)})


def in_words(size: Size) -> str:
    """The sizes of a phase as the log says them.

    >>> in_words(Size(patch=(32, 48, 32), batch=2, voxels_share=0.5))
    '2 patches of 32x48x32'
    """
    return f"{size.batch} patch{'es' if size.batch > 1 else ''} of {'x'.join(map(str, size.patch))}"


def described(configuration: Configuration, schedule: ResolvedSchedule) -> str:
    """The sizes of all phases, for the log; empty for a training without phases."""
    if not schedule.phases:
        return ""
    last = (round(end * schedule.iterations) for end in ends_of(schedule.phases))
    return ": " + ", ".join(f"{in_words(size)} to {end}" for size, end in zip(sizes_of(configuration), last, strict=True))


def turned(stream: PhasedStream, job: FoldJob, schedule: ResolvedSchedule, iteration: int) -> int:
    """The number of an iteration's phase, in which the next batch of the stream will be; another one is logged."""
    phase = phase_at(schedule, iteration)
    if stream.turn_to(phase):
        logger.info("%s: from iteration %d on %s", job.title, iteration, in_words(sizes_of(job.scheduled)[phase]))
    return phase


def n_checks(job: FoldJob, phase: int, steps: int) -> int:
    """Batches of the plan's size that are validated after so many steps: the same share of their voxels in each phase,
    so that validation always takes the same share of the time.
    """
    return max(1, round(steps * VALIDATION_SHARE * sizes_of(job.scheduled)[phase].voxels_share))


def _shape(size: Size) -> tuple[int, ...]:
    return (size.batch, *size.patch)
