"""How well probabilities agree with the share of right labels: expected calibration error, and temperature scaling.

Probabilities come as levels of 1/255 (`formats.probabilities`). Level 0 stands for every probability below half a level;
it is read as a quarter of a level. The labels of a voxel that are at level 0 share this quarter, so that many of them do
not add up to a real probability. Where background is certain to that precision, it stays certain: there are so many such
voxels far from the foreground that a temperature would add volume there.

The voxels used lie within two steps (26-neighbours) of the foreground of the truth or of the prediction. Nearly all other
voxels are background that any model gets right: with them the error would be small for every model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from autoseg.formats.probabilities import LEVELS
from autoseg.grids.components import TOUCHING
from planners.schema.base import Frozen
from planners.schema.labels import LabelSpec

N_BINS = 15  # equal widths of confidence from 0 to 1, as in Guo et al. 2017
DILATION = 2
SAMPLE = 20_000  # voxels per case
SAMPLE_OF_ALL = 2_000_000  # for all cases together: they are held in memory, one number per label each
TEMPERATURES = (0.25, 8.0)  # the limits of the fit

_OF_LEVEL_0 = 0.25
_LOG_OF_LEVEL = np.log(np.maximum(np.arange(LEVELS + 1), _OF_LEVEL_0) / LEVELS).astype(np.float32)


class CalibrationBin(Frozen):
    """Voxels whose confidence (the probability of the predicted label) lies between two limits."""

    low: float
    high: float
    n: int
    confidence: float | None  # their mean
    accuracy: float | None  # the share that is right


class Calibration(Frozen):
    """Expected calibration error over the voxels near the foreground, before and after the temperature.

    With regions a voxel counts once per region; its confidence is that of being inside, or of being outside.
    """

    temperature: float
    error_before: float
    error_after: float
    bins_before: tuple[CalibrationBin, ...]
    bins_after: tuple[CalibrationBin, ...]
    n_voxels: int


@dataclass(frozen=True)
class CalibrationSample:
    """Voxels of a case: levels (K, N; uint8), and whether the truth belongs to each head (K, N; bool)."""

    levels_KN: np.ndarray
    truth_KN: np.ndarray


def calibrated(levels_KN: np.ndarray, temperature: float, has_regions: bool) -> np.ndarray:
    """Probabilities (K, ...; float32) of logits divided by `temperature`: softmax over labels, sigmoid of each region.

    Certain background stays certain. With temperature 1 the levels themselves are returned as probabilities.
    """
    if temperature == 1:
        return levels_KN.astype(np.float32) / LEVELS
    if has_regions:
        logits = (_LOG_OF_LEVEL[levels_KN] - _LOG_OF_LEVEL[LEVELS - levels_KN]) / np.float32(temperature)
        out = 1 / (1 + np.exp(-logits))
        out[levels_KN == 0] = 0
        return out
    out = np.exp(_log_labels(levels_KN) / np.float32(temperature))
    out /= out.sum(0)
    certain = levels_KN[0] == LEVELS
    out[:, certain] = 0
    out[0, certain] = 1
    return out


def sample_case(levels_KDHW: np.ndarray, truth_DHW: np.ndarray, predicted_DHW: np.ndarray, labels: LabelSpec,
                most: int = SAMPLE) -> CalibrationSample:
    """At most `most` voxels near the foreground, evenly spaced, without those of the ignore label; all on one grid."""
    zone = (predicted_DHW != 0) | ((truth_DHW != 0) & (truth_DHW != labels.ignore))
    zone = scipy.ndimage.binary_dilation(zone, TOUCHING, iterations=DILATION) & (truth_DHW != labels.ignore)
    voxels = np.flatnonzero(zone)
    if len(voxels) > most:
        voxels = voxels[np.linspace(0, len(voxels) - 1, most).round().astype(np.int64)]
    heads = labels.heads
    values_N = truth_DHW.reshape(-1)[voxels]
    truth = np.stack([np.isin(values_N, labels.names[head]) for head in heads])
    return CalibrationSample(levels_KDHW.reshape(len(levels_KDHW), -1)[:, voxels], truth)


def fit_temperature(samples: Sequence[CalibrationSample], has_regions: bool) -> float:
    """The temperature with the smallest mean negative log likelihood (Guo et al. 2017, section 4.2).

    It is 1 where there is no voxel, or where the fitted temperature would increase the expected calibration error. Brent's
    method searches between the limits of TEMPERATURES and always gives the same result.
    """
    from scipy.optimize import minimize_scalar  # takes a third of a second; other commands do not need it

    levels, truth = _pooled(samples)
    if not truth.size:
        return 1.0
    score = _regions_loss if has_regions else _labels_loss
    fit = minimize_scalar(lambda log_t: score(levels, truth, float(np.exp(log_t))), method="bounded",
                          bounds=tuple(np.log(TEMPERATURES)), options={"xatol": 1e-3})
    temperature = round(float(np.exp(fit.x)), 4)
    before, after = (_error(_bins(*_confidence(calibrated(levels, t, has_regions), truth, has_regions)))
                     for t in (1.0, temperature))
    return temperature if after <= before else 1.0


def calibration(samples: Sequence[CalibrationSample], temperature: float, has_regions: bool) -> Calibration:
    """The error before and after a temperature, over the same voxels."""
    levels, truth = _pooled(samples)
    before, after = (_bins(*_confidence(calibrated(levels, t, has_regions), truth, has_regions))
                     for t in (1.0, temperature))
    return Calibration(temperature=temperature, error_before=_error(before), error_after=_error(after),
                       bins_before=before, bins_after=after, n_voxels=truth.shape[1])


def _pooled(samples: Sequence[CalibrationSample]) -> tuple[np.ndarray, np.ndarray]:
    if not samples:
        return np.zeros((1, 0), np.uint8), np.zeros((1, 0), bool)
    return (np.concatenate([sample.levels_KN for sample in samples], axis=1),
            np.concatenate([sample.truth_KN for sample in samples], axis=1))


def _labels_loss(levels_KN: np.ndarray, truth_KN: np.ndarray, temperature: float) -> float:
    logits = _log_labels(levels_KN) / np.float32(temperature)
    right = logits[truth_KN.argmax(0), np.arange(logits.shape[1])]
    return float(np.mean(np.log(np.exp(logits).sum(0)) - right, dtype=np.float64))


def _log_labels(levels_KN: np.ndarray) -> np.ndarray:
    """Logarithms of the labels' probabilities (K, ...; float32)."""
    absent_KN = levels_KN == 0
    n_N = np.maximum(absent_KN.sum(0), 1).astype(np.float32)
    return np.where(absent_KN, np.log(np.float32(_OF_LEVEL_0 / LEVELS) / n_N), _LOG_OF_LEVEL[levels_KN])


def _regions_loss(levels_KN: np.ndarray, truth_KN: np.ndarray, temperature: float) -> float:
    logits = (_LOG_OF_LEVEL[levels_KN] - _LOG_OF_LEVEL[LEVELS - levels_KN]) / np.float32(temperature)
    return float(np.mean(np.logaddexp(0, np.where(truth_KN, -logits, logits)), dtype=np.float64))


def _confidence(probabilities_KN: np.ndarray, truth_KN: np.ndarray, has_regions: bool) -> tuple[np.ndarray, np.ndarray]:
    """The confidence of each decision, and whether it is right."""
    if has_regions:
        inside = probabilities_KN > 0.5
        return np.where(inside, probabilities_KN, 1 - probabilities_KN).ravel(), (inside == truth_KN).ravel()
    best = probabilities_KN.argmax(0)
    voxels = np.arange(len(best))
    return probabilities_KN[best, voxels], truth_KN[best, voxels]


def _bins(confidence_N: np.ndarray, right_N: np.ndarray) -> tuple[CalibrationBin, ...]:
    index_N = np.clip(np.ceil(confidence_N * N_BINS).astype(int) - 1, 0, N_BINS - 1)  # a limit belongs to the lower bin
    n, confidence, right = (np.bincount(index_N, weights, N_BINS) for weights in (None, confidence_N, right_N))
    return tuple(CalibrationBin(low=b / N_BINS, high=(b + 1) / N_BINS, n=int(n[b]),
                                confidence=float(confidence[b] / n[b]) if n[b] else None,
                                accuracy=float(right[b] / n[b]) if n[b] else None) for b in range(N_BINS))


def _error(bins: Sequence[CalibrationBin]) -> float:
    """Mean distance of accuracy from confidence, weighted by voxels."""
    n = sum(group.n for group in bins)
    if not n:
        return 0.0
    return sum(group.n * abs(group.accuracy - group.confidence) for group in bins
               if group.accuracy is not None and group.confidence is not None) / n
