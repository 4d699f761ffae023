"""Columns in standard deviations of the training cases. N counts cases, F columns."""

from dataclasses import dataclass

import numpy as np

_CONSTANT = 1e-9  # a standard deviation below this share of the values' size is rounding
_LIMIT = 5.0  # standardised values are clipped, so that an outlier does not outweigh all else


@dataclass(frozen=True)
class Scale:
    """Standardises columns over training cases; constant columns become 0. Values are clipped to +-5 deviations."""

    mean_F: np.ndarray
    scale_F: np.ndarray  # infinite for a constant column

    def __call__(self, values_NF: np.ndarray) -> np.ndarray:
        return np.clip((values_NF - self.mean_F) / self.scale_F, -_LIMIT, _LIMIT)

    @property
    def varies_F(self) -> np.ndarray:
        return np.isfinite(self.scale_F)


def fit_scale(values_NF: np.ndarray) -> Scale:
    """Over the first axis (or axes), of values without NaN."""
    flat = values_NF.reshape(-1, values_NF.shape[-1])
    if not len(flat):
        return Scale(np.zeros(flat.shape[1]), np.full(flat.shape[1], np.inf))
    mean_F, scale_F = flat.mean(axis=0), flat.std(axis=0)
    constant_F = scale_F <= _CONSTANT * (np.abs(mean_F) + 1)
    return Scale(mean_F, np.where(constant_F, np.inf, scale_F))
