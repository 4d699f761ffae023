"""Draws, intervals, paired differences and shuffles."""

import numpy as np
import pytest

from autoseg.evaluation.classification import auroc_of
from autoseg.evaluation.ordering import same_fold, shuffled_shares, why_no_order
from autoseg.evaluation.resampling import (
    bootstrapped,
    draws,
    not_finite,
    paired_bootstrap,
    permutation_control,
    shuffles,
)
from autoseg.evaluation.survival import comparable_pairs, concordance_of

STRATA = np.array([0, 1, 1, 0, 1, 1, 1, 0, 1])


def mean_of(values_N):
    return lambda weight_RN: weight_RN @ values_N / weight_RN.sum(axis=1)


def test_draws_keep_the_size_of_each_stratum():
    weight_RN = np.concatenate(list(draws(STRATA, seed=0, n_draws=50)))
    assert weight_RN.shape == (50, 9)
    assert (weight_RN[:, STRATA == 0].sum(axis=1) == 3).all() and (weight_RN[:, STRATA == 1].sum(axis=1) == 6).all()


def test_draws_do_not_depend_on_how_many_are_held_at_a_time(monkeypatch):
    whole = np.concatenate(list(draws(STRATA, seed=3, n_draws=40)))
    monkeypatch.setattr("autoseg.evaluation.resampling._BLOCK", 9 * 7)
    assert (np.concatenate(list(draws(STRATA, seed=3, n_draws=40))) == whole).all()


def test_a_seed_gives_one_interval_and_another_seed_nearly_the_same():
    values_N, strata_N = np.random.default_rng(0).normal(size=200), np.zeros(200)
    one, other = (bootstrapped(mean_of(values_N), strata_N, seed=seed) for seed in (1, 2))
    assert one == bootstrapped(mean_of(values_N), strata_N, seed=1) and one != other
    assert one.low == pytest.approx(other.low, abs=0.03) and one.low < one.value < one.high


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values_N = np.random.default_rng(0).normal(size=400)
    score = bootstrapped(mean_of(values_N), np.zeros(400), n_draws=4000)
    assert (score.high - score.low) / 2 == pytest.approx(1.96 / 20 * values_N.std(), rel=0.08)


def test_a_score_that_many_draws_lack_has_no_interval():
    def often_undefined(weight_RN):
        return np.where(weight_RN[:, 0] > 0, 1.0, np.nan)

    score = bootstrapped(often_undefined, np.zeros(9))
    assert score.value == 1 and score.low is None and "not defined in 3" in score.reason  # (8/9)^9 = 35 %


def test_a_score_that_is_not_defined_is_none():
    score = bootstrapped(lambda weight_RN: np.full(len(weight_RN), np.nan), STRATA)
    assert score.value is None and score.reason


def test_two_models_on_the_same_draws_differ_less_than_each_varies():
    rng = np.random.default_rng(0)
    a_N = rng.normal(size=50)
    b_N = a_N - 0.1 + 0.01 * rng.normal(size=50)
    difference = paired_bootstrap("mean", "higher", mean_of(a_N), mean_of(b_N), np.zeros(50))
    assert difference.difference == pytest.approx(difference.value_a - difference.value_b)
    assert 0.09 < difference.low < difference.difference < difference.high < 0.11
    assert difference.p_bootstrap == pytest.approx(2 / 1001)
    alone = bootstrapped(mean_of(a_N), np.zeros(50))
    assert difference.high - difference.low < 0.1 * (alone.high - alone.low)


def test_a_difference_of_a_concordance_has_an_interval():
    rng = np.random.default_rng(0)
    time_N, event_N, noise_N = rng.exponential(size=60), rng.random(60) < 0.6, rng.normal(size=60)
    better, worse = (concordance_of(time_N, event_N, risk_N) for risk_N in (noise_N - time_N, noise_N))
    assert paired_bootstrap("C-index", "higher", better, worse, event_N).low > 0
    same = paired_bootstrap("C-index", "higher", better, better, event_N)
    assert (same.difference, same.low, same.high, same.p_bootstrap) == (0, 0, 0, 1)


def test_a_difference_to_a_score_that_is_not_defined_says_why():
    undefined = paired_bootstrap("mean", "higher", lambda weight_RN: np.full(len(weight_RN), np.nan),
                                 mean_of(np.ones(9)), STRATA)
    assert undefined.difference is None and undefined.p_bootstrap is None and "not defined" in undefined.reason


def test_shuffles_stay_within_folds_and_lose_nobody():
    fold_N = np.array([0, 1, 0, 1, 1])
    order_PN = shuffles(fold_N, seed=0, n_shuffles=30)
    assert (fold_N[order_PN] == fold_N).all() and (np.sort(order_PN, axis=1) == np.arange(5)).all()
    assert len({tuple(order) for order in order_PN.tolist()}) > 5


def test_shuffled_shares_are_those_of_shuffled_scores():
    rng = np.random.default_rng(0)
    time_N, event_N, risk_N = rng.integers(1, 9, 20).astype(float), rng.random(20) < 0.5, rng.integers(0, 5, 20) * 1.0
    fold_N = np.arange(20) % 3
    order_PN, once = shuffles(fold_N, n_shuffles=5), np.ones((1, 20))
    slow = [concordance_of(time_N, event_N, risk_N[order_N], fold_N)(once)[0] for order_N in order_PN]
    assert shuffled_shares(risk_N, comparable_pairs(time_N, event_N, fold_N), order_PN) == pytest.approx(slow)


def test_the_control_of_a_good_model_contains_chance_and_the_model_does_not():
    is_positive_N = np.arange(60) < 25
    score_N = np.random.default_rng(0).normal(size=60) + is_positive_N
    score = bootstrapped(auroc_of(is_positive_N, score_N), is_positive_N)
    shuffled_P = shuffled_shares(score_N, is_positive_N[:, None] & ~is_positive_N, shuffles(np.zeros(60)))
    control = permutation_control(score.value, shuffled_P)
    assert control.p < 0.01 and control.mean == pytest.approx(0.5, abs=0.02)
    assert control.low < 0.5 < control.high and score.low > 0.5


def test_the_p_value_counts_the_model_itself_and_ties():
    control = permutation_control(0.6, np.array([0.5, 0.6 + 1e-15, 0.7, 0.4]))
    assert control.p == pytest.approx(3 / 5) and control.n_shuffles == 4


def test_values_that_are_not_finite_are_counted_by_case():
    assert not_finite(np.array([[1, np.nan], [np.inf, np.nan], [1, 2]]), "survival") == (
        "the survival of 2 of 3 cases is not finite")
    assert not_finite(np.ones(3), "risk") == ""


def test_only_pairs_that_are_compared_decide_whether_scores_are_constant():
    pairs_NN = same_fold(np.array([0, 0, 1])) & ~np.eye(3, dtype=bool)
    assert "the risk is the same" in why_no_order(np.array([1.0, 1, 5]), pairs_NN, "risk")
    assert why_no_order(np.array([1.0, 2, 5]), pairs_NN, "risk") == ""
