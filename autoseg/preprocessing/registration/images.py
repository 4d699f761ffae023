"""Images as registration uses them: clipped, cropped to what both see, averaged to coarser grids."""

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage

from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import Transform, indices_of, points_of

# A single hot voxel must not take all bins of a histogram.
_CLIPPED_PERCENTILES = (0.5, 99.5)
_PERCENTILE_VOXELS = 2_000_000  # of which percentiles are taken; more are thinned evenly
_SHORTEST_EDGE = 24  # voxels that averaging leaves an axis
_FINEST_VOXELS = 4_000_000  # of the finest level


@dataclass(frozen=True)
class Volume:
    """An image on its grid."""

    image_DHW: np.ndarray  # float32
    geometry: Geometry

    @property
    def volume_mm3(self) -> float:
        """Volume of the field of view."""
        return float(np.prod(self.geometry.shape) * np.prod(self.geometry.spacing_mm))

    @property
    def corners_N3_mm(self) -> np.ndarray:
        """World points of the eight corner voxels' centres."""
        last = np.array(self.geometry.shape) - 1
        return points_of(self.geometry, np.indices((2, 2, 2)).reshape(3, -1).T * last)

    def centre_of_mass_mm(self) -> np.ndarray:
        """World point (3,) of the mean position, weighted by the values."""
        sums = [self.image_DHW.sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64) for axis in range(3)]
        centre = [weights @ np.arange(len(weights)) / weights.sum() for weights in sums]
        return points_of(self.geometry, np.array([centre]))[0]


def clipped(image_DHW: np.ndarray, geometry: Geometry) -> Volume:
    """The image between its percentiles 0.5 and 99.5, scaled to 0 to 1; all 0 where it is constant."""
    every = max(1, image_DHW.size // _PERCENTILE_VOXELS)
    low, high = np.percentile(image_DHW.ravel()[::every], _CLIPPED_PERCENTILES)
    if high <= low:  # hardly anything but background
        low, high = float(image_DHW.min()), float(image_DHW.max())
    scaled_DHW = np.clip(image_DHW, low, high).astype(np.float32)
    scaled_DHW -= np.float32(low)
    return Volume(scaled_DHW / np.float32(max(high - low, np.finfo(np.float32).tiny)), geometry)


def shrunk(volume: Volume, spacing_mm: float) -> Volume:
    """The averages of blocks of voxels, as many along each axis as come nearest to a spacing; a remainder is left out."""
    factors = [max(1, min(round(spacing_mm / step), n // _SHORTEST_EDGE))
               for step, n in zip(volume.geometry.spacing_mm, volume.geometry.shape, strict=True)]
    if max(factors) == 1:
        return volume
    counts = [n // f for n, f in zip(volume.geometry.shape, factors, strict=True)]
    whole_DHW = volume.image_DHW[tuple(slice(n * f) for n, f in zip(counts, factors, strict=True))]
    blocks = whole_DHW.reshape([edge for pair in zip(counts, factors, strict=True) for edge in pair])
    first = points_of(volume.geometry, np.array([[(f - 1) / 2 for f in factors]]))[0]
    depth, height, width = counts
    z, y, x = (f * step for f, step in zip(factors, volume.geometry.spacing_mm, strict=True))
    return Volume(blocks.mean(axis=(1, 3, 5), dtype=np.float32),
                  replace(volume.geometry, shape=(depth, height, width), spacing_mm=(z, y, x),
                          origin_mm=tuple(first.tolist())))


def smoothed(volume: Volume, sigma_mm: float) -> Volume:
    """The image after a Gaussian of that width."""
    if sigma_mm == 0:
        return volume
    sigmas = [sigma_mm / step for step in volume.geometry.spacing_mm]
    return replace(volume, image_DHW=scipy.ndimage.gaussian_filter(volume.image_DHW, sigmas, mode="nearest", truncate=3))


def cropped(volume: Volume, box: tuple[tuple[int, int], ...]) -> Volume:
    """The voxels of a box, given as one (start, stop) per axis."""
    first = points_of(volume.geometry, np.array([[start for start, _ in box]]))[0]
    part_DHW = volume.image_DHW[tuple(slice(start, stop) for start, stop in box)]
    return Volume(part_DHW, replace(volume.geometry, shape=part_DHW.shape, origin_mm=tuple(first.tolist())))


def pyramid(fixed: Volume, moving: Volume) -> list[tuple[Volume, Volume]]:
    """Both images averaged to about 4, 2 and 1 times the finest working spacing (each axis by its own factor), and
    smoothed by 2, 1 and 0 times that spacing; the middle one is left out where a small image is averaged no less for it.
    """
    finest_mm = working_spacing(fixed)
    levels: list[tuple[Volume, Volume]] = []
    for factor, sigma in ((4, 2), (2, 1), (1, 0)):
        level = shrunk(fixed, factor * finest_mm)
        if factor != 2 or level.geometry.shape != levels[-1][0].geometry.shape:
            levels.append((smoothed(level, sigma * finest_mm),
                           smoothed(shrunk(moving, factor * finest_mm), sigma * finest_mm)))
    return levels


def working_spacing(volume: Volume) -> float:
    """The finest spacing that an image is registered at: its own smallest, unless that would be too many voxels."""
    return max(min(volume.geometry.spacing_mm), (volume.volume_mm3 / _FINEST_VOXELS) ** (1 / 3))


def common_part(volume: Volume, other: Volume, to_volume: Transform, margin_mm: float) -> Volume:
    """The part of an image that another's field of view covers, under the transform of the other's world to its own,
    with a margin; all of it where they do not meet.
    """
    indices_N3 = indices_of(volume.geometry, to_volume.apply(other.corners_N3_mm))
    margin = margin_mm / np.array(volume.geometry.spacing_mm)
    starts = np.maximum(np.floor(indices_N3.min(axis=0) - margin), 0).astype(int)
    stops = np.minimum(np.ceil(indices_N3.max(axis=0) + margin) + 1, volume.geometry.shape).astype(int)
    if (stops <= starts).any():
        return volume
    return cropped(volume, tuple(zip(starts.tolist(), stops.tolist(), strict=True)))


def padded(volume: Volume, margin_mm: float) -> Volume:
    """The image continued by its edge on every side."""
    widths = [math.ceil(margin_mm / step) for step in volume.geometry.spacing_mm]
    image_DHW = np.pad(volume.image_DHW, [(width, width) for width in widths], mode="edge")
    first = points_of(volume.geometry, -np.array([widths], dtype=np.float64))[0]
    return Volume(image_DHW, replace(volume.geometry, shape=image_DHW.shape, origin_mm=tuple(first.tolist())))
