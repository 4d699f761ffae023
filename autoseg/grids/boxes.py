"""Cutting label maps down to the boxes that matter: most of most images is background."""

import numpy as np
import scipy

Box = tuple[slice, ...]


def occupied(*label_maps: np.ndarray) -> Box:
    """The box beyond which all label maps, of whole numbers, are background."""
    boxes = [box for box in map(_extent, label_maps) if box is not None]
    if not boxes:
        return (slice(0, 1),) * label_maps[0].ndim
    return tuple(slice(min(side.start for side in sides), max(side.stop for side in sides))
                 for sides in zip(*boxes, strict=True))


def _extent(label_map: np.ndarray) -> Box | None:
    """The box of what is not background; None where all is."""
    if label_map.ndim == 1:
        used = np.flatnonzero(label_map)
        return (slice(int(used[0]), int(used[-1]) + 1),) if used.size else None
    # One pass over the whole, a plane at a time, as memory has it; what is left to do lies within that plane's box.
    rest = _extent(np.bitwise_or.reduce(label_map, axis=0))
    if rest is None:
        return None
    inner = tuple(range(1, label_map.ndim))
    return _extent(np.bitwise_or.reduce(label_map[(slice(None), *rest)], axis=inner)) + rest


def label_boxes(truth_DHW: np.ndarray, predicted_DHW: np.ndarray) -> dict[int, list[Box]]:
    """Bounding boxes of each label value in the truth and in the prediction."""
    boxes: dict[int, list[Box]] = {}
    for label_DHW in (truth_DHW, predicted_DHW):
        for value, box in enumerate(scipy.ndimage.find_objects(label_DHW), start=1):
            if box is not None:
                boxes.setdefault(value, []).append(box)
    return boxes


def cropped_masks(truth_DHW: np.ndarray, predicted_DHW: np.ndarray, values: tuple[int, ...], ignore: int | None,
                  boxes: dict[int, list[Box]]) -> tuple[np.ndarray, np.ndarray]:
    """Both masks (bool) of a name within the box that holds both; what the truth ignores is in neither."""
    found = [box for value in values for box in boxes.get(value, ())]
    window = tuple(slice(min(box[axis].start for box in found), max(box[axis].stop for box in found))
                   for axis in range(truth_DHW.ndim))
    truth, predicted = (_mask(label_DHW[window], values) for label_DHW in (truth_DHW, predicted_DHW))
    if ignore is not None:
        predicted &= truth_DHW[window] != ignore
    return truth, predicted


def _mask(label_DHW: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    return label_DHW == values[0] if len(values) == 1 else np.isin(label_DHW, values)
