"""Measures the time of a training step and of a prediction, before the number of iterations is decided."""

import logging
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autoseg.base.errors import AutosegError
from autoseg.base.ranks import agreed, share_of
from autoseg.base.runtime import Runtime
from autoseg.batches.batch import Batch
from autoseg.batches.loader import BatchStream
from autoseg.datasets.case import PreparedCase
from autoseg.prediction.tiles import cover
from autoseg.prediction.window import tiles_at_once
from autoseg.training.disturbance import CoresWatch
from autoseg.training.state import TrainState
from autoseg.training.step import Forward, train_step
from autoseg.training.tasks import Task
from planners.rules.budget import PROVISIONAL_ITERATIONS, Throughput
from planners.schema.plan import Configuration, Schedule

logger = logging.getLogger(__name__)

# Of measuring steps: so many seconds, and of a short time budget no more than this share. The training itself measures on.
_SECONDS, _SHARE_OF_BUDGET = 2.0, 0.01
_STEPS = (3, 20)  # counted steps, at least and at most
_WARM_UP = 4  # steps on CUDA: CUDA graphs are recorded in the second and third
_HOST_BOUND = 0.9  # share of a step in which the host still queues it
# Around the network, a validation case costs its reading, export, writing and scoring: seconds per case, and per voxel of
# the file. Measured on one core: 0.13 s for a hippocampus; of 79 million voxels 1.3 s without the export, which took 3.3 s
# for 41 classes on 52 million. These and the margin are for the start: later the training times some cases (`timing`).
_SECONDS_PER_CASE = 0.15
_SECONDS_PER_VOXEL = 1e-7
_SECONDS_AT_THE_END = 1.0
# A first pass is slower than the next ones, and logits are accumulated.
_PREDICTION_MARGIN = 1.3
# Patches are validated between the steps.
VALIDATION_SHARE = 1 / 20  # validation batches per training batch
_CHECKS = 1 + VALIDATION_SHARE / 3  # a batch that is only predicted takes a third of a step

# Beyond this many times the planned seconds of a step, and of those last spoken of, the log says so; at most so often.
_SLOWER, _OFTEN = 1.25, 2

Clock = Callable[[], float]


@dataclass
class SlowerThanPlanned:
    """Says in a sentence when steps take longer than the plan foresaw, at the start and where it gets worse."""

    planned_seconds: float | None
    said: int = 0
    last_seconds: float = 0.0

    def sentence(self, seconds: float) -> str:
        """Of steps that take so many seconds; empty where there is nothing new to say."""
        if self.planned_seconds is None or self.said == _OFTEN or seconds <= _SLOWER * max(self.planned_seconds,
                                                                                          self.last_seconds):
            return ""
        self.said, self.last_seconds = self.said + 1, seconds
        return (f"a step takes {1000 * seconds:.0f} ms where {1000 * self.planned_seconds:.0f} ms were planned, so that a "
                "time budget holds fewer iterations: patches are read and augmented on the same cores, other work takes "
                "some of them, or torch has another number of threads")


def step_of(throughput: Throughput) -> float:
    """Seconds of a training step, of those of an iteration with its share of validation."""
    return throughput.seconds_per_iteration / _CHECKS


def iteration_of(step_seconds: float) -> float:
    """Seconds of an iteration with its share of validation, of those of a training step."""
    return step_seconds * _CHECKS


def measuring_seconds(schedule: Schedule) -> float:
    """How long steps are measured before the training starts; a few are measured in any case.

    >>> measuring_seconds(Schedule(learning_rate=0.01, budget_seconds=60)), measuring_seconds(Schedule(learning_rate=0.01))
    (0.6, 2.0)
    """
    return _SECONDS if schedule.budget_seconds is None else min(_SECONDS, _SHARE_OF_BUDGET * schedule.budget_seconds)


def measure_throughput(configuration: Configuration, task: Task, state: TrainState, stream: BatchStream,
                       validation: Sequence[PreparedCase], runtime: Runtime, *, clock: Clock = time.perf_counter
                       ) -> tuple[Throughput, Forward]:
    """The seconds per iteration and of all that follows the last one, and the form of the model that trains fastest.

    The state is trained meanwhile, so that the model is compiled only once; a caller who wants it untrained restores it.
    Several processes share the validation cases, and agree on what the first one measured.
    """
    validation, cores = share_of(validation), CoresWatch(runtime)
    forward, step = fastest_forward(task, state, stream, runtime, measuring_seconds(configuration.schedule), clock=clock)
    work = [work_of(case, configuration) for case in validation]
    tile_seconds = _forward_seconds(state, next(stream), runtime, clock)
    slowdown = cores.slowdown()  # of what is not measured, so that other work has not slowed it yet
    throughput = Throughput(
        seconds_per_iteration=iteration_of(step),
        validation_pass_seconds=sum(case.tiles for case in work) * tile_seconds * _PREDICTION_MARGIN,
        validation_rest_seconds=slowdown * sum(case.rest_seconds for case in work),
        fixed_seconds=slowdown * _SECONDS_AT_THE_END, mirrored_passes=2 ** len(configuration.mirror_axes))
    logger.info("one iteration takes %.0f ms here, predicting the validation cases %.0f s", 1000 * step,
                throughput.reserve_seconds(mirroring=True))
    return agreed(throughput), forward


@dataclass(frozen=True)
class CaseWork:
    """What a validation case costs: the tiles of one pass over it, and about the seconds of all else on a free core."""

    tiles: int
    rest_seconds: float


def work_of(case: PreparedCase, configuration: Configuration) -> CaseWork:
    return CaseWork(tiles=len(cover(case.shape, configuration.patch)),
                    rest_seconds=_SECONDS_PER_CASE + math.prod(case.geometry.shape) * _SECONDS_PER_VOXEL)


@dataclass(frozen=True)
class StepTime:
    """Median seconds of a step with its batch, and until the host had queued it."""

    seconds: float
    queued_seconds: float

    @property
    def is_bound_by_host(self) -> bool:
        """Whether the device waits for its next kernel most of the time."""
        return self.queued_seconds > _HOST_BOUND * self.seconds


def fastest_forward(task: Task, state: TrainState, stream: BatchStream, runtime: Runtime, least_seconds: float, *,
                    clock: Clock = time.perf_counter) -> tuple[Forward, float]:
    """The model, or its compiled form if that is at least 5 % faster, and the seconds of a step with it.

    Where the host is the limit, as with small patches, the compiled model is replayed as CUDA graphs. A failure is logged,
    never raised. Only CUDA compiles: on a CPU it takes minutes that a laptop's budget does not have.
    """
    plain = time_steps(task, state, state.model, stream, runtime, least_seconds, clock=clock)
    if runtime.device.type != "cuda" or runtime.deterministic:  # the faster form of today may not be that of tomorrow
        return state.model, plain.seconds
    mode = "reduce-overhead" if plain.is_bound_by_host else "default"
    try:
        # Each size of a training in phases has code of its own: code for any size is slower.
        sizes: dict[str, Any] = {"dynamic": False} if state.schedule.phases else {}
        forward = torch.compile(state.model, mode=mode, **sizes)
        compiled = time_steps(task, state, forward, stream, runtime, least_seconds, clock=clock)
    except AutosegError:
        raise
    except Exception as error:  # the compiler raises what its many backends raise
        logger.warning("torch.compile does not work here (%s: %s); training goes on without it",
                       type(error).__name__, str(error).splitlines()[0] if str(error) else "")
        return state.model, plain.seconds
    logger.info("a step takes %.1f ms, compiled (%s) %.1f ms", 1000 * plain.seconds, mode, 1000 * compiled.seconds)
    faster = agreed(compiled.seconds < 0.95 * plain.seconds)
    return (forward, compiled.seconds) if faster else (state.model, plain.seconds)


def time_steps(task: Task, state: TrainState, forward: Forward, stream: BatchStream, runtime: Runtime, least_seconds: float,
               *, clock: Clock = time.perf_counter) -> StepTime:
    """The time of a step, after some that warm up: compilers and CUDA graphs need more than one."""
    loss = task.build_loss(runtime.device)
    state.schedule = state.schedule.model_copy(update={"iterations": state.iteration + PROVISIONAL_ITERATIONS})
    state.model.train()

    def step() -> tuple[float, float]:
        start = clock()
        batch = next(stream)
        drawn = clock()
        train_step(state, forward, loss, batch, runtime)
        queued = clock() - drawn
        runtime.wait()
        return agreed((clock() - start, queued))

    for _ in range(_WARM_UP if runtime.device.type == "cuda" else 1):
        step()
    taken: list[tuple[float, float]] = []
    while len(taken) < _STEPS[0] or (sum(whole for whole, _ in taken) < least_seconds and len(taken) < _STEPS[1]):
        taken.append(step())
    return StepTime(*(statistics.median(column) for column in zip(*taken, strict=True)))


@torch.inference_mode()
def _forward_seconds(state: TrainState, batch: Batch, runtime: Runtime, clock: Clock) -> float:
    """Median seconds to predict one patch, of as many as a prediction takes at once, at most a batch."""
    model = state.model.eval()
    n = min(len(batch.image_BCDHW), tiles_at_once(batch.image_BCDHW.shape[2:], runtime.device))
    shown = batch.map(lambda tensor: tensor[:n])
    image = runtime.arranged(shown.image_BCDHW, shown.image_BCDHW.ndim - 2)
    taken = []
    for _ in range(1 + _STEPS[0]):
        start = clock()
        with runtime.autocast():
            model(image, shown.present_BC, shown.conditions, shown.absent_BCDHW)
        runtime.wait()
        taken.append((clock() - start) / n)
    return statistics.median(taken[1:])
