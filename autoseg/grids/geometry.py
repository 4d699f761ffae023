"""Where an image lies in the patient: spacing, origin and axes, in the world frame of the file (LPS, as in DICOM)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

V = TypeVar("V")

# A header keeps float32 in places: differences below these are rounding, not another grid.
SPACING_TOLERANCE = 1e-3  # relative
POSITION_TOLERANCE_MM = 1e-2  # plus 1 % of the spacing at the far corner
DIRECTION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Geometry:
    """The grid of an image. Array axes are z, y, x (index order); world vectors are x, y, z.

    `direction` is 3x3, row-major flattened, its columns the world directions of the file's x, y and z axis, as
    SimpleITK gives it. A 2D image has one slice, `dimensions=2` and a slice spacing of 999 times its pixel's, so that
    no rule mistakes it for thin.
    """

    shape: tuple[int, int, int]  # z, y, x
    spacing_mm: tuple[float, float, float]  # z, y, x
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)  # x, y, z
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    dimensions: int = 3

    def voxel_ml(self) -> float:
        """Volume of one voxel in mL; of a 2D image, the area of a pixel in cm^2 times 1 mm."""
        spacing = self.spacing_mm if self.dimensions == 3 else (1.0, *self.spacing_mm[1:])
        return float(np.prod(spacing)) / 1000.0

    def corner_mm(self) -> np.ndarray:
        """World position (x, y, z) of the centre of the last voxel."""
        steps = (np.array(self.shape[::-1]) - 1) * np.array(self.spacing_mm[::-1])
        corner: np.ndarray = np.array(self.origin_mm) + np.array(self.direction).reshape(3, 3) @ steps
        return corner

    def describe(self) -> str:
        """The grid in words, for messages."""
        words = (f"shape (z, y, x) {self.shape}, spacing {_mm(self.spacing_mm, 6)} mm, "
                 f"origin (x, y, z) {_mm(self.origin_mm, 6)} mm")
        return words if np.allclose(self.direction, np.eye(3).ravel()) else f"{words}, axes {_mm(self.direction)}"

    def left_right_axis(self) -> int:
        """The array axis (0: z, 1: y, 2: x of the file) nearest to the world's x, the patient's left-right."""
        return 2 - int(np.abs(np.array(self.direction).reshape(3, 3)[0]).argmax())

    def difference(self, other: "Geometry") -> str:
        """What differs between two grids, in words; empty where they are the same within tolerance."""
        if self == other:
            return ""
        if self.shape != other.shape:
            return f"shape (z, y, x) {self.shape} against {other.shape}"
        if not np.allclose(self.spacing_mm, other.spacing_mm, rtol=SPACING_TOLERANCE, atol=0):
            return f"spacing (z, y, x) {_mm(self.spacing_mm)} mm against {_mm(other.spacing_mm)} mm"
        if not np.allclose(self.direction, other.direction, rtol=0, atol=DIRECTION_TOLERANCE):
            return f"direction {_mm(self.direction)} against {_mm(other.direction)}"
        tolerance = POSITION_TOLERANCE_MM + 0.01 * min(self.spacing_mm)
        for name, mine, theirs in (("origin", np.array(self.origin_mm), np.array(other.origin_mm)),
                                   ("far corner", self.corner_mm(), other.corner_mm())):
            if np.abs(mine - theirs).max() > tolerance:
                return f"{name} (x, y, z) {_mm(mine)} mm against {_mm(theirs)} mm"
        return ""


def triple(values: Iterable[V]) -> tuple[V, V, V]:
    """Exactly three values as a tuple."""
    first, second, third = values
    return first, second, third


def _mm(values: Iterable[float], digits: int = 4) -> str:
    return "(" + ", ".join(f"{float(v):.{digits}g}" for v in values) + ")"
