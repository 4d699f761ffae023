"""Chained equations: what is known stays, what is filled follows the other columns and says how unsure it is."""

import numpy as np
import pytest

from autoseg.outcome.imputation import by_chained_equations, by_median


def table_with_gaps(n=300, seed=0):
    """Two columns that correlate (0.9), of the second a third missing where the first is high; and a third of noise."""
    generator = np.random.default_rng(seed)
    first = generator.normal(size=n)
    second = 10 + 2 * (0.9 * first + np.sqrt(1 - 0.81) * generator.normal(size=n))
    whole = np.stack([first, second, generator.normal(size=n)], axis=1)
    gaps = whole.copy()
    gaps[(first > 0) & (generator.random(n) < 2 / 3), 1] = np.nan
    return whole, gaps


def test_what_is_known_stays():
    whole, gaps = table_with_gaps()
    imputation, filled = by_chained_equations(gaps, seed=0)
    for tables in (filled, imputation(gaps)):
        assert tables.shape == (5, *gaps.shape) and np.isfinite(tables).all()
        np.testing.assert_array_equal(tables[:, ~np.isnan(gaps)], np.tile(whole[~np.isnan(gaps)], (5, 1)))


def test_filled_values_recover_the_mean_that_the_known_ones_miss():
    whole, gaps = table_with_gaps()
    imputation, filled = by_chained_equations(gaps, seed=0)
    truth = whole[:, 1].mean()
    assert abs(np.nanmean(gaps[:, 1]) - truth) > 0.4
    assert abs(filled[:, :, 1].mean() - truth) < 0.15
    assert abs(imputation(gaps)[:, :, 1].mean() - truth) < 0.15


def test_scikit_learns_chained_equations_agree():
    pytest.importorskip("sklearn.experimental.enable_iterative_imputer")
    from sklearn.impute import IterativeImputer
    from sklearn.linear_model import BayesianRidge

    _, gaps = table_with_gaps()
    theirs = np.stack([IterativeImputer(BayesianRidge(), sample_posterior=True, random_state=seed).fit_transform(gaps)
                       for seed in range(5)])
    mine = by_chained_equations(gaps, seed=0)[1]
    missing = np.isnan(gaps[:, 1])
    assert abs(mine[:, missing, 1].mean() - theirs[:, missing, 1].mean()) < 0.15
    assert mine[:, missing, 1].std(axis=0).mean() == pytest.approx(theirs[:, missing, 1].std(axis=0).mean(), rel=0.2)


def test_imputations_differ_by_as_much_as_a_value_is_unsure():
    _, gaps = table_with_gaps()
    filled = by_chained_equations(gaps, seed=0)[1]
    assert filled[:, np.isnan(gaps[:, 1]), 1].std(axis=0, ddof=1).mean() == pytest.approx(2 * np.sqrt(0.19), rel=0.25)


def test_a_new_case_is_filled_the_same_whatever_the_others_are():
    _, gaps = table_with_gaps()
    imputation, _ = by_chained_equations(gaps, seed=0)
    row = np.array([[1.5, np.nan, 0.0]])
    np.testing.assert_array_equal(imputation(row), imputation(np.concatenate([row, gaps]))[:, :1])
    assert imputation(row)[:, 0, 1].mean() == pytest.approx(10 + 2 * 0.9 * 1.5, abs=0.5)
    assert len(np.unique(imputation(row)[:, 0, 1])) == 5


def test_filled_values_stay_within_what_was_seen():
    _, gaps = table_with_gaps()
    filled = by_chained_equations(gaps, seed=0)[0](np.array([[100.0, np.nan, 0.0]]))
    assert filled[:, 0, 1].max() <= np.nanmax(gaps[:, 1])


def test_the_same_seed_gives_the_same_tables():
    _, gaps = table_with_gaps()
    np.testing.assert_array_equal(by_chained_equations(gaps, seed=3)[1], by_chained_equations(gaps, seed=3)[1])


def test_without_a_gap_one_table_is_enough():
    whole, _ = table_with_gaps()
    assert by_chained_equations(whole, seed=0)[1].shape == (1, *whole.shape)


def test_a_column_without_a_value_is_0_and_one_with_a_single_value_is_that():
    gaps = np.full((20, 3), np.nan)
    gaps[:, 0], gaps[4, 1] = np.arange(20), 6.0
    for _, tables in (by_median(gaps), by_chained_equations(gaps, seed=0)):
        assert (tables[:, :, 1] == 6).all() and (tables[:, :, 2] == 0).all()


def test_more_columns_than_cases_give_finite_values():
    generator = np.random.default_rng(0)
    gaps = generator.normal(size=(12, 40))
    gaps[generator.random(gaps.shape) < 0.2] = np.nan
    assert np.isfinite(by_chained_equations(gaps, seed=0)[1]).all()


def test_fewer_than_five_imputations_are_refused():
    with pytest.raises(ValueError, match="m >= 5, got 4"):
        by_chained_equations(np.zeros((9, 2)), seed=0, m=4)
