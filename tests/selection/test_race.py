"""The rules of a race: who goes on, what it can cost at most, and when two are better than one."""

import numpy as np
import pytest

from autoseg.selection.race import (
    SHARES,
    admit,
    decide,
    expected,
    judge_pair,
    leader_of,
    pair_to_test,
    places,
    plan_time,
    seconds_per_fold,
    worst_extra,
)
from autoseg.selection.race_text import as_lines
from autoseg.selection.race_types import Race, Rung, RungScore
from planners.rules.budget import least_budget
from race_samples import a_race, score

BEHIND = ("it is certainly behind, also with what it still gains: the whole 95 % interval of the expected difference is "
          "below 0")
FLOPS = {"small": 1.0, "middle": 2.0, "large": 3.0}


def kept(scores, n_places=3, *, earlier=None, is_last=False) -> list[str]:
    """Who goes on; without `earlier` scores nobody learns any more."""
    decisions = decide(scores, scores if earlier is None else earlier, FLOPS, n_places, is_last=is_last)
    return [decision.candidate for decision in decisions if decision.kept]


def test_who_is_behind_on_every_case_is_dropped():
    assert kept([score("small", 0.8), score("middle", 0.7)]) == ["small"]


def test_who_is_behind_within_noise_goes_on():
    assert kept([score("small", 0.8), score("middle", 0.79, noise=0.1)]) == ["small", "middle"]


def test_a_difference_that_does_not_matter_drops_nobody_however_certain():
    assert kept([score("small", 0.8), score("middle", 0.795)]) == ["small", "middle"]


def test_few_cases_drop_nobody_before_the_last_rung():
    few = [score("small", 0.8, n=5), score("middle", 0.5, n=5)]
    assert kept(few) == ["small", "middle"]
    assert kept(few, is_last=True) == ["small"]


def test_nobody_is_dropped_after_one_rung_unless_it_is_the_last():
    scores = [score("small", 0.8), score("middle", 0.3), score("large", 0.1)]
    assert kept(scores, earlier=()) == ["small", "middle", "large"]
    assert kept(scores, earlier=(), is_last=True) == ["small"]


def test_who_learns_faster_is_expected_to_be_ahead():
    now, before = [score("small", 0.70), score("large", 0.66)], [score("small", 0.68), score("large", 0.50)]
    assert kept(now, earlier=before) == ["large"]  # 0.74 against 0.71
    assert kept(now, earlier=before, is_last=True) == ["large"]


def test_a_gain_that_does_not_reach_the_leader_saves_nobody():
    now, before = [score("small", 0.80), score("large", 0.60)], [score("small", 0.78), score("large", 0.50)]
    assert kept(now, earlier=before) == ["small"]  # 0.65 against 0.81


def test_half_of_the_last_gain_is_expected_and_no_dice_above_one():
    assert expected(score("small", 0.7, n=2), score("small", 0.5, n=2)) == pytest.approx((0.82, 0.78))
    steep = RungScore(candidate="small", dice=(0.9, None, 0.5))
    assert expected(steep, RungScore(candidate="small", dice=(0.1, 0.2, None))) == (1.0, None, 0.5)
    assert expected(steep, None) == steep.dice


def test_no_more_go_on_than_there_are_places():
    scores = [score("small", 0.78, noise=0.1), score("middle", 0.80), score("large", 0.79, noise=0.1)]
    assert kept(scores, 2) == ["middle", "large"]


def test_after_the_last_rung_the_leader_wins():
    decisions = decide([score("small", 0.79, noise=0.1), score("large", 0.8)], (), FLOPS, 2, is_last=True)
    assert [(d.candidate, d.kept) for d in decisions] == [("small", False), ("large", True)]
    assert decisions[0].reason == "it is expected to be behind at the end"


def test_who_fails_is_dropped_and_the_others_go_on():
    decisions = decide([score("small", 0.8), score("large", 0, fault="the loss is nan")], (), FLOPS, 2, is_last=False)
    assert [(d.kept, d.reason) for d in decisions] == [(True, "one rung does not show how fast it learns"),
                                                       (False, "it failed: the loss is nan")]
    assert kept([score("small", 0, fault="bad"), score("large", 0, fault="bad")]) == []


def test_where_no_dice_is_defined_the_cheapest_leads():
    nothing = [RungScore(candidate=name, dice=(None, None)) for name in ("large", "small")]
    assert kept(nothing, is_last=True) == ["small"]


def test_after_the_first_rung_half_go_on_but_two_as_long_as_two_are_left():
    assert [[places(n, rung) for rung in range(3)] for n in (1, 2, 3, 4, 5, 8)] == [
        [1, 1, 1], [2, 2, 2], [3, 2, 2], [4, 2, 2], [5, 3, 2], [8, 4, 2]]


def test_the_losers_can_use_up_only_what_was_counted_with():
    assert worst_extra(1, SHARES) == 0
    assert worst_extra(2, SHARES) == 1 / 2  # both hold out to the last rung
    assert worst_extra(3, SHARES) == 1 / 4 + 1 / 2
    assert worst_extra(8, SHARES) == 4 / 4 + 3 / 2
    assert worst_extra(3, (1 / 2,)) == 1


@pytest.mark.parametrize("n", range(2, 9))
@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_scores_are_a_race_never_costs_more_than_was_counted_with(n, seed):
    rng = np.random.default_rng(seed)
    flops = {f"c{i}": float(rng.random()) for i in range(n)}
    survivors, cost, earlier = list(flops), 0.0, []
    for number, share in enumerate(SHARES):
        scores = [RungScore(candidate=name, dice=tuple(rng.normal(0.7, 0.05, 20))) for name in survivors]
        decisions = decide(scores, earlier, flops, places(n, number), is_last=number == len(SHARES) - 1)
        earlier = scores
        cost += share * sum(not decision.kept for decision in decisions)
        survivors = [decision.candidate for decision in decisions if decision.kept]
    assert len(survivors) == 1
    assert cost <= worst_extra(n, SHARES)


def test_all_folds_and_the_costliest_race_fit_the_time():
    time = plan_time(5500.0, 2, rounds=5)
    assert (time.fold_seconds, time.shares) == (1000.0, SHARES)
    assert plan_time(5000.0, 1, rounds=5).fold_seconds == 1000


def test_rungs_in_which_nothing_can_be_learnt_are_left_out():
    assert plan_time(5500.0, 2, rounds=5, least_seconds=200.0).shares == (1 / 4, 1 / 2)
    assert plan_time(550.0, 2, rounds=5).shares == (1 / 4, 1 / 2)  # 12 s of a fold of 100 s
    assert plan_time(55.0, 2, rounds=5).shares == (1 / 2,)


def test_who_is_too_costly_is_left_out_and_the_others_race():
    time, left_out = admit({"small": 50.0, "middle": 60.0, "large": 900.0}, 5500.0, 5)
    assert list(left_out) == ["large"]
    assert "15 min 0 s to learn anything" in left_out["large"]
    assert time == plan_time(5500.0, 2, 5, 60.0)


def test_the_last_one_needs_a_fold_and_no_race():
    time, left_out = admit({"small": 90.0, "large": 95.0}, 500.0, 5)
    assert (list(left_out), time.fold_seconds, time.shares) == (["large"], 100.0, ())


def test_too_little_time_leaves_all_out():
    assert set(admit({"small": 90.0, "large": 95.0}, 400.0, 5)[1]) == {"small", "large"}


def test_the_pair_had_as_much_time_together_as_the_winner():
    rungs = [Rung(share=1 / 8, seconds=10, scores=(score("small", 0.6), score("middle", 0.7), score("large", 0.65))),
             Rung(share=1 / 4, seconds=20, scores=(score("middle", 0.75), score("large", 0.8)))]
    assert pair_to_test(rungs, "large") == (0, ("middle", "large"))
    assert pair_to_test(rungs[:1], "large") is None  # the winner has no score for twice the time
    alone = [Rung(share=1 / 8, seconds=10, scores=(score("small", 0.6), score("large", 0, fault="bad"))), rungs[1]]
    assert pair_to_test(alone, "large") is None


def test_a_pair_is_trained_only_where_it_is_certainly_better():
    winner = score("large", 0.8)
    better = [value + 0.02 for value in winner.dice]
    unclear = [value + 0.02 * (-1) ** i for i, value in enumerate(winner.dice)]
    assert judge_pair(("small", "large"), better, winner).accepted
    assert not judge_pair(("small", "large"), unclear, winner).accepted


def test_what_is_left_is_shared_by_all_folds_and_the_raced_one_goes_on():
    # 900 s and the 100 s that fold 0 has already: five folds of 200 s
    assert seconds_per_fold(900.0, [100.0], 0, 5, 1, 0.25) == pytest.approx(200)
    # a cascade on it has as much for each of its folds
    assert seconds_per_fold(900.0, [100.0], 1, 5, 1, 0.25) == pytest.approx(100 - (least_budget(100, 0.25) - 100) / 9)


def test_both_of_an_ensemble_have_their_decay_in_the_raced_fold():
    # 4 of the 6 folds share what the two raced ones leave, which take a third more than they have
    needed = least_budget(100.0, 0.25)
    seconds = seconds_per_fold(400.0, [100.0, 100.0], 0, 3, 1, 0.25)
    assert seconds == pytest.approx((600 - 2 * needed) / 4)
    assert seconds < needed


def test_on_several_devices_folds_run_beside_each_other():
    assert seconds_per_fold(900.0, [100.0], 0, 5, 2, 0.25) == 300  # three rounds


def test_a_cascade_starts_only_when_all_folds_of_its_earlier_stage_are_done():
    assert seconds_per_fold(900.0, [100.0], 1, 5, 4, 0.25) == 225  # two rounds each
    assert seconds_per_fold(900.0, [100.0, 100.0], 0, 5, 4, 0.25) == 300  # two winners share the devices


def test_the_race_says_what_it_decided_and_what_it_cost():
    race = a_race()
    assert leader_of(race) == "3d_fullres (budgeted)"
    assert race.lost_seconds == 60
    assert race.dropped == {"2d (budgeted)": BEHIND}
    lines = as_lines(race)
    assert "after 1/8 of a fold's time (60 s): 3d_fullres (budgeted) Dice 0.800 (100 iterations)" in lines[0]
    assert lines[1].startswith(f"2d (budgeted) was dropped: {BEHIND} (-0.200 to the leader")
    assert lines[-1] == "each fold has 9 min 10 s; the race cost 60 s, 5% of the total of 20 min 0 s"


def test_a_race_that_was_stopped_says_that_it_goes_on():
    assert as_lines(a_race(winners=(), fold_seconds=None))[-1].startswith("the race is not decided yet")


def test_a_race_is_read_as_it_was_written():
    race = a_race()
    assert Race.model_validate_json(race.model_dump_json()) == race
