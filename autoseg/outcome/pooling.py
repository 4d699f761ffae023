"""Estimates of several imputations as one (Rubin 1987). M imputations, F features, O outputs."""

from collections.abc import Sequence

import numpy as np

from autoseg.outcome.fitted import Coefficient

_CONFIDENCE = 0.95


def pooled_coefficients(names: Sequence[str], outputs: Sequence[str], weight_MFO: np.ndarray, error_MFO: np.ndarray
                        ) -> tuple[Coefficient, ...]:
    """Each coefficient with its interval: the variance is that within imputations and (1 + 1/M) times that between them.

    The degrees of freedom are (M - 1)(1 + W / ((1 + 1/M) B))^2 (Rubin 1987, eq. 3.1.6).
    """
    from scipy.stats import t  # takes half a second; prediction does not need it

    m = len(weight_MFO)
    value_FO = weight_MFO.mean(axis=0)
    within_FO = (error_MFO**2).mean(axis=0)
    between_FO = (1 + 1 / m) * np.var(weight_MFO, axis=0, ddof=1) if m > 1 else np.zeros_like(value_FO)
    total_FO = within_FO + between_FO
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom_FO = np.where(between_FO > 0, (m - 1) * (1 + within_FO / between_FO) ** 2, np.inf)
    error_FO = np.sqrt(np.maximum(total_FO, np.finfo(float).tiny))
    reach_FO = np.asarray(t.ppf((1 + _CONFIDENCE) / 2, freedom_FO)) * error_FO
    p_FO = 2 * np.asarray(t.sf(np.abs(value_FO) / error_FO, freedom_FO))
    return tuple(
        Coefficient(feature=name, category=output, value=value_FO[f, o], standard_error=error_FO[f, o],
                    low=value_FO[f, o] - reach_FO[f, o], high=value_FO[f, o] + reach_FO[f, o], p=p_FO[f, o])
        for f, name in enumerate(names) for o, output in enumerate(outputs))
