"""Regressions against closed forms, published coefficients and other packages."""

import math

import numpy as np
import pytest
from scipy import stats

from autoseg.outcome.answers import baseline_of, curves_at, kaplan_meier
from autoseg.outcome.pooling import pooled_coefficients
from autoseg.outcome.solvers import solve
from autoseg.outcome.targets import CategoryTarget, NumberTarget, SurvivalEstimate, SurvivalTarget
from outcome_samples import simulated_cox

FREE = 1e6  # a spread that penalises nothing


def test_cox_gives_the_published_coefficient_of_tied_times():
    target = SurvivalTarget(np.array([1.0, 1, 6, 6, 8, 9]), np.array([1, 0, 1, 1, 0, 1], dtype=bool))
    solution = solve(np.array([[1.0], [1], [1], [0], [0], [0]]), target, FREE)
    assert solution.weight_FO[0, 0] == pytest.approx(1.676857, abs=1e-6)


def test_cox_agrees_with_scikit_survival():
    linear_model = pytest.importorskip("sksurv.linear_model")
    x, _, target = simulated_cox(120, 0)
    tied = SurvivalTarget(np.ceil(target.time_N), target.event_N)
    outcome = np.array(list(zip(tied.event_N, tied.time_N, strict=True)), dtype=[("event", bool), ("time", float)])
    theirs = linear_model.CoxPHSurvivalAnalysis(ties="efron").fit(x, outcome)
    np.testing.assert_allclose(solve(x, tied, FREE).weight_FO[:, 0], theirs.coef_, atol=1e-4)


def test_a_covariate_that_separates_events_keeps_a_finite_coefficient():
    target = SurvivalTarget(np.arange(1.0, 21), np.arange(20) < 10)
    x = (np.arange(20) < 10).astype(float)[:, None]
    solution = solve(x, target, 3.0)
    assert 0 < solution.weight_FO[0, 0] < 20 and np.isfinite(solution.error_FO).all()


def test_a_larger_penalty_draws_coefficients_to_0():
    x, _, target = simulated_cox(100, 1)
    norms = [np.linalg.norm(solve(x, target, spread).weight_FO) for spread in (0.1, 0.3, 1.0, 3.0)]
    assert norms == sorted(norms) and norms[0] < 0.3 * norms[-1]


def test_two_categories_give_the_log_odds_ratio():
    # 30 of 40 with the feature and 10 of 40 without: odds of 3 and 1/3. The case that is shared by both lies at 0.
    x = np.repeat([1.0, -1.0], 4000)[:, None]
    code = np.concatenate([np.repeat([1, 0], [3000, 1000]), np.repeat([1, 0], [1000, 3000])])
    solution = solve(x, CategoryTarget(code, ("no", "yes")), FREE)
    assert solution.weight_FO[0, 0] == pytest.approx(math.log(3), abs=1e-5)
    assert solution.intercept_O[0] == pytest.approx(0, abs=1e-6)
    assert solution.error_FO[0, 0] == pytest.approx(math.sqrt(1 / (8000 * 3 / 16)), rel=1e-3)


def test_three_categories_agree_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, log_hazard, _ = simulated_cox(2000, 2)
    noisy = log_hazard + np.random.default_rng(0).logistic(size=2000)
    code = np.searchsorted([-1.0, 1.0], noisy)
    solution = solve(x, CategoryTarget(code, ("a", "b", "c")), FREE)
    theirs = linear_model.LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(x, code)
    np.testing.assert_allclose(solution.weight_FO, (theirs.coef_[1:] - theirs.coef_[0]).T, atol=0.02)


def test_numbers_on_a_line_give_its_slope_and_intercept():
    x = np.array([[0.0], [1], [2], [3]])
    solution = solve(x, NumberTarget(5 + 2 * x[:, 0]), FREE)
    assert solution.weight_FO[0, 0] == pytest.approx(2) and solution.intercept_O[0] == pytest.approx(5)


def test_a_constant_number_has_no_slope():
    solution = solve(np.array([[0.0], [1], [2]]), NumberTarget(np.full(3, 4.0)), 1.0)
    assert solution.weight_FO[0, 0] == 0 and solution.intercept_O[0] == 4


def test_rubins_rules_by_hand():
    # Two imputations: 1 and 3, each with a standard error of 1. Within 1, between 2, total 1 + 1.5 * 2 = 4.
    (coefficient,) = pooled_coefficients(["age"], [""], np.array([1.0, 3.0])[:, None, None], np.ones((2, 1, 1)))
    assert coefficient.value == 2 and coefficient.standard_error == pytest.approx(2)
    assert coefficient.high == pytest.approx(2 + 2 * stats.t.ppf(0.975, 16 / 9))  # (1 + 1/3)^2 degrees of freedom


def test_one_imputation_gives_the_normal_interval():
    (coefficient,) = pooled_coefficients(["age"], [""], np.full((1, 1, 1), 1.0), np.full((1, 1, 1), 0.5))
    assert coefficient.low == pytest.approx(1 - 1.959964 * 0.5) and coefficient.p == pytest.approx(0.0455, abs=1e-4)


def test_the_baseline_without_risks_is_the_share_of_deaths_among_those_at_risk():
    target = SurvivalTarget(np.array([1.0, 2, 2, 4]), np.array([True, True, False, True]))
    baseline = baseline_of(np.zeros(4), target)
    assert baseline["times_T"].tolist() == [1, 2, 4]
    np.testing.assert_allclose(baseline["hazard_T"], np.cumsum([1 / 4, 1 / 3, 1]))


def test_kaplan_meier_by_hand():
    times, survival = kaplan_meier(SurvivalTarget(np.array([1.0, 2, 2, 4]), np.array([True, True, False, True])))
    assert times.tolist() == [1, 2, 4]
    np.testing.assert_allclose(survival, [3 / 4, 1 / 2, 0])


def test_curves_are_steps():
    estimate = SurvivalEstimate(np.zeros(1), np.array([1.0, 3]), np.array([[0.8, 0.4]]))
    assert curves_at(estimate, np.array([0.5, 1, 2.9, 3, 99])).tolist() == [[1, 0.8, 0.8, 0.4, 0.4]]
