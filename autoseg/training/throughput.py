"""Measures what a training step and a prediction cost here, before the number of iterations is decided."""

import logging
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from autoseg.base.errors import AutosegError
from autoseg.base.ranks import agreed, share_of
from autoseg.base.runtime import Runtime
from autoseg.batches.batch import Batch
from autoseg.batches.loader import BatchStream
from autoseg.datasets.case import PreparedCase
from autoseg.nn.losses.deep import build_loss
from autoseg.prediction.tiles import cover
from autoseg.prediction.window import tiles_at_once
from autoseg.training.job import FoldJob
from autoseg.training.state import TrainState
from autoseg.training.step import Forward, train_step
from planners.rules.budget import Throughput

logger = logging.getLogger(__name__)

_SECONDS = 2.0  # of measuring, at least
_STEPS = (3, 20)  # counted steps, at least and at most
_WARM_UP = 4  # steps on CUDA: CUDA graphs are recorded in the second and third
_HOST_BOUND = 0.9  # share of a step in which the host still queues it
# Around the network, a validation case costs its reading, export, writing and scoring: so much each, and a voxel of the
# file. Measured on one core: 0.13 s for a hippocampus; of 79 million voxels 1.3 s without the export, which took 3.3 s
# for 41 classes on 52 million.
_SECONDS_PER_CASE = 0.15
_SECONDS_PER_VOXEL = 1e-7
_SECONDS_AT_THE_END = 2.0
# A first pass is slower than the next ones, and logits are accumulated; patches are validated between the steps, a
# forward batch for every twenty.
_PREDICTION_MARGIN = 1.3
_CHECKS = 1 + 1 / 60


def measure_throughput(job: FoldJob, state: TrainState, stream: BatchStream, validation: Sequence[PreparedCase],
                 runtime: Runtime) -> tuple[Throughput, Forward]:
    """Seconds of an iteration and of all that must happen after the last one, and how the model is best run.

    The state is trained meanwhile; whoever wants it untrained restores it. So it is compiled once only. Several processes
    share the validation cases, and agree on what the first one measured.
    """
    validation = share_of(validation)
    configuration = job.configuration
    forward, step = fastest_forward(job, state, stream, runtime)
    tiles = sum(len(cover(case.shape, configuration.patch)) for case in validation)
    voxels = sum(math.prod(case.geometry.shape) for case in validation)
    throughput = Throughput(seconds_per_iteration=step * _CHECKS,
                validation_pass_seconds=tiles * _forward_seconds(state, next(stream), runtime) * _PREDICTION_MARGIN,
                fixed_seconds=(_SECONDS_AT_THE_END + len(validation) * _SECONDS_PER_CASE + voxels * _SECONDS_PER_VOXEL),
                mirrored_passes=2 ** len(configuration.mirror_axes))
    logger.info("one iteration takes %.0f ms here, predicting the validation cases %.0f s", 1000 * step,
                throughput.reserve_seconds(mirroring=True))
    return agreed(throughput), forward


@dataclass(frozen=True)
class StepTime:
    """Median seconds of a step with its batch, and until the host had queued it."""

    seconds: float
    queued_seconds: float

    @property
    def is_bound_by_host(self) -> bool:
        """Whether the device waits for its next kernel most of the time."""
        return self.queued_seconds > _HOST_BOUND * self.seconds


def fastest_forward(job: FoldJob, state: TrainState, stream: BatchStream, runtime: Runtime) -> tuple[Forward, float]:
    """The model, or its compiled form if that is at least 5 % faster, and the seconds of a step with it.

    Where the host is the limit, as with small patches, the compiled model is replayed as CUDA graphs. A failure is logged,
    never raised. Asked on CUDA only: on a CPU compiling takes minutes that a laptop's budget does not have.
    """
    plain = time_steps(job, state, state.model, stream, runtime)
    if runtime.device.type != "cuda":
        return state.model, plain.seconds
    mode = "reduce-overhead" if plain.is_bound_by_host else "default"
    try:
        forward = torch.compile(state.model, mode=mode)
        compiled = time_steps(job, state, forward, stream, runtime)
    except AutosegError:
        raise
    except Exception as error:  # the compiler raises what its many backends raise
        logger.warning("torch.compile does not work here (%s: %s); training goes on without it",
                       type(error).__name__, str(error).splitlines()[0] if str(error) else "")
        return state.model, plain.seconds
    logger.info("a step takes %.1f ms, compiled (%s) %.1f ms", 1000 * plain.seconds, mode, 1000 * compiled.seconds)
    faster = agreed(compiled.seconds < 0.95 * plain.seconds)
    return (forward, compiled.seconds) if faster else (state.model, plain.seconds)


def time_steps(job: FoldJob, state: TrainState, forward: Forward, stream: BatchStream, runtime: Runtime) -> StepTime:
    """The time of a step, after some that warm up: compilers and CUDA graphs need more than one."""
    loss = build_loss(job.plan.labels, job.configuration, runtime.device)
    state.schedule = state.schedule.model_copy(update={"iterations": state.iteration + 1000})
    state.model.train()

    def step() -> tuple[float, float]:
        start = time.perf_counter()
        batch = next(stream)
        drawn = time.perf_counter()
        train_step(state, forward, loss, batch, runtime)
        queued = time.perf_counter() - drawn
        _wait(runtime)
        return agreed((time.perf_counter() - start, queued))

    for _ in range(_WARM_UP if runtime.device.type == "cuda" else 1):
        step()
    taken: list[tuple[float, float]] = []
    while len(taken) < _STEPS[0] or (sum(whole for whole, _ in taken) < _SECONDS and len(taken) < _STEPS[1]):
        taken.append(step())
    return StepTime(*(statistics.median(column) for column in zip(*taken, strict=True)))


@torch.inference_mode()
def _forward_seconds(state: TrainState, batch: Batch, runtime: Runtime) -> float:
    """Median seconds to predict one patch, of as many as a prediction takes at once, at most a batch."""
    model = state.model.eval()
    n = min(len(batch.image_BCDHW), tiles_at_once(batch.image_BCDHW.shape[2:], runtime.device))
    image = runtime.arranged(batch.image_BCDHW[:n], batch.image_BCDHW.ndim - 2)
    conditions = batch.conditions and {name: value[:n] for name, value in batch.conditions.items()}
    absent = None if batch.absent_BCDHW is None else batch.absent_BCDHW[:n]
    taken = []
    for _ in range(1 + _STEPS[0]):
        start = time.perf_counter()
        with runtime.autocast():
            model(image, batch.present_BC[:n], conditions, absent)
        _wait(runtime)
        taken.append((time.perf_counter() - start) / n)
    return statistics.median(taken[1:])


def _wait(runtime: Runtime) -> None:
    if runtime.device.type == "cuda":
        torch.cuda.synchronize(runtime.device)
    elif runtime.device.type == "mps":
        torch.mps.synchronize()
