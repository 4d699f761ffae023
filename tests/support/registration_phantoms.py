"""Phantoms that are functions of the world: the same anatomy in two contrasts, on any grid, moved by a known map."""

from dataclasses import dataclass, field

import numpy as np

from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import points_of

BODY_RADII_MM = (20.0, 17.0, 19.0)


@dataclass(frozen=True)
class Anatomy:
    """Soft-edged ellipsoids inside a body, drawn from a seed. World points are x, y, z in mm around (0, 0, 0)."""

    seed: int = 0
    organs: tuple = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        object.__setattr__(self, "organs", tuple(
            (rng.uniform(-11, 11, 3), rng.uniform(3, 7, 3), value) for value in rng.permutation(np.linspace(0.15, 1, 7))))

    def density(self, points_N3_mm: np.ndarray) -> np.ndarray:
        """0 outside the body, 0.4 in it, another value between 0.15 and 1 in each organ."""
        density_N = 0.4 * _soft(points_N3_mm, np.zeros(3), np.array(BODY_RADII_MM))
        for centre, radii, value in self.organs:
            share_N = _soft(points_N3_mm, centre, radii)
            density_N = density_N * (1 - share_N) + value * share_N
        return density_N

    def inside(self, points_N3_mm: np.ndarray) -> np.ndarray:
        """Whether points lie in the body."""
        return ((points_N3_mm / BODY_RADII_MM) ** 2).sum(axis=1) < 1


def cube(n: int = 48, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Geometry:
    """A grid of n voxels of 1 mm an edge around (0, 0, 0), or of as many of another spacing (z, y, x) as cover it."""
    shape = tuple(round(n / step) for step in spacing_mm)
    first = [-(count - 1) * step / 2 for count, step in zip(shape, spacing_mm, strict=True)]
    return Geometry(shape, spacing_mm, tuple(first[::-1]))


def grid_points(geometry: Geometry) -> np.ndarray:
    """World points of all voxels, (N, 3)."""
    return points_of(geometry, np.indices(geometry.shape).reshape(3, -1).T)


def first_contrast(density_N: np.ndarray) -> np.ndarray:
    return 1000 * density_N


def second_contrast(density_N: np.ndarray) -> np.ndarray:
    """Inverted and bent: air is black, and what the first contrast shows bright is dark."""
    return 300 * np.where(density_N > 0.1, 1.3 - density_N**0.7, 12 * density_N * (1.3 - 0.1**0.7) / 1.2)


def picture(geometry: Geometry, of_points, noise: float, seed: int) -> np.ndarray:
    """A float32 image (z, y, x) of a function of world points, with Gaussian noise."""
    values = of_points(grid_points(geometry)).reshape(geometry.shape)
    return (values + np.random.default_rng(seed).normal(0, noise, geometry.shape)).astype(np.float32)


def rotation(degrees: float, axis: tuple[float, float, float]) -> np.ndarray:
    """The 3x3 rotation about an axis (Rodrigues)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def offset(degrees: float = 5.0, shift_mm: float = 8.0, seed: int = 0) -> np.ndarray:
    """A (3, 4) map of that rotation and that shift about axes drawn from a seed: reference's world -> moving world."""
    rng = np.random.default_rng([seed, 1])
    direction = rng.normal(size=3)
    return np.column_stack([rotation(degrees, rng.normal(size=3)), shift_mm * direction / np.linalg.norm(direction)])


def moved_back(matrix: np.ndarray, points_N3_mm: np.ndarray) -> np.ndarray:
    """Points of the moving world in the reference's world, by the inverse of a (3, 4) map."""
    return (points_N3_mm - matrix[:, 3]) @ np.linalg.inv(matrix[:, :3]).T


def offset_pair(seed: int, moving_grid: Geometry | None = None, degrees: float = 5.0, shift_mm: float = 8.0):
    """(fixed_DHW, fixed, moving_DHW, moving) and the (3, 4) map that brings one to the other."""
    anatomy, matrix, fixed = Anatomy(seed), offset(degrees, shift_mm, seed), cube()
    moving = moving_grid or fixed
    fixed_DHW = picture(fixed, lambda p: first_contrast(anatomy.density(p)), 20, seed)
    moving_DHW = picture(moving, lambda p: second_contrast(anatomy.density(moved_back(matrix, p))), 8, seed + 1000)
    return (fixed_DHW, fixed, moving_DHW, moving), matrix


def bump(points_N3_mm: np.ndarray, amplitude_mm: float) -> np.ndarray:
    """A smooth displacement (N, 3) of that length at (8, -10, 5), about 50 mm wide."""
    direction = np.array([1.0, -1.0, 0.5]) / 1.5
    distance2 = ((points_N3_mm - np.array([8.0, -10.0, 5.0])) ** 2).sum(axis=1)
    return amplitude_mm * np.exp(-distance2 / (2 * 22.0**2))[:, None] * direction


def bumped_pair(seed: int, amplitude_mm: float):
    """(fixed_DHW, fixed, moving_DHW, moving) of the anatomy three times as large, in voxels of 4 mm, and the anatomy.

    The moving image shows at q what the fixed one shows at q + bump(q).
    """
    anatomy, grid = Anatomy(seed), cube(144, (4.0, 4.0, 4.0))
    fixed_DHW = picture(grid, lambda p: first_contrast(anatomy.density(p / 3)), 20, seed)
    moving_DHW = picture(
        grid, lambda q: second_contrast(anatomy.density((q + bump(q, amplitude_mm)) / 3)), 8, seed + 1000)
    return (fixed_DHW, grid, moving_DHW, grid), anatomy


def _soft(points_N3_mm: np.ndarray, centre: np.ndarray, radii: np.ndarray, edge_mm: float = 1.0) -> np.ndarray:
    """About 1 inside an ellipsoid, 0 outside, with an edge of about a voxel."""
    distance = np.sqrt((((points_N3_mm - centre) / radii) ** 2).sum(axis=1))
    return 1 / (1 + np.exp(np.clip((distance - 1) * radii.min() / (edge_mm / 2), -50, 50)))
