"""Measures what a training step and a prediction cost here, before the number of iterations is decided."""

import logging
import math
import statistics
import time
from collections.abc import Sequence

import torch

from autoseg.base.ranks import agreed, share_of
from autoseg.base.runtime import Runtime
from autoseg.batches.batch import Batch
from autoseg.batches.loader import BatchStream
from autoseg.data.case import PreparedCase
from autoseg.nn.losses.deep import build_loss
from autoseg.predict.tiles import cover
from autoseg.train.job import FoldJob
from autoseg.train.state import TrainState, new_state
from autoseg.train.step import Forward, train_step
from planners.budget import Pace

logger = logging.getLogger(__name__)

_SECONDS = 2.0  # of measuring, at least
_STEPS = (3, 20)  # counted steps, at least and at most
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


def measure_pace(job: FoldJob, stream: BatchStream, validation: Sequence[PreparedCase], runtime: Runtime,
                 compiled: bool) -> Pace:
    """Seconds of an iteration, and of all that must happen after the last one.

    Steps are taken on a twin of the model that is thrown away, so that measuring does not change the training. Several
    processes share the validation cases, and agree on what the first one measured.
    """
    validation = share_of(validation)
    configuration = job.configuration
    twin = _twin(job, runtime)
    step = median_step_seconds(twin, torch.compile(twin.model) if compiled else twin.model, job, stream, runtime)
    tiles = sum(len(cover(case.image_CDHW.shape[1:], configuration.patch)) for case in validation)
    voxels = sum(math.prod(case.geometry.shape) for case in validation)
    pace = Pace(seconds_per_iteration=step * _CHECKS,
                validation_pass_seconds=tiles * _forward_seconds(twin, next(stream), runtime) * _PREDICTION_MARGIN,
                fixed_seconds=(_SECONDS_AT_THE_END + len(validation) * _SECONDS_PER_CASE + voxels * _SECONDS_PER_VOXEL),
                mirrored_passes=2 ** len(configuration.mirror_axes))
    logger.info("one iteration takes %.0f ms here, predicting the validation cases %.0f s", 1000 * step,
                pace.reserve_seconds(mirroring=True))
    return agreed(pace)


def median_step_seconds(state: TrainState, forward: Forward, job: FoldJob, stream: BatchStream, runtime: Runtime
                        ) -> float:
    """Median seconds of a step with its batch, after one that warms up."""
    loss = build_loss(job.plan.labels, job.configuration, runtime.device)
    state.model.train()

    def step() -> float:
        start = time.perf_counter()
        train_step(state, forward, loss, next(stream), runtime)
        _wait(runtime)
        return agreed(time.perf_counter() - start)

    step()
    taken: list[float] = []
    while len(taken) < _STEPS[0] or (sum(taken) < _SECONDS and len(taken) < _STEPS[1]):
        taken.append(step())
    return statistics.median(taken)


def compiles_faster(job: FoldJob, stream: BatchStream, runtime: Runtime) -> bool:
    """Whether `torch.compile` works here and makes a step at least 5 % faster; a failure is logged, never raised.

    Worth asking on CUDA only: on a CPU compiling takes minutes that a laptop's budget does not have.
    """
    seconds = []
    for compiled in (False, True):
        twin = _twin(job, runtime)
        try:
            forward = torch.compile(twin.model) if compiled else twin.model
            seconds.append(median_step_seconds(twin, forward, job, stream, runtime))
        except Exception as error:  # the compiler raises what its many backends raise
            logger.warning("torch.compile does not work here (%s: %s); training goes on without it",
                           type(error).__name__, str(error).splitlines()[0] if str(error) else "")
            return False
    logger.info("a step takes %.0f ms, compiled %.0f ms", *(1000 * s for s in seconds))
    return seconds[1] < 0.95 * seconds[0]


def _twin(job: FoldJob, runtime: Runtime) -> TrainState:
    """A state like the one to be trained, with more iterations ahead than will be measured."""
    twin = new_state(job.plan, job.configuration, runtime, job.seed, job.layout)
    twin.schedule = twin.schedule.model_copy(update={"iterations": 1000})
    return twin


@torch.inference_mode()
def _forward_seconds(twin: TrainState, batch: Batch, runtime: Runtime) -> float:
    """Median seconds to predict one patch."""
    model = twin.model.eval()
    image = runtime.arranged(batch.image_BCDHW[:1], batch.image_BCDHW.ndim - 2)
    conditions = batch.conditions and {name: value[:1] for name, value in batch.conditions.items()}
    absent = None if batch.absent_BCDHW is None else batch.absent_BCDHW[:1]
    taken = []
    for _ in range(1 + _STEPS[0]):
        start = time.perf_counter()
        with runtime.autocast():
            model(image, batch.present_BC[:1], conditions, absent)
        _wait(runtime)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def _wait(runtime: Runtime) -> None:
    if runtime.device.type == "cuda":
        torch.cuda.synchronize(runtime.device)
    elif runtime.device.type == "mps":
        torch.mps.synchronize()
