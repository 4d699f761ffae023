"""Measures what a training step and a prediction cost here, before the number of iterations is decided."""

import logging
import statistics
import time
from collections.abc import Callable

import torch

from autoseg.base.runtime import Runtime
from autoseg.batches.loader import BatchStream
from autoseg.nn.losses.deep import build_loss
from autoseg.predict.tiles import cover
from autoseg.train.job import FoldJob
from autoseg.train.state import TrainState, new_state
from autoseg.train.step import Forward, train_step
from planners.budget import Pace

logger = logging.getLogger(__name__)

_SECONDS = 2.0  # of measuring, at least
_STEPS = (3, 20)  # counted steps, at least and at most
# Reading, exporting, writing and scoring a validation case, beside the network's own time; and saving a fold.
_SECONDS_PER_CASE = 0.5
_SECONDS_AT_THE_END = 2.0
# A forward pass costs a third of a training step; half of its time again for accumulation and first-time effects.
_PREDICTION_MARGIN = 1.5
# Patches are validated meanwhile: a forward batch for every twenty steps.
_CHECKS = 1 + 1 / 60


def measure_pace(job: FoldJob, stream: BatchStream, shapes: list[tuple[int, ...]], runtime: Runtime, compiled: bool
                 ) -> Pace:
    """Seconds of an iteration, and of all that must happen after the last one.

    Steps are taken on a twin of the model that is thrown away, so that measuring does not change the training.
    `shapes` are the prepared shapes of the validation cases.
    """
    configuration = job.configuration
    twin = new_state(job.plan, configuration, runtime, job.seed)
    twin.schedule = twin.schedule.model_copy(update={"iterations": 1000 + _STEPS[1]})
    step = median_step_seconds(twin, twin.model if not compiled else torch.compile(twin.model), job, stream, runtime)
    forward_seconds = step / 3 / configuration.batch * _PREDICTION_MARGIN
    pace = Pace(seconds_per_iteration=step * _CHECKS,
                validation_pass_seconds=forward_seconds * sum(len(cover(shape, configuration.patch)) for shape in shapes),
                fixed_seconds=len(shapes) * _SECONDS_PER_CASE + _SECONDS_AT_THE_END,
                mirrored_passes=2 ** len(configuration.mirror_axes))
    logger.info("one iteration takes %.0f ms here, predicting the validation cases %.0f s", 1000 * step,
                pace.reserve_seconds(mirroring=True))
    return pace


def median_step_seconds(state: TrainState, forward: Forward, job: FoldJob, stream: BatchStream, runtime: Runtime
                        ) -> float:
    """Median seconds of a step with its batch, after one that warms up."""
    loss = build_loss(job.plan.labels, job.configuration, runtime.device)
    state.model.train()

    def step() -> float:
        start = time.perf_counter()
        train_step(state, forward, loss, next(stream), runtime)
        _wait(runtime)
        return time.perf_counter() - start

    step()
    taken: list[float] = []
    while len(taken) < _STEPS[0] or (sum(taken) < _SECONDS and len(taken) < _STEPS[1]):
        taken.append(step())
    return statistics.median(taken)


def compiles_faster(job: FoldJob, make_stream: Callable[[], BatchStream], runtime: Runtime) -> bool:
    """Whether `torch.compile` works here and makes a step at least 5 % faster; a failure is logged, never raised.

    Asked on CUDA only: on a CPU compiling takes minutes that a laptop's budget does not have.
    """
    if runtime.device.type != "cuda":
        return False
    seconds = []
    for compiled in (False, True):
        twin = new_state(job.plan, job.configuration, runtime, job.seed)
        twin.schedule = twin.schedule.model_copy(update={"iterations": 1000 + _STEPS[1]})
        try:
            forward = torch.compile(twin.model) if compiled else twin.model
            seconds.append(median_step_seconds(twin, forward, job, make_stream(), runtime))
        except Exception as error:  # the compiler raises what its many backends raise
            logger.warning("torch.compile does not work here (%s: %s); training goes on without it",
                           type(error).__name__, str(error).splitlines()[0] if str(error) else "")
            return False
    logger.info("a step takes %.0f ms, compiled %.0f ms", *(1000 * s for s in seconds))
    return seconds[1] < 0.95 * seconds[0]


def _wait(runtime: Runtime) -> None:
    if runtime.device.type == "cuda":
        torch.cuda.synchronize(runtime.device)
    elif runtime.device.type == "mps":
        torch.mps.synchronize()
