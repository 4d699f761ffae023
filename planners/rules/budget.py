"""How many iterations fit a time budget: resolved once the throughput is measured, revised when it changes."""

import math
from collections.abc import Mapping
from typing import Any

from planners.rules.phases import affordable, at_the_end, ends_of, mean_voxels_share, seconds_between
from planners.schema.base import Frozen
from planners.schema.plan import Configuration, Plan, ResolvedSchedule, Schedule

# An epoch is the unit of logging, checking and saving: fifty give a curve and lose at most 2 % to a crash, but none
# should be so short that saving it costs more than the training.
EPOCHS_OF_A_BUDGET = 50
SHORTEST_EPOCH_SECONDS = 10.0
# Nor should the check at its end, which takes a third of a step, cost much of it: steps of the plan's size. But a training
# has a few epochs, or nothing corrects it.
SHORTEST_EPOCH_STEPS, LONGEST_EPOCH_SHARE = 6, 1 / 5
_ROUNDING = 1e-9  # six steps may be a little less than six
# What the clock does to a schedule is corrected only beyond this, so that a steady machine keeps its schedule.
THROUGHPUT_TOLERANCE = 0.02
# The weight of the latest epoch in the throughput. It is small, because one busy minute must not change the schedule.
LATEST_SHARE = 0.25
# Share of the budget that stays free at the end. It is small: a slower machine is met by validation without mirroring, but
# time that a faster one leaves over is lost.
MARGIN = 0.01
# Validation may take this share of a budget; mirrored predictions that would take more are not mirrored.
VALIDATION_SHARE = 0.2
PROVISIONAL_ITERATIONS = 1000
SELDOM_SEEN = 10  # views of a voxel below which a coarser grid, seen more often and in more context, teaches more
# Of the planner `budgeted`, and in a race of every recipe that has none: decay of averaged weights, iterations of warm-up.
EMA = 0.98
WARM_UP = 30
# A `stable` training that is ended early decays for this share of what it has done.
EARLY_DECAY_SHARE = 0.1
# The rate of an extension, as a share of the first: it begins with weights that are good already.
EXTENSION_RATE = 0.5


class Throughput(Frozen):
    """Measured seconds: per iteration, to predict all validation cases once, for all else that they cost, and for what
    else follows the training.

    `phase_seconds` are those of an iteration in each phase of the training; empty: each is as the plan's patch and batch.
    """

    seconds_per_iteration: float
    phase_seconds: tuple[float, ...] = ()
    validation_pass_seconds: float
    validation_rest_seconds: float = 0.0
    fixed_seconds: float
    mirrored_passes: int  # predictions of a case, where mirroring is on

    def seconds_in(self, phase: int) -> float:
        """Seconds of an iteration in a phase."""
        return self.phase_seconds[phase] if self.phase_seconds else self.seconds_per_iteration

    def seconds_left(self, schedule: Schedule | ResolvedSchedule, iterations: int, done: int = 0) -> float:
        """Seconds of what is left of so many iterations."""
        ends = ends_of(schedule.phases)
        return seconds_between(ends, [self.seconds_in(phase) for phase in range(len(ends))], done, iterations)

    def reserve_seconds(self, mirroring: bool) -> float:
        """What must remain after the last iteration."""
        passes = self.mirrored_passes if mirroring else 1
        return self.fixed_seconds + self.validation_rest_seconds + self.validation_pass_seconds * passes

    def slowed(self, factor: float) -> "Throughput":
        """With `factor` times the seconds of what follows the training."""
        return self.model_copy(update={"validation_pass_seconds": factor * self.validation_pass_seconds,
                                       "validation_rest_seconds": factor * self.validation_rest_seconds,
                                       "fixed_seconds": factor * self.fixed_seconds})


def in_words(seconds: float) -> str:
    """A budget as reasons say it.

    >>> in_words(25.0), in_words(1800.0)
    ('25 s', '30 min')
    """
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def with_budget(plan: Plan, seconds: float | None) -> Plan:
    """The plan with every schedule bound to a time budget, where one is given: published recipes give way to it."""
    if seconds is None:
        return plan
    time = {"iterations": None, "budget_seconds": seconds}
    return _with_schedules(plan, {name: configuration.schedule.model_copy(update=time)
                                  for name, configuration in plan.configurations.items()})


def without_clock(configuration: Configuration) -> Configuration:
    """The configuration with as many iterations as are foreseen for its budget; none follows from a measured time.

    Given iterations are kept. In phases a step is foreseen to take as long as its batch has voxels. Raises ValueError where
    nothing is foreseen.
    """
    schedule = configuration.schedule
    if schedule.iterations is None:
        if schedule.budget_seconds is None or configuration.step_seconds is None:
            raise ValueError("the plan foresees no number of iterations")
        time = schedule.budget_seconds * (1 - VALIDATION_SHARE - MARGIN)
        iterations = max(1, int(time / (configuration.step_seconds * mean_voxels_share(configuration))))
        schedule = schedule.model_copy(update={"iterations": iterations,
                                               "iterations_per_epoch": max(1, iterations // EPOCHS_OF_A_BUDGET),
                                               "warmup_iterations": min(schedule.warmup_iterations, iterations // 10)})
    return configuration.model_copy(update={"schedule": schedule.model_copy(update={"deterministic": True})})


def for_race(plan: Plan, seconds: float) -> Plan:
    """The plan with schedules that can be paused and compared at any moment, and go on to other budgets.

    The rate is constant until the decay, and averaged weights stand for the decay that has not come yet.
    """
    bound = with_budget(plan, seconds)
    schedules = {}
    for name, configuration in bound.configurations.items():
        known = configuration.schedule
        if known.decay == "constant":  # can be paused as it is; an optimiser that averages takes no second average
            schedules[name] = known
            continue
        schedules[name] = known.model_copy(update={"decay": "stable", "ema": known.ema or EMA,
                                                   "warmup_iterations": known.warmup_iterations or WARM_UP})
    return _with_schedules(bound, schedules)


def _with_schedules(plan: Plan, schedules: Mapping[str, Schedule]) -> Plan:
    configurations = {name: configuration.model_copy(update={"schedule": schedules[name]}).foreseen_only_as(configuration)
                      for name, configuration in plan.configurations.items()}
    return plan.model_copy(update={"configurations": configurations})


def provisional(schedule: Schedule) -> ResolvedSchedule:
    """The schedule of a training until its throughput is measured: the given iterations, or more than measuring takes."""
    return _resolved(schedule, iterations=schedule.iterations or PROVISIONAL_ITERATIONS)


def resolve(schedule: Schedule, throughput: Throughput, spent_seconds: float) -> ResolvedSchedule:
    """The schedule with its number of iterations, from the budget; given iterations are kept.

    `spent_seconds` of the budget are gone before the first iteration. At least one iteration is planned. Raises ValueError
    where the schedule has neither iterations nor a budget.
    """
    if schedule.iterations is not None:
        return _resolved(schedule, budget_seconds=None,  # a given length is not revised
                         warmup_iterations=_warm_up(schedule, schedule.iterations, schedule.warmup_iterations))
    budget = schedule.budget_seconds
    if budget is None:
        raise ValueError("the schedule has neither iterations nor budget_seconds")
    mirroring = _affords_mirroring(schedule, throughput, budget)
    iterations = max(1, _affordable(schedule, budget, throughput, 0, spent_seconds, mirroring))
    return _resolved(schedule, iterations=iterations, validation_mirroring=mirroring,
                     iterations_per_epoch=_epoch(schedule, iterations, throughput),
                     warmup_iterations=_warm_up(schedule, iterations, min(schedule.warmup_iterations, iterations // 10)))


def _warm_up(schedule: Schedule, iterations: int, planned: int) -> int:
    """The iterations of the warm-up: those planned, and at least the share that the schedule asks for."""
    return max(planned, math.ceil(schedule.warmup_share * iterations))


def has_begun_to_decay(schedule: ResolvedSchedule, done: int) -> bool:
    """Whether the learning rate depends on the end: that of a `stable` training does so only from its decay on, that of a
    `constant` one never.
    """
    if schedule.decay == "constant":
        return False
    return schedule.decay != "stable" or done > (1 - schedule.decay_share) * schedule.iterations


def before_decay(schedule: ResolvedSchedule, done: int) -> ResolvedSchedule:
    """The schedule of a training that is to be paused: its decay does not begin in the next epoch, however late it is."""
    least = math.ceil((done + schedule.iterations_per_epoch) / (1 - schedule.decay_share))
    return schedule if schedule.iterations >= least else schedule.model_copy(update={"iterations": least})


def ended_early(schedule: ResolvedSchedule, done: int) -> ResolvedSchedule:
    """The schedule of a training that is asked to end after `done` iterations: at once, or, where its rate is still that
    before a decay, after a short one.
    """
    lacks_decay = schedule.decay == "stable" and not has_begun_to_decay(schedule, done)
    decay = max(1, round(EARLY_DECAY_SHARE * done)) if lacks_decay else 0
    end = done + decay
    if end >= schedule.iterations:
        return schedule
    share = decay / end if decay else schedule.decay_share
    return schedule.model_copy(update={"iterations": end, "decay_share": share, "budget_seconds": None})


def extended(schedule: Schedule, seconds: float) -> Schedule:
    """The schedule of a training that goes on for `seconds`, from good weights: from a lower rate to zero again, or
    constantly at that rate where the decay is `constant`. Patches and batches stay as they were at the end.
    """
    return schedule.model_copy(update={
        "iterations": None, "budget_seconds": seconds, "learning_rate": EXTENSION_RATE * schedule.learning_rate,
        "decay": "cosine" if schedule.decay == "stable" else schedule.decay, "phases": at_the_end(schedule),
        "warmup_iterations": min(schedule.warmup_iterations or WARM_UP, WARM_UP)})


def least_budget(spent_seconds: float, decay_share: float, reserve_seconds: float = 0.0) -> float:
    """The budget of a paused training that leaves it a whole decay after what it has spent."""
    return (spent_seconds / (1 - decay_share) + reserve_seconds) / (1 - MARGIN)


def adopt(schedule: ResolvedSchedule, planned: Schedule, throughput: Throughput, done: int, spent_seconds: float
          ) -> ResolvedSchedule:
    """The schedule of a training that goes on, with the budget that its plan has now.

    A training that was paused before its decay goes on with another budget than it started with, at least with one that
    leaves it a whole decay. Every other schedule is returned as it is.
    """
    budget = planned.budget_seconds
    if budget is None or has_begun_to_decay(schedule, done):
        return schedule
    mirroring = _affords_mirroring(planned, throughput, budget)
    budget = max(budget, least_budget(spent_seconds, schedule.decay_share, throughput.reserve_seconds(mirroring)))
    iterations = max(done + 1, done + _affordable(schedule, budget, throughput, done, spent_seconds, mirroring))
    return schedule.model_copy(update={"budget_seconds": budget, "iterations": iterations, "validation_mirroring": mirroring,
                                       "iterations_per_epoch": _epoch(schedule, iterations, throughput)})


def follow(throughput: Throughput, latest_seconds: float, weight: float = LATEST_SHARE, phase: int = 0) -> Throughput:
    """The throughput, moved by a weight (0 to 1) towards the seconds per iteration of the latest epoch, of this phase.

    Other phases and all that follows the training are scaled by the same factor: other work slows everything alike.
    """
    known = throughput.seconds_in(phase)
    ratio = ((1 - weight) * known + weight * latest_seconds) / known
    return throughput.model_copy(update={
        "seconds_per_iteration": ratio * throughput.seconds_per_iteration,
        "phase_seconds": tuple(ratio * each for each in throughput.phase_seconds)}).slowed(ratio)


def revise(schedule: ResolvedSchedule, throughput: Throughput, done: int, spent_seconds: float) -> ResolvedSchedule:
    """The schedule of a budget, shortened or lengthened to the throughput that the machine keeps.

    The learning rate is a function of done / iterations. So a revision changes it only a little, and it still ends at
    zero (a `stable` one does not change before its decay). Within THROUGHPUT_TOLERANCE of what is left nothing changes.
    """
    if schedule.budget_seconds is None or done >= schedule.iterations:
        return schedule
    more = _affordable(schedule, schedule.budget_seconds, throughput, done, spent_seconds, schedule.validation_mirroring)
    iterations = max(done + 1, done + more)
    if abs(iterations - schedule.iterations) <= THROUGHPUT_TOLERANCE * (schedule.iterations - done):
        return schedule
    return schedule.model_copy(update={"iterations": iterations})


def _affords_mirroring(schedule: Schedule, throughput: Throughput, budget_seconds: float) -> bool:
    mirrored = throughput.reserve_seconds(mirroring=True)
    return schedule.validation_mirroring and mirrored <= VALIDATION_SHARE * budget_seconds


def _epoch(schedule: Schedule | ResolvedSchedule, iterations: int, throughput: Throughput) -> int:
    """The iterations of an epoch."""
    mean_seconds = throughput.seconds_left(schedule, iterations) / iterations
    shortest = int(SHORTEST_EPOCH_SECONDS / mean_seconds)
    checked = int(min(SHORTEST_EPOCH_STEPS * throughput.seconds_per_iteration / mean_seconds + _ROUNDING,
                      LONGEST_EPOCH_SHARE * iterations))
    return max(1, shortest, checked, iterations // EPOCHS_OF_A_BUDGET)


def _affordable(schedule: Schedule | ResolvedSchedule, budget_seconds: float, throughput: Throughput, done: int,
                spent_seconds: float, mirroring: bool) -> int:
    """How many more iterations fit the budget."""
    left = budget_seconds * (1 - MARGIN) - spent_seconds - throughput.reserve_seconds(mirroring)
    ends = ends_of(schedule.phases)
    return affordable(ends, [throughput.seconds_in(phase) for phase in range(len(ends))], done, left)


def _resolved(schedule: Schedule, **changes: Any) -> ResolvedSchedule:
    return ResolvedSchedule(**{**dict(schedule), **changes})
