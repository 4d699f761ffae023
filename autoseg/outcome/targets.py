"""What a model of an outcome is fitted to, what it is given, and what it answers. N counts cases, F features.

Arrays of one value go by the same order of cases. Nothing is missing in a target: cases without their outcome are left out
before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SurvivalTarget:
    """Times to an event, in the unit of the table; where `event_N` is False the patient was followed up to the time."""

    time_N: np.ndarray  # float64, > 0
    event_N: np.ndarray  # bool

    def __len__(self) -> int:
        return len(self.time_N)

    def take(self, rows: Sequence[int] | np.ndarray) -> "SurvivalTarget":
        return SurvivalTarget(self.time_N[rows], self.event_N[rows])


@dataclass(frozen=True)
class CategoryTarget:
    """A category per case, as its position in `names`."""

    code_N: np.ndarray  # int64
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.code_N)

    def take(self, rows: Sequence[int] | np.ndarray) -> "CategoryTarget":
        return CategoryTarget(self.code_N[rows], self.names)


@dataclass(frozen=True)
class NumberTarget:
    """A number per case."""

    value_N: np.ndarray  # float64

    def __len__(self) -> int:
        return len(self.value_N)

    def take(self, rows: Sequence[int] | np.ndarray) -> "NumberTarget":
        return NumberTarget(self.value_N[rows])


Target = SurvivalTarget | CategoryTarget | NumberTarget


@dataclass(frozen=True)
class Features:
    """A block of features: `clinical`, `volume`, `shape`, `radiomics`, `embedding`, ... NaN where a value is missing.

    A category is a column 0 or 1 per value, all of them NaN where it is missing. The first column of `volume` is the
    logarithm of a volume. In the block `crop` a row is an image (channels, z, y, x) of the given `shape`, made flat; its
    `names` are empty.
    """

    block: str
    names: tuple[str, ...]
    values_NF: np.ndarray  # float64
    shape: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.values_NF)

    def take(self, rows: Sequence[int] | np.ndarray) -> "Features":
        return Features(self.block, self.names, self.values_NF[rows], self.shape)


@dataclass(frozen=True)
class SurvivalEstimate:
    """The logarithm of the relative hazard (higher: earlier event), and the probability to have no event until a time."""

    risk_N: np.ndarray
    times_T: np.ndarray
    survival_NT: np.ndarray


@dataclass(frozen=True)
class CategoryEstimate:
    """The probability of each category; a row adds up to 1."""

    probability_NK: np.ndarray


@dataclass(frozen=True)
class NumberEstimate:
    value_N: np.ndarray


Estimate = SurvivalEstimate | CategoryEstimate | NumberEstimate
