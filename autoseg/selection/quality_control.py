"""Quality control of new cases: a temperature, a rule that predicts the Dice, and a limit below which a case needs review.

The rule is fitted on all cases, for new cases. It is also fitted once per fold on the cases of the other folds: the
prediction for a cross-validation case comes from a rule that never saw the fold of the case. The probabilities of a
case come from models that were not trained on it (docs/decisions/0013-quality-control.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from autoseg.evaluation.calibration import (
    DILATION,
    SAMPLE,
    SAMPLE_OF_ALL,
    Calibration,
    CalibrationSample,
    calibration,
    fit_temperature,
    sample_case,
)
from autoseg.formats.probabilities import LEVELS
from autoseg.grids.boxes import Box, joint_box, occupied
from autoseg.prediction.decision import decided
from autoseg.prediction.inference_settings import QualityControl
from autoseg.prediction.uncertainty import expected_dice
from autoseg.selection.cases import CandidateCase, mapped
from autoseg.selection.types import CaseEstimate

FEWEST_CASES = 10  # with fewer cases no rule is fitted
MOST_FLAGGED = 0.25  # of the cases
BAD_PERCENTILE = 10  # cases with a true Dice up to this percentile should be reviewed


@dataclass(frozen=True)
class Rule:
    """Predicted Dice = intercept + slope * expected Dice, clipped to 0..1; below `review_below` a case is flagged."""

    intercept: float
    slope: float
    review_below: float

    def predict(self, expected_N: np.ndarray) -> np.ndarray:
        return np.clip(self.intercept + self.slope * expected_N, 0, 1)


@dataclass(frozen=True)
class Learned:
    """The result of the fit; `quality_control` is None where there are too few cases, and `notes` say so."""

    calibration: Calibration
    quality_control: QualityControl | None
    cases: tuple[CaseEstimate, ...]
    notes: tuple[str, ...] = ()


def fit_quality_control(cases: Sequence[CandidateCase], fold_of: Sequence[str], true_dice: Sequence[float | None],
                        workers: int) -> Learned:
    """Fit quality control to the saved probabilities of some cases.

    `fold_of` and `true_dice` (of the final masks) have one entry per case. A case without a true Dice, or a case that is
    only partly labelled, is not used.
    """
    has_regions = cases[0].labels.has_regions
    most = min(SAMPLE, SAMPLE_OF_ALL // len(cases))
    samples = mapped(partial(_samples, most=most), cases, workers, "calibration")
    folds = sorted(set(fold_of))
    pooled = [sample for case_samples in samples for sample in case_samples]
    temperature = fit_temperature(pooled, has_regions)
    error = calibration(pooled, temperature, has_regions)
    expected_N = np.array(mapped(_expected, cases, workers, "expected Dice"))
    known_N = np.array([bool(sample) and dice is not None for sample, dice in zip(samples, true_dice, strict=True)])
    true_N = np.array([np.nan if dice is None else dice for dice in true_dice])
    fold_N = np.array(fold_of)
    if known_N.sum() < FEWEST_CASES or any((known_N & (fold_N != fold)).sum() < 2 for fold in folds):
        note = f"{known_N.sum()} cases are too few to learn how Dice can be predicted; {FEWEST_CASES} are needed"
        return Learned(error, None, (), (note,))
    held_out = _held_out(expected_N, true_N, known_N, fold_N, folds)
    r = correlation(np.array([held_out[i][0] for i in np.flatnonzero(known_N)]), true_N[known_N])
    rule = fit_rule(expected_N[known_N], true_N[known_N])
    quality_control = QualityControl(temperature=temperature, intercept=rule.intercept, slope=rule.slope,
                                     review_below=rule.review_below, correlation=r, n=int(known_N.sum()))
    estimates = tuple(CaseEstimate(name=case.name, predicted_dice=float(predicted), true_dice=dice, needs_review=bool(flag))
                      for case, dice, (predicted, flag) in zip(cases, true_dice, held_out, strict=True))
    return Learned(error, quality_control, estimates, _doubts(r))


def fit_rule(expected_N: np.ndarray, true_N: np.ndarray) -> Rule:
    """Least squares, and the limit by Youden's J. Where the slope would be negative, the mean is predicted."""
    centred = expected_N - expected_N.mean()
    variance = float((centred**2).mean())
    slope = float((centred * true_N).mean()) / variance if variance > 1e-12 else 0.0
    slope = max(slope, 0.0)
    intercept = float(true_N.mean() - slope * expected_N.mean())
    predicted = np.clip(intercept + slope * expected_N, 0, 1)
    return Rule(intercept, slope, review_below(predicted, true_N))


def review_below(predicted_N: np.ndarray, true_N: np.ndarray) -> float:
    """The limit of predicted Dice that best separates the bad cases: the highest Youden index (sensitivity minus false
    alarm rate, Youden 1950).

    Bad cases are those up to the 10th percentile of true Dice. At most a quarter of the cases is flagged, so that the
    review stays feasible. Of equally good limits the lowest is taken, which flags the fewest cases. Where no limit
    separates anything, the limit is the 10th percentile of the predictions.
    """
    bad_N = true_N <= np.percentile(true_N, BAD_PERCENTILE)
    levels = np.unique(predicted_N)
    limits = (levels[:-1] + levels[1:]) / 2
    limits = limits[(predicted_N < limits[:, None]).mean(1) <= MOST_FLAGGED]
    if len(limits) and not bad_N.all():
        flagged_LN = predicted_N < limits[:, None]
        gain_L = flagged_LN[:, bad_N].mean(1) - flagged_LN[:, ~bad_N].mean(1)
        best = int(gain_L.argmax())
        if gain_L[best] > 0:
            return float(limits[best])
    return float(np.percentile(predicted_N, BAD_PERCENTILE))


def correlation(a_N: np.ndarray, b_N: np.ndarray) -> float | None:
    """Pearson's correlation; None for fewer than three pairs, or where one of the two does not vary."""
    if len(a_N) < 3 or min(a_N.std(), b_N.std()) < 1e-9:
        return None
    return float(np.corrcoef(a_N, b_N)[0, 1])


def _held_out(expected_N: np.ndarray, true_N: np.ndarray, known_N: np.ndarray, fold_N: np.ndarray, folds: Sequence[str]
              ) -> list[tuple[float, bool]]:
    """For each case the answer of the other folds' rule: predicted Dice, and whether the case needs review."""
    held_out: list[tuple[float, bool]] = [(0.0, False)] * len(true_N)
    for fold in folds:
        others = known_N & (fold_N != fold)
        rule = fit_rule(expected_N[others], true_N[others])
        for i in np.flatnonzero(fold_N == fold):
            predicted = float(rule.predict(expected_N[i]))
            held_out[i] = (predicted, predicted < rule.review_below)
    return held_out


def _doubts(r: float | None) -> tuple[str, ...]:
    if r is None:
        return ("predicted or true Dice does not vary over the cases: their correlation is not known",)
    if r < 0.5:
        return (f"predicted and true Dice correlate by only {r:.2f} on cases that the rule never saw: do not rely on it",)
    return ()


def _samples(case: CandidateCase, most: int) -> list[CalibrationSample]:
    """One sample per model; none where the case is only partly labelled."""
    if set(case.annotated) != set(case.labels.foreground):
        return []
    truth, _ = case.read_truth()
    samples = []
    for probabilities in case.read_probabilities():
        box = joint_box([probabilities.box, _around(truth)]) if truth.any() else probabilities.box
        levels = probabilities.within(box)
        mask = decided(levels, case.labels, threshold=LEVELS / 2)
        samples.append(sample_case(levels, truth[box], mask, case.labels, most))
    return samples


def _around(truth_DHW: np.ndarray) -> Box:
    """The box of the truth with the margin that calibration uses around it."""
    z, y, x = (slice(max(0, side.start - DILATION), min(n, side.stop + DILATION))
               for side, n in zip(occupied(truth_DHW), truth_DHW.shape, strict=True))
    return z, y, x


def _expected(case: CandidateCase) -> float:
    """The mean of the models' expected Dice."""
    return float(np.mean([expected_dice(probabilities.levels_KDHW, case.labels)
                          for probabilities in case.read_probabilities()]))
