"""How alike two images are under a transform, measured on all voxels of a coarse grid, not on the optimiser's samples."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage

from autoseg.grids.boxes import occupied
from autoseg.grids.transform import Transform, indices_of, points_of
from autoseg.preprocessing.registration.images import Volume, shrunk, smoothed

_BINS = 32
_VOXELS = 200_000  # about as many are compared
# Displacements that stand for unrelated images, and the voxels that they are compared on.
_DISPLACEMENTS = 40
_DISPLACED_VOXELS = 15_000
_LEAST_SEEN = 0.3  # of the overlap must remain after a displacement
_CLIMBING_STEPS = (2, 1)  # voxels


@dataclass(frozen=True)
class Score:
    """`information` is the normalised mutual information 2 I(A, B) / (H(A) + H(B)) of the voxels that both images see: 0
    where they know nothing of one another, 1 where one determines the other; None where no voxel is seen by both.
    `coverage` is the share of the smaller field of view that the other image sees too.
    """

    information: float | None
    coverage: float

    def worth(self, start: "Score") -> float:
        """The information, less the share of the overlap at the start that was lost: an image that is pushed out of
        view until only what fits remains has not become more alike.
        """
        remaining = min(1.0, self.coverage / start.coverage) if start.coverage > 0 else 1.0
        return (self.information or 0.0) * remaining


class Comparison:
    """Two images, and their similarity under any transform from the fixed to the moving one."""

    def __init__(self, fixed: Volume, moving: Volume):
        step_mm = (fixed.volume_mm3 / _VOXELS) ** (1 / 3)
        coarse = smoothed(shrunk(fixed, step_mm), step_mm / 2)
        self._moving = smoothed(shrunk(moving, step_mm), step_mm / 2)
        self._shape = coarse.image_DHW.shape
        voxels_N3 = np.indices(self._shape).reshape(3, -1).T
        # Off the voxels' centres: between them interpolation averages noise, which would look like agreement wherever
        # one image is half a voxel from the other.
        places_N3 = voxels_N3 + np.random.default_rng(0).uniform(-0.5, 0.5, voxels_N3.shape)
        self._fixed_bins_N = _binned(_sampled(coarse.image_DHW, places_N3))
        self._points_N3_mm = points_of(coarse.geometry, places_N3)
        self._voxel_mm3 = coarse.volume_mm3 / coarse.image_DHW.size
        self._spacing_mm = np.array(coarse.geometry.spacing_mm)
        self._smaller_mm3 = min(fixed.volume_mm3, moving.volume_mm3)

    def score(self, transform: Transform) -> Score:
        """Information and coverage under a transform."""
        moved_bins_N, seen_N = self._moved(transform)
        coverage = min(1.0, np.count_nonzero(seen_N) * self._voxel_mm3 / self._smaller_mm3)
        if not seen_N.any():
            return Score(None, 0.0)
        return Score(_information(self._fixed_bins_N[seen_N], moved_bins_N[seen_N]), float(coverage))

    def likeness(self, transform: Transform, start: Score, seed: int = 0) -> float:
        """The worth under a transform, as a multiple of the best that the same two images reach where they cannot belong
        together: after displacements by a quarter of the overlap or more (around its edges), drawn from a seed, each
        followed by a climb to the next maximum. Values about 1 are those of unrelated images.
        """
        score = self.score(transform)
        if score.information is None:
            return 0.0
        pair = self._overlap(transform)
        rng = np.random.default_rng(seed)
        shifts = [[int(rng.integers(max(1, n // 4), max(2, n - n // 4 + 1))) for n in pair.fixed_DHW.shape]
                  for _ in range(_DISPLACEMENTS)]
        best = max(pair.climb(np.array(shift)) for shift in shifts)
        aligned = replace(score, information=pair.information(np.zeros(3, dtype=int))).worth(start)
        return aligned / best if best > 0 else 0.0

    def _moved(self, transform: Transform) -> tuple[np.ndarray, np.ndarray]:
        """The moving image's bins at the fixed voxels, and whether it sees them."""
        indices_N3 = indices_of(self._moving.geometry, transform.apply(self._points_N3_mm))
        last = np.array(self._moving.geometry.shape) - 0.5
        seen_N = np.asarray(((indices_N3 >= -0.5) & (indices_N3 <= last)).all(axis=1))
        bins_N = np.zeros(len(seen_N), dtype=np.intp)
        bins_N[seen_N] = _binned(_sampled(self._moving.image_DHW, indices_N3[seen_N]))
        return bins_N, seen_N

    def _overlap(self, transform: Transform) -> "_Displaceable":
        """The box of what both images see, thinned to few voxels."""
        moved_bins_N, seen_N = self._moved(transform)
        seen_DHW = seen_N.reshape(self._shape)
        sides = occupied(seen_DHW)
        size = np.prod([side.stop - side.start for side in sides])
        edge_mm = (size * self._spacing_mm.prod() / _DISPLACED_VOXELS) ** (1 / 3)
        every = np.maximum(1, np.round(edge_mm / self._spacing_mm)).astype(int)
        box = tuple(slice(side.start, side.stop, step) for side, step in zip(sides, every, strict=True))
        return _Displaceable(self._fixed_bins_N.reshape(self._shape)[box], moved_bins_N.reshape(self._shape)[box],
                             seen_DHW[box])


@dataclass(frozen=True)
class _Displaceable:
    """Two images on one grid, of which the second can be shifted around the edges."""

    fixed_DHW: np.ndarray  # bins
    moved_DHW: np.ndarray
    seen_DHW: np.ndarray  # bool

    def climb(self, shift: np.ndarray) -> float:
        """The largest information that single steps lead to from a shift, none of them back to where both belong."""
        best = self.information(shift)
        for size in _CLIMBING_STEPS:
            moves = [size * step for axis in np.eye(3, dtype=int) for step in (axis, -axis)]
            waiting = list(moves)
            while waiting:
                nearby = shift + waiting.pop()
                value = self.information(nearby) if self._is_far(nearby) else 0.0
                if value > best:
                    best, shift, waiting = value, nearby, list(moves)
        return best

    def _is_far(self, shift: np.ndarray) -> bool:
        """Whether every axis is displaced by a sixth of the box or more."""
        sizes = np.array(self.fixed_DHW.shape)
        return bool((np.minimum(shift % sizes, -shift % sizes) >= sizes // 6).all())

    def information(self, shift: np.ndarray) -> float:
        """Of the voxels that are seen in both after a shift around the edges; 0 where they are few."""
        moves = tuple(shift.tolist())
        seen_DHW = np.roll(self.seen_DHW, moves, (0, 1, 2)) & self.seen_DHW
        if np.count_nonzero(seen_DHW) < _LEAST_SEEN * np.count_nonzero(self.seen_DHW):
            return 0.0
        return _information(self.fixed_DHW[seen_DHW], np.roll(self.moved_DHW, moves, (0, 1, 2))[seen_DHW])


def _sampled(image_DHW: np.ndarray, indices_N3: np.ndarray) -> np.ndarray:
    return scipy.ndimage.map_coordinates(image_DHW, indices_N3.T, np.float32, order=1, mode="nearest")


def _binned(values: np.ndarray) -> np.ndarray:
    """Bins of values between 0 and 1."""
    return np.clip((values * _BINS).astype(np.intp), 0, _BINS - 1)


def _information(first_N: np.ndarray, second_N: np.ndarray) -> float:
    joint = np.bincount(first_N * _BINS + second_N, minlength=_BINS**2).reshape(_BINS, _BINS) / len(first_N)
    apart = _entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))
    return float(2 * (apart - _entropy(joint.ravel())) / apart) if apart > 0 else 0.0


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
