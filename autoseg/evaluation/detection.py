"""Which lesions were found: components of truth and prediction, matched by a rule.

One to one: two lesions may match where their IoU reaches a threshold. Among all one-to-one matches the one with the largest
sum of IoU is taken, so that no lesion counts twice. Above a threshold of 0.5 the match is unique (Kirillov et al. 2019,
arXiv:1801.00868); below it a lesion may have several candidates.

Any overlap: a true lesion is found where a prediction meets it; a predicted lesion is false where it meets no true lesion.
True lesions may be dilated before, as in BraTS: those that touch then are one.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from autoseg.evaluation.types import Detection, DetectionRule, SizeClass
from autoseg.grids.components import components


@dataclass(frozen=True)
class Candidates:
    """Pairs of lesions that overlap enough: numbers from 0 in truth and prediction, and their IoU."""

    truth_K: np.ndarray
    predicted_K: np.ndarray
    iou_K: np.ndarray


def detect(truth_DHW: np.ndarray, predicted_DHW: np.ndarray, voxel_ml: float, rule: DetectionRule | None = None
           ) -> Detection:
    """Match the lesions of two masks (bool, the same shape (z, y, x)); `voxel_ml` is the volume of a voxel."""
    rule = rule or DetectionRule()
    if rule.dilation:  # beyond the box of both masks, too
        truth_DHW, predicted_DHW = np.pad(truth_DHW, rule.dilation), np.pad(predicted_DHW, rule.dilation)
    truth_id, near_id, n_truth = _true_lesions(truth_DHW, rule)
    predicted_id, n_predicted = _components(predicted_DHW, rule.connectivity)
    truth_T, predicted_P = _voxels(truth_id, n_truth), _voxels(predicted_id, n_predicted)
    found_T, claimed_P = np.zeros(n_truth, bool), np.zeros(n_predicted, bool)
    both = (near_id > 0) & predicted_DHW
    if rule.matching == "any_overlap":
        found_T[near_id[both] - 1], claimed_P[predicted_id[both] - 1] = True, True
    else:
        truth_K, predicted_K = match(_candidates(truth_id[both], predicted_id[both], truth_T, predicted_P, rule.min_iou))
        found_T[truth_K], claimed_P[predicted_K] = True, True
    return _counted(truth_T, predicted_P, found_T, claimed_P, voxel_ml, rule)


def _counted(truth_T: np.ndarray, predicted_P: np.ndarray, found_T: np.ndarray, claimed_P: np.ndarray, voxel_ml: float,
             rule: DetectionRule) -> Detection:
    """The result for the voxels of each lesion, which true ones were found, and which predicted ones are not false."""
    truth_ml_T = truth_T * voxel_ml
    counts_T, counts_P = _large(truth_ml_T, rule), _large(predicted_P * voxel_ml, rule)
    if rule.small_false == "count":
        counts_P[:] = True
    missed_T, false_P = ~found_T & counts_T, ~claimed_P & counts_P
    return Detection(true_positives=int((found_T & counts_T).sum()), false_negatives=int(missed_T.sum()),
                     false_positives=int(false_P.sum()), sizes=_sizes(truth_ml_T[counts_T], found_T[counts_T], rule),
                     small_lesions=int((~counts_T).sum()), small_false=int((~claimed_P & ~counts_P).sum()),
                     missed_ml=float(truth_T[missed_T].sum()) * voxel_ml,
                     false_ml=float(predicted_P[false_P].sum()) * voxel_ml)


def _true_lesions(truth_DHW: np.ndarray, rule: DetectionRule) -> tuple[np.ndarray, np.ndarray, int]:
    """The number of the lesion at each voxel, and the same within the distance at which a prediction meets it; how many."""
    if not rule.dilation:
        truth_id, n = _components(truth_DHW, rule.connectivity)
        return truth_id, truth_id, n
    steps = scipy.ndimage.generate_binary_structure(3, 2)
    near_id, n = _components(scipy.ndimage.binary_dilation(truth_DHW, steps, rule.dilation), rule.connectivity)
    return np.where(truth_DHW, near_id, 0), near_id, n


def no_lesions(rule: DetectionRule) -> Detection:
    """The result for two empty masks."""
    nothing = np.zeros(0)
    return _counted(nothing, nothing, nothing > 0, nothing > 0, 0.0, rule)


def summed(detections: Sequence[Detection]) -> Detection:
    """The sum over one or more cases that were measured by the same rule."""
    sizes = tuple(same[0].model_copy(update={"n": sum(size.n for size in same), "found": sum(size.found for size in same)})
                  for same in zip(*(detection.sizes for detection in detections), strict=True))
    counts = {name: sum(getattr(detection, name) for detection in detections)
              for name in ("true_positives", "false_positives", "false_negatives", "small_lesions", "small_false")}
    return Detection(**counts, sizes=sizes, missed_ml=_total_ml([detection.missed_ml for detection in detections]),
                     false_ml=_total_ml([detection.false_ml for detection in detections]))


def _total_ml(volumes: Sequence[float | None]) -> float | None:
    known = [ml for ml in volumes if ml is not None]
    return sum(known) if len(known) == len(volumes) else None


def match(candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """The lesions of truth and prediction that match one to one, with the largest sum of IoU."""
    truth_K, predicted_K = candidates.truth_K, candidates.predicted_K
    if not len(truth_K):
        return truth_K, predicted_K
    alone_K = (np.bincount(truth_K)[truth_K] == 1) & (np.bincount(predicted_K)[predicted_K] == 1)
    if alone_K.all():
        return truth_K, predicted_K
    # Most lesions have one candidate only. The others are few enough for a full table.
    truths, row_K = np.unique(truth_K[~alone_K], return_inverse=True)
    predictions, column_K = np.unique(predicted_K[~alone_K], return_inverse=True)
    iou = np.zeros((len(truths), len(predictions)))
    iou[row_K, column_K] = candidates.iou_K[~alone_K]
    from scipy.optimize import linear_sum_assignment  # slow to import, and not every score needs it

    rows, columns = linear_sum_assignment(iou, maximize=True)
    taken = iou[rows, columns] > 0
    return (np.concatenate([truth_K[alone_K], truths[rows[taken]]]),
            np.concatenate([predicted_K[alone_K], predictions[columns[taken]]]))


def _candidates(truth_V: np.ndarray, predicted_V: np.ndarray, truth_T: np.ndarray, predicted_P: np.ndarray,
                min_iou: float) -> Candidates:
    """Candidates from the component numbers (from 1) of the shared voxels, and the number of voxels of each component."""
    shared = scipy.sparse.coo_matrix((np.ones(len(truth_V), np.int64), (truth_V - 1, predicted_V - 1)),
                                     shape=(len(truth_T), len(predicted_P))).tocsr().tocoo()
    iou_K = shared.data / (truth_T[shared.row] + predicted_P[shared.col] - shared.data)
    near_K = iou_K >= min_iou
    return Candidates(shared.row[near_K], shared.col[near_K], iou_K[near_K])


def _components(mask_DHW: np.ndarray, connectivity: int) -> tuple[np.ndarray, int]:
    if connectivity == 26:
        return components(mask_DHW)
    structure = scipy.ndimage.generate_binary_structure(3, {6: 1, 18: 2}[connectivity])
    component_DHW, n = scipy.ndimage.label(mask_DHW, structure=structure)
    return component_DHW, int(n)


def _voxels(component_DHW: np.ndarray, n: int) -> np.ndarray:
    return np.bincount(component_DHW.ravel(), minlength=n + 1)[1:]


def _large(volume_ml: np.ndarray, rule: DetectionRule) -> np.ndarray:
    return volume_ml * 1000 >= rule.min_mm3 * (1 - 1e-9)  # a voxel of 0.7 x 0.7 x 1 mm is not quite 0.49 mm^3


def _sizes(volume_ml_T: np.ndarray, found_T: np.ndarray, rule: DetectionRule) -> tuple[SizeClass, ...]:
    classes = []
    for low, high in itertools.pairwise((0.0, *rule.sizes_ml, None)):
        inside_T = (volume_ml_T >= low) & (volume_ml_T < (np.inf if high is None else high))
        classes.append(SizeClass(low_ml=low, high_ml=high, n=int(inside_T.sum()), found=int(found_T[inside_T].sum())))
    return tuple(classes)
