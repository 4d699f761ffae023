"""A fold with a time budget on a simulated clock: the rules of the planners, and durations in place of work."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from planners.rules.budget import LATEST_SHARE, Throughput, follow, resolve, revise
from planners.rules.ending import (
    PredictedCase,
    TimedCase,
    affords_mirroring,
    epoch_iterations,
    seconds_for_timing,
    weight_of_latest,
    with_timed,
)
from planners.schema.plan import ResolvedSchedule, Schedule

HALF = 0.5  # of the machine is left beside one other process
BUDGETS = (120.0, 180.0, 300.0, 600.0, 3600.0)


@dataclass
class Machine:
    """A clock, and how much of the machine a training has from some seconds on."""

    changes: list[tuple[float, float]] = field(default_factory=list)
    clock: float = 0.0

    def work(self, seconds: float) -> float:
        """Do what takes so long on the whole machine; how long it takes here."""
        start = self.clock
        while seconds > 1e-9:
            share = next((share for since, share in reversed(self.changes) if since <= self.clock), 1.0)
            until = next((since for since, _ in self.changes if since > self.clock), math.inf)
            time = min(seconds / share, until - self.clock)
            self.clock, seconds = self.clock + time, seconds - time * share
        return self.clock - start


@dataclass(frozen=True)
class Rule:
    """How the end is kept: the weight of the latest epoch, the length of the next one, which cases are mirrored."""

    weight: Callable[[float, float], float] = weight_of_latest
    epoch: Callable[[ResolvedSchedule, int], int] = epoch_iterations
    mirrors: Callable[[Sequence[PredictedCase], int, float], bool] = affords_mirroring
    timing: Callable[[ResolvedSchedule, Throughput, int, float, float], float] = seconds_for_timing
    slows_fixed: bool = True  # whether what is not measured takes longer on a slower machine


RULE = Rule()
# What was before validation cases were timed: the estimate of the start stays.
UNTIMED = Rule(timing=lambda *known: 0.0)
# What was before: a constant weight, epochs of one length, what is not measured never slower, and every case mirrored. Its
# margin was 2 %, so that it ended one percent of the budget earlier than it does here.
EARLIER = Rule(weight=lambda taken, left: LATEST_SHARE, mirrors=lambda *known: True, slows_fixed=False,
               timing=UNTIMED.timing,
               epoch=lambda schedule, done: min(schedule.iterations_per_epoch, schedule.iterations - done))


@dataclass(frozen=True)
class Fold:
    """Seconds of what is done, on the whole machine."""

    budget: float
    step: float
    case_pass: float  # predicting a validation case once
    case_rest: float  # reading, export, scoring
    cases: int = 40
    passes: int = 2
    around_epoch: float = 0.2  # saving and drawing
    expected_pass: float = 1.0  # times what a pass takes, and
    expected_rest: float = 1.0  # times what all else takes are expected at the start
    unevenness: float = 0.0  # of the cases, which are larger or smaller by at most this share
    first_case: float = 0.0  # seconds that the first case of a process takes longer

    def run(self, machine: Machine, rule: Rule = RULE) -> float:
        """Train and validate; the share of the budget that is over at the end."""
        step = machine.work(4 * self.step) / 4
        fixed = self.expected_rest * self.case_rest * self.cases
        start = throughput = Throughput(
            seconds_per_iteration=step, mirrored_passes=self.passes, fixed_seconds=0.0,
            validation_pass_seconds=self.expected_pass * machine.work(self.case_pass) * self.cases,
            validation_rest_seconds=fixed * step / self.step if rule.slows_fixed else fixed)
        timed: list[TimedCase] = []
        schedule = resolve(Schedule(learning_rate=1e-3, budget_seconds=self.budget), throughput, machine.clock)
        done, spent = 0, 0.0
        while done < schedule.iterations:
            steps = rule.epoch(schedule, done)
            taken, done = machine.work(steps * self.step), done + steps
            weight = rule.weight(taken, (schedule.iterations - done) * throughput.seconds_per_iteration)
            throughput = follow(throughput, taken / steps, weight=weight)
            if not rule.slows_fixed:
                throughput = throughput.model_copy(update={"validation_rest_seconds": fixed})
            if (limit := rule.timing(schedule, throughput, done, machine.clock, spent)) > 0:
                before = machine.clock
                slowness = taken / steps / start.seconds_per_iteration
                timed += self._timed(machine, start, timed, limit / slowness, slowness, schedule.validation_mirroring)
                spent += machine.clock - before
            throughput = with_timed(throughput, start, timed)
            schedule = revise(schedule, throughput, done, machine.clock)
            machine.work(self.around_epoch)
        if not timed:
            machine.work(self.first_case)
        mirrored: list[PredictedCase] = []
        for case in range(self.cases):
            mirror = schedule.validation_mirroring and rule.mirrors(mirrored, self.cases - case, self.budget - machine.clock)
            seconds = sum(self._predict(machine, case, self.passes if mirror else 1))
            mirrored += [PredictedCase(voxels=1, seconds=seconds)] if mirror else []
        return machine.clock / self.budget

    def _predict(self, machine: Machine, case: int, passes: int) -> tuple[float, float]:
        """Seconds of the prediction of a case, and of all else. Of their sizes only the mean is expected."""
        size = 1 + self.unevenness * math.sin(2.4 * case)
        return machine.work(size * passes * self.case_pass), machine.work(size * self.case_rest)

    def _timed(self, machine: Machine, start: Throughput, timed: list[TimedCase], limit: float, slowness: float,
               mirroring: bool) -> list[TimedCase]:
        """One more timed case, with mirroring where the limit leaves time for it; none where it leaves none at all."""
        known = with_timed(start, start, timed)
        limit *= self.cases
        if known.reserve_seconds(False) > limit:
            return []
        passes = self.passes if mirroring and known.reserve_seconds(True) <= limit else 1
        if not timed and 2 * known.reserve_seconds(passes > 1) <= limit:
            machine.work(self.first_case)
            self._predict(machine, 0, passes)
        predicting, rest = self._predict(machine, 1 + len(timed), passes)
        return [TimedCase(one_pass=self.cases * predicting / passes / start.validation_pass_seconds / slowness,
                          rest=self.cases * rest / start.validation_rest_seconds / slowness)]


def fold_of(draw: random.Random, validation: float, budgets: Sequence[float] = BUDGETS) -> Fold:
    """A fold whose validation takes this share of its budget on the whole machine."""
    budget, n_cases, passes = draw.choice(budgets), draw.choice((8, 20, 40, 100)), draw.choice((1, 2, 4, 8))
    predicting = draw.uniform(0.2, 0.8)
    case = validation * budget / n_cases
    return Fold(budget, step=draw.uniform(0.0005, 0.005) * budget, case_pass=predicting * case / passes,
                case_rest=(1 - predicting) * case, cases=n_cases, passes=passes)


def wrongly_expected(draw: random.Random, fold: Fold) -> Fold:
    """The fold, whose validation is expected at the start to take a half to twice as long as it does, its passes and all
    else by a factor of their own each. Its cases are uneven, and the first one is slow.
    """
    factors = [2 ** draw.uniform(-1, 1) for _ in range(2)]
    return replace(fold, expected_pass=factors[0], expected_rest=factors[1], unevenness=0.2, first_case=0.4)


def changes_of(draw: random.Random, budget: float) -> list[tuple[float, float]]:
    """Up to six changes of the speed at any moments, to any share of the machine from a half up."""
    return sorted((draw.uniform(0, budget), draw.uniform(HALF, 1)) for _ in range(draw.randint(0, 6)))
