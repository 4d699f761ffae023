"""The end of a time budget, on machines whose speed changes while nobody looks."""

import math
import random
from dataclasses import dataclass, field

import pytest

from planners.rules.budget import LATEST_SHARE, Throughput, follow, resolve, revise
from planners.rules.ending import PredictedCase, affords_mirroring, epoch_iterations, weight_of_latest
from planners.schema.plan import ResolvedSchedule, Schedule


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
class Fold:
    """Seconds of what is done, on the whole machine."""

    budget: float
    step: float
    case_pass: float  # predicting a validation case once
    case_rest: float  # reading, export, scoring
    cases: int = 40
    passes: int = 2
    around_epoch: float = 0.2  # saving and drawing

    @property
    def validation(self) -> float:
        return self.cases * (self.case_rest + self.passes * self.case_pass)

    def run(self, machine: Machine) -> float:
        """Train and validate; the share of the budget that is over at the end."""
        measured = Throughput(seconds_per_iteration=machine.work(4 * self.step) / 4,
                              validation_pass_seconds=machine.work(self.case_pass) * self.cases, mirrored_passes=self.passes,
                              fixed_seconds=self.case_rest * self.cases)
        throughput = measured.model_copy(update={"fixed_seconds": measured.fixed_seconds * measured.seconds_per_iteration
                                                 / self.step})
        schedule = resolve(Schedule(learning_rate=1e-3, budget_seconds=self.budget), throughput, machine.clock)
        done = 0
        while done < schedule.iterations:
            steps = epoch_iterations(schedule, done)
            taken, done = machine.work(steps * self.step), done + steps
            weight = weight_of_latest(taken, (schedule.iterations - done) * throughput.seconds_per_iteration)
            throughput = follow(throughput, taken / steps, weight)
            schedule = revise(schedule, throughput, done, machine.clock)
            machine.work(self.around_epoch)
        self._validate(machine, schedule)
        return machine.clock / self.budget

    def _validate(self, machine: Machine, schedule: ResolvedSchedule) -> None:
        mirrored: list[PredictedCase] = []
        for left in range(self.cases, 0, -1):
            mirror = schedule.validation_mirroring and affords_mirroring(mirrored, left, self.budget - machine.clock)
            seconds = machine.work(self.case_rest + self.case_pass * (self.passes if mirror else 1))
            mirrored += [PredictedCase(voxels=1, seconds=seconds)] if mirror else []


HALF = 0.5  # of the machine is left
BUDGETS = (120.0, 180.0, 300.0, 600.0, 3600.0)
# Share of the budget for which the end can be kept: a machine that is twice as fast in the validation as before leaves half
# of what was kept for it.
MOST_OF_VALIDATION = 0.035


def fold_of(draw: random.Random, validation: float) -> Fold:
    """A fold whose validation takes this share of its budget on the whole machine."""
    budget, n_cases, passes = draw.choice(BUDGETS), draw.choice((8, 20, 40, 100)), draw.choice((1, 2, 4, 8))
    predicting = draw.uniform(0.2, 0.8)
    case = validation * budget / n_cases
    return Fold(budget, step=draw.uniform(0.0005, 0.005) * budget, case_pass=predicting * case / passes,
                case_rest=(1 - predicting) * case, cases=n_cases, passes=passes)


@pytest.mark.parametrize("seed", range(5))
def test_the_end_is_kept_whenever_the_speed_changes(seed):
    draw = random.Random(seed)
    for _ in range(40):
        fold = fold_of(draw, validation=draw.uniform(0.005, MOST_OF_VALIDATION))
        changes = sorted((draw.uniform(0, fold.budget), draw.uniform(HALF, 1)) for _ in range(draw.randint(0, 6)))
        assert fold.run(Machine(changes)) == pytest.approx(1, abs=0.05), (fold, changes)


@pytest.mark.parametrize("changes", [[], [(0, HALF)], [(60, HALF)], [(108, HALF)], [(0, HALF), (60, 1)],
                                     [(12 * i, HALF if i % 2 else 1) for i in range(10)]])
def test_two_minutes_are_kept_with_half_of_the_machine(changes):
    fold = Fold(budget=120, step=0.35, case_pass=0.04, case_rest=0.05)
    assert fold.run(Machine([(float(since), share) for since, share in changes])) == pytest.approx(1, abs=0.05)


def test_with_much_left_one_busy_epoch_weighs_little_and_the_last_one_most():
    assert weight_of_latest(epoch_seconds=10, left_seconds=1000) == LATEST_SHARE
    assert weight_of_latest(epoch_seconds=10, left_seconds=10) == 0.5
    assert weight_of_latest(epoch_seconds=10, left_seconds=0) == 1


BUDGET = ResolvedSchedule(learning_rate=1e-3, budget_seconds=100, iterations=100, iterations_per_epoch=20)


def lengths(schedule: ResolvedSchedule) -> list[int]:
    steps: list[int] = []
    while sum(steps) < schedule.iterations:
        steps.append(epoch_iterations(schedule, sum(steps)))
    return steps


def test_the_last_epochs_of_a_budget_are_halves():
    assert lengths(BUDGET) == [20, 20, 20, 20, 10, 5, 5]


def test_no_iteration_is_left_for_an_epoch_that_is_too_short():
    assert lengths(BUDGET.model_copy(update={"iterations": 103})) == [20, 20, 20, 20, 11, 6, 6]


def test_given_iterations_have_epochs_of_one_length():
    assert lengths(BUDGET.model_copy(update={"budget_seconds": None, "iterations": 50})) == [20, 20, 10]


SLOW, FAST = PredictedCase(voxels=10, seconds=4.0), PredictedCase(voxels=10, seconds=1.0)


def test_nothing_is_known_before_the_first_case_which_is_mirrored():
    assert affords_mirroring([], voxels_left=1000, seconds_left=-1.0)


def test_cases_are_mirrored_while_all_that_are_left_can_be():
    assert affords_mirroring([SLOW], voxels_left=100, seconds_left=40.0)
    assert not affords_mirroring([SLOW], voxels_left=100, seconds_left=39.0)


def test_the_latest_cases_say_how_long_the_rest_takes():
    assert affords_mirroring([SLOW, FAST], voxels_left=10, seconds_left=1.0)
    assert not affords_mirroring([FAST, SLOW], voxels_left=10, seconds_left=3.0)
    assert affords_mirroring([FAST, SLOW], voxels_left=20, seconds_left=5.0)  # the mean of both
