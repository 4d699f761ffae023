"""A fold with a time budget on a simulated clock: the rules of the planners, and durations in place of work."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from planners.rules.budget import LATEST_SHARE, Throughput, follow, resolve, revise
from planners.rules.ending import PredictedCase, affords_mirroring, epoch_iterations, weight_of_latest
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
    slows_fixed: bool = True  # whether what is not measured takes longer on a slower machine


RULE = Rule()
# What was before: a constant weight, epochs of one length, what is not measured never slower, and every case mirrored. Its
# margin was 2 %, so that it ended one percent of the budget earlier than it does here.
EARLIER = Rule(weight=lambda taken, left: LATEST_SHARE, mirrors=lambda *known: True, slows_fixed=False,
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

    def run(self, machine: Machine, rule: Rule = RULE) -> float:
        """Train and validate; the share of the budget that is over at the end."""
        step = machine.work(4 * self.step) / 4
        fixed = self.case_rest * self.cases
        throughput = Throughput(seconds_per_iteration=step, mirrored_passes=self.passes,
                                validation_pass_seconds=machine.work(self.case_pass) * self.cases,
                                fixed_seconds=fixed * step / self.step if rule.slows_fixed else fixed)
        schedule = resolve(Schedule(learning_rate=1e-3, budget_seconds=self.budget), throughput, machine.clock)
        done = 0
        while done < schedule.iterations:
            steps = rule.epoch(schedule, done)
            taken, done = machine.work(steps * self.step), done + steps
            weight = rule.weight(taken, (schedule.iterations - done) * throughput.seconds_per_iteration)
            throughput = follow(throughput, taken / steps, weight=weight)
            if not rule.slows_fixed:
                throughput = throughput.model_copy(update={"fixed_seconds": fixed})
            schedule = revise(schedule, throughput, done, machine.clock)
            machine.work(self.around_epoch)
        mirrored: list[PredictedCase] = []
        for left in range(self.cases, 0, -1):
            mirror = schedule.validation_mirroring and rule.mirrors(mirrored, left, self.budget - machine.clock)
            seconds = machine.work(self.case_rest + self.case_pass * (self.passes if mirror else 1))
            mirrored += [PredictedCase(voxels=1, seconds=seconds)] if mirror else []
        return machine.clock / self.budget


def fold_of(draw: random.Random, validation: float) -> Fold:
    """A fold whose validation takes this share of its budget on the whole machine."""
    budget, n_cases, passes = draw.choice(BUDGETS), draw.choice((8, 20, 40, 100)), draw.choice((1, 2, 4, 8))
    predicting = draw.uniform(0.2, 0.8)
    case = validation * budget / n_cases
    return Fold(budget, step=draw.uniform(0.0005, 0.005) * budget, case_pass=predicting * case / passes,
                case_rest=(1 - predicting) * case, cases=n_cases, passes=passes)


def changes_of(draw: random.Random, budget: float) -> list[tuple[float, float]]:
    """Up to six changes of the speed at any moments, to any share of the machine from a half up."""
    return sorted((draw.uniform(0, budget), draw.uniform(HALF, 1)) for _ in range(draw.randint(0, 6)))
