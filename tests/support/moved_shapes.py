"""Spheres, discs and boxes on a grid, moved, and the distances between their true surfaces."""

import itertools
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moved:
    """A shape and the same shape moved by `shift_mm`: `size_mm` is the radius of a ball, or the sides of a box."""

    kind: str  # "ball" (in two dimensions a disc) or "box"
    spacing_mm: tuple[float, ...]
    size_mm: tuple[float, ...]
    shift_mm: tuple[float, ...]

    def __str__(self) -> str:
        return "_".join([self.kind, *("x".join(f"{value:g}" for value in values)
                                      for values in (self.spacing_mm, self.size_mm, self.shift_mm))])

    @property
    def length_mm(self) -> float:
        return float(np.linalg.norm(self.shift_mm))

    def masks(self) -> tuple[np.ndarray, np.ndarray]:
        """The shape and the moved shape (bool, one array shape)."""
        if self.kind == "ball":
            radius = np.full(len(self.spacing_mm), self.size_mm[0])
            shape = np.ceil((2 * radius + np.abs(self.shift_mm)) / self.spacing_mm).astype(int) + 4
            centre = (shape - 1) / 2 * self.spacing_mm
            grid = np.meshgrid(*(np.arange(n) * mm for n, mm in zip(shape, self.spacing_mm, strict=True)), indexing="ij")
            first, second = (sum((axis - at) ** 2 for axis, at in zip(grid, centre + sign * np.array(self.shift_mm) / 2,
                                                                      strict=True)) <= self.size_mm[0] ** 2 * (1 + 1e-9)
                             for sign in (-1, 1))
            return np.asarray(first), np.asarray(second)
        size, step = (np.rint(np.divide(mm, self.spacing_mm)).astype(int) for mm in (self.size_mm, self.shift_mm))
        masks = np.zeros((2, *(size + step + 4)), bool)
        for mask, start in zip(masks, (np.full(len(size), 2), step + 2), strict=True):
            mask[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = True
        return masks[0], masks[1]

    def distances_mm(self) -> np.ndarray:
        """Distances of many points, even over one true surface, to the other, sorted (both directions are alike)."""
        if self.kind == "box":
            return np.sort(_from_box(_on_box(np.array(self.size_mm)) - self.shift_mm, np.array(self.size_mm)))
        along = (np.arange(20_000) + 0.5) / 10_000 - 1  # the area of a sphere is even along an axis
        if len(self.spacing_mm) == 2:
            along = np.cos(np.pi * (along + 1) / 2)
        radius, shift = self.size_mm[0], self.length_mm
        return np.sort(np.abs(np.sqrt(radius**2 + shift**2 + 2 * radius * shift * along) - radius))


def _on_box(size: np.ndarray, n: int = 120) -> np.ndarray:
    """Points on the six sides of a box around 0, as many as fit their areas."""
    step = size.max() / n
    centres = [(np.arange(count) + 0.5) / count * side - side / 2
               for side, count in zip(size, np.maximum(1, np.rint(size / step)).astype(int), strict=True)]
    sides = []
    for axis, sign in itertools.product(range(len(size)), (-0.5, 0.5)):
        flat = [[sign * size[axis]] if other == axis else values for other, values in enumerate(centres)]
        sides.append(np.stack(np.meshgrid(*flat, indexing="ij"), axis=-1).reshape(-1, len(size)))
    return np.concatenate(sides)


def _from_box(points: np.ndarray, size: np.ndarray) -> np.ndarray:
    beyond = np.abs(points) - size / 2
    outside = np.linalg.norm(np.maximum(beyond, 0), axis=1)
    return np.abs(outside + np.minimum(beyond.max(1), 0))


def _balls() -> list[Moved]:
    isotropic = [Moved("ball", (s, s, s), (radius * s,), tuple(s * x for x in shift)) for s in (1.0, 0.6)
                 for radius in (10, 14, 20) for shift in ((1, 0, 0), (0, 2, 0), (0, 0, 3), (1, 1, 1), (0, 2, 1))]
    thick = [Moved("ball", spacing, (radius,), shift) for spacing, radius, shifts in (
        ((3.0, 1.0, 1.0), 25.0, ((3, 0, 0), (0, 1, 0), (0, 2, 2), (3, 2, 0))),
        ((2.0, 0.8, 0.8), 16.0, ((2, 0, 0), (0, 1.6, 0), (4, 0, 0))),
        ((0.7, 0.7, 2.0), 16.0, ((0, 0, 2), (0.7, 0.7, 0), (1.4, 0, 2)))) for shift in shifts]
    return isotropic + thick


def _discs() -> list[Moved]:
    return [Moved("ball", (s, s), (radius * s,), tuple(s * x for x in shift)) for s in (1.0, 0.5) for radius in (15, 30)
            for shift in ((1, 0), (2, 2), (0, 3))]


def _boxes() -> list[Moved]:
    return [Moved("box", spacing, size, shift) for spacing, size, shifts in (
        ((1.0, 1.0, 1.0), (20.0, 20.0, 20.0), ((1, 0, 0), (0, 2, 0), (2, 2, 0), (1, 1, 1))),
        ((1.0, 1.0, 1.0), (30.0, 16.0, 24.0), ((0, 1, 0), (0, 0, 4), (3, 0, 0))),
        ((3.0, 1.0, 1.0), (36.0, 30.0, 30.0), ((3, 0, 0), (0, 2, 0), (3, 0, 2))),
        ((5.0, 0.8, 0.8), (40.0, 32.0, 32.0), ((5, 0, 0), (0, 1.6, 0), (0, 2.4, 2.4)))) for shift in shifts]


MOVED = [*_balls(), *_discs(), *_boxes()]
