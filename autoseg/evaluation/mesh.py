"""The surface of a mask as a mesh, and the exact distance of its points to another mesh.

The mesh is that of marching cubes at 0.5 (Lorensen and Cline 1987; Lewiner et al. 2003); in 2D it is a contour. On a binary
mask each vertex is in the middle between two neighbouring voxels, so that a slope becomes a staircase. The distance
between two staircases is less than that between the slopes: 7 % for spheres on a grid of cubes, 20 % with thick slices.
So each vertex is moved to where its neighbours are, between its two voxels, which stay inside and outside. Where all
vertices around move to the same side, there is no staircase but an edge, a thin sheet or a lesion of one voxel: they stay.
"""

from dataclasses import dataclass

import numpy as np
import scipy

# Rounds of smoothing on a grid of cubes. A staircase of thick slices has longer steps, and takes more rounds.
_ROUNDS = 12
_STEP = 0.6  # of the way to the mean of the neighbours, in each round
_NEARLY_HALF = 0.48  # of a voxel: vertices never reach the centre of a voxel
_ROUNDS_AROUND = 10  # of averaging, over which movements to both sides must be balanced
_BALANCED, _ONE_SIDED = 0.31, 0.01  # shares of balanced movement from which vertices move fully, and up to which they stay
_TRIED = 4  # simplices whose centres are the nearest, among which the nearest is found
_CHUNK = 20_000  # points at a time, so that their simplices fit into the cache of a processor


@dataclass(frozen=True)
class Mesh:
    """Vertices in mm (V, axes), voxel 0 at 0, and the vertices of each triangle (F, 3), or in 2D of each line (F, 2)."""

    points_mm: np.ndarray
    simplices: np.ndarray

    def corners(self) -> np.ndarray:
        """Positions of the corners of each simplex in mm (F, corners, axes)."""
        return self.points_mm[self.simplices]

    def area(self) -> np.ndarray:
        """The area that belongs to each vertex (V,): its share of the simplices around it (mm^2, in 2D mm)."""
        corners = self.corners()
        sides = np.moveaxis(corners[:, 1:] - corners[:, :1], 1, 0)
        size = np.linalg.norm(sides[0], axis=1) if len(sides) == 1 else np.linalg.norm(np.cross(*sides), axis=1) / 2
        n = self.simplices.shape[1]
        return np.bincount(self.simplices.ravel(), np.repeat(size / n, n), len(self.points_mm))


def surface_mesh(mask: np.ndarray, spacing_mm: tuple[float, ...]) -> Mesh:
    """The surface of a mask (bool, 2D or 3D, not empty). Outside of the image is background."""
    padded = np.pad(mask, 1)
    points, simplices = _triangles(padded) if mask.ndim == 3 else _lines(padded)
    return Mesh(_smoothed(points, simplices, padded, np.asarray(spacing_mm)) - spacing_mm, simplices)


def distances_to(mesh: Mesh, points_mm: np.ndarray) -> np.ndarray:
    """The distance (N,) in mm from each point (N, axes) to the nearest point of the mesh.

    Only the simplices with the nearest centres are tried. Where they are long and thin, as on thick slices, the nearest one
    may not be among them: the distance is then too large.
    """
    from scipy.spatial import cKDTree  # slow to import, and not every score needs it

    corners = mesh.corners()
    tree = cKDTree(corners.mean(1), balanced_tree=False, compact_nodes=False)
    tried = min(_TRIED, len(corners))
    out = np.empty(len(points_mm))
    for start in range(0, len(points_mm), _CHUNK):
        points = points_mm[start:start + _CHUNK]
        _, nearest = tree.query(points, k=[*range(1, tried + 1)])
        squared = _squared_to_triangles if corners.shape[1] == 3 else _squared_to_lines
        out[start:start + _CHUNK] = np.sqrt(squared(points[:, None], *np.moveaxis(corners[nearest], 2, 0)).min(1))
    return out


def _triangles(padded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from skimage.measure import marching_cubes

    points, triangles, _, _ = marching_cubes(padded.astype(np.float32), 0.5)
    return points.astype(np.float64), triangles


def _lines(padded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from skimage.measure import find_contours

    contours = [contour[:-1] for contour in find_contours(padded.astype(np.float32), 0.5)]  # closed: the last is the first
    starts = np.cumsum([0, *map(len, contours)])
    lines = [start + np.stack([np.arange(len(contour)), (np.arange(len(contour)) + 1) % len(contour)], axis=1)
             for start, contour in zip(starts[:-1], contours, strict=True)]
    return np.concatenate(contours), np.concatenate(lines)


def _smoothed(points: np.ndarray, simplices: np.ndarray, padded: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """The vertices in mm, each moved along the edge of the grid that it lies on; `points` are in voxels."""
    low = np.floor(points).astype(np.intp)
    between = points != low
    axis = between.argmax(1)
    each = np.arange(len(points))
    # +1 where the inside is below; 0 for the vertices that marching cubes adds within a cube, which stay.
    outward = np.where(padded[tuple(low.T)], 1.0, -1.0) * (between.sum(1) == 1)
    step_mm = spacing_mm[axis]
    mean = _mean_of_neighbours(simplices, len(points))
    places = points * spacing_mm
    start, moved = places[each, axis].copy(), np.zeros(len(points))
    for _ in range(round(_ROUNDS * spacing_mm.max() / spacing_mm.min())):
        there = places[each, axis]
        moved += _STEP * outward * ((mean @ places)[each, axis] - there)
        np.clip(moved, -_NEARLY_HALF * step_mm, _NEARLY_HALF * step_mm, out=moved)
        places[each, axis] = start + outward * moved
    places[each, axis] = start + outward * moved * _balance(moved / step_mm, mean)
    return places


def _balance(moved: np.ndarray, mean: "scipy.sparse.csr_array") -> np.ndarray:
    """1 where vertices around move to both sides alike, as on a staircase; 0 where all move to one side."""
    both = np.stack([moved, np.abs(moved)], axis=1)
    for _ in range(_ROUNDS_AROUND):
        both = (both + mean @ both) / 2
    share = 1 - np.abs(both[:, 0]) / np.maximum(both[:, 1], 1e-9)
    return np.clip((share - _ONE_SIDED) / (_BALANCED - _ONE_SIDED), 0, 1)


def _mean_of_neighbours(simplices: np.ndarray, n: int) -> "scipy.sparse.csr_array":
    """The matrix (n, n) that gives the mean of the vertices that share a side with each vertex."""
    pairs = [(a, b) for a in range(simplices.shape[1]) for b in range(simplices.shape[1]) if a != b]
    rows, columns = (np.concatenate([simplices[:, pair[side]] for pair in pairs]) for side in (0, 1))
    joined = scipy.sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(n, n))
    n_neighbours = np.diff(joined.indptr)
    joined.data[:] = np.repeat(1 / n_neighbours, n_neighbours)  # once each, though two triangles share a side
    return joined


def _squared_to_lines(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The squared distance from points (..., axes) to the lines from a to b."""
    along, to = b - a, points - a
    share = np.clip(_dot(to, along) / np.maximum(_dot(along, along), 1e-30), 0, 1)
    rest = to - share[..., None] * along
    return _dot(rest, rest)


def _squared_to_triangles(points: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The squared distance from points (..., 3) to triangles: to their plane if it is reached inside, or to their sides."""
    ab, ac, to = b - a, c - a, points - a
    bb, bc, cc, tb, tc = _dot(ab, ab), _dot(ab, ac), _dot(ac, ac), _dot(to, ab), _dot(to, ac)
    determinant = np.maximum(bb * cc - bc * bc, 1e-30)
    v, w = (cc * tb - bc * tc) / determinant, (bb * tc - bc * tb) / determinant
    plane = _dot(to, to) - v * tb - w * tc
    outside = (v < 0) | (w < 0) | (v + w > 1)
    squared = np.maximum(plane, 0)
    p, a, b, c = np.broadcast_to(points, a.shape)[outside], a[outside], b[outside], c[outside]
    squared[outside] = np.minimum(np.minimum(_squared_to_lines(p, a, b), _squared_to_lines(p, b, c)),
                                  _squared_to_lines(p, c, a))
    return squared


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("...i,...i->...", a, b)
