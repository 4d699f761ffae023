"""The box around what is not zero: most of most images is background."""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy

Box = tuple[slice, ...]


def extent(array: np.ndarray) -> Box | None:
    """The box of what is not zero in an array of whole numbers or of bool, of any number of axes; None where all is zero."""
    if array.ndim == 1:
        used = np.flatnonzero(array)
        return (slice(int(used[0]), int(used[-1]) + 1),) if used.size else None
    # One pass over the whole, a plane at a time, as memory has it; what is left to do lies within that plane's box.
    rest = extent(np.bitwise_or.reduce(array, axis=0))
    if rest is None:
        return None
    inner = tuple(range(1, array.ndim))
    first = extent(np.bitwise_or.reduce(array[(slice(None), *rest)], axis=inner))
    return None if first is None else (*first, *rest)


def joint_box(boxes: Sequence[Box]) -> Box:
    """The smallest box around all of these."""
    return tuple(slice(min(side.start for side in sides), max(side.stop for side in sides))
                 for sides in zip(*boxes, strict=True))


def occupied(*label_maps: np.ndarray) -> Box:
    """The box beyond which all label maps, of whole numbers, are background; one voxel where they are nothing else."""
    boxes = [box for box in map(extent, label_maps) if box is not None]
    return joint_box(boxes) if boxes else (slice(0, 1),) * label_maps[0].ndim


def label_boxes(truth_DHW: np.ndarray, predicted_DHW: np.ndarray) -> dict[int, list[Box]]:
    """Bounding boxes of each label value in the truth and in the prediction."""
    boxes: dict[int, list[Box]] = {}
    for label_DHW in (truth_DHW, predicted_DHW):
        for value, box in boxes_of_values(label_DHW).items():
            boxes.setdefault(value, []).append(box)
    return boxes


def boxes_of_values(label_DHW: np.ndarray) -> dict[int, Box]:
    """The box of each value above 0 that a label map has."""
    boxes = scipy.ndimage.find_objects(label_DHW)
    return {value: box for value, box in enumerate(boxes, start=1) if box is not None}


def box_of_values(boxes: Mapping[int, Box], values: Sequence[int]) -> Box | None:
    """The box of several values together; None where the label map has none of them."""
    present = [boxes[value] for value in values if value in boxes]
    return joint_box(present) if present else None


def cropped_masks(truth_DHW: np.ndarray, predicted_DHW: np.ndarray, values: tuple[int, ...], ignore: int | None,
                  boxes: dict[int, list[Box]]) -> tuple[np.ndarray, np.ndarray]:
    """Both masks (bool) of a name within the box that holds both; what the truth ignores is in neither."""
    window = joint_box([box for value in values for box in boxes.get(value, ())])
    truth, predicted = (_mask(label_DHW[window], values) for label_DHW in (truth_DHW, predicted_DHW))
    if ignore is not None:
        predicted &= truth_DHW[window] != ignore
    return truth, predicted


def _mask(label_DHW: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    return label_DHW == values[0] if len(values) == 1 else np.isin(label_DHW, values)
