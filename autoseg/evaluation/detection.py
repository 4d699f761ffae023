"""Which lesions were found: components of truth and prediction, matched one to one by their overlap.

A lesion is a connected component of a mask (26-connected; 8-connected in one slice). Two lesions may match where their IoU
reaches a threshold. Among all one-to-one matches the one with the largest sum of IoU is taken, so that no lesion counts
twice. Above a threshold of 0.5 the match is unique (Kirillov et al. 2019, arXiv:1801.00868); below it a lesion may have
several candidates.
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
    truth_id, n_truth = components(truth_DHW)
    predicted_id, n_predicted = components(predicted_DHW)
    truth_T, predicted_P = _voxels(truth_id, n_truth), _voxels(predicted_id, n_predicted)
    both = truth_DHW & predicted_DHW
    candidates = _candidates(truth_id[both], predicted_id[both], truth_T, predicted_P, rule.min_iou)
    truth_K, predicted_K = match(candidates)
    found_T, claimed_P = np.zeros(n_truth, bool), np.zeros(n_predicted, bool)
    found_T[truth_K], claimed_P[predicted_K] = True, True
    truth_ml_T = truth_T * voxel_ml
    counts_T = _large(truth_ml_T, rule)
    n_found = int((found_T & counts_T).sum())
    return Detection(true_positives=n_found, false_negatives=int(counts_T.sum()) - n_found,
                     false_positives=int((~claimed_P & _large(predicted_P * voxel_ml, rule)).sum()),
                     sizes=_sizes(truth_ml_T[counts_T], found_T[counts_T], rule))


def no_lesions(rule: DetectionRule) -> Detection:
    """The result for two empty masks."""
    nothing = np.zeros(0)
    return Detection(true_positives=0, false_positives=0, false_negatives=0, sizes=_sizes(nothing, nothing > 0, rule))


def summed(detections: Sequence[Detection]) -> Detection:
    """The sum over one or more cases that were measured by the same rule."""
    sizes = tuple(same[0].model_copy(update={"n": sum(size.n for size in same), "found": sum(size.found for size in same)})
                  for same in zip(*(detection.sizes for detection in detections), strict=True))
    return Detection(true_positives=sum(detection.true_positives for detection in detections),
                     false_positives=sum(detection.false_positives for detection in detections),
                     false_negatives=sum(detection.false_negatives for detection in detections), sizes=sizes)


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
