"""Rotation, scaling and elastic deformation with the crop to the final patch, in one resampling per sample.

Samples that do not move are only cropped. The rules are those of nnU-Net 2.8 with batchgeneratorsv2 0.3: images linearly,
labels by the largest linearly interpolated share, zeros outside, and in-plane only for anisotropic patches (dummy 2D).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from autoseg.batches.augment.intensity import blur
from autoseg.batches.augment.masks import draw_mask, draw_noise, draw_uniform
from autoseg.batches.batch import Batch

# nnU-Net: a 3D patch this much longer than its first axis is rotated in-plane only; a 2D one this uneven, little.
_DUMMY_2D_RATIO = 3.0
_UNEVEN_2D_RATIO = 1.5
# nnU-Net sizes the initial patch for a scaling to 0.85 whatever the range of scaling is.
_INITIAL_SCALE = 0.85
# Voxels that are resampled at once; bounds the memory that the votes of labels take.
_CHUNK = 2**22


class SpatialOptions(Protocol):
    """What the options of an augmentation say about space.

    `rotation_degrees` None means nnU-Net's range for the patch. `scaling` above 1 shrinks the object.
    `elastic_sigma` is the smoothness of displacements as a share of the patch's edge, `elastic_voxels` the largest one.
    """

    @property
    def p_rotation(self) -> float: ...

    @property
    def rotation_degrees(self) -> float | None: ...

    @property
    def p_scaling(self) -> float: ...

    @property
    def scaling(self) -> tuple[float, float]: ...

    @property
    def p_elastic(self) -> float: ...

    @property
    def elastic_sigma(self) -> tuple[float, float]: ...

    @property
    def elastic_voxels(self) -> tuple[float, float]: ...


def is_dummy_2d(patch: tuple[int, ...]) -> bool:
    return len(patch) == 3 and max(patch) / patch[0] > _DUMMY_2D_RATIO


def rotation_limit_degrees(patch: tuple[int, ...]) -> float:
    """nnU-Net's largest rotation about an axis: 30 in 3D, 180 in-plane, 15 in an uneven 2D patch."""
    if len(patch) == 3:
        return 180.0 if is_dummy_2d(patch) else 30.0
    return 15.0 if max(patch) / min(patch) > _UNEVEN_2D_RATIO else 180.0


def initial_patch(patch: tuple[int, ...], options: SpatialOptions, planned: tuple[int, ...] | None = None
                  ) -> tuple[int, ...]:
    """The patch to cut so that rotating leaves few voxels without image; `patch` itself where nothing moves.

    The rule is nnU-Net's `get_patch_size`: the patch's corner turned about one axis at a time, by at most 90 degrees. The
    `planned` patch says how far, where it is another one.
    """
    planned = planned or patch
    if options.p_rotation == options.p_scaling == options.p_elastic == 0:
        return tuple(patch)
    limit = options.rotation_degrees if options.rotation_degrees is not None else rotation_limit_degrees(planned)
    angle = math.radians(min(abs(limit), 90.0))
    corner = np.array(patch, float)
    reached = [corner]
    for turned in range(len(patch) if len(patch) == 3 else 1):
        angles = np.zeros(3)
        angles[turned if len(patch) == 3 else 2] = angle
        reached.append(np.abs(affine_matrix(angles, 1.0, len(patch)).T @ corner))
    size = (np.max(reached, axis=0) / _INITIAL_SCALE).astype(int).tolist()
    return (patch[0], *size[1:]) if is_dummy_2d(planned) else tuple(size)


def affine_matrix(angles: np.ndarray, scale: float, dimensions: int) -> np.ndarray:
    """Offset from the centre of the result -> offset in the source, in voxels, array order.

    In 3D turns about axis 0, then 1, then 2 by angles (3,) in radians; in 2D by the last of them.
    """
    cos, sin = np.cos(angles), np.sin(angles)
    if dimensions == 2:
        return scale * np.array([[cos[2], -sin[2]], [sin[2], cos[2]]])
    about_0 = np.array([[1, 0, 0], [0, cos[0], -sin[0]], [0, sin[0], cos[0]]])
    about_1 = np.array([[cos[1], 0, sin[1]], [0, 1, 0], [-sin[1], 0, cos[1]]])
    about_2 = np.array([[cos[2], -sin[2], 0], [sin[2], cos[2], 0], [0, 0, 1]])
    return scale * about_2 @ about_1 @ about_0


@dataclass(frozen=True)
class Moves:
    """The samples of a batch that move; for each its `affine_matrix`, and whether it is also deformed."""

    samples: list[int]
    matrices: list[np.ndarray]
    deformed: list[bool]


class Spatial:
    """Crops or resamples every sample of a batch from `initial_patch` to `patch`; the result shares no memory. The `planned`
    patch says how samples are turned, where it is another one.
    """

    def __init__(self, patch: tuple[int, ...], options: SpatialOptions, *, n_images: int, padding: int,
                 planned: tuple[int, ...] | None = None):
        planned = planned or patch
        self.initial_patch = initial_patch(patch, options, planned)
        self._patch = tuple(patch)
        self._options = options
        self._n_images = n_images
        self._padding = padding
        self._n_stacked = 1 if is_dummy_2d(planned) else 0  # leading axes that do not move
        limit = options.rotation_degrees if options.rotation_degrees is not None else rotation_limit_degrees(planned)
        self._angle = math.radians(abs(limit))

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return self.apply(batch, self.draw(len(batch.image_BCDHW), generator), generator)

    def apply(self, batch: Batch, moves: Moves, generator: torch.Generator) -> Batch:
        """The batch cropped and moved; `generator` draws the displacements of deformed samples."""
        whole = slice(None)
        centre = tuple(slice(full // 2 - size // 2, full // 2 - size // 2 + size)
                       for full, size in zip(self.initial_patch, self._patch, strict=True))
        image = batch.image_BCDHW[(whole, whole, *centre)].clone(memory_format=torch.contiguous_format)
        label = batch.label_BDHW[(whole, *centre)].clone(memory_format=torch.contiguous_format)
        step = max(1, _CHUNK // math.prod(self._patch))
        for first in range(0, len(moves.samples), step):
            some = slice(first, first + step)
            grid = self._grid(moves.matrices[some], moves.deformed[some], image.device, generator)
            index = torch.tensor(moves.samples[some]).to(image.device, non_blocking=True)
            image.index_copy_(0, index, self._image_at(batch.image_BCDHW.index_select(0, index), grid))
            label.index_copy_(0, index, self._label_at(batch.label_BDHW.index_select(0, index), grid))
        return replace(batch, image_BCDHW=image, label_BDHW=label)

    def draw(self, n_samples: int, generator: torch.Generator) -> Moves:
        """Which samples of a batch move, their angles and their scales."""
        options = self._options
        rotated = draw_mask(n_samples, options.p_rotation, generator)
        scaled = draw_mask(n_samples, options.p_scaling, generator)
        deformed = draw_mask(n_samples, options.p_elastic, generator)
        angles = draw_uniform((-self._angle, self._angle), (n_samples, 3), generator).numpy()
        scales = draw_uniform(options.scaling, n_samples, generator).tolist()
        moved = [s for s in range(n_samples) if rotated[s] or scaled[s] or deformed[s]]
        dimensions = len(self._patch) - self._n_stacked
        matrices = [affine_matrix(angles[s] * rotated[s], scales[s] if scaled[s] else 1.0, dimensions) for s in moved]
        return Moves(moved, matrices, [deformed[s] for s in moved])

    def _grid(self, matrices: list[np.ndarray], deformed: list[bool], device: torch.device,
              generator: torch.Generator) -> torch.Tensor:
        """Where each voxel of the results comes from, (N, *moving axes, n), as `grid_sample` wants it."""
        final = np.array(self._patch[self._n_stacked :], float)
        to_unit = 2 / np.array(self.initial_patch[self._n_stacked :], float)
        dimensions = len(final)
        scaled = np.stack([to_unit[:, None] * matrix * (final / 2) for matrix in matrices])[:, ::-1, ::-1].copy()
        theta = F.pad(torch.from_numpy(scaled).float(), (0, 1)).to(device, non_blocking=True)
        shape = self._patch[self._n_stacked :]
        grid = F.affine_grid(theta, [len(matrices), 1, *shape], align_corners=False)
        for sample, matrix in enumerate(matrices):
            if deformed[sample]:
                to_source = torch.from_numpy(to_unit[:, None] * matrix).float().to(device, non_blocking=True)
                shift = torch.einsum("ij,j...->...i", to_source, self._displacement(shape, device, generator))
                centred = shift - shift.mean(tuple(range(dimensions)))
                grid[sample] += centred.flip(-1)
        return grid

    def _displacement(self, shape: tuple[int, ...], device: torch.device, generator: torch.Generator) -> torch.Tensor:
        """Smooth random displacements (n, *shape) in voxels."""
        n = len(shape)
        sigma = draw_uniform(self._options.elastic_sigma, (n, 1), generator) * torch.tensor(shape)
        largest = draw_uniform(self._options.elastic_voxels, n, generator)
        smooth = blur(draw_noise(torch.empty(n, *shape, device=device), generator), sigma.clamp(min=1e-3))
        peak = smooth.flatten(1).abs().amax(1).clamp(min=1e-7)
        return smooth * (largest.to(device, non_blocking=True) / peak).view(n, *[1] * n)

    def _image_at(self, image_BCDHW: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        channels = image_BCDHW.flatten(1, 1 + self._n_stacked)
        sampled = F.grid_sample(channels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        sampled = sampled.view(*image_BCDHW.shape[:2], *self._patch)
        # All other channels are binary, and stay so.
        binary = sampled[:, self._n_images :]
        binary.copy_(binary > 0.5)
        return sampled

    def _label_at(self, label_BDHW: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        maps = label_BDHW if self._n_stacked else label_BDHW[:, None]
        return sample_labels(maps, grid, self._padding).reshape(-1, *self._patch)


def sample_labels(label_NM: torch.Tensor, grid_N: torch.Tensor, padding: int) -> torch.Tensor:
    """Label maps (N, M, *space) at the positions of a grid (N, *patch, n) of `grid_sample`: (N, M, *patch).

    Every label's one-hot map is interpolated linearly and the largest wins, a tie goes to the nearest voxel's label.
    The voxels around a position vote with their interpolation weights, so the cost does not grow with the number of
    labels. Outside the map all is `padding`.
    """
    n_samples, n_maps = label_NM.shape[:2]
    n = grid_N.shape[-1]
    padded = F.pad(label_NM, [1, 1] * n, value=padding)
    table_VM = padded.movedim(1, -1).reshape(-1, n_maps)
    lowest = torch.arange(n_samples, device=label_NM.device).view(-1, *[1] * n)  # corner around each position, in the table
    shares = []  # of the upper corners, per axis
    for axis, size in enumerate(padded.shape[2:]):
        # In voxels of the padded map; what lies beyond its border is as the border.
        position = ((grid_N[..., n - 1 - axis] + 1) * ((size - 2) / 2) + 0.5).clamp_(0, size - 1)
        floor = position.floor().clamp_(max=size - 2)
        shares.append(position.sub_(floor).flatten())
        lowest = lowest * size + floor.long()
    rows = lowest.flatten()
    if table_VM.device.type == "cpu":  # few positions lie between labels; elsewhere, counting them would wait for the device
        sampled = table_VM.index_select(0, rows)
        between = _between_labels(padded).flatten().index_select(0, rows).nonzero()[:, 0]
        sampled[between] = _vote(table_VM, rows[between], [share[between] for share in shares], padded.shape[2:])
    else:
        sampled = _vote(table_VM, rows, shares, padded.shape[2:])
    return sampled.view(*grid_N.shape[:-1], n_maps).movedim(-1, 1)


def _between_labels(label_NM: torch.Tensor) -> torch.Tensor:
    """Whether any map has more than one label in the block of two voxels along each axis that begins at a voxel.

    (N, *space); False at the last voxels, where no block begins.
    """
    low = high = label_NM
    for axis in range(2, label_NM.ndim):
        n = low.shape[axis] - 1
        low = torch.minimum(low.narrow(axis, 0, n), low.narrow(axis, 1, n))
        high = torch.maximum(high.narrow(axis, 0, n), high.narrow(axis, 1, n))
    return F.pad((low != high).any(1), [0, 1] * (label_NM.ndim - 2))


def _vote(table_VM: torch.Tensor, rows_P: torch.Tensor, shares: list[torch.Tensor], sizes: Sequence[int]) -> torch.Tensor:
    """The labels (P, M) of the positions whose lowest corners are rows of the table, by all their corners' weights."""
    corners = [(0, torch.ones_like(shares[0]))]  # (steps in the table from the lowest corner, weight)
    for size, share in zip(sizes, shares, strict=True):
        corners = [(steps * size + step, weight * part) for steps, weight in corners
                   for step, part in ((0, 1 - share), (1, share))]
    labels = [table_VM[steps:].index_select(0, rows_P) for steps, _ in corners]
    return _elect(labels, [weight[:, None] for _, weight in corners])


def _elect(labels: list[torch.Tensor], weights: list[torch.Tensor]) -> torch.Tensor:
    """Of the voters' labels (V, M), for each voxel the one whose voters' weights (V, 1) sum to most."""
    # The voter's own weight decides ties, as it is largest for the nearest one.
    votes = [(weight * 1.0005).repeat(1, label.shape[1]) for label, weight in zip(labels, weights, strict=True)]
    agree = torch.empty_like(votes[0])
    for i in range(len(labels)):
        for j in range(i):
            torch.eq(labels[i], labels[j], out=agree)
            votes[i].addcmul_(agree, weights[j])
            votes[j].addcmul_(agree, weights[i])
    best, winner = votes[0], labels[0]
    for label, vote in zip(labels[1:], votes[1:], strict=True):
        winner = torch.where(vote > best, label, winner)
        best = torch.maximum(best, vote)
    return winner
