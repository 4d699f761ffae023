"""Where an image lies in the patient: spacing, origin and axes, in the world frame of the file (LPS, as in DICOM)."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from autoseg.grids.nifti_forms import NiftiForms

V = TypeVar("V")

# Two grids are the same where no corner of one is farther from that of the other, in voxels along any axis.
SAME_PLACE_VOXELS = 0.03
# What float32 leaves of a coordinate: this share of the largest one.
_ROUNDING = 2.0**-22
# Which of two causes a message names.
_SPACING_RATIO = 1e-3
_DIRECTION = 1e-3
_CORNERS = np.array(list(itertools.product((0.0, 1.0), repeat=3)))  # x, y, z
_LETTERS = ("LR", "PA", "SI")  # where an axis of the world (LPS) runs to, and where against it
_NEVER = (False, False, False)


@dataclass(frozen=True)
class Axes:
    """How the axes of an array are put in another order: `order` says which comes first, second and third; then those that
    are `flipped` are reversed.
    """

    order: tuple[int, int, int] = (0, 1, 2)
    flipped: tuple[bool, bool, bool] = _NEVER

    def apply(self, array: np.ndarray) -> np.ndarray:
        """A view of an array (..., z, y, x) in the new order."""
        before = array.ndim - 3
        turned = array.transpose((*range(before), *(before + axis for axis in self.order)))
        view: np.ndarray = turned[self._steps()]
        return view

    def undo(self, array: np.ndarray) -> np.ndarray:
        """The view from which `apply` would make this array."""
        before = array.ndim - 3
        back: np.ndarray = array[self._steps()].transpose((*range(before), *(before + np.argsort(self.order))))
        return back

    def undo_window(self, window: tuple[slice, slice, slice], shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
        """Where a window of an array of this `shape`, in the new order, lies in the old order."""
        sides = [slice(n - side.stop, n - side.start) if flipped else side
                 for side, n, flipped in zip(window, shape, self.flipped, strict=True)]
        return triple(sides[i] for i in np.argsort(self.order))

    def of_each(self, values: tuple[V, V, V]) -> tuple[V, V, V]:
        """What belongs to each axis, in the new order."""
        return triple(values[axis] for axis in self.order)

    def then(self, order: tuple[int, int, int]) -> "Axes":
        """This change, and after it another order of the axes."""
        return Axes(triple(self.order[axis] for axis in order), triple(self.flipped[axis] for axis in order))

    def _steps(self) -> tuple[Any, ...]:
        return (..., *(slice(None, None, -1 if flipped else None) for flipped in self.flipped))


@dataclass(frozen=True)
class Geometry:
    """The grid of an image. Array axes are z, y, x (index order); world vectors are x, y, z.

    `direction` is 3x3, row-major flattened, its columns the world directions of the file's x, y and z axis, as
    SimpleITK gives it. A 2D image has one slice, `dimensions=2` and a slice spacing of 999 times its pixel's, so that
    no rule mistakes it for thin. `is_oriented` is False where the file does not say how it lies in the patient; `nifti` is
    what a NIfTI header said, so that it can be said again. Neither makes two grids different.
    """

    shape: tuple[int, int, int]  # z, y, x
    spacing_mm: tuple[float, float, float]  # z, y, x
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)  # x, y, z
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    dimensions: int = 3
    is_oriented: bool = field(default=True, compare=False)
    nifti: NiftiForms | None = field(default=None, compare=False)

    def voxel_ml(self) -> float:
        """Volume of one voxel in mL; of a 2D image, the area of a pixel in cm^2 times 1 mm."""
        spacing = self.spacing_mm if self.dimensions == 3 else (1.0, *self.spacing_mm[1:])
        return float(np.prod(spacing)) / 1000.0

    def corners_mm(self) -> np.ndarray:
        """World positions (8, 3; x, y, z) of the corners of the grid, half a voxel outside the outermost centres."""
        corners: np.ndarray = (_CORNERS * self.shape[::-1] - 0.5) @ self._steps_mm().T + self.origin_mm
        return corners

    def describe(self) -> str:
        """The grid in words, for messages."""
        words = (f"shape (z, y, x) {self.shape}, spacing {_mm(self.spacing_mm, 6)} mm, "
                 f"origin (x, y, z) {_mm(self.origin_mm, 6)} mm")
        return words if np.allclose(self.direction, np.eye(3).ravel()) else f"{words}, axes {_mm(self.direction)}"

    def left_right_axis(self) -> int:
        """The array axis (0: z, 1: y, 2: x of the file) nearest to the world's x, the patient's left-right."""
        return 2 - int(np.abs(np.array(self.direction).reshape(3, 3)[0]).argmax())

    def orientation(self) -> str:
        """Where the file's x, y and z axis run to, such as RAS (right, anterior, superior); the nearest of the 48.

        Empty where the file does not say, and for a 2D image.
        """
        if not self.is_oriented or self.dimensions == 2:
            return ""
        direction = np.array(self.direction).reshape(3, 3)
        nearest = max(itertools.permutations(range(3)), key=lambda worlds: np.abs(direction[worlds, range(3)]).sum())
        return "".join(_LETTERS[world][int(direction[world, axis] < 0)] for axis, world in enumerate(nearest))

    def degrees_off_axes(self) -> float:
        """The largest angle between an axis of the file and the axis of the body that `orientation` says."""
        cosines = np.sort(np.abs(np.array(self.direction).reshape(3, 3)).max(axis=0))
        return float(np.degrees(np.arccos(np.clip(cosines[0], 0, 1))))

    def axes_to(self, orientation: str) -> Axes:
        """How its array becomes one of another orientation; no change where either is not known."""
        own = self.orientation()
        if not own or not orientation or own == orientation:
            return Axes()
        kinds = [next(kind for kind in _LETTERS if letter in kind) for letter in own]
        sources = [kinds.index(next(kind for kind in _LETTERS if letter in kind)) for letter in orientation]
        flips = [own[source] != letter for source, letter in zip(sources, orientation, strict=True)]
        return Axes(triple(2 - source for source in sources[::-1]), triple(flips[::-1]))

    def farthest_mm(self, other: "Geometry") -> float:
        """The largest distance between corresponding corners of two grids."""
        return float(np.linalg.norm(self.corners_mm() - other.corners_mm(), axis=1).max())

    def voxels_apart(self, other: "Geometry") -> float:
        """The largest distance between corresponding corners along an axis of this grid, in its voxels.

        What float32 leaves of coordinates does not count.
        """
        return self._voxels_apart(other.corners_mm())

    def _voxels_apart(self, theirs: np.ndarray) -> float:
        mine = self.corners_mm()
        voxels = np.abs((theirs - mine) @ np.linalg.pinv(self._steps_mm()).T)
        rounding_mm = _ROUNDING * max(np.abs(mine).max(), np.abs(theirs).max())
        return float(max(0.0, (voxels - rounding_mm / np.array(self.spacing_mm[::-1])).max()))

    def sheared_mm(self) -> float:
        """How far a corner lies from where it would if the axes were perpendicular, as after a tilt of the gantry."""
        left, _, right = np.linalg.svd(np.array(self.direction).reshape(3, 3))
        steps = np.array(self.shape[::-1]) * self.spacing_mm[::-1]
        shift = _CORNERS @ ((np.array(self.direction).reshape(3, 3) - left @ right) * steps).T
        return float(np.linalg.norm(shift, axis=1).max())

    def is_at(self, other: "Geometry") -> bool:
        """Whether every voxel lies where that of the other grid does, within tolerance."""
        return self == other or (self.shape == other.shape and self.voxels_apart(other) <= SAME_PLACE_VOXELS)

    def difference(self, other: "Geometry") -> str:
        """What differs between two grids, in words; empty where their voxels are the same.

        They are where they lie at the same place, within a tolerance that is a share of a voxel along its axis. They are too
        where the header of one can be read so: a mask of an image whose qform and sform disagree has the place that the
        program took which wrote it.
        """
        if self.shape != other.shape:
            return f"shape (z, y, x) {self.shape} against {other.shape}"
        if self.is_at(other) or self._may_be_at(other) or other._may_be_at(self):
            return ""
        apart = f"; {length(self.farthest_mm(other))} apart at the farthest corner"
        if not np.allclose(self.spacing_mm, other.spacing_mm, rtol=_SPACING_RATIO, atol=0):
            return f"spacing (z, y, x) {_mm(self.spacing_mm)} mm against {_mm(other.spacing_mm)} mm{apart}"
        if not np.allclose(self.direction, other.direction, rtol=0, atol=_DIRECTION):
            return f"direction {_mm(self.direction)} against {_mm(other.direction)}{apart}"
        return f"origin (x, y, z) {_mm(self.origin_mm, 6)} mm against {_mm(other.origin_mm, 6)} mm{apart}"

    def _may_be_at(self, other: "Geometry") -> bool:
        """Whether another way to read its header puts it where the other grid is."""
        if self.nifti is None or self.dimensions == 2 or self.shape != other.shape:
            return False
        indices = _CORNERS * self.shape[::-1] - 0.5
        return any(other._voxels_apart(indices @ affine[:, :3].T + affine[:, 3]) <= SAME_PLACE_VOXELS
                   for affine in self.nifti.readings(self.shape, self.dimensions))

    def _steps_mm(self) -> np.ndarray:
        """Columns: the world vector (x, y, z) from one voxel to the next along x, y, z."""
        steps: np.ndarray = np.array(self.direction, dtype=float).reshape(3, 3) * self.spacing_mm[::-1]
        return steps


def length(mm: float) -> str:
    """A distance in words, in micrometres where it is small.

    >>> length(35.6), length(0.0004)
    ('35.6 mm', '0.4 um')
    """
    return f"{mm:.3g} mm" if mm >= 0.01 else f"{1000 * mm:.3g} um"


def triple(values: Iterable[V]) -> tuple[V, V, V]:
    """Exactly three values as a tuple."""
    first, second, third = values
    return first, second, third


def _mm(values: Iterable[float], digits: int = 4) -> str:
    return "(" + ", ".join(f"{float(v):.{digits}g}" for v in values) + ")"
