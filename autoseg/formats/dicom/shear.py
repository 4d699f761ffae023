"""Stacks whose slices are shifted against each other, as after a tilt of the gantry: brought to a straight grid."""

import math
from dataclasses import dataclass

import numpy as np

_EDGE = 0.5  # a voxel reaches this far beyond its centre, and has its value there


@dataclass(frozen=True)
class Shear:
    """How far each slice is shifted against the one before, in pixels (y, x), and the size of the stack.

    The straight grid has the spacing of the slices and holds all of them: its first pixel lies at `first_HW` (y, x), in
    pixels of the first slice.
    """

    shift_HW: tuple[float, float]
    shape: tuple[int, int, int]

    @property
    def first_HW(self) -> tuple[int, int]:
        y, x = (math.floor(min(0.0, self._farthest(axis))) for axis in (0, 1))
        return y, x

    @property
    def shape_HW(self) -> tuple[int, int]:
        y, x = (n + math.ceil(max(0.0, self._farthest(axis))) - first
                for axis, (n, first) in enumerate(zip(self.shape[1:], self.first_HW, strict=True)))
        return y, x

    def _farthest(self, axis: int) -> float:
        return self.shift_HW[axis] * (self.shape[0] - 1)


def straightened(array_DHW: np.ndarray, shear: Shear) -> np.ndarray:
    """The stack on its straight grid (float32). Values are interpolated linearly within each slice, which is exact since a
    slice keeps its plane; outside of a slice is the smallest value of the stack.
    """
    result = np.empty((len(array_DHW), *shear.shape_HW), np.float32)
    outside = float(array_DHW.min())
    for k, image_HW in enumerate(array_DHW):
        moved = image_HW.astype(np.float32)
        for axis in (0, 1):
            positions = np.arange(shear.shape_HW[axis]) + shear.first_HW[axis] - k * shear.shift_HW[axis]
            moved = _interpolated(moved, positions, axis, outside)
        result[k] = moved
    return result


def _interpolated(image_HW: np.ndarray, positions: np.ndarray, axis: int, outside: float) -> np.ndarray:
    """The values at positions (in pixels) along an axis."""
    last = image_HW.shape[axis] - 1
    inside = np.clip(positions, 0, last)
    low = np.minimum(np.floor(inside).astype(int), max(last - 1, 0))
    weight = (inside - low).astype(np.float32)
    weight = weight[:, None] if axis == 0 else weight[None]
    values: np.ndarray = (image_HW.take(low, axis) * (1 - weight) + image_HW.take(np.minimum(low + 1, last), axis) * weight)
    beyond = (positions < -_EDGE) | (positions > last + _EDGE)
    values[(beyond, slice(None)) if axis == 0 else (slice(None), beyond)] = outside
    return values
