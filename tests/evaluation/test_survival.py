"""C-indices, time-dependent AUC and Brier scores: pairs that can be counted by hand, scikit-survival as an oracle."""

import numpy as np
import pytest

from autoseg.evaluation.survival import (
    auc_at,
    brier_at,
    brier_of,
    comparable_pairs,
    concordance,
    concordance_ipcw,
    concordance_ipcw_of,
    concordance_of,
    integrated_brier,
    last_time,
    quartiles_of_events,
    survival_at,
)


def follow_up(n=120, seed=0, places=6, effect=1.0):
    """Cox data with hazard exp(risk), and censoring that does not depend on it; events before censoring."""
    rng = np.random.default_rng(seed)
    risk_N = rng.normal(size=n)
    event_N1 = rng.exponential(np.exp(-effect * risk_N))
    end_N = rng.exponential(1.5, n)
    time_N = np.round(np.minimum(event_N1, end_N), places) + 0.01
    return time_N, event_N1 <= end_N, risk_N


def arrays(time, event, risk):
    return np.array(time, float), np.array(event, bool), np.array(risk, float)


def test_pairs_are_counted_by_hand():
    # Events at 1 and 3, ends of follow-up at 2 and 4. Pairs: (1,2), (1,3), (1,4), (3,4); wrong: (1,3); a tie: (3,4).
    time_N, event_N, risk_N = arrays([1, 2, 3, 4], [1, 0, 1, 0], [5, 1, 6, 6])
    assert comparable_pairs(time_N, event_N).sum() == 4
    assert concordance(time_N, event_N, risk_N).value == pytest.approx((1 + 0 + 0 + 0.5) / 4)


def test_an_event_is_before_the_end_of_follow_up_at_the_same_time_and_two_events_are_no_pair():
    time_N, event_N, risk_N = arrays([1, 1, 1], [1, 1, 0], [2, 3, 1])
    assert comparable_pairs(time_N, event_N).tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]
    assert concordance(time_N, event_N, risk_N).value == 1


def test_pairs_lie_within_folds_so_that_scales_of_models_do_not_matter():
    time_N, event_N, risk_N = follow_up()
    fold_N = np.arange(len(time_N)) % 5
    shifted_N = risk_N * (1 + fold_N) + 100 * fold_N
    within = concordance(time_N, event_N, risk_N, fold_N)
    assert concordance(time_N, event_N, shifted_N, fold_N) == within
    assert concordance(time_N, event_N, shifted_N).value < within.value - 0.05


@pytest.mark.parametrize("folds", [1, 4])
def test_scores_do_not_depend_on_the_order_of_cases_nor_on_the_scale_of_risk(folds):
    time_N, event_N, risk_N = follow_up()
    fold_N = np.arange(len(time_N)) % folds
    order = np.random.default_rng(1).permutation(len(time_N))
    for changed_N in (risk_N, np.exp(risk_N), 3 * risk_N - 7):
        for score in (concordance, lambda *a: concordance_ipcw(*a, tau=1.0), lambda *a: auc_at(*a, at=0.5)):
            value = score(time_N, event_N, risk_N, fold_N).value
            assert score(time_N[order], event_N[order], changed_N[order], fold_N[order]).value == pytest.approx(value)


def test_the_reversed_risk_has_the_rest_to_one():
    time_N, event_N, risk_N = follow_up()
    risk_N = np.round(risk_N, 1)  # with ties
    for score in (concordance, lambda *a: concordance_ipcw(*a, tau=1.0), lambda *a: auc_at(*a, at=0.5)):
        assert score(time_N, event_N, -risk_N).value == pytest.approx(1 - score(time_N, event_N, risk_N).value)


def test_without_censoring_weights_change_nothing():
    time_N, _, risk_N = follow_up()
    event_N = np.ones(len(time_N), bool)
    plain, weighted = concordance(time_N, event_N, risk_N), concordance_ipcw(time_N, event_N, risk_N, tau=np.inf)
    assert weighted.value == pytest.approx(plain.value) and weighted.low == pytest.approx(plain.low)


def test_an_event_at_the_time_of_a_censored_case_is_weighted_by_who_was_there_before():
    time_N, event_N, risk_N = arrays([2, 2, 3, 4], [1, 0, 1, 0], [1, 0, 0, 3])
    # The event at 2 has weight 1; its pairs are right, right, wrong. Then one of three is censored. The event at 3 has
    # weight 1 / (2/3)^2 = 9/4; its pair is wrong.
    assert concordance_ipcw(time_N, event_N, risk_N, tau=4).value == pytest.approx(2 / (3 + 9 / 4))


def test_the_weighted_index_does_not_depend_on_censoring_where_the_plain_one_does():
    rng = np.random.default_rng(0)
    risk_N = rng.normal(size=3000)
    event_time_N = rng.weibull(0.5 + 2.5 * (risk_N > 0), 3000)  # crossing hazards: early pairs are ordered unlike late ones
    end_N = rng.uniform(0, 3, 3000)
    time_N, event_N = np.minimum(event_time_N, end_N), event_time_N <= end_N
    once = np.ones((1, 3000))
    all_seen = concordance_ipcw_of(event_time_N, np.ones(3000, bool), risk_N, tau=2.0)(once)[0]
    weighted = concordance_ipcw_of(time_N, event_N, risk_N, tau=2.0)(once)[0]
    assert weighted == pytest.approx(all_seen, abs=0.02)
    assert abs(concordance_of(time_N, event_N, risk_N)(once)[0] - all_seen) > 2 * abs(weighted - all_seen)


def test_the_brier_score_without_censoring_is_a_mean_square():
    time_N, event_N, _ = arrays([1, 2, 3], [1, 1, 1], [0, 0, 0])
    assert brier_at(time_N, event_N, np.array([0.5, 0.8, 0.9]), at=2).value == pytest.approx((0.25 + 0.64 + 0.01) / 3)


def test_an_integrated_constant_is_the_constant():
    time_N, event_N, _ = follow_up()
    times_K = np.array([0.2, 0.3, 0.7])
    at_each = brier_of(time_N, event_N, np.full((120, 3), 0.5), times_K)(np.ones((1, 120)))[0]
    assert at_each == pytest.approx([0.25] * 3, abs=0.02)  # censored cases make it differ from 1/4 a little
    integrated = integrated_brier(time_N, event_N, np.full((120, 3), 0.5), times_K)
    assert integrated.value == pytest.approx((at_each[:2].mean() * 0.1 + at_each[1:].mean() * 0.4) / 0.5)


def test_known_survival_scores_better_than_that_of_all_cases():
    time_N, event_N, risk_N = follow_up(400)
    own, common = np.exp(-0.5 * np.exp(risk_N)), np.full(400, np.exp(-0.5 * np.exp(risk_N)).mean())
    assert brier_at(time_N, event_N, own, at=0.5).high < brier_at(time_N, event_N, common, at=0.5).value


@pytest.mark.parametrize("score", [concordance, lambda *a: concordance_ipcw(*a, tau=9.0), lambda *a: auc_at(*a, at=2.0)])
@pytest.mark.parametrize(("event", "risk", "reason"), [
    ([0, 0, 0, 0], [1, 2, 3, 4], "no case has the event"), ([1, 1, 0, 1], [2, 2, 2, 2], "the risk is the same"),
    ([1, 1, 0, 1], [1, np.nan, 2, 3], "the risk of 1 of 4 cases is not finite"),
    ([1, 1, 0, 1], [1, np.inf, np.nan, 3], "2 of 4 cases")])
def test_what_has_no_score_says_why(score, event, risk, reason):
    result = score(*arrays([1, 2, 3, 4], event, risk))
    assert (result.value, result.low, result.high) == (None, None, None) and reason in result.reason


def test_a_risk_that_is_constant_within_folds_orders_nothing():
    time_N, event_N, _ = follow_up()
    fold_N = np.arange(120) % 3
    assert "is the same for all cases that are compared" in concordance(time_N, event_N, fold_N * 1.0, fold_N).reason


def test_one_event_after_all_others_have_left_makes_no_pair():
    assert concordance(*arrays([1, 2, 3], [0, 0, 1], [1, 2, 3])).reason == "no two cases can be compared"


@pytest.mark.parametrize(("survival", "at", "reason"), [
    ([0.5, 0.5, np.nan], 1, "survival of 1 of 3"), ([0.5, 0.5, 1.5], 1, "outside 0 to 1"), ([0.5] * 3, 3, "beyond 3")])
def test_a_brier_score_that_is_not_possible_says_why(survival, at, reason):
    result = brier_at(*arrays([1, 2, 3], [1, 1, 0], [0, 0, 0])[:2], np.array(survival), at=at)
    assert result.value is None and reason in result.reason


def test_an_integral_needs_two_times():
    time_N, event_N, _ = follow_up()
    assert "two times" in integrated_brier(time_N, event_N, np.full((120, 1), 0.5), np.array([0.5])).reason


def test_one_event_has_a_score_but_no_interval():
    result = concordance(*arrays([1, 2, 3], [1, 0, 0], [3, 2, 1]))
    assert result.value == 1 and result.low is None and "a single case" in result.reason


def test_a_case_that_is_drawn_twice_counts_as_two_cases():
    time_N, event_N, risk_N = follow_up(20)
    weight_N = np.random.default_rng(0).integers(0, 4, 20)
    drawn = np.repeat(np.arange(20), weight_N)
    whole = concordance_of(time_N[drawn], event_N[drawn], risk_N[drawn])(np.ones((1, len(drawn))))
    assert concordance_of(time_N, event_N, risk_N)(weight_N[None].astype(float)) == pytest.approx(whole)


def test_times_of_evaluation_are_times_of_events():
    time_N, event_N = np.arange(1.0, 13), np.arange(12) < 8
    assert quartiles_of_events(time_N, event_N, until=100).tolist() == [2, 4, 6]
    assert quartiles_of_events(time_N, event_N, until=4).tolist() == [2]
    assert quartiles_of_events(time_N, np.zeros(12, bool), until=4).tolist() == []


def test_the_last_time_has_a_tenth_of_the_cases_under_observation():
    time_N = np.arange(1.0, 21)
    assert last_time(time_N, np.zeros(20, bool)) == 19  # two of twenty are there just before
    assert last_time(time_N, np.ones(20, bool)) == 20


def test_survival_between_times_is_linear_from_one_on():
    survival_NK = survival_at(np.array([2.0, 4.0]), np.array([[0.8, 0.4]]), np.array([0, 1, 2, 3, 4]))
    assert survival_NK[0] == pytest.approx([1, 0.9, 0.8, 0.6, 0.4])


def test_survival_beyond_the_last_time_of_a_model_stays_as_it_was_there():
    survival_NK = survival_at(np.array([2.0, 4.0]), np.array([[0.8, 0.4]]), np.array([5, 40]))
    assert survival_NK[0] == pytest.approx([0.4, 0.4])


@pytest.mark.parametrize(("seed", "places"), [(0, 6), (1, 6), (2, 1)])
def test_the_plain_index_agrees_with_scikit_survival(seed, places):
    metrics = pytest.importorskip("sksurv.metrics")
    time_N, event_N, risk_N = follow_up(seed=seed, places=places)
    risk_N = np.round(risk_N, places)
    assert concordance(time_N, event_N, risk_N).value == pytest.approx(
        metrics.concordance_index_censored(event_N, time_N, risk_N)[0])


@pytest.mark.parametrize("seed", [0, 1])
def test_weighted_scores_agree_with_scikit_survival(seed):
    metrics = pytest.importorskip("sksurv.metrics")
    from sksurv.util import Surv

    time_N, event_N, risk_N = follow_up(seed=seed)
    known, times_K = Surv.from_arrays(event_N, time_N), np.array([0.2, 0.5, 0.9])
    survival_NK = np.exp(-np.exp(risk_N)[:, None] * times_K)
    assert concordance_ipcw(time_N, event_N, risk_N, tau=1.0).value == pytest.approx(
        metrics.concordance_index_ipcw(known, known, risk_N, tau=1.0)[0])
    assert [auc_at(time_N, event_N, np.round(risk_N, 1), at=at).value for at in times_K] == pytest.approx(
        metrics.cumulative_dynamic_auc(known, known, np.round(risk_N, 1), times_K)[0])
    assert [brier_at(time_N, event_N, survival_NK[:, k], at=at).value for k, at in enumerate(times_K)] == pytest.approx(
        metrics.brier_score(known, known, survival_NK, times_K)[1])
    assert integrated_brier(time_N, event_N, survival_NK, times_K).value == pytest.approx(
        metrics.integrated_brier_score(known, known, survival_NK, times_K))
