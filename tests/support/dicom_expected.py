"""What must come of a study of DICOM that the tests write. Values, spacing and origin are known from writing."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dicom_studies import ORIGIN, SPACING, truth

N, H, W = 6, 8, 10
WIDE = truth(3, (4, 32, 40))


@dataclass(frozen=True)
class Volume:
    """What must be read: values, spacing (z, y, x) and origin (x, y, z) in mm."""

    values: np.ndarray
    spacing_mm: tuple[float, float, float] = SPACING
    origin_mm: tuple[float, float, float] = ORIGIN
    tolerance: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What must come of a study: volumes in this order, words of the one refusal, and kinds of files that are left out."""

    volumes: tuple[Volume, ...] = ()
    refusal: str = ""
    others: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def one(values: np.ndarray, **changes: Any) -> Outcome:
    return Outcome((Volume(values, **changes),))


def at(k: float) -> list[float]:
    """The position of the k-th slice."""
    return [ORIGIN[0], ORIGIN[1], ORIGIN[2] + SPACING[0] * k]
