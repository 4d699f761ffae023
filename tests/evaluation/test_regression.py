"""Errors and correlations of numbers, by hand and against scipy."""

import numpy as np
import pytest
from scipy import stats

from autoseg.evaluation.regression import (
    mean_absolute_error,
    r_squared,
    rank_correlation,
    rank_correlation_of,
    root_mean_square_error,
    shuffled_correlations,
)

TRUE, PREDICTED = np.array([1.0, 2, 3, 6]), np.array([1.0, 4, 3, 4])


def test_errors_are_counted_by_hand():
    assert mean_absolute_error(TRUE, PREDICTED).value == 1
    assert root_mean_square_error(TRUE, PREDICTED).value == pytest.approx(np.sqrt(2))
    assert r_squared(TRUE, PREDICTED).value == pytest.approx(1 - 8 / 14)  # the mean is 3: 4 + 1 + 0 + 9


@pytest.mark.parametrize("seed", range(3))
def test_rank_correlation_is_spearmans(seed):
    rng = np.random.default_rng(seed)
    true_N = np.round(rng.normal(size=40), 1)
    predicted_N = np.round(true_N + rng.normal(size=40), 1)
    assert rank_correlation(true_N, predicted_N).value == pytest.approx(stats.spearmanr(true_N, predicted_N).statistic)
    assert rank_correlation(true_N, np.exp(predicted_N)).value == pytest.approx(rank_correlation(true_N, predicted_N).value)
    assert rank_correlation(true_N, -predicted_N).value == pytest.approx(-rank_correlation(true_N, predicted_N).value)


def test_ranks_within_folds_do_not_see_the_scale_of_a_model():
    true_N, fold_N = np.tile([1.0, 2, 3, 4], 2), np.repeat([0, 1], 4)
    predicted_N = np.where(fold_N == 0, true_N, 100 * true_N)
    assert rank_correlation(true_N, predicted_N, fold_N).value == pytest.approx(1)
    assert rank_correlation(true_N, predicted_N).value < 0.7


def test_a_case_that_is_drawn_twice_counts_as_two_cases():
    rng = np.random.default_rng(0)
    true_N, predicted_N, weight_N = rng.integers(0, 9, 20), rng.integers(0, 9, 20), rng.integers(0, 4, 20)
    drawn = np.repeat(np.arange(20), weight_N)
    whole = stats.spearmanr(true_N[drawn], predicted_N[drawn]).statistic
    assert rank_correlation_of(true_N, predicted_N)(weight_N[None].astype(float)) == pytest.approx(whole)


def test_a_shuffle_that_changes_nothing_has_the_correlation_itself():
    fold_N = np.array([0, 0, 0, 1, 1, 1])
    true_N, predicted_N = np.array([1.0, 2, 3, 1, 2, 3]), np.array([3.0, 2, 4, 9, 8, 7])
    shuffled = shuffled_correlations(true_N, predicted_N, np.array([[0, 1, 2, 3, 4, 5], [2, 1, 0, 3, 4, 5]]), fold_N)
    assert shuffled[0] == pytest.approx(rank_correlation(true_N, predicted_N, fold_N).value)
    assert shuffled[1] != pytest.approx(shuffled[0])


@pytest.mark.parametrize(("true", "predicted", "reason"), [
    ([1, 1, 1], [1, 2, 3], "the number is the same"), ([], [], "there is no case"),
    ([1, 2, np.nan], [1, 2, 3], "the number of 1 of 3 cases"),
    ([1, 2, 3], [np.inf, 2, 3], "the prediction of 1 of 3 cases")])
@pytest.mark.parametrize("score", [r_squared, rank_correlation])
def test_what_has_no_score_says_why(score, true, predicted, reason):
    result = score(np.array(true, float), np.array(predicted, float))
    assert result.value is None and reason in result.reason


def test_a_constant_prediction_has_an_error_but_no_correlation():
    constant_N = np.full(4, 3.0)
    assert "the prediction is the same" in rank_correlation(TRUE, constant_N).reason
    assert mean_absolute_error(TRUE, constant_N).value == pytest.approx(1.5) and r_squared(TRUE, constant_N).value == 0
