"""How long a fold takes at least, by the arithmetic of its network and the measured speed of the machine."""

import math
import statistics

from autoseg.prediction.tiles import tile_starts
from planners.budgeted import TRAINING_SHARE
from planners.schema.fingerprint import Fingerprint
from planners.schema.plan import Plan

START_SECONDS = 10.0  # of a fold, to read its cases, measure the throughput and write its results
LEAST_ITERATIONS = 100  # with fewer, no network has learnt anything that could be compared


def step_flops(plan: Plan, name: str) -> float:
    """FLOPs of one training step of a configuration."""
    configuration = plan.configurations[name]
    return float(configuration.architecture.cost(configuration.patch, len(plan.channels), plan.labels.n_heads,
                                                 batch=configuration.batch).training_flops)


def least_fold_seconds(plan: Plan, name: str, fingerprint: Fingerprint, n_validation: int, flops_per_s: float) -> float:
    """The time of LEAST_ITERATIONS and of one prediction of the validation cases, without mirroring."""
    configuration = plan.configurations[name]
    tile = configuration.architecture.cost(configuration.patch, len(plan.channels), plan.labels.n_heads).forward_flops
    tiles = math.prod(len(tile_starts(max(round(edge), size), size))
                      for edge, size in zip(configuration.median_shape, configuration.patch, strict=True))
    slices = 1.0
    if configuration.dimensions == 2:
        slices = statistics.median(case.shape[plan.transpose[0]] for case in fingerprint.cases)
    flops = LEAST_ITERATIONS * step_flops(plan, name) + n_validation * tiles * slices * tile
    return START_SECONDS + flops / flops_per_s / TRAINING_SHARE
