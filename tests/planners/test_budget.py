"""Time budgets: resolved from a measured throughput, revised when the machine changes it."""

import pytest

from planners.rules.budget import (
    MARGIN,
    Throughput,
    adopt,
    follow,
    for_race,
    has_begun_to_decay,
    least_budget,
    resolve,
    revise,
    with_budget,
    without_clock,
)
from planners.schema.plan import ResolvedSchedule, Schedule
from tests_support import small_plan

PACE = Throughput(seconds_per_iteration=0.5, validation_pass_seconds=1.0, fixed_seconds=2.0, mirrored_passes=8)
BUDGET = Schedule(learning_rate=1e-3, budget_seconds=100, warmup_iterations=30)


def test_the_budget_less_margin_spent_and_validation_is_divided_by_the_pace():
    # 100 s less 1 % is 99; 10 are spent and 2 + 8 * 1 are kept: 79 s of half a second each
    assert resolve(BUDGET, PACE, spent_seconds=10).iterations == 158


def test_given_iterations_are_kept():
    given = Schedule(learning_rate=1e-3, iterations=7)
    assert resolve(given, PACE, spent_seconds=10) == given


def test_a_budget_that_is_spent_already_still_trains_one_iteration():
    assert resolve(BUDGET, PACE, spent_seconds=1000).iterations == 1


def test_mirroring_is_left_out_where_it_would_eat_the_budget():
    dear = PACE.model_copy(update={"validation_pass_seconds": 4.0})  # 2 + 32 s of 100
    resolved = resolve(BUDGET, dear, spent_seconds=0)
    assert not resolved.validation_mirroring
    assert resolved.iterations == 2 * (99 - 2 - 4)
    assert resolve(BUDGET, PACE, spent_seconds=0).validation_mirroring


def test_an_epoch_lasts_at_least_ten_seconds():
    assert resolve(BUDGET, PACE, spent_seconds=10).iterations_per_epoch == 20


@pytest.mark.parametrize(("step", "budget", "steps"),
                         [(5.0, 300.0, 6), (20.0, 1800.0, 6), (52.321, 5400.0, 6), (5.0, 60.0, 2), (0.5, 100.0, 20)])
def test_slow_steps_are_checked_after_several_of_them(step, budget, steps):
    pace = PACE.model_copy(update={"seconds_per_iteration": step})
    schedule = resolve(BUDGET.model_copy(update={"budget_seconds": budget}), pace, spent_seconds=0)
    assert schedule.iterations_per_epoch == steps  # the check takes a third of a step


def test_a_long_budget_has_fifty_epochs():
    resolved = resolve(BUDGET.model_copy(update={"budget_seconds": 10_000.0}), PACE, spent_seconds=0)
    assert resolved.iterations // resolved.iterations_per_epoch == 50


def test_warm_up_never_takes_more_than_a_tenth():
    assert resolve(BUDGET, PACE, spent_seconds=10).warmup_iterations == 15


def test_a_slower_machine_gets_fewer_iterations():
    resolved = resolve(BUDGET, PACE, spent_seconds=10)  # 158 iterations
    slower = PACE.model_copy(update={"seconds_per_iteration": 1.0})
    # after 50 iterations 60 s are gone: 99 - 60 - 10 = 29 s remain
    assert revise(resolved, slower, done=50, spent_seconds=60).iterations == 79


def test_a_steady_machine_keeps_its_schedule():
    resolved = resolve(BUDGET, PACE, spent_seconds=10)
    assert revise(resolved, PACE, done=50, spent_seconds=10 + 25) is resolved


def test_the_pace_follows_the_latest_epoch_and_predictions_follow_the_pace():
    before = Throughput(seconds_per_iteration=2.0, validation_pass_seconds=100.0, fixed_seconds=7.0, mirrored_passes=2)
    throughput = follow(before, 1.0)
    assert throughput.seconds_per_iteration == 1.75
    assert throughput.validation_pass_seconds == 87.5
    assert throughput.fixed_seconds == 6.125


def test_a_greater_weight_follows_sooner():
    assert follow(PACE, 1.0, weight=0.5).seconds_per_iteration == 0.75


def test_without_a_budget_nothing_is_revised():
    given = ResolvedSchedule(learning_rate=1e-3, iterations=100)
    assert revise(given, PACE, done=1, spent_seconds=1e9) is given


def test_an_overdue_training_ends_with_the_next_iteration():
    resolved = resolve(BUDGET, PACE, spent_seconds=10)
    assert revise(resolved, PACE, done=50, spent_seconds=500).iterations == 51


def test_a_resolved_schedule_needs_its_iterations():
    with pytest.raises(ValueError, match="iterations"):
        ResolvedSchedule.model_validate(BUDGET.model_dump())


def test_files_of_both_kinds_of_schedule_have_the_same_keys():
    resolved = resolve(BUDGET, PACE, spent_seconds=10)
    assert list(resolved.model_dump()) == list(BUDGET.model_dump())
    assert ResolvedSchedule.model_validate_json(resolved.model_dump_json()) == resolved


@pytest.mark.parametrize("wrong", [{"iterations": 0}, {"budget_seconds": 0.0}, {"learning_rate": -1.0}])
def test_a_schedule_refuses_nonsense(wrong):
    with pytest.raises(ValueError):
        Schedule(**{"learning_rate": 1e-3, **wrong})


def test_a_granted_time_replaces_given_iterations():
    schedule = with_budget(small_plan(), 60.0).configurations["3d_fullres"].schedule
    assert (schedule.iterations, schedule.budget_seconds) == (None, 60.0)


def test_without_a_grant_the_plan_stays():
    plan = small_plan()
    assert with_budget(plan, None) is plan


def test_given_iterations_are_not_revised_although_there_is_a_budget():
    given = BUDGET.model_copy(update={"iterations": 30})
    assert revise(resolve(given, PACE, spent_seconds=1), PACE, done=15, spent_seconds=2).iterations == 30


RACED = Schedule(learning_rate=1e-3, budget_seconds=100, decay="stable")


def test_only_a_stable_training_before_its_decay_is_independent_of_its_end():
    stable = resolve(RACED, PACE, spent_seconds=0)  # 89 s of half a second: 178 iterations, the last 44 decay
    assert [has_begun_to_decay(stable, done) for done in (0, 133, 134)] == [False, False, True]
    assert has_begun_to_decay(resolve(BUDGET, PACE, spent_seconds=0), 0)


def test_a_paused_training_goes_on_with_the_budget_that_its_plan_has_now():
    paused = resolve(RACED, PACE, spent_seconds=0)
    longer = adopt(paused, RACED.model_copy(update={"budget_seconds": 200.0}), PACE, done=80, spent_seconds=40)
    assert longer.budget_seconds == 200
    assert longer.iterations == 80 + 2 * (198 - 40 - 10)


def test_a_paused_training_is_left_a_whole_decay_however_little_is_given():
    paused = resolve(RACED, PACE, spent_seconds=0)
    shorter = adopt(paused, RACED.model_copy(update={"budget_seconds": 60.0}), PACE, done=96, spent_seconds=48)
    assert shorter.iterations == pytest.approx(96 / 0.75, abs=1)
    assert shorter.budget_seconds == pytest.approx(least_budget(48, 0.25, shorter_reserve(shorter)))
    assert not has_begun_to_decay(shorter, 96)


def shorter_reserve(schedule: ResolvedSchedule) -> float:
    return PACE.reserve_seconds(schedule.validation_mirroring)


def test_a_training_in_its_decay_keeps_its_end():
    decaying = resolve(RACED, PACE, spent_seconds=0)
    assert adopt(decaying, RACED.model_copy(update={"budget_seconds": 500.0}), PACE, done=150, spent_seconds=75) is decaying


def test_the_least_budget_is_a_third_more_than_what_is_spent_with_its_margin():
    assert least_budget(75, 0.25, 2.0) == pytest.approx((100 + 2) / (1 - MARGIN))


def test_in_a_race_every_recipe_is_constant_averaged_and_bound_to_the_time():
    plan = for_race(small_plan(schedule=Schedule(iterations=1000, learning_rate=1e-2)), 60)
    schedule = plan.configurations["3d_fullres"].schedule
    assert (schedule.decay, schedule.iterations, schedule.budget_seconds) == ("stable", None, 60)
    assert schedule.ema > 0 and schedule.warmup_iterations > 0


def test_a_race_keeps_the_average_and_the_warm_up_of_a_recipe():
    known = Schedule(iterations=1000, learning_rate=1e-2, ema=0.9, warmup_iterations=7)
    schedule = for_race(small_plan(schedule=known), 60).configurations["3d_fullres"].schedule
    assert (schedule.ema, schedule.warmup_iterations) == (0.9, 7)


def test_iterations_without_a_clock_follow_from_the_step_that_is_foreseen():
    foreseen = small_plan(schedule=BUDGET, step_seconds=0.5).configurations["3d_fullres"]
    schedule = without_clock(foreseen).schedule
    # a fifth of 100 s is for validation, 1 % for what nobody foresees: 79 s of half a second each
    assert (schedule.iterations, schedule.iterations_per_epoch, schedule.warmup_iterations) == (158, 3, 15)
    assert schedule.deterministic and resolve(schedule, PACE, spent_seconds=90).iterations == 158


def test_without_a_clock_given_iterations_are_kept():
    given = small_plan().configurations["3d_fullres"]
    assert without_clock(given).schedule == given.schedule.model_copy(update={"deterministic": True})


def test_without_a_clock_something_must_be_foreseen():
    with pytest.raises(ValueError, match="foresees no number"):
        without_clock(small_plan(schedule=BUDGET).configurations["3d_fullres"])
