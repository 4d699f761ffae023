"""Calibration of probabilities whose errors are known."""

import numpy as np
import pytest

from autoseg.evaluation.calibration import CalibrationSample, calibrated, calibration, fit_temperature, sample_case
from autoseg.formats.probabilities import levels_of
from planners.schema.labels import LabelSpec

BALL = LabelSpec(names={"background": (0,), "ball": (1,)}, ignore=9)


def two_labels(confidence: float, n: int, right: int) -> CalibrationSample:
    """n voxels that are called foreground with this confidence, of which so many are."""
    levels = np.tile(levels_of(np.array([[1 - confidence], [confidence]])), n)
    truth = np.arange(n) < right
    return CalibrationSample(levels, np.stack([~truth, truth]))


def test_the_error_is_the_distance_of_accuracy_from_confidence():
    result = calibration([two_labels(0.8, 100, 60)], 1.0, False)  # 204 of 255 levels are exactly 0.8
    assert result.error_before == pytest.approx(0.2, abs=1e-6)
    (full,) = [group for group in result.bins_before if group.n]
    assert (full.n, full.accuracy, result.n_voxels) == (100, 0.6, 100)
    assert full.low < full.confidence <= full.high + 1e-6


@pytest.mark.parametrize("n_labels", [3, 15, 105])
def test_the_temperature_of_calibrated_probabilities_is_one_however_many_labels_there_are(n_labels):
    rng = np.random.default_rng(0)
    right = rng.random(20_000) < 0.8
    probabilities = np.zeros((n_labels, len(right)), np.float32)
    probabilities[1], probabilities[2] = 0.8, 0.2
    truth = np.zeros(probabilities.shape, bool)
    truth[1], truth[2] = right, ~right
    assert fit_temperature([CalibrationSample(levels_of(probabilities), truth)], False) == pytest.approx(1, abs=0.05)


def test_bins_weigh_by_their_voxels():
    result = calibration([two_labels(0.8, 100, 60), two_labels(0.6, 300, 180)], 1.0, False)
    assert result.error_before == pytest.approx(0.2 / 4, abs=1e-6)


def test_the_temperature_makes_confidence_what_it_should_be():
    samples = [two_labels(0.8, 1000, 600)]
    temperature = fit_temperature(samples, False)  # logit 0.8 / logit 0.6
    assert temperature == pytest.approx(np.log(4) / np.log(1.5), rel=0.01)
    assert calibration(samples, temperature, False).error_after < 0.002


def test_regions_are_fitted_like_labels():
    of_labels = two_labels(0.8, 1000, 600)
    sample = CalibrationSample(of_labels.levels_KN[1:], of_labels.truth_KN[1:])
    assert fit_temperature([sample], True) == pytest.approx(fit_temperature([of_labels], False), rel=1e-3)
    assert calibration([sample], 1.0, True).error_before == pytest.approx(0.2, abs=1e-6)


def test_the_same_voxels_give_the_same_temperature():
    samples = [two_labels(0.9, 200, 150), two_labels(0.6, 50, 20)]
    assert fit_temperature(samples, False) == fit_temperature(samples, False)


def test_without_voxels_nothing_is_changed():
    assert fit_temperature([], False) == 1.0
    assert calibration([], 1.0, False).error_before == 0.0


def test_certain_background_stays_certain_at_any_temperature():
    levels = np.array([[255, 254], [0, 1]], np.uint8)
    out = calibrated(levels, 4.0, False)
    assert out[:, 0].tolist() == [1, 0]
    assert 0.1 < out[1, 1] < 0.3
    assert calibrated(np.array([[0, 1]], np.uint8), 4.0, True)[0, 0] == 0


def test_temperature_one_changes_nothing():
    levels = np.array([[155], [100]], np.uint8)
    assert np.allclose(calibrated(levels, 1.0, False), levels / 255)
    assert np.allclose(calibrated(levels, 1.0 + 1e-9, False), levels / 255, atol=1e-6)


def test_voxels_far_from_any_foreground_do_not_count():
    truth, predicted = np.zeros((2, 11, 11, 11), np.int16)
    truth[5, 5, 5], predicted[5, 5, 6] = 1, 1
    levels = np.zeros((2, 11, 11, 11), np.uint8)
    sample = sample_case(levels, truth, predicted, BALL)
    assert sample.truth_KN.shape[1] == 5 * 5 * 6  # two steps around both voxels
    assert sample.truth_KN[1].sum() == 1


def test_ignored_voxels_do_not_count():
    truth = np.full((3, 3, 3), 9, np.int16)
    truth[1, 1, 1] = 1
    assert sample_case(np.zeros((2, 3, 3, 3), np.uint8), truth, truth == 1, BALL).truth_KN.shape == (2, 1)
