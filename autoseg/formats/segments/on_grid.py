"""The segments of a SEG on the grid of a volume: frames that lie on its voxels are copied, others are interpolated."""

import itertools
import logging
import math
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError, listed
from autoseg.formats.door import refuse_more_than_memory
from autoseg.formats.segments.seg_file import Frame, Segmentation
from autoseg.grids.geometry import Geometry, triple
from autoseg.grids.regrid import regrid
from autoseg.grids.transform import indices_of, points_of

logger = logging.getLogger(__name__)

# A frame lies on voxels where none of its corners is farther from the centre of one, in voxels: headers round positions.
_ON_VOXELS = 0.1
# With as many rows and columns as the slices it was drawn on their pixels, also where its header means corners by positions.
_SAME_PIXELS = 0.5 + 1e-3
# What rounding leaves between two positions of one plane [mm].
_ONE_PLANE_MM = 0.01
# Positions of frames are multiples of one distance but for this share of it.
_UNEVEN = 0.05


def masks_on(segmentation: Segmentation, geometry: Geometry, only: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The mask (z, y, x; bool) of each segment, or of `only` some, on a grid. Segments of one name are one structure; slices
    without a frame, and segments without any, are empty.

    Where the frames lie on another grid, they are brought to this one by linear interpolation and a threshold of a half.
    Raises UserError where a part of a segment lies outside the grid, where frames are unevenly apart, or a name of `only` is
    not known.
    """
    wanted = _wanted(segmentation, only)
    frames = [frame for frame in segmentation.frames if frame.segment in wanted]
    if all(_voxels(frame, segmentation.shape, geometry) is not None for frame in frames):
        _warn_of_shift(segmentation, frames, geometry)
        return _copied(segmentation, frames, wanted, geometry)
    own = own_grid(segmentation)
    logger.warning("%s: its grid is not that of the series (%s), to which it is interpolated", segmentation.path,
                   own.difference(geometry))
    masks = _copied(segmentation, frames, wanted, own)
    return {name: _interpolated(segmentation.path, name, mask_DHW, own, geometry) for name, mask_DHW in masks.items()}


def label_on(segmentation: Segmentation, geometry: Geometry, values: Mapping[str, int]) -> np.ndarray:
    """The label map (z, y, x) of the segments that `values` names in lower case; of two that overlap the later one is kept.

    Raises UserError where no segment is known, and as `masks_on` does.
    """
    names = {name.lower(): name for name in segmentation.names.values()}
    known = [name for name in values if name in names]
    if not known:
        raise UserError("no segment is known", where=segmentation.path, found=listed(sorted(names)), expected=listed(values))
    label = np.zeros(geometry.shape, np.int16)
    for name in known:
        label[masks_on(segmentation, geometry, [names[name]])[names[name]]] = values[name]
    return label


def own_grid(segmentation: Segmentation) -> Geometry:
    """The smallest grid (rows, columns and evenly distant planes) that holds all frames of a segmentation.

    Raises UserError where there is none, because frames are turned to each other or unevenly apart.
    """
    frames = segmentation.frames
    if not frames:
        raise UserError("the segmentation has no frame", where=segmentation.path)
    rows, columns = frames[0].row_step_mm, frames[0].column_step_mm
    if any(not np.allclose((frame.row_step_mm, frame.column_step_mm), (rows, columns), atol=1e-4) for frame in frames):
        raise UserError("the frames of the segmentation are turned to each other", where=segmentation.path)
    normal = np.cross(columns, rows) / np.linalg.norm(np.cross(columns, rows))
    along = np.array([frame.position_mm @ normal for frame in frames])
    first, last = frames[int(along.argmin())].position_mm, frames[int(along.argmax())].position_mm
    step_mm = _plane_distance(segmentation, along)
    n_planes = 1 + round(float(np.ptp(along)) / step_mm)
    step = normal * step_mm if n_planes == 1 else (last - first) / (n_planes - 1)
    spacing = triple(float(np.linalg.norm(vector)) for vector in (step, rows, columns))
    direction = np.column_stack([vector / mm for vector, mm in zip((columns, rows, step), spacing[::-1], strict=True)])
    return Geometry((n_planes, *segmentation.shape), spacing, triple(map(float, first)), tuple(direction.ravel().tolist()))


def _plane_distance(segmentation: Segmentation, along: np.ndarray) -> float:
    """The distance of the planes [mm]: as the file says, if all frames lie so, else the smallest that occurs."""
    steps = np.diff(np.sort(along))
    steps = steps[steps > _ONE_PLANE_MM]
    for distance in (segmentation.spacing_mm, float(steps.min()) if len(steps) else 1.0):
        if distance and all(abs(step / distance - round(step / distance)) <= _UNEVEN for step in steps.tolist()):
            return distance
    raise UserError("the frames of the segmentation are not evenly apart", where=segmentation.path,
                    found=f"{listed(sorted({f'{step:.4g} mm' for step in steps}))}")


def _wanted(segmentation: Segmentation, only: Collection[str] | None) -> dict[int, str]:
    """The names of the segments that are wanted, by number."""
    if only is not None and (unknown := set(only) - set(segmentation.names.values())):
        raise UserError("the file has no such segment", where=segmentation.path, found=listed(sorted(unknown)),
                        expected=listed(sorted(set(segmentation.names.values()))))
    return {number: name for number, name in segmentation.names.items() if only is None or name in only}


def _voxels(frame: Frame, shape: tuple[int, int], geometry: Geometry) -> np.ndarray | None:
    """Indices (3, 3; z, y, x) of a frame's first pixel and the steps to the next row and column, where they are whole
    numbers; None where the frame lies between voxels or across them.
    """
    reach = np.array([[0, 0], [shape[0] - 1, 0], [0, shape[1] - 1]])
    indices = indices_of(geometry, frame.position_mm + reach @ np.array([frame.row_step_mm, frame.column_step_mm]))
    steps = indices_of(geometry, frame.position_mm + np.array([frame.row_step_mm, frame.column_step_mm])) - indices[0]
    whole = np.vstack([indices[0], steps]).round().astype(int)
    along = np.abs(whole[1:])
    if not ((along.sum(1) == 1).all() and along.max() == 1 and not (along[0] & along[1]).any()):
        return None
    tolerance, axes = np.full(3, _ON_VOXELS), along.argmax(1)
    if all(shape[i] == geometry.shape[axis] for i, axis in enumerate(axes)):
        tolerance[axes] = _SAME_PIXELS
        whole[0, axes] = [0 if whole[1 + i, axis] > 0 else shape[i] - 1 for i, axis in enumerate(axes)]
    return whole if (np.abs(whole[0] + reach @ whole[1:] - indices) <= tolerance).all() else None


def _warn_of_shift(segmentation: Segmentation, frames: list[Frame], geometry: Geometry) -> None:
    for frame in frames[:1]:
        voxels = _voxels(frame, segmentation.shape, geometry)
        shift = np.zeros(3) if voxels is None else indices_of(geometry, frame.position_mm[None])[0] - voxels[0]
        if np.abs(shift).max() > _ON_VOXELS:
            logger.warning("%s: its pixels lie %.2g mm from those of the series, which are as many; they are taken as the "
                           "same", segmentation.path, np.linalg.norm(shift * geometry.spacing_mm))


def _copied(segmentation: Segmentation, frames: list[Frame], wanted: Mapping[int, str], geometry: Geometry
            ) -> dict[str, np.ndarray]:
    refuse_more_than_memory(segmentation.path, len(wanted) * math.prod(geometry.shape))
    masks = {name: np.zeros(geometry.shape, bool) for name in wanted.values()}
    for number, group in itertools.groupby(frames, lambda frame: frame.number):
        pixels_HW = segmentation.pixels_HW(number)
        for frame in group:
            _copy(segmentation, frame, segmentation.mask_HW(frame, pixels_HW), masks[wanted[frame.segment]], geometry)
    return masks


def _copy(segmentation: Segmentation, frame: Frame, mask_HW: np.ndarray, into_DHW: np.ndarray, geometry: Geometry) -> None:
    """Add the pixels of a frame. A UserError where it lies between voxels, or a pixel outside the grid."""
    voxels = _voxels(frame, segmentation.shape, geometry)
    if voxels is None:
        raise UserError("the frames of the segmentation do not lie on one grid", where=segmentation.path,
                        found=f"a frame at {listed(frame.position_mm.round(3))} mm", expected=geometry.describe())
    indices = np.argwhere(mask_HW) @ voxels[1:] + voxels[0]
    is_inside = ((indices >= 0) & (indices < geometry.shape)).all(1)
    if not is_inside.all():
        _refuse_outside(segmentation.path, segmentation.names[frame.segment], geometry, indices)
    into_DHW[tuple(indices.T)] = True


def _interpolated(path: Path, name: str, mask_DHW: np.ndarray, own: Geometry, geometry: Geometry) -> np.ndarray:
    indices = indices_of(geometry, points_of(own, np.argwhere(mask_DHW)))
    if ((indices < -0.5) | (indices > np.array(geometry.shape) - 0.5)).any():
        _refuse_outside(path, name, geometry, indices)
    if not len(indices):
        return np.zeros(geometry.shape, bool)
    share_CDHW, _ = regrid(mask_DHW[None].astype(np.float32), own, geometry, names=(path, "the series"))
    return np.asarray(share_CDHW[0] >= 0.5)


def _refuse_outside(path: Path, name: str, geometry: Geometry, indices_N3: np.ndarray) -> None:
    """A UserError that says how far a segment reaches beyond a grid."""
    beyond = np.maximum(-indices_N3, indices_N3 - np.array(geometry.shape) + 1).max(0) * geometry.spacing_mm
    raise UserError("a segment lies outside the slices of the series", where=path,
                    found=f"{name}, up to {float(beyond.max()):.1f} mm beyond them", expected=geometry.describe(),
                    do="name the series that the segmentation was drawn on, with all its slices")
