"""Probabilities a byte each: how far they are from what was written, and what is left out."""

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.formats.probabilities import LEVELS, levels_of, read_probabilities, uncertain, write_probabilities

WHOLE = (slice(0, 5), slice(0, 6), slice(0, 7))


def softmax(seed: int = 0, shape=(3, 5, 6, 7)) -> np.ndarray:
    raw = np.exp(np.random.default_rng(seed).normal(0, 3, shape))
    return (raw / raw.sum(0)).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_is_read_differs_by_half_a_level_at_most(tmp_path, dtype):
    soft = softmax().astype(dtype)
    write_probabilities(tmp_path / "a.b2nd", soft, has_regions=False)
    read = read_probabilities(tmp_path / "a.b2nd").within(WHOLE) / LEVELS
    assert np.abs(read - soft.astype(np.float32)).max() <= 1 / 510 + 1e-7


@pytest.mark.parametrize("has_regions", [False, True])
def test_certain_background_is_left_out_and_comes_back(tmp_path, has_regions):
    soft = np.zeros((2, 5, 6, 7), np.float32)
    soft[0] = not has_regions
    soft[:, 2, 3, 4:6] = 0.5
    write_probabilities(tmp_path / "a.b2nd", soft, has_regions)
    saved = read_probabilities(tmp_path / "a.b2nd")
    assert (saved.levels_KDHW.shape, saved.shape) == ((2, 1, 1, 2), (5, 6, 7))
    assert np.array_equal(saved.within(WHOLE), levels_of(soft))
    beside = (slice(0, 2), slice(0, 2), slice(0, 7))
    assert np.array_equal(saved.within(beside), levels_of(soft)[:, :2, :2])


def test_a_case_of_background_alone_keeps_one_voxel(tmp_path):
    soft = np.zeros((2, 5, 6, 7), np.float16)
    soft[0] = 1
    write_probabilities(tmp_path / "a.b2nd", soft, has_regions=False)
    saved = read_probabilities(tmp_path / "a.b2nd")
    assert saved.levels_KDHW.shape == (2, 1, 1, 1)
    assert not uncertain(saved.within(WHOLE), has_regions=False).any()


def test_missing_probabilities_say_how_to_get_them(tmp_path):
    with pytest.raises(UserError, match="probabilities are missing.*--save_probabilities"):
        read_probabilities(tmp_path / "a.b2nd")


@pytest.mark.parametrize("damage", [lambda raw: raw[:-9], lambda raw: b"", lambda raw: raw[:len(raw) // 3]])
def test_damaged_probabilities_are_refused(tmp_path, damage):
    path = tmp_path / "a.b2nd"
    write_probabilities(path, softmax(), has_regions=False)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="probabilities are damaged.*remove this file"):
        read_probabilities(path)
