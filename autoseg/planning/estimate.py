"""How long a fold takes at least, by the arithmetic of its network and the measured speed of the machine."""

import math
import statistics

from autoseg.prediction.tiles import tile_starts
from planners.schema.fingerprint import Fingerprint
from planners.schema.hardware import StepSpeed
from planners.schema.plan import Plan

START_SECONDS = 10.0  # of a fold, to read its cases, measure the throughput and write its results
FORWARD_SHARE = 1 / 3  # of a step, that predicting a patch takes
LEAST_ITERATIONS = 100  # with fewer, no network has learnt anything that could be compared


def step_flops(plan: Plan, name: str) -> float:
    """FLOPs of one training step of a configuration."""
    configuration = plan.configurations[name]
    return float(configuration.architecture.cost(configuration.patch, len(plan.channels), plan.labels.n_heads,
                                                 batch=configuration.batch).training_flops)


def least_fold_seconds(plan: Plan, name: str, fingerprint: Fingerprint, n_validation: int, speed: StepSpeed) -> float:
    """The time of LEAST_ITERATIONS and of one prediction of the validation cases, without mirroring."""
    configuration = plan.configurations[name]

    def step_seconds(batch: int) -> float:
        return configuration.architecture.step_seconds(configuration.patch, len(plan.channels), plan.labels.n_heads,
                                                       batch=batch, speed=speed)

    tiles = math.prod(len(tile_starts(max(round(edge), size), size))
                      for edge, size in zip(configuration.median_shape, configuration.patch, strict=True))
    slices = 1.0
    if configuration.dimensions == 2:
        slices = statistics.median(case.shape[plan.transpose[0]] for case in fingerprint.cases)
    predicting = n_validation * tiles * slices * FORWARD_SHARE * step_seconds(1)
    return START_SECONDS + LEAST_ITERATIONS * step_seconds(configuration.batch) + predicting
