"""A smooth displacement that makes two images more alike: cubic B-splines on a coarse control grid, mutual information of
all voxels, and a penalty on bending.

Rueckert et al., IEEE TMI 18(8), 1999: splines, mutual information, bending energy; Thevenaz and Unser, IEEE TIP 9(12),
2000: the metric's exact gradient by a Parzen window. SimpleITK's own splines know no penalty: on a phantom they
followed the noise, and the mean error inside the body grew from 1.0 to 3.0 mm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage
import scipy.optimize

from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import Transform, indices_of, points_of, world_of
from autoseg.preprocessing.registration.images import Volume

Axes = tuple[np.ndarray, ...]  # a matrix for each axis z, y, x

_CONTROL_MM = 40.0
_LEAST_CELLS = 2  # of the control grid along an axis
_LATTICE_STEPS = 8  # between control points; linear interpolation then misses about 2 % of the displacement
_LARGEST_LEVEL = 500_000  # voxels; a finer level would show nothing that splines this coarse can follow
# In nats: for neighbouring cells whose strains differ by 1, and for a displacement by a whole cell. With 0.2 and 0.5 the PET
# of STS_014 moved 54 mm off the CT of the same scanner, with these 7 mm; MR of STS_002 gains 3.5 instead of 4.5 points.
_BENDING = 1.0
_SHIFT = 2.0
_BINS = 32
_ITERATIONS = 40


@dataclass(frozen=True)
class Spline:
    """Control points around a box of a grid: `cells` of `knot_mm` along its axes z, y, x, from the first voxel's edge."""

    box: Geometry
    cells: tuple[int, int, int]

    @classmethod
    def over(cls, box: Geometry) -> "Spline":
        sizes_mm = np.array(box.shape) * np.array(box.spacing_mm)
        return cls(box, tuple(np.maximum(_LEAST_CELLS, np.round(sizes_mm / _CONTROL_MM)).astype(int).tolist()))

    @property
    def knot_mm(self) -> np.ndarray:
        return np.array(self.box.shape) * np.array(self.box.spacing_mm) / self.cells

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the coefficients: x, y, z in mm, on the control points z, y, x."""
        return (3, *(n + 3 for n in self.cells))

    def bases(self, grid: Geometry) -> Axes:
        """The cubic basis at the voxels of a grid with the same axes, (n voxels, n control points) along each."""
        first = (indices_of(self.box, np.array([grid.origin_mm]))[0] + 0.5) * np.array(self.box.spacing_mm)
        return tuple(_cubic_basis((start + step * np.arange(n)) / knot, cells) for start, step, n, knot, cells
                     in zip(first, grid.spacing_mm, grid.shape, self.knot_mm, self.cells, strict=True))

    def lattice(self) -> Geometry:
        """A grid fine enough for linear interpolation, over the box and one step more on every side."""
        steps_mm = self.knot_mm / _LATTICE_STEPS
        origin_mm = points_of(self.box, (-0.5 - steps_mm / np.array(self.box.spacing_mm))[None])[0]
        depth, height, width = (n * _LATTICE_STEPS + 3 for n in self.cells)
        return replace(self.box, shape=(depth, height, width), spacing_mm=tuple(steps_mm.tolist()),
                       origin_mm=tuple(origin_mm.tolist()))


def deformable_stage(levels: Sequence[tuple[Volume, Volume]], start: Transform, seed: int) -> Transform:
    """A displacement before the linear `start` that maximises mutual information less bending, coarse to fine."""
    spline = Spline.over(levels[-1][0].geometry)
    coefficients = np.zeros(spline.shape)
    small = [level for level in levels if level[0].image_DHW.size <= _LARGEST_LEVEL] or levels[:1]
    for fixed, moving in small:
        cost = _Cost(spline, fixed, moving, start, seed)
        optimum = scipy.optimize.minimize(cost, coefficients.ravel(), jac=True, method="L-BFGS-B",
                                          options={"maxiter": _ITERATIONS})
        coefficients = optimum.x.reshape(spline.shape)
    lattice = spline.lattice()
    displacement_mm = _along_axes(coefficients, spline.bases(lattice))
    return Transform(start.matrix, displacement_mm.astype(np.float32), lattice)


class _Cost:
    """Bending less mutual information of two images, and its gradient, as a function of the coefficients.

    What is compared is what both see at the start, so that nothing is gained by pushing voxels out of view.
    """

    def __init__(self, spline: Spline, fixed: Volume, moving: Volume, start: Transform, seed: int):
        self._shape, self._bases = spline.shape, spline.bases(fixed.geometry)
        voxels_N3 = np.indices(fixed.image_DHW.shape).reshape(3, -1).T
        # Off the voxels' centres: on them the moving image would be noisier than between, and any half step a gain.
        places_N3 = voxels_N3 + np.random.default_rng(seed).uniform(-0.5, 0.5, voxels_N3.shape)
        indices_N3 = indices_of(moving.geometry, start.apply(points_of(fixed.geometry, places_N3)))
        seen_N = ((indices_N3 >= 0) & (indices_N3 <= np.array(moving.geometry.shape) - 1)).all(axis=1)
        self._seen_DHW = seen_N.reshape(fixed.image_DHW.shape)
        self._indices_3N = indices_N3[seen_N].T
        self._index_per_mm = np.linalg.inv(world_of(moving.geometry)[:, :3]) @ start.matrix[:, :3]
        self._moving = moving.image_DHW
        self._last_3N = np.array(moving.geometry.shape)[:, None] - 1
        self._slopes = np.gradient(moving.image_DHW)  # per voxel, along z, y, x
        values_N = _sampled(fixed.image_DHW, places_N3[seen_N].T)
        self._fixed_bins_N = np.clip((values_N * _BINS).astype(np.intp), 0, _BINS - 1)
        self._bending = _bending_operators(spline)

    def __call__(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients = flat.reshape(self._shape)
        displacement_3N = _along_axes(coefficients, self._bases)[:, self._seen_DHW]
        indices_3N = self._indices_3N + self._index_per_mm @ displacement_3N
        information, slope_N = _parzen_information(self._fixed_bins_N, _sampled(self._moving, indices_3N))
        slopes_3N = np.stack([_sampled(slope, indices_3N) for slope in self._slopes])
        slopes_3N[(indices_3N < 0) | (indices_3N > self._last_3N)] = 0  # beyond the edge the image goes on as it ends
        gradient_3DHW = np.zeros((3, *self._seen_DHW.shape))
        gradient_3DHW[:, self._seen_DHW] = self._index_per_mm.T @ (slopes_3N * slope_N)
        gradient = _along_axes(gradient_3DHW, tuple(basis.T for basis in self._bases))
        bending, bending_gradient = self._bent(coefficients)
        return bending - information, (bending_gradient - gradient).ravel()

    def _bent(self, coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        energy = 0.0
        gradient: np.ndarray = np.zeros(coefficients.shape)
        for weight, operator in self._bending:
            curved = _along_axes(coefficients, operator)
            energy += weight * float((curved**2).sum())
            gradient += 2 * weight * _along_axes(curved, tuple(matrix.T for matrix in operator))
        return energy, gradient


def _bending_operators(spline: Spline) -> list[tuple[float, Axes]]:
    """Second differences of the coefficients along each pair of axes, as a change of strain from cell to cell, and the
    weights with which their squares add up to a mean.
    """
    sizes, knots_mm = spline.shape[1:], spline.knot_mm
    first = [np.diff(np.eye(n), axis=0) for n in sizes]
    second = [np.diff(np.eye(n), 2, axis=0) for n in sizes]
    operators: list[tuple[float, Axes]] = [
        (_SHIFT / np.prod(sizes) / np.prod(knots_mm) ** (2 / 3), tuple(np.eye(n) for n in sizes))]
    for a in range(3):
        for b in range(a, 3):
            operator = tuple(second[axis] if axis == a == b else first[axis] if axis in (a, b) else np.eye(n)
                             for axis, n in enumerate(sizes))
            mean = 1 / np.prod([len(matrix) for matrix in operator])
            operators.append((_BENDING * (1 if a == b else 2) * mean / (knots_mm[a] * knots_mm[b]), operator))
    return operators


def _parzen_information(fixed_bins_N: np.ndarray, values_N: np.ndarray) -> tuple[float, np.ndarray]:
    """Mutual information in nats of bins and values between 0 and 1, and its slope by each value.

    Each value spreads over four bins by the cubic B-spline. The marginal terms of the slope cancel, because the fixed
    image's histogram does not change and the window sums to 1.
    """
    n = len(values_N)
    place_N = np.clip(values_N, 0, 1) * (_BINS - 4) + 1.5
    lowest_N = place_N.astype(np.intp) - 1
    t = place_N - np.floor(place_N)
    joint_index_4N = fixed_bins_N * _BINS + lowest_N + np.arange(4)[:, None]
    counts = np.bincount(joint_index_4N.ravel(), _cubic_weights(t).ravel(), minlength=_BINS**2)
    joint = counts.reshape(_BINS, _BINS) / n
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    used = joint > 0
    logarithm = np.zeros_like(joint)
    logarithm[used] = np.log(joint[used] / apart[used])
    to_moving = np.zeros_like(joint)  # log(p(a, b) / p(b)); p(a) cancels
    to_moving[used] = logarithm[used] + np.log(np.broadcast_to(joint.sum(axis=1, keepdims=True), joint.shape)[used])
    slope_N = (_cubic_slopes(t) * to_moving.ravel()[joint_index_4N]).sum(axis=0) * (_BINS - 4) / n
    return float((joint * logarithm).sum()), slope_N


def _sampled(image_DHW: np.ndarray, indices_3N: np.ndarray) -> np.ndarray:
    return scipy.ndimage.map_coordinates(image_DHW, indices_3N, np.float64, order=1, mode="nearest")


def _along_axes(values_CDHW: np.ndarray, matrices: Axes) -> np.ndarray:
    """A matrix product along each axis: (C, z, y, x) -> (C, Z, Y, X), matrices (Z, z), (Y, y), (X, x)."""
    values_CDHW = values_CDHW @ matrices[2].T
    values_CDHW = (values_CDHW.swapaxes(2, 3) @ matrices[1].T).swapaxes(2, 3)
    return np.moveaxis(np.moveaxis(values_CDHW, 1, 3) @ matrices[0].T, 3, 1)


def _cubic_basis(places: np.ndarray, cells: int) -> np.ndarray:
    """The four cubic B-splines at places in units of cells, (n, cells + 3); beyond the ends the last ones go on."""
    cell = np.clip(np.floor(places).astype(int), 0, cells - 1)
    basis = np.zeros((len(places), cells + 3))
    for k, weight in enumerate(_cubic_weights(places - cell)):
        basis[np.arange(len(places)), cell + k] = weight
    return basis


def _cubic_weights(t: np.ndarray) -> np.ndarray:
    return np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6


def _cubic_slopes(t: np.ndarray) -> np.ndarray:
    return np.stack([-((1 - t) ** 2), 3 * t**2 - 4 * t, -3 * t**2 + 2 * t + 1, t**2]) / 2
