"""The end of a time budget, on machines whose speed changes while nobody looks."""

import random
import sys
from pathlib import Path

import pytest

from planners.rules.budget import LATEST_SHARE, Throughput
from planners.rules.ending import (
    PredictedCase,
    TimedCase,
    affords_mirroring,
    epoch_iterations,
    seconds_for_timing,
    weight_of_latest,
    with_timed,
)
from planners.schema.plan import ResolvedSchedule

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from contention_parts.simulated import HALF, Fold, Machine, changes_of, fold_of, wrongly_expected

# Share of the budget for which the end can be kept: a machine that is twice as fast in the validation as before leaves half
# of what was kept for it.
MOST_OF_VALIDATION = 0.03


@pytest.mark.parametrize("seed", range(5))
def test_the_end_is_kept_whenever_the_speed_changes(seed):
    draw = random.Random(seed)
    for _ in range(40):
        fold = fold_of(draw, validation=draw.uniform(0.005, MOST_OF_VALIDATION))
        changes = changes_of(draw, fold.budget)
        assert fold.run(Machine(changes)) == pytest.approx(1, abs=0.05), (fold, changes)


@pytest.mark.parametrize("budget", [60.0, 180.0, 600.0])
def test_the_end_is_kept_however_wrong_the_first_estimate_of_the_validation_is(budget):
    draw = random.Random(0)
    for _ in range(40):
        fold = wrongly_expected(draw, fold_of(draw, validation=draw.uniform(0.01, 0.15), budgets=[budget]))
        assert fold.run(Machine()) == pytest.approx(1, abs=0.05), fold


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


START = Throughput(seconds_per_iteration=1.0, validation_pass_seconds=2.0, validation_rest_seconds=3.0, fixed_seconds=1.0,
                   mirrored_passes=4)


def test_cases_are_timed_in_the_second_half_of_a_budget_and_for_two_percent_of_it():
    def seconds(seconds, spent=0.5, done=50, schedule=BUDGET):
        return seconds_for_timing(schedule, START, done, seconds, spent)

    assert seconds(49.0) == 0
    assert seconds(50.0) == 1.5
    assert seconds(90.0, spent=2.5) == 0
    assert seconds(90.0, done=100) == 0  # nothing can be corrected any more
    assert seconds(50.0, schedule=BUDGET.model_copy(update={"budget_seconds": None})) == 0


def test_the_first_of_few_large_cases_may_take_longer():
    slow = START.slowed(10.0)  # 120 s of validation
    assert seconds_for_timing(BUDGET, slow, 50, 50.0, 0.0) == 15.0
    assert seconds_for_timing(BUDGET, slow, 50, 65.0, 15.0) == 0


def test_without_a_timed_case_nothing_is_known_better():
    assert with_timed(START, START, []) == START


def test_what_the_timed_cases_say_holds_at_the_present_speed():
    now = START.model_copy(update={"seconds_per_iteration": 2.0})
    known = with_timed(now, START, [TimedCase(one_pass=0.5, rest=0.1)])
    assert (known.validation_pass_seconds, known.validation_rest_seconds) == pytest.approx((2.0, 0.6))
    assert known.fixed_seconds == now.fixed_seconds


def test_one_busy_moment_changes_little_and_a_spread_makes_careful():
    steady = with_timed(START, START, [TimedCase(one_pass=1, rest=1)] * 4)
    busy = with_timed(START, START, [TimedCase(one_pass=1, rest=1)] * 4 + [TimedCase(one_pass=9, rest=9)])
    uneven = with_timed(START, START, [TimedCase(one_pass=each, rest=1) for each in (0.8, 1.0, 1.0, 1.2)])
    assert busy == steady == START
    assert uneven.validation_pass_seconds == pytest.approx(2 * 1.05)  # the median deviation 0.1 by the root of 4
