"""Tables are completed several times, so that the doubt about what was filled in survives."""

import sys

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.clinical.imputation import fit_imputers, multiple_imputations


def linked_rows(n: int, seed: int) -> np.ndarray:
    """The second column is twice the first, with a little noise."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=n)
    return np.stack([first, 2 * first + rng.normal(0, 0.1, n)], axis=1)


@pytest.fixture(scope="module", autouse=True)
def _scikit_learn():
    pytest.importorskip("sklearn")


def test_what_is_known_stays_and_what_is_not_is_drawn_m_times():
    rows = linked_rows(40, 0)
    rows[3, 1] = np.nan
    filled = multiple_imputations(rows)
    assert filled.shape == (5, 40, 2) and np.isfinite(filled).all()
    known = np.isfinite(rows)
    assert (filled[:, known] == rows[known]).all()
    assert len(set(filled[:, 3, 1])) == 5


def test_a_linked_column_tells_what_is_missing():
    test = np.array([[1.5, np.nan], [-1.0, np.nan]])
    filled = fit_imputers(linked_rows(100, 0))(test)
    np.testing.assert_allclose(filled[:, :, 1].mean(0), [3.0, -2.0], atol=0.3)


def test_the_same_seed_and_rows_give_the_same_values_again_and_again():
    rows = linked_rows(30, 1)
    rows[:5, 0] = np.nan
    imputers = fit_imputers(rows, seed=3)
    assert np.array_equal(imputers(rows), imputers(rows))
    assert np.array_equal(imputers(rows), fit_imputers(rows, seed=3)(rows))
    assert not np.array_equal(imputers(rows), fit_imputers(rows, seed=9)(rows))


def test_a_column_that_is_empty_in_training_keeps_its_place():
    rows = np.column_stack([linked_rows(20, 2), np.full(20, np.nan)])
    assert (fit_imputers(rows)(rows)[:, :, 2] == 0).all()


def test_fewer_than_five_imputations_are_refused():
    with pytest.raises(ValueError, match="m >= 5, got 1"):
        fit_imputers(linked_rows(10, 0), m=1)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(UserError, match="baselines"):
        fit_imputers(linked_rows(10, 0))
