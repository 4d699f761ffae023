"""Cutting label maps down to the boxes that matter: most of most images is background."""

import numpy as np
from scipy import ndimage

Box = tuple[slice, ...]


def occupied(*label_maps: np.ndarray) -> Box:
    """The box beyond which all label maps are background."""
    box = []
    for axis in range(label_maps[0].ndim):
        others = tuple(other for other in range(label_maps[0].ndim) if other != axis)
        used = np.flatnonzero(np.any([label_map.any(axis=others) for label_map in label_maps], axis=0))
        box.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 1))
    return tuple(box)


def label_boxes(truth_DHW: np.ndarray, predicted_DHW: np.ndarray) -> dict[int, list[Box]]:
    """Bounding boxes of each label value in the truth and in the prediction."""
    boxes: dict[int, list[Box]] = {}
    for label_DHW in (truth_DHW, predicted_DHW):
        for value, box in enumerate(ndimage.find_objects(label_DHW), start=1):
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
