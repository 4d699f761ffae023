"""Distances between the surfaces of two masks, in mm, weighted by area.

`mesh`: the mesh of marching cubes, with exact distances to it (`evaluation.mesh`). It is near the geometric truth.

`surfel`: surfels as in Nikolov et al. 2018 (arXiv:1809.04430), for comparison with publications. Each cube of 2x2x2 voxels
that is neither full nor empty gives one surfel: a point at its centre, with the area of the marching-cubes surface in the
cube. In 2D squares replace the cubes, and contour lengths replace the areas. Distances are those between surfels, so that
surfaces which are less than some voxels apart are measured as nearer than they are.

Outside of the image is background in both.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from autoseg.evaluation.mesh import distances_to, surface_mesh

Surface = Literal["mesh", "surfel"]

_POINTS_WORTH_THREADS = 20_000


@dataclass(frozen=True)
class SurfaceDistances:
    """Distance from each point of one surface to the other surface, sorted; areas of the points (mm^2, in 2D mm)."""

    of_truth_mm: np.ndarray
    truth_area: np.ndarray
    of_predicted_mm: np.ndarray
    predicted_area: np.ndarray


def surface_distances(truth: np.ndarray, predicted: np.ndarray, spacing_mm: tuple[float, ...],
                      image_shape: tuple[int, ...] | None = None, *, surface: Surface = "mesh") -> SurfaceDistances:
    """Distances between two masks (bool, the same shape, 2D or 3D), neither of them empty.

    `image_shape` is the shape of the image that the masks were cropped from (default: that of the masks). An axis of one
    voxel in the image has no extent: an image of one slice is measured in 2D, a lesion in one slice of many in 3D.
    """
    if not (truth.any() and predicted.any()):
        raise ValueError("the distance between surfaces is defined for two masks that are not empty")
    axes = [axis for axis, size in enumerate(image_shape or truth.shape) if size > 1]
    if len(axes) < 2:
        axes = list(range(truth.ndim))[-2:]
    keep = tuple(slice(None) if axis in axes else 0 for axis in range(truth.ndim))
    truth, predicted = truth[keep], predicted[keep]
    # Marching cubes breaks ties by the order of the axes: the same order for the same image, however it is stored.
    order = sorted(range(truth.ndim), key=lambda axis: (-spacing_mm[axes[axis]], truth.shape[axis]))
    spacing = tuple(float(spacing_mm[axes[axis]]) for axis in order)
    between = _between_meshes if surface == "mesh" else _between_surfels
    return between(truth.transpose(order), predicted.transpose(order), spacing)


def _between_meshes(truth: np.ndarray, predicted: np.ndarray, spacing_mm: tuple[float, ...]) -> SurfaceDistances:
    true_mesh, predicted_mesh = surface_mesh(truth, spacing_mm), surface_mesh(predicted, spacing_mm)
    return SurfaceDistances(*_sorted(distances_to(predicted_mesh, true_mesh.points_mm), true_mesh.area()),
                            *_sorted(distances_to(true_mesh, predicted_mesh.points_mm), predicted_mesh.area()))


def _between_surfels(truth: np.ndarray, predicted: np.ndarray, spacing_mm: tuple[float, ...]) -> SurfaceDistances:
    truth_points, truth_area = surfels(truth, spacing_mm)
    predicted_points, predicted_area = surfels(predicted, spacing_mm)
    # A k-d tree of the surface is exact. For a liver it is fifteen times faster than a distance transform of its box.
    return SurfaceDistances(*_sorted(_nearest(truth_points, predicted_points), truth_area),
                            *_sorted(_nearest(predicted_points, truth_points), predicted_area))


def surfels(mask: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Positions in mm (N, axes), voxel 0 at 0, and areas (N,) of the surface elements of a 2D or 3D mask."""
    code = np.pad(mask, 1).astype(np.uint8)
    for bit, axis in enumerate(reversed(range(mask.ndim))):
        ahead, behind = [slice(None)] * mask.ndim, [slice(None)] * mask.ndim
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        code = code[tuple(behind)] | code[tuple(ahead)] << 2**bit
    at = np.nonzero((code != 0) & (code != 2 ** 2**mask.ndim - 1))
    points = (np.stack(at, axis=1) - 0.5) * spacing_mm
    return points, _areas(spacing_mm)[code[at]]


@lru_cache(maxsize=64)
def _areas(spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Area of the surface in a cube (256,), or length of the contour in a square (16,), by the code of its corners.

    Bit z*4 + y*2 + x of a code is the corner (z, y, x).
    """
    n_corners = 2 ** len(spacing_mm)
    measure = _contour_length if len(spacing_mm) == 2 else _surface_area
    areas = np.zeros(2**n_corners)
    for code in range(1, 2**n_corners - 1):
        corners = np.array([code >> bit & 1 for bit in range(n_corners)], dtype=bool).reshape((2,) * len(spacing_mm))
        # Corners that touch diagonally are separate. Of more than half of the corners the complement is measured.
        areas[code] = measure(~corners if corners.sum() > n_corners // 2 else corners, spacing_mm)
    return areas


def _surface_area(corners: np.ndarray, spacing_mm: tuple[float, ...]) -> float:
    from skimage.measure import marching_cubes, mesh_surface_area

    vertices, faces, _, _ = marching_cubes(corners.astype(np.float32), 0.5, spacing=spacing_mm, method="lorensen")
    return float(mesh_surface_area(vertices, faces))


def _contour_length(corners: np.ndarray, spacing_mm: tuple[float, ...]) -> float:
    height, width = spacing_mm
    if corners.sum() == 2 and (corners[0] == corners[1]).all():
        return height
    if corners.sum() == 2 and (corners[:, 0] == corners[:, 1]).all():
        return width
    return float(corners.sum()) * float(np.hypot(height / 2, width / 2))


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree  # slow to import, and not every score needs it

    # Surfels lie on a grid, where balancing a tree gains nothing.
    tree = cKDTree(others, balanced_tree=False, compact_nodes=False)
    distance_mm, _ = tree.query(points, workers=-1 if len(points) > _POINTS_WORTH_THREADS else 1)
    return np.asarray(distance_mm)


def _sorted(distance_mm: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(distance_mm)
    return distance_mm[order], area[order]
