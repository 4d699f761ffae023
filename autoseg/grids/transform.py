"""Where a point of the reference lies in another channel: an affine map, after a smooth displacement if there is one.

World points are x, y, z in mm, in the LPS frame of the files; lattices are in array order (z, y, x).
"""

from dataclasses import dataclass

import numpy as np
import scipy

from autoseg.grids.geometry import Geometry
from planners.schema.base import Frozen
from planners.schema.channels import Registration

# Points that are mapped at once: their float64 temporaries stay below about 20 MiB.
_POINTS_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class Transform:
    """World points of the reference -> world points of the moving channel: `p -> matrix @ (p + displacement(p), 1)`.

    The displacement comes first. It is given on a lattice in the reference's world, is interpolated linearly between its
    points and is zero outside the lattice.
    """

    matrix: np.ndarray  # (3, 4) float64
    displacement_mm: np.ndarray | None = None  # (3, D, H, W): x, y, z components on the lattice's z, y, x
    lattice: Geometry | None = None

    def __post_init__(self) -> None:
        if self.matrix.shape != (3, 4) or not np.isfinite(self.matrix).all():
            raise ValueError(f"a finite (3, 4) matrix was expected, got {self.matrix.tolist()}")
        if (self.displacement_mm is None) != (self.lattice is None):
            raise ValueError("a displacement and its lattice come together")
        if self.lattice is not None and self.displacement_mm is not None:
            if self.displacement_mm.shape != (3, *self.lattice.shape):
                raise ValueError(f"a displacement (3, {self.lattice.shape}) was expected, got {self.displacement_mm.shape}")
            if not np.isfinite(self.displacement_mm).all():
                raise ValueError("the displacement is not finite")

    @classmethod
    def identity(cls) -> "Transform":
        """Every point stays where it is."""
        return cls(np.eye(3, 4))

    @property
    def is_identity(self) -> bool:
        """Whether every point stays exactly where it is."""
        return self.displacement_mm is None and np.array_equal(self.matrix, np.eye(3, 4))

    def apply(self, points_N3_mm: np.ndarray) -> np.ndarray:
        """The points (N, 3) in the moving channel's world, float64."""
        mapped_N3_mm = np.empty((len(points_N3_mm), 3))
        for start in range(0, len(points_N3_mm), _POINTS_AT_ONCE):
            part = np.asarray(points_N3_mm[start:start + _POINTS_AT_ONCE], dtype=np.float64)
            mapped_N3_mm[start:start + len(part)] = self._displaced(part) @ self.matrix[:, :3].T + self.matrix[:, 3]
        return mapped_N3_mm

    def linear_inverse(self) -> "Transform":
        """The inverse of the matrix, without the displacement."""
        turned = np.linalg.inv(self.matrix[:, :3])
        return Transform(np.column_stack([turned, -turned @ self.matrix[:, 3]]))

    def _displaced(self, points_N3_mm: np.ndarray) -> np.ndarray:
        if self.displacement_mm is None or self.lattice is None:
            return points_N3_mm
        indices_3N = indices_of(self.lattice, points_N3_mm).T
        steps = [scipy.ndimage.map_coordinates(component, indices_3N, np.float64, order=1, mode="constant", cval=0.0)
                 for component in self.displacement_mm]
        return points_N3_mm + np.stack(steps, axis=1)


class Stage(Frozen):
    """One stage of a registration. `before` and `after` are the normalised mutual information of the two images, 0 to 1,
    over the voxels that both see; None where there are none. `reason` says why a stage was not accepted.
    """

    kind: str
    before: float | None
    after: float | None
    accepted: bool
    reason: str = ""


@dataclass(frozen=True)
class Registered:
    """What registration found for one channel. `likeness` is the final metric as a multiple of the best that the same
    two images reach after random displacements: unrelated images have about 1. `reason`, if not empty, says why all was
    rejected; the transform is then the identity.
    """

    asked: Registration
    transform: Transform
    stages: tuple[Stage, ...] = ()
    likeness: float | None = None
    reason: str = ""

    @property
    def kept(self) -> str:
        """The last stage that was accepted; `identity` where there is none."""
        return "identity" if self.reason else next((s.kind for s in reversed(self.stages) if s.accepted), "identity")


def world_of(geometry: Geometry) -> np.ndarray:
    """The matrix (3, 4) that maps an index (z, y, x) of a grid to its world point (x, y, z)."""
    axes = np.array(geometry.direction).reshape(3, 3) * np.array(geometry.spacing_mm[::-1])
    return np.column_stack([axes[:, ::-1], geometry.origin_mm])


def points_of(geometry: Geometry, indices_N3: np.ndarray) -> np.ndarray:
    """World points (N, 3; x, y, z in mm) of indices (N, 3; z, y, x)."""
    world = world_of(geometry)
    points_N3_mm: np.ndarray = np.asarray(indices_N3, dtype=np.float64) @ world[:, :3].T + world[:, 3]
    return points_N3_mm


def indices_of(geometry: Geometry, points_N3_mm: np.ndarray) -> np.ndarray:
    """Indices (N, 3; z, y, x), with fractions, of world points (N, 3; x, y, z in mm)."""
    world = world_of(geometry)
    indices_N3: np.ndarray = (np.asarray(points_N3_mm, dtype=np.float64) - world[:, 3]) @ np.linalg.inv(world[:, :3]).T
    return indices_N3
