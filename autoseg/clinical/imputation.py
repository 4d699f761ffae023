"""Multiple imputation of tables for classical baselines: chained equations (van Buuren and Groothuis-Oudshoorn 2011).

Networks get masks of what is known instead (`clinical.encoders`). A baseline is fitted to each of m >= 5 completed tables,
and its estimates are pooled: a single one would hide how unsure the filled values are.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoseg.base.errors import UserError

FEWEST = 5
_ROUNDS = 10


@dataclass(frozen=True)
class Imputers:
    """m imputers fitted on the same rows with different seeds."""

    fitted: tuple[Any, ...]  # scikit-learn's IterativeImputer

    def __call__(self, values_NK: np.ndarray) -> np.ndarray:
        """(N, K) with NaN where unknown -> (m, N, K) float64 without; what is known stays as it is.

        The same rows always get the same values.
        """
        # A copy, since drawing moves the generator of an imputer on.
        return np.stack([copy.deepcopy(imputer).transform(values_NK) for imputer in self.fitted])


def fit_imputers(train_NK: np.ndarray, m: int = FEWEST, seed: int = 0) -> Imputers:
    """m imputers fitted on a fold's training rows (N, K), NaN where unknown.

    Each column is regressed on the others (Bayesian ridge), and values are drawn from the posterior. A column that is
    empty in training is filled with 0. Raises ValueError for m < 5, a UserError where scikit-learn is not installed.
    """
    if m < FEWEST:
        raise ValueError(f"multiple imputation needs m >= {FEWEST}, got {m}")
    imputer_type, regression_type = _scikit_learn()
    return Imputers(tuple(
        imputer_type(regression_type(), max_iter=_ROUNDS, sample_posterior=True, keep_empty_features=True,
                     random_state=seed + i).fit(train_NK) for i in range(m)))


def multiple_imputations(values_NK: np.ndarray, n: int = FEWEST, seed: int = 0) -> np.ndarray:
    """(N, K) with NaN -> (n, N, K), fitted on the same rows: for a description, never for rows that will be tested on."""
    return fit_imputers(values_NK, n, seed)(values_NK)


def _scikit_learn() -> tuple[type, type]:
    """IterativeImputer, which is experimental in some versions and stable in others, and BayesianRidge."""
    try:
        from sklearn.linear_model import BayesianRidge
    except ImportError as error:
        raise UserError("baselines on tables need scikit-learn", found=error,
                        do='install it: pip install "autoseg-pipeline[baselines]"') from error
    try:
        from sklearn.impute import IterativeImputer
    except ImportError:
        from sklearn.experimental import enable_iterative_imputer  # noqa: F401
        from sklearn.impute import IterativeImputer
    return IterativeImputer, BayesianRidge
