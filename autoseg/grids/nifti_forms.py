"""The two forms in which a NIfTI header says where its grid lies (nifti1.h).

Affines are (3, 4), in RAS and in the header's unit.
"""

import math
from dataclasses import dataclass

import numpy as np

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # metres and micrometres; everything else is taken as mm
# Axes, scaled to 1, whose smallest singular value is below are not independent; a quaternion may be as much too long.
_INDEPENDENT = 1e-4
_HALF_TURN = 3.0 * 2.0**-23


@dataclass(frozen=True)
class NiftiForms:
    """What a NIfTI header says of its grid, in its own numbers: a mask of the image says the same."""

    qform_code: int
    sform_code: int
    xyzt_units: int
    pixdim: tuple[float, float, float, float]  # its first is the sign of the third axis
    quatern: tuple[float, float, float]
    offset: tuple[float, float, float]
    srow: tuple[float, ...]  # three rows of four

    @property
    def unit_mm(self) -> float:
        return _MM_PER_UNIT.get(self.xyzt_units & 7, 1.0)

    def spacing(self, dimensions: int = 3) -> np.ndarray:
        """Of pixdim, along x, y, z; 1 along an axis that the image does not have."""
        return np.abs([*self.pixdim[1:1 + dimensions], *(1.0,) * (3 - dimensions)])

    def sform(self, dimensions: int = 3) -> np.ndarray | None:
        """Its affine; None where its code is not above 0 or its axes are not independent."""
        affine = np.array(self.srow).reshape(3, 4)
        lengths = np.linalg.norm(affine[:, :dimensions], axis=0)
        if self.sform_code <= 0 or not (lengths > 0).all():
            return None
        smallest = np.linalg.svd(affine[:, :dimensions] / lengths, compute_uv=False)[-1]
        return affine if smallest >= _INDEPENDENT else None

    def qform(self, dimensions: int = 3) -> np.ndarray | None:
        """Its affine; None where its code is not above 0 or its quaternion or spacing is none."""
        b, c, d = self.quatern
        square, spacing = b * b + c * c + d * d, self.spacing(dimensions)
        if self.qform_code <= 0 or square > 1 + _INDEPENDENT or not (spacing > 0).all():
            return None
        if 1 - square < _HALF_TURN:  # what float32 leaves of a half turn
            b, c, d = (part / math.sqrt(square) for part in (b, c, d))
            square = 1.0
        a = math.sqrt(1 - square)
        rotation = np.array([[a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                             [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                             [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c]])
        return np.column_stack([rotation * spacing * (1, 1, -1 if self.pixdim[0] < 0 else 1), self.offset])

    def centred(self, shape: tuple[int, int, int], dimensions: int = 3) -> np.ndarray:
        """What nibabel and SPM take for a grid of this shape (z, y, x) where no form is said: x runs to the left, the centre
        is at 0.
        """
        steps = self.spacing(dimensions) * (-1, 1, 1)
        return np.column_stack([np.diag(steps), -(np.array(shape[::-1]) - 1) / 2 * steps])

    def readings(self, shape: tuple[int, int, int], dimensions: int) -> list[np.ndarray]:
        """All affines (3, 4; LPS in mm) for which programs take the header of an image of this shape (z, y, x).

        ITK takes the qform where the forms differ, the spacing of pixdim beside the sform, and where no form is said the
        axes of the world. Some programs know no unit.
        """
        spacing, sform, qform = self.spacing(dimensions), self.sform(dimensions), self.qform(dimensions)
        affines = [affine for affine in (sform, qform) if affine is not None]
        if sform is not None:
            lengths = np.linalg.norm(sform[:, :3], axis=0)
            affines.append(np.column_stack([sform[:, :3] / np.where(lengths > 0, lengths, 1) * spacing, sform[:, 3]]))
        if not affines:
            affines = [self.centred(shape, dimensions), np.column_stack([RAS_TO_LPS * spacing, np.zeros(3)])]
        return [unit_mm * RAS_TO_LPS @ affine for affine in affines for unit_mm in {self.unit_mm, 1.0}]
