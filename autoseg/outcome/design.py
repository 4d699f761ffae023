"""From blocks with missing values to the columns that a regression is fitted to. M imputations, N cases, F features.

Everything is fitted to training cases: medians or equations of missing values, means and deviations, principal components.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autoseg.outcome.imputation import Imputation, restored_imputation
from autoseg.outcome.scale import Scale, fit_scale


@dataclass(frozen=True)
class Design:
    """Missing values are filled in M ways; indicators of missing values follow the columns; all is standardised, and may be
    rotated to principal components.
    """

    imputation: Imputation
    indicator_I: np.ndarray  # int64: columns with an indicator
    scale: Scale  # of columns and indicators
    rotation_FK: np.ndarray  # from standardised columns; the columns that vary, or principal components

    def __call__(self, values_NF: np.ndarray) -> np.ndarray:
        """(N, F) with NaN -> (M, N, K)."""
        return self._rotated(values_NF, self.imputation(values_NF))

    def _rotated(self, values_NF: np.ndarray, completed_MNF: np.ndarray) -> np.ndarray:
        return self.scale(_with_indicators(values_NF, completed_MNF, self.indicator_I)) @ self.rotation_FK

    def first(self, n: int) -> "Design":
        return replace(self, rotation_FK=self.rotation_FK[:, :n])

    def arrays(self) -> dict[str, np.ndarray]:
        return {**self.imputation.arrays(), "indicator_I": self.indicator_I, "mean_F": self.scale.mean_F,
                "scale_F": self.scale.scale_F, "rotation_FK": self.rotation_FK}


def restored_design(arrays: Mapping[str, np.ndarray]) -> Design:
    return Design(restored_imputation(arrays), arrays["indicator_I"], Scale(arrays["mean_F"], arrays["scale_F"]),
                  arrays["rotation_FK"])


def fit_design(values_NF: np.ndarray, filled: tuple[Imputation, np.ndarray], indicators: bool = False,
               components: int | None = None) -> tuple[Design, np.ndarray]:
    """The design of training cases, and these cases: (M, N, K). `filled`: their imputation, and them filled by it.

    `indicators`: columns that say which values were missing. `components`: principal components in place of columns, at
    most so many; their variances stay, so that a ridge penalty shrinks small ones more. Where nothing varies, the design is
    one column of 0.
    """
    imputation, completed_MNF = filled
    indicator_I = np.flatnonzero(np.isnan(values_NF).any(axis=0)) if indicators else np.empty(0, dtype=np.int64)
    extended_MNF = _with_indicators(values_NF, completed_MNF, indicator_I)
    scale = fit_scale(extended_MNF)
    rotation_FK = np.eye(len(scale.mean_F))[:, scale.varies_F]
    if components is not None:
        rotation_FK = _principal(scale(extended_MNF).mean(axis=0), components)
    if not rotation_FK.shape[1]:
        rotation_FK = np.zeros((len(scale.mean_F), 1))
    design = Design(imputation, indicator_I, scale, rotation_FK)
    return design, design._rotated(values_NF, completed_MNF)


def design_names(names: Sequence[str], design: Design) -> tuple[str, ...]:
    """The names of the columns of a design without principal components."""
    every = (*names, *(f"{names[i]} is missing" for i in design.indicator_I))
    return tuple(name for name, varies in zip(every, design.scale.varies_F, strict=True) if varies)


def _with_indicators(values_NF: np.ndarray, completed_MNF: np.ndarray, indicator_I: np.ndarray) -> np.ndarray:
    missing_NI = np.isnan(values_NF[:, indicator_I]).astype(np.float64)
    missing_MNI = np.broadcast_to(missing_NI, (len(completed_MNF), *missing_NI.shape))
    return np.concatenate([completed_MNF, missing_MNI], axis=2)


def _principal(standard_NF: np.ndarray, components: int) -> np.ndarray:
    """The first principal directions (F, K) with variance; the sign is fixed by the largest weight.

    Divided by the square root of their mean variance, so that components vary as single columns do.
    """
    _, strength_K, direction_KF = np.linalg.svd(standard_NF, full_matrices=False)
    n = min(components, int((strength_K > 1e-8 * max(strength_K.max(initial=0), 1)).sum()))
    direction_KF = direction_KF[:n]
    largest_K = np.abs(direction_KF).argmax(axis=1)
    sign_K = np.sign(direction_KF[np.arange(n), largest_K])
    size = np.sqrt((strength_K[:n] ** 2).mean() / max(len(standard_NF), 1)) if n else 1.0
    return (direction_KF * sign_K[:, None]).T / size
