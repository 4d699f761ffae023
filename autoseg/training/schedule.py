"""The learning rate as a function of the share of the training that is done."""

import math

from planners.schema.plan import ResolvedSchedule


def learning_rate(schedule: ResolvedSchedule, iteration: int) -> float:
    """The learning rate of an iteration (0-based).

    A linear warm-up, times `poly`, (1 - t)^0.9 as nnU-Net anneals, `cosine`, (1 + cos(pi t)) / 2, or `stable`, 1 until the
    last `decay_share` of the iterations and then 1 - sqrt(d), with t the share of all iterations that is done and d the
    share of the decay (Haegele et al. 2024, arXiv 2405.18392). These end at zero; `constant` stays 1.
    """
    t = iteration / schedule.iterations
    warmup = min(1.0, (iteration + 1) / (schedule.warmup_iterations + 1))
    return schedule.learning_rate * _factor(schedule, t) * warmup


def _factor(schedule: ResolvedSchedule, t: float) -> float:
    if schedule.decay == "poly":
        return float((1 - t) ** 0.9)
    if schedule.decay == "cosine":
        return 0.5 * (1 + math.cos(math.pi * t))
    if schedule.decay == "constant":
        return 1.0
    return 1 - math.sqrt(max(0.0, 1 - (1 - t) / schedule.decay_share))
