"""What no registration of two images of one patient may do."""

import numpy as np

from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import Transform, points_of
from autoseg.preprocessing.registration.images import Volume

_LARGEST_ROTATION_DEGREES = 45.0
_STRETCHES = (0.75, 1.33)  # of an affine map, along any direction
_LARGEST_DISPLACEMENT_MM = 30.0  # what breathing moves a liver by
_SLAB_VOXELS = 1 << 19


def implausible(transform: Transform, start: Transform, fixed: Volume, moving: Volume) -> str:
    """What cannot be, in words, or nothing: a rotation beyond 45 degrees, a shift of more than half the longest edge of the
    smaller field of view (both from where the images began), a stretch beyond 0.75 to 1.33, a displacement beyond 30 mm.
    """
    if transform.displacement_mm is not None:
        longest_mm = float(np.linalg.norm(transform.displacement_mm, axis=0).max())
        if longest_mm > _LARGEST_DISPLACEMENT_MM:
            return f"it displaces by {longest_mm:.0f} mm"
    linear = transform.matrix[:, :3] @ np.linalg.inv(start.matrix[:, :3])
    left, stretches, right = np.linalg.svd(linear)
    if np.linalg.det(linear) <= 0 or stretches.min() < _STRETCHES[0] or stretches.max() > _STRETCHES[1]:
        return f"it stretches by {stretches.min():.2f} to {stretches.max():.2f}"
    degrees = np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1)))
    if degrees > _LARGEST_ROTATION_DEGREES:
        return f"it rotates by {degrees:.0f} degrees"
    smaller = min(fixed, moving, key=lambda volume: volume.volume_mm3)
    limit_mm = max(np.array(smaller.geometry.shape) * np.array(smaller.geometry.spacing_mm)) / 2
    centre = fixed.corners_N3_mm.mean(axis=0, keepdims=True)
    shift_mm = float(np.linalg.norm(transform.apply(centre) - start.apply(centre)))
    return f"it shifts by {shift_mm:.0f} mm, more than half the field of view" if shift_mm > limit_mm else ""


def least_jacobian(transform: Transform, geometry: Geometry) -> float:
    """The smallest Jacobian determinant of a transform on a grid, by forward differences; 0 or less is a fold. Slabs of
    slices at a time.
    """
    linear = float(np.linalg.det(transform.matrix[:, :3]))
    if transform.displacement_mm is None:
        return linear
    depth, height, width = geometry.shape
    slices = max(2, _SLAB_VOXELS // (height * width))
    return min(_least_of_slab(transform, geometry, start, min(start + slices, depth))
               for start in range(0, depth - 1, slices - 1))


def _least_of_slab(transform: Transform, geometry: Geometry, start: int, stop: int) -> float:
    shape = (stop - start, *geometry.shape[1:])
    indices_N3 = np.indices(shape).reshape(3, -1).T
    indices_N3[:, 0] += start
    points_N3_mm = points_of(geometry, indices_N3)
    mapped, unmapped = (points.reshape(*shape, 3) for points in (transform.apply(points_N3_mm), points_N3_mm))
    return float((_determinants(mapped) / _determinants(unmapped)).min())


def _determinants(points_DHW3: np.ndarray) -> np.ndarray:
    """Of the steps to the next voxel along each axis."""
    first = points_DHW3[:-1, :-1, :-1]
    steps = (points_DHW3[1:, :-1, :-1] - first, points_DHW3[:-1, 1:, :-1] - first, points_DHW3[:-1, :-1, 1:] - first)
    return np.einsum("...i,...i", steps[0], np.cross(steps[1], steps[2]))
