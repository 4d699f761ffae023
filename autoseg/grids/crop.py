"""The part of an image that holds anything: what is zero in every channel, and reaches the border, is cut away."""

import numpy as np
import scipy

from autoseg.grids.boxes import extent
from planners.schema.labels import LabelSpec

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def nonzero_mask(image_CDHW: np.ndarray, present_C: np.ndarray, absent_CDHW: np.ndarray | None = None) -> np.ndarray:
    """Voxels (z, y, x) that are not zero in some channel that has them, holes filled (face neighbours, in 3D)."""
    touched_DHW = anything(image_CDHW, present_C, absent_CDHW)
    box = bounding_box(touched_DHW)
    inside = tuple(slice(*side) for side in box)
    filled_DHW = np.zeros_like(touched_DHW)
    filled_DHW[inside] = _fill_holes(touched_DHW[inside])
    return filled_DHW


def anything(image_CDHW: np.ndarray, present_C: np.ndarray, absent_CDHW: np.ndarray | None = None) -> np.ndarray:
    """Voxels (z, y, x) that are not zero in some channel that has them; its bounding box is that of the filled mask.

    A channel has no voxels where the case lacks it, nor where `absent_CDHW` (none: nowhere) is True.
    """
    touched_DHW = np.zeros(image_CDHW.shape[1:], dtype=bool)
    for c in np.flatnonzero(present_C):
        channel_DHW = image_CDHW[c] != 0
        touched_DHW |= channel_DHW if absent_CDHW is None else channel_DHW & ~absent_CDHW[c]
    return touched_DHW


def bounding_box(mask_DHW: np.ndarray) -> Box:
    """Start and stop of the mask along each axis; of an empty mask, the whole volume."""
    z, y, x = extent(mask_DHW) or map(slice, (0, 0, 0), mask_DHW.shape)
    return (z.start, z.stop), (y.start, y.stop), (x.start, x.stop)


def around_labels(box: Box, label_DHW: np.ndarray | None, labels: LabelSpec) -> Box:
    """The box of what an image holds, widened to what is labelled: voxels that were labelled train, whatever they hold."""
    labelled = None if label_DHW is None else extent(label_DHW if labels.ignore is None else foreground(label_DHW, labels))
    if labelled is None:
        return box
    z, y, x = ((min(start, side.start), max(stop, side.stop)) for (start, stop), side in zip(box, labelled, strict=True))
    return z, y, x


def labelled_outside(box: Box, label_DHW: np.ndarray, labels: LabelSpec) -> int:
    """How many labelled voxels lie outside a box."""
    if around_labels(box, label_DHW, labels) == box:
        return 0
    foreground_DHW = foreground(label_DHW, labels)
    inside_DHW = foreground_DHW[tuple(slice(*side) for side in box)]
    return int(np.count_nonzero(foreground_DHW) - np.count_nonzero(inside_DHW))


def foreground(label_DHW: np.ndarray, labels: LabelSpec) -> np.ndarray:
    """Voxels with a label; the ignore label is none (nnU-Net counts it, and with it whatever was not annotated)."""
    foreground_DHW = label_DHW > 0
    if labels.ignore is not None:
        foreground_DHW &= label_DHW != labels.ignore
    return foreground_DHW


def _fill_holes(mask_DHW: np.ndarray) -> np.ndarray:
    """Background that cannot be reached from the border becomes mask.

    Labelling the background once is three times as fast as `scipy.ndimage.binary_fill_holes`, and equal.
    """
    if mask_DHW.all():
        return mask_DHW
    background_DHW, _ = scipy.ndimage.label(~np.pad(mask_DHW, 1))
    filled_DHW: np.ndarray = background_DHW[1:-1, 1:-1, 1:-1] != background_DHW[0, 0, 0]
    return filled_DHW
