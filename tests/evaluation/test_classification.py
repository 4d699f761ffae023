"""Scores of categories: pairs and ranks that can be counted by hand, scikit-learn as an oracle."""

import numpy as np
import pytest

from autoseg.evaluation.classification import (
    auroc,
    auroc_of,
    average_precision,
    average_precision_of,
    balanced_accuracy,
    brier,
    macro_auroc,
    positive_pairs,
    roc_curve,
)
from autoseg.evaluation.ordering import delong


def two_groups(n=60, seed=0, shift=1.0, digits=1):
    rng = np.random.default_rng(seed)
    is_positive_N = np.arange(n) % 3 == 0
    return is_positive_N, np.round(rng.normal(size=n) + shift * is_positive_N, digits)


def three_groups(n=60, seed=0):
    rng = np.random.default_rng(seed)
    code_N = rng.integers(0, 3, n)
    probability_NK = np.round(rng.dirichlet([1, 1, 1], n) + 0.3 * np.eye(3)[code_N], 2)
    return code_N, probability_NK / probability_NK.sum(axis=1, keepdims=True)


def test_pairs_are_counted_by_hand():
    # Positive 3 and 1 against negative 2 and 1: right, right, wrong, a tie.
    assert auroc(np.array([True, True, False, False]), np.array([3.0, 1, 2, 1])).value == pytest.approx(2.5 / 4)


def test_precision_is_averaged_by_hand():
    # Down the ranks: yes (1/1), no, yes (2/3). Two positives: (1 + 2/3) / 2.
    assert average_precision(np.array([True, False, True]), np.array([3.0, 2, 1])).value == pytest.approx(5 / 6)


def test_precision_does_not_depend_on_the_order_of_equal_scores():
    assert average_precision(np.array([True, False, False]), np.array([1.0, 1, 0])).value == pytest.approx(1 / 2)
    assert average_precision(np.array([False, True, False]), np.array([1.0, 1, 0])).value == pytest.approx(1 / 2)


def test_squares_are_added_by_hand():
    assert brier(np.array([0, 1]), np.array([[0.9, 0.1], [0.4, 0.6]])).value == pytest.approx((0.01 + 0.16) / 2)
    three = np.array([[1, 0, 0], [0.5, 0.5, 0]])
    assert brier(np.array([0, 2]), three).value == pytest.approx((0 + 0.25 + 0.25 + 1) / 2)


def test_recalls_are_averaged_by_hand():
    probability_NK = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    assert balanced_accuracy(np.array([0, 0, 0, 1]), probability_NK).value == pytest.approx((2 / 3 + 0) / 2)


def test_the_curve_ends_at_its_corners_and_spans_the_area():
    is_positive_N, score_N = two_groups()
    curve = roc_curve(is_positive_N, score_N)
    assert (curve.false_positive_rate[0], curve.sensitivity[0]) == (0, 0)
    assert (curve.false_positive_rate[-1], curve.sensitivity[-1]) == (1, 1)
    x_T, y_T = np.array(curve.false_positive_rate), np.array(curve.sensitivity)
    assert (np.diff(x_T) * (y_T[1:] + y_T[:-1]) / 2).sum() == pytest.approx(auroc(is_positive_N, score_N).value)


def test_scores_do_not_depend_on_the_order_of_cases_nor_on_the_scale():
    is_positive_N, score_N = two_groups()
    order = np.random.default_rng(1).permutation(60)
    for score in (auroc, average_precision):
        value = score(is_positive_N, score_N).value
        assert score(is_positive_N[order], np.exp(score_N)[order]).value == pytest.approx(value)
    assert auroc(is_positive_N, -score_N).value == pytest.approx(1 - auroc(is_positive_N, score_N).value)


def test_a_model_that_answers_with_the_share_of_its_training_cases_is_not_punished_within_folds():
    is_positive_N, fold_N = np.array([True] * 6 + [False] * 4), np.array([0, 0, 0, 1, 1, 1, 0, 1, 1, 0])
    fold_N[:4] = 0
    share_N = np.array([is_positive_N[fold_N != fold].mean() for fold in fold_N])
    tiny_N = share_N + 1e-9 * np.arange(10)[::-1] * is_positive_N
    assert auroc(is_positive_N, share_N).value < 0.5
    assert auroc(is_positive_N, share_N, fold_N).reason == "the probability is the same for all cases that are compared"
    assert auroc(is_positive_N, tiny_N, fold_N).value > 0.5


@pytest.mark.parametrize("statistic_of", [auroc_of, average_precision_of])
def test_a_case_that_is_drawn_twice_counts_as_two_cases(statistic_of):
    is_positive_N, score_N = two_groups(20)
    weight_N = np.random.default_rng(0).integers(0, 4, 20)
    drawn = np.repeat(np.arange(20), weight_N)
    whole = statistic_of(is_positive_N[drawn], score_N[drawn])(np.ones((1, len(drawn))))
    assert statistic_of(is_positive_N, score_N)(weight_N[None].astype(float)) == pytest.approx(whole)


@pytest.mark.parametrize(("positive", "score", "reason"), [
    ([0, 0, 0], [1, 2, 3], "no case has the category"), ([1, 1, 1], [1, 2, 3], "all cases have the category"),
    ([1, 0, 0], [1, 1, 1], "is the same for all cases"), ([1, 0, 0], [1, np.nan, 2], "of 1 of 3 cases is not finite"),
    ([], [], "there is no case")])
@pytest.mark.parametrize("score_of", [auroc, average_precision])
def test_what_has_no_score_says_why(score_of, positive, score, reason):
    result = score_of(np.array(positive, bool), np.array(score, float))
    assert (result.value, result.low, result.high) == (None, None, None) and reason in result.reason


@pytest.mark.parametrize("score_of", [brier, balanced_accuracy])
def test_one_category_and_missing_probabilities_have_no_mean(score_of):
    half = np.full((3, 2), 0.5)
    assert score_of(np.zeros(3, int), half).reason == "all cases have the same category"
    half[1] = np.nan
    assert "1 of 3 cases" in score_of(np.array([0, 1, 1]), half).reason


def test_the_macro_mean_is_over_the_categories_that_occur():
    code_N, probability_NK = three_groups()
    with_fourth = np.pad(probability_NK, ((0, 0), (0, 1)))
    assert macro_auroc(code_N, with_fourth) == macro_auroc(code_N, probability_NK)
    assert macro_auroc(np.zeros(60, int), probability_NK).reason == "all cases have the category"


def test_equal_models_have_no_difference_and_few_cases_no_test():
    is_positive_N, score_N = two_groups()
    assert delong(score_N, np.exp(score_N), positive_pairs(is_positive_N)) == 1
    assert delong(score_N[:3], -score_N[:3], positive_pairs(is_positive_N[:3])) is None


def test_delong_agrees_with_its_formula():
    """DeLong et al. 1988, equations 4 to 8, written out in loops."""
    is_positive_N, a_N = two_groups(40, seed=1)
    b_N = a_N + np.random.default_rng(2).normal(size=40)
    x, y = np.flatnonzero(is_positive_N), np.flatnonzero(~is_positive_N)
    psi = np.array([[[1.0 if s[i] > s[j] else 0.5 if s[i] == s[j] else 0.0 for j in y] for i in x] for s in (a_N, b_N)])
    variance = np.cov(psi.mean(2)) / len(x) + np.cov(psi.mean(1)) / len(y)
    z = (psi[0].mean() - psi[1].mean()) / np.sqrt(variance[0, 0] + variance[1, 1] - 2 * variance[0, 1])
    stats = pytest.importorskip("scipy.stats")
    assert delong(a_N, b_N, positive_pairs(is_positive_N)) == pytest.approx(2 * stats.norm.sf(abs(z)))


def test_delong_holds_its_level_also_over_folds():
    """Two models that know equally much: about one in twenty differences has p below 0.05."""
    rng, fold_N = np.random.default_rng(0), np.arange(100) % 5
    is_positive_N = rng.permutation(100) < 40
    pairs_NN = positive_pairs(is_positive_N, fold_N)
    models = rng.normal(size=(2, 400, 100)) + is_positive_N
    below = np.mean([delong(a_N, b_N, pairs_NN) < 0.05 for a_N, b_N in zip(*models, strict=True)])
    assert 0.02 < below < 0.09


@pytest.mark.parametrize("seed", range(3))
def test_scores_agree_with_scikit_learn(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    is_positive_N, score_N = two_groups(seed=seed)
    assert auroc(is_positive_N, score_N).value == pytest.approx(metrics.roc_auc_score(is_positive_N, score_N))
    precision = metrics.average_precision_score(is_positive_N, score_N)
    assert average_precision(is_positive_N, score_N).value == pytest.approx(precision)
    code_N, probability_NK = three_groups(seed=seed)
    macro = metrics.roc_auc_score(code_N, probability_NK, multi_class="ovr", average="macro")
    assert macro_auroc(code_N, probability_NK).value == pytest.approx(macro)
    balanced = metrics.balanced_accuracy_score(code_N, probability_NK.argmax(axis=1))
    assert balanced_accuracy(code_N, probability_NK).value == pytest.approx(balanced)
    yes_N = probability_NK[:, 1]
    two = brier((code_N == 1).astype(int), np.stack([1 - yes_N, yes_N], axis=1)).value
    assert two == pytest.approx(metrics.brier_score_loss(code_N == 1, yes_N))
