"""What is done to a label map after it was decided: largest components, filled holes, a minimum volume.

Names are those of the foreground; a name's mask is the union of its values, as in evaluation. What is taken from a plain
label becomes background. What is taken from a region becomes the smallest region that contains it (by its values), since
a voxel that is no longer core is still tumour; background where there is none. Holes are filled with the value that the
name is painted with, where they hold background or a region that contains this one: no other label loses a voxel.

Components share a corner at least (26-connected); a hole is what cannot be left by faces. Axes of one voxel do not count,
so that 2D images have holes.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.ndimage

from autoseg.grids.boxes import occupied
from autoseg.grids.components import components
from autoseg.grids.geometry import Geometry
from autoseg.prediction.inference_settings import Postprocessing
from planners.schema.labels import LabelSpec

Mask = Callable[[np.ndarray], np.ndarray]  # of a mask, which of its voxels go (bool)


def apply(steps: Postprocessing, label_DHW: np.ndarray, labels: LabelSpec, geometry: Geometry) -> np.ndarray:
    """The label map (z, y, x) after all steps; the one that is given is left as it is, and returned if nothing changes.

    `geometry` gives the volume of a voxel. Raises ValueError for a name that is no foreground of `labels`.
    """
    named = {*steps.keep_largest, *steps.fill_holes, *steps.minimum_ml}
    if unknown := sorted(named - set(labels.foreground)):
        raise ValueError(f"no foreground is named {', '.join(unknown)}; named: {', '.join(labels.foreground)}")
    if steps == Postprocessing() or not label_DHW.any():
        return label_DHW
    window = occupied(label_DHW)
    part = label_DHW[window].copy()
    if steps.keep_largest_of_all:
        part[_beside_largest(np.isin(part, _foreground_values(labels)))] = 0
    for name in labels.foreground:
        if name in steps.keep_largest:
            _take(part, name, labels, _beside_largest)
    for name in labels.foreground:
        if name in steps.fill_holes:
            _fill(part, name, labels)
    for name in labels.foreground:
        if name in steps.minimum_ml:
            fewest = steps.minimum_ml[name] / geometry.voxel_ml()
            _take(part, name, labels, partial(_smaller, fewest_voxels=fewest))
    if np.array_equal(part, label_DHW[window]):
        return label_DHW
    out_DHW = label_DHW.copy()
    out_DHW[window] = part
    return out_DHW


def _foreground_values(labels: LabelSpec) -> list[int]:
    return [value for name in labels.foreground for value in labels.names[name]]


def _painted(name: str, labels: LabelSpec) -> int:
    """The value that a mask gets where this name is decided."""
    index = labels.foreground.index(name)
    return labels.names[name][0] if labels.region_order is None else labels.region_order[index]


def _containing(name: str, labels: LabelSpec) -> list[str]:
    """The regions that contain this one, the smallest first."""
    mine = set(labels.names[name])
    around = [other for other in labels.foreground if mine < set(labels.names[other])]
    return sorted(around, key=lambda other: len(labels.names[other]))


def _take(part: np.ndarray, name: str, labels: LabelSpec, goes: Mask) -> None:
    """Take voxels from a name, in place."""
    around = _containing(name, labels)
    part[goes(np.isin(part, labels.names[name]))] = _painted(around[0], labels) if around else 0


def _fill(part: np.ndarray, name: str, labels: LabelSpec) -> None:
    """Fill the holes of a name, in place."""
    mask = np.isin(part, labels.names[name])
    free = np.isin(part, [0, *(_painted(other, labels) for other in _containing(name, labels))])
    flat = tuple(n for n in mask.shape if n > 1)
    filled = scipy.ndimage.binary_fill_holes(mask.reshape(flat)).reshape(mask.shape) if flat else mask
    part[filled & ~mask & free] = _painted(name, labels)


def _beside_largest(mask: np.ndarray) -> np.ndarray:
    """Everything but the largest component; of equal ones the first stays."""
    component, n = components(mask)
    if n < 2:
        return np.zeros_like(mask)
    return mask & (component != 1 + np.argmax(np.bincount(component.ravel())[1:]))


def _smaller(mask: np.ndarray, fewest_voxels: float) -> np.ndarray:
    """The components of fewer voxels."""
    component, n = components(mask)
    too_small = np.bincount(component.ravel(), minlength=n + 1) < fewest_voxels * (1 - 1e-9)
    too_small[0] = False
    return too_small[component]
