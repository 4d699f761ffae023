"""Every registered normaliser through the same contract."""

import numpy as np
import pytest

from autoseg.preprocessing.normalize import NORMALIZERS, normalize
from planners.schema.base import Part
from planners.schema.fingerprint import IntensityStats

STATS = IntensityStats(mean=40, std=60, min=-1000, max=1500, median=45, percentile_00_5=-150, percentile_99_5=250)


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (4, 5, 6)).astype(np.float32)


INSIDE = np.ones((4, 5, 6), dtype=bool)


@pytest.mark.parametrize("name", NORMALIZERS.names())
def test_the_shape_stays_the_values_are_finite_and_single_precision(name):
    normalized = normalize(Part(name=name), image(), INSIDE, STATS)
    assert normalized.shape == (4, 5, 6)
    assert normalized.dtype == np.float32
    assert np.isfinite(normalized).all()


@pytest.mark.parametrize("name", NORMALIZERS.names())
def test_a_constant_image_stays_finite(name):
    assert np.isfinite(normalize(Part(name=name), np.full((4, 5, 6), 7, np.float32), INSIDE, STATS)).all()


@pytest.mark.parametrize("name", NORMALIZERS.names())
def test_the_input_is_left_unchanged_and_the_result_repeats(name):
    original = image()
    kept = original.copy()
    first = normalize(Part(name=name), original, INSIDE, STATS)
    assert np.array_equal(original, kept)
    assert np.array_equal(first, normalize(Part(name=name), original, INSIDE, STATS))


@pytest.mark.parametrize("name", NORMALIZERS.names())
def test_order_is_kept(name):
    original = image()
    normalized = normalize(Part(name=name), original, INSIDE, STATS)
    order = np.argsort(original, axis=None)
    assert (np.diff(normalized.ravel()[order]) >= -1e-6).all()
