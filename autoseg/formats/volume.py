"""An image in memory: an array, and where its voxels lie in the patient."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.sitk import FLAT_SPACING
from autoseg.grids.geometry import Geometry, triple

_UNIT = 1e-3  # by how much the length of an axis may differ from 1
_LEAST_DETERMINANT = 0.1  # of axes that span a volume: 1 where they are perpendicular
_ALONG = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)  # the axes of the world
_NUMBERS = "biuf"  # kinds of NumPy's number types


@dataclass(frozen=True, eq=False)
class Volume:
    """An image, or a label, as a NumPy array with its grid.

    `array` is (z, y, x), or (C, z, y, x) with channels; a flat image has two spacings, and is (y, x) or (C, y, x). The
    order is that of `SimpleITK.GetArrayFromImage`; `nibabel`'s arrays are (x, y, z) and have to be transposed.
    `spacing_mm` has the order of the array: (z, y, x). `origin_mm` is the centre of the first voxel and `direction` the 3x3
    matrix, row by row, whose columns are the directions of the axes x, y and z: both in the world x, y, z of DICOM (LPS),
    as SimpleITK gives them. Without `direction` it is not known how the image lies in the patient. `is_zyx` says that the
    caller is sure of the order of the axes, where the spacing makes another one likely.

    Raises UserError where array and grid do not fit, or are none.
    """

    array: np.ndarray = field(repr=False)
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] | None = None
    is_zyx: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.array, np.ndarray):
            raise UserError("the array of a Volume is no NumPy array", found=type(self.array).__name__,
                            expected="numpy.ndarray", do="convert it: numpy.asarray(image), tensor.cpu().numpy()")
        if isinstance(self.array, np.ma.MaskedArray):
            raise UserError("the array of a Volume is masked, and a mask says not what lies below it",
                            do="say it: array.filled(value), or array.data for the voxels as they are")
        if self.array.dtype.kind not in _NUMBERS:
            raise UserError("the array of a Volume holds no numbers", found=f"dtype {self.array.dtype}",
                            expected="integers or floating-point numbers", do="convert it: array.astype(numpy.float32)")
        object.__setattr__(self, "spacing_mm", _numbers("spacing_mm", self.spacing_mm, (2, 3), "(z, y, x) or (y, x)"))
        object.__setattr__(self, "origin_mm", _numbers("origin_mm", self.origin_mm, (3,), "(x, y, z)"))
        if min(self.spacing_mm) <= 0:
            raise UserError("spacing_mm of a Volume is not positive", found=self.spacing_mm, expected="millimetres above 0")
        if self.array.ndim not in (self.dimensions, self.dimensions + 1) or 0 in self.array.shape:
            axes = "z, y, x" if self.dimensions == 3 else "y, x"
            raise UserError("the axes of a Volume do not fit its spacing_mm",
                            found=f"shape {self.array.shape}, spacing_mm {self.spacing_mm}",
                            expected=f"shape ({axes}), or (C, {axes}) with channels, none of them empty",
                            do="give one spacing per axis of space")
        if self.direction is not None:
            object.__setattr__(self, "direction", _direction(self.direction, self.dimensions))

    @property
    def dimensions(self) -> int:
        """Of space: 3, or 2 for a flat image."""
        return len(self.spacing_mm)

    @property
    def array_CDHW(self) -> np.ndarray:
        """The channels; a flat image has one slice."""
        n = self.dimensions
        channels = self.array if self.array.ndim > n else self.array[None]
        return channels if n == 3 else channels[:, None]

    @property
    def geometry(self) -> Geometry:
        """The grid."""
        flat = () if self.dimensions == 3 else (FLAT_SPACING * max(self.spacing_mm),)
        return Geometry(shape=triple(map(int, self.array_CDHW.shape[1:])), spacing_mm=triple((*flat, *self.spacing_mm)),
                        origin_mm=self.origin_mm, direction=self.direction or _ALONG, dimensions=self.dimensions,
                        is_oriented=self.direction is not None)

    @classmethod
    def on_grid(cls, array: np.ndarray, geometry: Geometry) -> "Volume":
        """An array (z, y, x) or (C, z, y, x) on a grid; on a flat one its slice."""
        flat = geometry.dimensions == 2
        return cls(array[..., 0, :, :] if flat else array, geometry.spacing_mm[1:] if flat else geometry.spacing_mm,
                   geometry.origin_mm, geometry.direction if geometry.is_oriented else None, is_zyx=True)


def _numbers(name: str, values: Sequence[float], counts: tuple[int, ...], order: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) not in counts or not np.isfinite(numbers).all():
        raise UserError(f"{name} of a Volume is not understood", found=repr(values)[:80],
                        expected=f"{' or '.join(map(str, counts))} finite numbers {order}, in mm")
    return numbers


def _direction(values: Sequence[float], dimensions: int) -> tuple[float, ...]:
    try:
        matrix = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):  # texts, or lists of several lengths
        matrix = np.zeros(0)
    if matrix.size == 4 and dimensions == 2:
        matrix = np.pad(matrix.reshape(2, 2), (0, 1)) + np.diag((0.0, 0.0, 1.0))
    expected = "9 numbers, row by row, whose columns are the axes x, y, z with the length 1 (identity: along those of LPS)"
    if matrix.size != 9 or not np.isfinite(matrix).all():
        raise UserError("direction of a Volume is not understood", found=repr(values)[:80], expected=expected)
    matrix = matrix.reshape(3, 3)
    is_of_axes = np.allclose(np.linalg.norm(matrix, axis=0), 1, atol=_UNIT)
    if not is_of_axes or abs(np.linalg.det(matrix)) < _LEAST_DETERMINANT:
        raise UserError("direction of a Volume does not hold three axes", found=matrix.ravel().tolist(), expected=expected,
                        do="leave the spacing out of it; an affine of nibabel has to be divided by it and turned to LPS")
    return tuple(matrix.ravel().tolist())
