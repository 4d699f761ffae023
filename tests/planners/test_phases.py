"""Phases of a training: their sizes, where they end, and the time that their iterations take."""

import pytest

from planners.architectures.vit import ViT
from planners.rules.budget import (
    MARGIN,
    Throughput,
    ended_early,
    extended,
    follow,
    resolve,
    revise,
    with_budget,
    without_clock,
)
from planners.rules.ending import epoch_iterations
from planners.rules.phases import affordable, left_of_phase, phase_at, seconds_between, sizes_of
from planners.schema.base import Part
from planners.schema.override import override
from planners.schema.phases import Phase
from planners.schema.plan import Configuration, Plan, ResolvedSchedule, Schedule, content_hash_of
from tests_support import small_plan

THREE = (Phase(until=0.5, patch_share=0.5), Phase(until=0.8, patch_share=0.75))
ENDS, SECONDS = (0.5, 0.8, 1.0), (1.0, 2.0, 4.0)  # a schedule takes 0.5 + 0.6 + 0.8 = 1.9 s per iteration


def configuration_of(*phases, **changes) -> Configuration:
    """Of strides 2 along each axis, so that the smallest edge is 8."""
    known = small_plan(**{"patch": (32, 48, 20), **changes}).configurations["3d_fullres"]
    return known.model_copy(update={"schedule": known.schedule.model_copy(update={"phases": phases})})


def shapes(*phases, **changes):
    return [(size.patch, size.batch) for size in sizes_of(configuration_of(*phases, **changes))]


def test_a_training_without_phases_has_the_sizes_of_the_plan():
    assert shapes() == [((32, 48, 20), 2)]


def test_edges_are_rounded_up_to_what_the_strides_divide():
    assert shapes(*THREE) == [((16, 24, 10), 2), ((24, 36, 16), 2), ((32, 48, 20), 2)]


def test_four_voxels_are_left_to_the_deepest_map_or_as_many_as_the_plan_leaves():
    assert shapes(Phase(until=1, patch_share=0.1)) == [((8, 8, 8), 2)]
    assert shapes(Phase(until=1, patch_share=0.1), patch=(32, 48, 6)) == [((8, 8, 6), 2)]


def test_a_batch_is_a_multiple_or_has_the_voxels_of_the_plans():
    assert shapes(Phase(until=0.7), Phase(until=1, batch_factor=2)) == [((32, 48, 20), 2), ((32, 48, 20), 4)]
    assert shapes(Phase(until=1, patch_share=0.5, batch_factor="same_voxels"), patch=(32, 32, 32)) == [((16, 16, 16), 16)]
    assert shapes(Phase(until=1, batch_factor=0.1))[0][1] == 1


def test_a_transformer_is_divided_into_whole_tokens():
    vit = ViT(token=(8, 8, 8), width=24, depth=2, heads=2)
    changes = {"architecture": vit, "network": Part(name="vit"), "patch": (64, 64, 40)}
    assert shapes(Phase(until=1, patch_share=0.6), **changes) == [((40, 40, 32), 2)]


def schedule_of(iterations, phases=THREE):
    return ResolvedSchedule(learning_rate=1e-3, iterations=iterations, phases=phases)


def test_a_phase_ends_at_its_share_of_the_iterations():
    schedule = schedule_of(10)
    assert [phase_at(schedule, iteration) for iteration in range(11)] == [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [left_of_phase(schedule, iteration) for iteration in (0, 4, 5, 8, 9, 10)] == [5, 1, 3, 2, 1, 0]


@pytest.mark.parametrize("iterations", range(1, 30))
def test_every_iteration_has_something_left_of_its_phase(iterations):
    schedule, done = schedule_of(iterations), 0
    while done < iterations:
        left = left_of_phase(schedule, done)
        assert left > 0 and phase_at(schedule, done) == phase_at(schedule, done + left - 1)
        done += left
    assert done == iterations


def test_an_epoch_ends_with_its_phase_and_a_short_rest_joins_it():
    schedule = schedule_of(100).model_copy(update={"iterations_per_epoch": 12})  # phases end at 50, 80 and 100
    ends, done = [], 0
    while done < 100:
        done += epoch_iterations(schedule, done)
        ends.append(done)
    assert ends == [12, 24, 36, 50, 62, 74, 80, 92, 100]  # 2 of 12 join, 6 do not
    assert epoch_iterations(schedule.model_copy(update={"phases": ()}), 86) == 12  # as before there were phases


def test_the_rest_of_a_schedule_takes_what_its_phases_take():
    assert seconds_between(ENDS, SECONDS, 0, 100) == pytest.approx(50 + 60 + 80)
    assert seconds_between(ENDS, SECONDS, 60, 100) == pytest.approx(40 + 80)
    assert seconds_between(ENDS, SECONDS, 100, 100) == 0


@pytest.mark.parametrize("done", [0, 1, 49, 50, 79, 80, 99, 500])
@pytest.mark.parametrize("seconds", [0.5, 10.0, 190.0, 1234.5])
def test_the_longest_schedule_whose_rest_fits_is_found(done, seconds):
    iterations = done + affordable(ENDS, SECONDS, done, seconds)
    assert seconds_between(ENDS, SECONDS, done, iterations) <= seconds + 1e-9
    assert seconds_between(ENDS, SECONDS, done, iterations + 1) > seconds - 1e-9


def test_less_than_no_time_affords_nothing():
    assert affordable(ENDS, SECONDS, 10, -5.0) <= 0


PACE = Throughput(seconds_per_iteration=4.0, phase_seconds=SECONDS, validation_pass_seconds=1.0, fixed_seconds=1.0,
                  mirrored_passes=1)
BUDGET = Schedule(learning_rate=1e-3, budget_seconds=1000.0, phases=THREE)


def test_a_budget_holds_more_iterations_where_many_are_cheap():
    resolved = resolve(BUDGET, PACE, spent_seconds=38.0)
    assert resolved.iterations == 500  # 1000 s less 1 % is 990; 38 are spent and 2 are kept: 950 s of 1.9 s each
    assert resolved.phases == THREE
    assert resolved.iterations_per_epoch == 12  # six steps of the plan's size, 24 s


def test_a_revision_counts_what_the_rest_costs():
    resolved = resolve(BUDGET, PACE, spent_seconds=28.0)
    assert revise(resolved, PACE, done=250, spent_seconds=28.0 + 250) is resolved
    assert revise(resolved, PACE, done=400, spent_seconds=28.0 + 250 + 300) is resolved
    slower = PACE.model_copy(update={"phase_seconds": (2.0, 4.0, 8.0)})
    revised = revise(resolved, slower, done=250, spent_seconds=28.0 + 500)
    left = 1000 * (1 - MARGIN) - 28 - 500 - 2
    assert slower.seconds_left(revised, revised.iterations, 250) == pytest.approx(left, abs=8.0)


def test_what_slows_one_phase_slows_all():
    followed = follow(PACE, 2.0, phase=0)  # it took twice as long
    assert followed.phase_seconds == pytest.approx((1.25, 2.5, 5.0))
    assert followed.seconds_per_iteration == pytest.approx(5.0)
    assert followed.validation_pass_seconds == pytest.approx(1.25)


def test_a_training_that_ends_early_decays_in_its_last_phase():
    schedule = schedule_of(1000).model_copy(update={"decay": "stable"})
    early = ended_early(schedule, done=100)
    assert early.iterations == 110 and phase_at(early, 100) == 2


def test_an_extension_goes_on_with_the_sizes_of_the_end():
    assert extended(BUDGET, 60).phases == ()
    late = (Phase(until=0.7), Phase(until=1, batch_factor=2))
    assert extended(BUDGET.model_copy(update={"phases": late}), 60).phases == late[1:]


def test_a_length_without_a_clock_counts_the_voxels_of_the_phases():
    timed = with_budget(small_plan(step_seconds=0.1), 100).configurations["3d_fullres"]
    half = timed.model_copy(update={"schedule": timed.schedule.model_copy(
        update={"phases": (Phase(until=0.5, patch_share=0.5),)})})
    assert without_clock(timed).schedule.iterations == 790  # 100 s less a fifth and 1 %
    assert without_clock(half).schedule.iterations == int(790 / (0.5 / 8 + 0.5))


@pytest.mark.parametrize(("phases", "complaint"), [
    ('[{"until": 0.5}, {"until": 0.5}]', "until.*must rise"), ('[{"until": 0.8}, {"until": 0.5}]', "until.*must rise"),
    ('[{"until": 1.5}]', "less than or equal to 1"), ('[{"patch_share": 0.5}]', "until: Field required"),
    ('[{"until": 1, "patch_share": 2}]', "patch_share.*less than or equal to 1"),
    ('[{"until": 1, "batch_factor": 0}]', "batch_factor.*greater than 0"),
    ('[{"until": 1, "patch": 8}]', "patch: Extra inputs")])
def test_wrong_phases_are_refused(phases, complaint):
    with pytest.raises(ValueError, match=complaint):
        override(configuration_of(), [f"schedule.phases={phases}"])


def test_a_plan_without_phases_keeps_its_content_hash():
    plan = small_plan()
    data = plan.model_dump(mode="json")
    before = plan.model_dump(mode="json")
    del before["configurations"]["3d_fullres"]["mirror_views"], before["configurations"]["3d_fullres"]["schedule"]["phases"]
    assert content_hash_of(data) == content_hash_of(before)
    assert Plan.model_validate(before) == plan
    for change in ("mirror_views=alternating", 'schedule.phases=[{"until": 0.5}]'):
        other = override(plan.configurations["3d_fullres"], [change])
        changed = plan.model_copy(update={"configurations": {"3d_fullres": other}})
        assert content_hash_of(changed.model_dump(mode="json")) != content_hash_of(before)
