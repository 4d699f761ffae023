"""The end of a time budget, on machines whose speed changes while nobody looks."""

import random
import sys
from pathlib import Path

import pytest

from planners.rules.budget import LATEST_SHARE
from planners.rules.ending import PredictedCase, affords_mirroring, epoch_iterations, weight_of_latest
from planners.schema.plan import ResolvedSchedule

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from contention_parts.simulated import HALF, Fold, Machine, changes_of, fold_of

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
