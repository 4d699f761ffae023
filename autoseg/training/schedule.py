"""The learning rate as a function of the share of the training that is done."""

import math

from planners.schema.plan import ResolvedSchedule


def learning_rate(schedule: ResolvedSchedule, iteration: int) -> float:
    """The learning rate of an iteration (0-based).

    A linear warm-up, times `poly`, (1 - t)^0.9 as nnU-Net anneals, or `cosine`, (1 + cos(pi t)) / 2, with t the share
    of the iterations done. Both end at zero.
    """
    t = iteration / schedule.iterations
    factor = (1 - t) ** 0.9 if schedule.decay == "poly" else 0.5 * (1 + math.cos(math.pi * t))
    warmup = min(1.0, (iteration + 1) / (schedule.warmup_iterations + 1))
    return schedule.learning_rate * factor * warmup
