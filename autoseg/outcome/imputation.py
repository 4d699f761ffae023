"""Multiple imputation by chained equations (van Buuren & Groothuis-Oudshoorn 2011). M imputations, N cases, F features.

A model is fitted to each of M completed tables and its estimates are pooled: one table would hide how unsure the filled
values are. What is fitted is kept as arrays: in each imputation every column that was incomplete has one equation, whose
weights are a draw from their posterior.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from autoseg.outcome.scale import fit_scale

FEWEST = 5
_ROUNDS = 5
_FEWEST_CASES = 5  # of which an equation can be fitted


@dataclass(frozen=True)
class Imputation:
    """Fills what is missing: by the median, or in M ways by chained equations of the columns `column_C`."""

    fill_F: np.ndarray
    lowest_F: np.ndarray
    highest_F: np.ndarray
    column_C: np.ndarray  # int64; empty: medians alone, once
    weight_MCF: np.ndarray
    intercept_MC: np.ndarray
    noise_MC: np.ndarray  # what a drawn value differs by from its equation

    def __call__(self, values_NF: np.ndarray) -> np.ndarray:
        """(N, F) with NaN -> (M, N, F) without. A row gets the same values whatever the other rows are."""
        missing_NF = np.isnan(values_NF)
        filled_NF = np.where(missing_NF, self.fill_F, values_NF)
        completed_MNF = np.repeat(filled_NF[None], len(self.weight_MCF), axis=0)
        for _ in range(_ROUNDS if missing_NF[:, self.column_C].any() else 0):
            for i, column in enumerate(self.column_C):
                drawn_MN = np.einsum("mnf,mf->mn", completed_MNF, self.weight_MCF[:, i]) + (
                    self.intercept_MC[:, i] + self.noise_MC[:, i])[:, None]
                drawn_MN = np.clip(drawn_MN, self.lowest_F[column], self.highest_F[column])
                completed_MNF[:, :, column] = np.where(missing_NF[:, column], drawn_MN, completed_MNF[:, :, column])
        return completed_MNF

    def arrays(self) -> dict[str, np.ndarray]:
        return {f"imputation/{name}": value for name, value in vars(self).items()}


def restored_imputation(arrays: Mapping[str, np.ndarray]) -> Imputation:
    return Imputation(**{name.split("/")[1]: array for name, array in arrays.items() if name.startswith("imputation/")})


def by_median(values_NF: np.ndarray) -> tuple[Imputation, np.ndarray]:
    """Fill with the median of the known cases; 0 where none is known. The imputation, and the cases filled: (1, N, F)."""
    fill_F = np.array([np.median(known) if len(known := column[~np.isnan(column)]) else 0.0 for column in values_NF.T])
    width = len(fill_F)
    imputation = Imputation(fill_F, fill_F, fill_F, np.empty(0, dtype=np.int64), np.empty((1, 0, width)), np.empty((1, 0)),
                            np.empty((1, 0)))
    return imputation, imputation(values_NF)


def by_chained_equations(values_NF: np.ndarray, seed: int, m: int = FEWEST) -> tuple[Imputation, np.ndarray]:
    """m imputations fitted to training cases, and these cases filled: (m, N, F); by the median where that says the same.

    In each of five rounds every incomplete column is regressed on the others, and its missing values are drawn. A new case
    goes through the equations of the last round; its m draws are the m quantiles of the noise, in an order per column, so
    that they centre on the equations. Raises ValueError for m < 5.
    """
    if m < FEWEST:
        raise ValueError(f"multiple imputation needs m >= {FEWEST}, got {m}")
    single, median_1NF = by_median(values_NF)
    missing_NF = np.isnan(values_NF)
    column_C = np.flatnonzero(missing_NF.any(axis=0) & ((~missing_NF).sum(axis=0) >= _FEWEST_CASES))
    if not len(column_C) or values_NF.shape[1] < 2:
        return single, median_1NF
    known_NF = np.where(missing_NF.all(axis=0), 0.0, values_NF)
    range_F = np.nanmin(known_NF, axis=0), np.nanmax(known_NF, axis=0)
    generator = np.random.default_rng(seed)
    chains = [_chain(median_1NF[0], missing_NF, column_C, range_F, generator) for _ in range(m)]
    quantile_MC = np.stack([generator.permutation(ndtri((np.arange(m) + 0.5) / m)) for _ in column_C], axis=1)
    weight_MCF, intercept_MC, deviation_MC = (np.stack([getattr(chain, name) for chain in chains])
                                              for name in ("weight_CF", "intercept_C", "deviation_C"))
    imputation = Imputation(single.fill_F, *range_F, column_C, weight_MCF, intercept_MC, deviation_MC * quantile_MC)
    return imputation, np.stack([chain.table_NF for chain in chains])


@dataclass(frozen=True)
class Chain:
    """One imputation of training cases: the completed table, and the equations of the last round."""

    table_NF: np.ndarray
    weight_CF: np.ndarray
    intercept_C: np.ndarray
    deviation_C: np.ndarray


def _chain(median_NF: np.ndarray, missing_NF: np.ndarray, column_C: np.ndarray, range_F: tuple[np.ndarray, np.ndarray],
           generator: np.random.Generator) -> Chain:
    table_NF, n_columns = median_NF.copy(), len(column_C)
    weight_CF, intercept_C, deviation_C = np.zeros((n_columns, table_NF.shape[1])), np.zeros(n_columns), np.zeros(n_columns)
    for _ in range(_ROUNDS):
        for i, column in enumerate(column_C):
            missing_N = missing_NF[:, column]
            others_NF = np.delete(table_NF, column, axis=1)
            drawn_F, intercept_C[i], deviation_C[i] = _drawn_equation(others_NF[~missing_N], table_NF[~missing_N, column],
                                                                      generator)
            weight_CF[i] = np.insert(drawn_F, column, 0.0)
            noise_N = generator.normal(0, deviation_C[i], int(missing_N.sum()))
            value_N = others_NF[missing_N] @ drawn_F + intercept_C[i] + noise_N
            table_NF[missing_N, column] = np.clip(value_N, range_F[0][column], range_F[1][column])
    return Chain(table_NF, weight_CF, intercept_C, deviation_C)


def _drawn_equation(x_NF: np.ndarray, y_N: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, float, float]:
    """Weights, intercept and deviation of the noise, drawn from their posterior (van Buuren 2018, algorithm 3.1).

    A ridge penalty of one per column keeps it defined with more columns than cases.
    """
    scale_x, scale_y = fit_scale(x_NF), fit_scale(y_N[:, None])
    if not scale_y.varies_F[0]:
        return np.zeros(x_NF.shape[1]), float(y_N.mean()), 0.0
    z_NF, target_N = scale_x(x_NF), scale_y(y_N[:, None])[:, 0]
    inverse_FF = np.linalg.inv(z_NF.T @ z_NF + z_NF.shape[1] * np.eye(z_NF.shape[1]))
    mean_F = inverse_FF @ (z_NF.T @ target_N)
    freedom = max(len(y_N) - 1 - float(np.trace(inverse_FF @ (z_NF.T @ z_NF))), 1.0)
    variance = float(((target_N - z_NF @ mean_F) ** 2).sum()) / generator.chisquare(freedom)
    drawn_F = mean_F + np.sqrt(variance) * np.linalg.cholesky(inverse_FF) @ generator.normal(size=len(mean_F))
    weight_F = drawn_F * scale_y.scale_F[0] / scale_x.scale_F
    return weight_F, float(y_N.mean() - weight_F @ scale_x.mean_F), float(np.sqrt(variance) * scale_y.scale_F[0])
