"""Kaplan-Meier, log-rank and groups of risk; values of the literature, small sums by hand, scikit-survival as an oracle."""

import numpy as np
import pytest

from autoseg.evaluation.survival_curves import (
    inverse,
    kaplan_meier,
    log_rank,
    number_at_risk,
    place_at,
    risk_groups,
    uncensored,
)

# Weeks of remission, Freireich et al. 1963 (Blood 21:699), as in Kalbfleisch and Prentice 2002. 6-MP: relapses, and ends
# of follow-up; all on placebo had a relapse.
DRUG = ((6, 6, 6, 7, 10, 13, 16, 22, 23), (6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35))
PLACEBO = (1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23)


def drug():
    return np.array(DRUG[0] + DRUG[1], float), np.arange(21) < 9


def both():
    time_N, event_N = drug()
    return np.append(time_N, PLACEBO), np.append(event_N, [True] * 21), np.repeat([0, 1], 21)


def random_follow_up(n=80, seed=0, places=1):
    rng = np.random.default_rng(seed)
    event_time, end = np.round(rng.exponential(10, n), places) + 1, np.round(rng.exponential(15, n), places) + 1
    return np.minimum(event_time, end), event_time <= end


def test_the_curve_of_the_drug_is_that_of_the_literature():
    curve = kaplan_meier(*drug())
    at = [place_at(curve, week) for week in (6, 7, 10, 13, 16, 22, 23)]
    assert [round(curve.survival[place], 4) for place in at] == [0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482]
    assert [curve.at_risk[place] for place in at] == [21, 17, 15, 12, 11, 7, 6]
    assert curve.median == 23 and (curve.n, curve.n_events) == (21, 9)


def test_the_limits_of_the_drug_are_those_of_the_literature():
    curve = kaplan_meier(*drug())  # as printed by Stata's sts list and R's survfit(conf.type = "log-log")
    at = [place_at(curve, week) for week in (6, 7, 10, 13, 16, 22, 23)]
    assert [curve.low[place] for place in at] == pytest.approx([.6197, .5631, .5032, .4316, .3675, .2678, .1881], abs=1e-4)
    assert [curve.high[place] for place in at] == pytest.approx([.9516, .9228, .8894, .8491, .8049, .7468, .6801], abs=1e-4)


def test_the_log_rank_test_of_drug_and_placebo_is_that_of_the_literature():
    tested = log_rank(*both())
    assert tested.statistic == pytest.approx(16.79, abs=0.005) and tested.p == pytest.approx(4.17e-5, abs=1e-7)
    assert tested.observed == (9, 21) and tested.expected == pytest.approx((19.25, 10.75), abs=0.005)
    assert tested.degrees == 1


def test_where_nobody_is_left_the_curve_is_zero_and_has_no_limits():
    curve = kaplan_meier(np.array([1.0, 2.0]), np.array([True, True]))
    assert curve.survival == (0.5, 0) and (curve.low[1], curve.high[1]) == (None, None) and curve.median == 1


def test_without_events_the_curve_stays_at_one_and_has_no_median():
    curve = kaplan_meier(np.array([1.0, 2.0]), np.array([False, False]))
    assert curve.survival == (1, 1) and curve.low == (1, 1) and curve.median is None and curve.n_events == 0


def test_a_curve_of_nobody_is_refused():
    with pytest.raises(ValueError, match="at least one case"):
        kaplan_meier(np.zeros(0), np.zeros(0, bool))


def test_numbers_at_risk_count_who_is_there_just_before_the_time():
    curve = kaplan_meier(*drug())
    assert [number_at_risk(curve, week) for week in (0, 6, 6.5, 10, 35, 36)] == [21, 21, 17, 15, 1, 0]
    assert place_at(curve, 5.9) is None


def test_events_come_before_ends_of_follow_up_of_the_same_time():
    own = uncensored(np.array([1.0, 1.0, 2.0]), np.array([True, False, True]), np.ones((1, 3)))
    assert own.before_own_time()[0] == pytest.approx([1, 1, 0.5])  # of two that stayed at 1, one was censored
    assert own.beyond(np.array([0.5, 1.0, 3.0]))[0] == pytest.approx([1, 0.5, 0.5])


def test_a_case_that_is_drawn_twice_counts_as_two_cases():
    time_N, event_N = random_follow_up(12)
    weight_N = np.array([0, 2, 1, 1, 3, 0, 1, 1, 1, 1, 1, 0.0])
    drawn = np.repeat(np.arange(12), weight_N.astype(int))
    whole = uncensored(time_N[drawn], event_N[drawn], np.ones((1, 12))).before_own_time()[0]
    assert uncensored(time_N, event_N, weight_N[None]).before_own_time()[0][drawn] == pytest.approx(whole)


def test_the_inverse_of_nothing_is_no_weight():
    assert inverse(np.array([0.5, 0.0])).tolist() == [2, 0]


def test_the_test_does_not_depend_on_the_order_of_cases_and_of_groups():
    time_N, event_N, group_N = both()
    order = np.random.default_rng(0).permutation(42)
    one, other = log_rank(time_N, event_N, group_N), log_rank(time_N[order], event_N[order], 1 - group_N[order])
    assert other.statistic == pytest.approx(one.statistic) and other.expected == pytest.approx(one.expected[::-1])


@pytest.mark.parametrize(("time", "event", "group", "reason"), [
    ([1, 2], [True, True], [0, 0], "a single group"), ([1, 2], [False, False], [0, 1], "no case has the event"),
    ([1, 2, 3, 4], [False, False, True, True], [0, 0, 1, 1], "never at risk at the same time")])
def test_a_test_that_is_not_possible_says_why(time, event, group, reason):
    tested = log_rank(np.array(time, float), np.array(event), np.array(group))
    assert tested.p is None and tested.statistic is None and reason in tested.reason


def test_a_group_without_anybody_at_risk_takes_no_degree_of_freedom():
    time_N, event_N, group_N = both()
    with_third = log_rank(np.append(time_N, 0.5), np.append(event_N, False), np.append(group_N, 2))
    assert with_third.degrees == 1 and with_third.statistic == pytest.approx(log_rank(time_N, event_N, group_N).statistic)


def test_groups_are_split_at_the_median_of_each_fold():
    time_N, event_N = random_follow_up(8)
    risk_N, fold_N = np.array([1, 2, 3, 4, 101, 102, 103, 104.0]), np.repeat([0, 1], 4)
    groups = risk_groups(time_N, event_N, risk_N, fold_N)
    assert groups.names == ("low risk", "high risk") and [curve.n for curve in groups.curves] == [4, 4]
    assert sorted(groups.curves[0].times) == sorted(time_N[[0, 1, 4, 5]])


def test_tertiles_make_three_groups():
    time_N, event_N = random_follow_up(9)
    groups = risk_groups(time_N, event_N, np.arange(9.0), n_groups=3)
    assert [curve.n for curve in groups.curves] == [3, 3, 3] and groups.log_rank.degrees == 2


@pytest.mark.parametrize(("risk", "reason"), [([1.0] * 8, "too few different values"), ([np.nan] * 8, "8 of 8 cases")])
def test_risks_that_split_nobody_say_why(risk, reason):
    assert reason in risk_groups(*random_follow_up(8), np.array(risk)).reason


@pytest.mark.parametrize("seed", range(3))
def test_curves_and_tests_agree_with_scikit_survival(seed):
    nonparametric, comparing = pytest.importorskip("sksurv.nonparametric"), pytest.importorskip("sksurv.compare")
    from sksurv.util import Surv

    time_N, event_N = random_follow_up(seed=seed, places=0)
    times, survival, limits = nonparametric.kaplan_meier_estimator(event_N, time_N, conf_type="log-log")
    curve = kaplan_meier(time_N, event_N)
    known = np.array(curve.survival) > 0
    assert curve.times == pytest.approx(times) and curve.survival == pytest.approx(survival)
    assert np.array(curve.low)[known].astype(float) == pytest.approx(limits[0][known])
    assert np.array(curve.high)[known].astype(float) == pytest.approx(limits[1][known])
    group_N = np.random.default_rng(seed).integers(0, 4, len(time_N))
    chi2, p = comparing.compare_survival(Surv.from_arrays(event_N, time_N), group_N)
    assert (log_rank(time_N, event_N, group_N).statistic, log_rank(time_N, event_N, group_N).p) == pytest.approx((chi2, p))
