"""Stain normalisation: known dyes are found, two stainings of one tissue become one, and blank pictures stay as they are."""

import numpy as np
import pytest
from pydantic import ValidationError

from autoseg.base.errors import UserError
from autoseg.datasets.stain import StainOptions, fit_stains, is_blank, macenko
from stained_tiles import flat, random_amounts, random_stains, stained

OPTIONS = StainOptions()


def reference(stains, amounts) -> StainOptions:
    """The options whose reference are these dyes, in the strength that these amounts have in tissue."""
    tissue = amounts.reshape(2, -1)[:, amounts.sum(axis=0).ravel() > 0.2]
    return StainOptions(haematoxylin=tuple(stains[0]), eosin=tuple(stains[1]),
                        strongest=tuple(np.percentile(tissue, 99, axis=1)))


@pytest.mark.parametrize("seed", range(6))
def test_a_tile_that_has_the_reference_stains_comes_back_within_two_grey_levels(seed):
    rng = np.random.default_rng(seed)
    stains, amounts = random_stains(rng), random_amounts(rng)
    tile = flat(stained(amounts, stains))
    normalised, why = macenko(tile, reference(stains, amounts))
    assert not why
    assert np.abs(normalised - tile).mean() < 2


@pytest.mark.parametrize("seed", range(6))
def test_two_stainings_of_one_tissue_differ_five_times_less(seed):
    rng = np.random.default_rng(seed)
    amounts = random_amounts(rng)
    strengths = rng.uniform(0.7, 1.3, (2, 2, 1, 1))
    one, other = (flat(stained(amounts * strength, random_stains(rng))) for strength in strengths)
    before = np.abs(one - other).mean()
    after = np.abs(macenko(one, OPTIONS)[0] - macenko(other, OPTIONS)[0]).mean()
    assert after * 5 <= before


@pytest.mark.parametrize("seed", range(6))
def test_haematoxylin_is_first_and_every_density_is_positive(seed):
    rng = np.random.default_rng(seed)
    stains = random_stains(rng)
    found = fit_stains(flat(stained(random_amounts(rng), stains)), OPTIONS)
    assert (found.densities_SC >= 0).all()
    assert np.rad2deg(np.arccos(np.clip((found.densities_SC * stains).sum(axis=1), -1, 1))).max() < 3


def test_the_order_of_the_pixels_does_not_matter():
    rng = np.random.default_rng(0)
    tile = flat(stained(random_amounts(rng), random_stains(rng)))
    order = rng.permutation(tile.shape[1])
    np.testing.assert_allclose(macenko(tile[:, order], OPTIONS)[0], macenko(tile, OPTIONS)[0][:, order], atol=0.01)


@pytest.mark.parametrize("tile", [
    np.full((3, 900), 255, np.float32), np.full((3, 900), 236, np.float32), np.zeros((3, 0), np.float32),
    np.random.default_rng(0).integers(225, 256, (3, 900)).astype(np.float32),
    np.full((3, 4), 90, np.float32)], ids=["white", "grey glass", "no pixel", "noise", "four pixels"])
def test_a_blank_tile_is_unchanged_and_said_to_be_blank(tile):
    kept = tile.copy()
    normalised, why = macenko(tile, OPTIONS)
    assert np.array_equal(normalised, kept)
    assert "blank" in why
    assert is_blank(tile, OPTIONS)


@pytest.mark.parametrize("tile", [
    np.full((3, 900), 90, np.float32),
    np.tile(np.linspace(20, 200, 900, dtype=np.float32), (3, 1)),
    flat(stained(random_amounts(np.random.default_rng(1)) * [[[1]], [[0]]], random_stains(np.random.default_rng(1))))],
    ids=["one colour", "greys", "haematoxylin alone"])
def test_a_tile_of_one_stain_is_unchanged_with_the_reason(tile):
    normalised, why = macenko(tile, OPTIONS)
    assert normalised is tile
    assert "one stain" in why


@pytest.mark.parametrize("values", [(-1, 200), (0, 4095)])
def test_values_that_are_no_8_bit_colours_are_refused(values):
    tile = np.tile(np.array(values, np.float32), (3, 50))
    with pytest.raises(UserError, match="8 bits"):
        macenko(tile, OPTIONS)


@pytest.mark.parametrize("options", [
    {"haematoxylin": (0, 0, 0)}, {"eosin": (0.56, 0.72, 0.41)}, {"light": 0}, {"alpha": 50}, {"beta": 0}, {"eosin": (1, 1)},
    {"strongest": (0, 1)}, {"tissue": 1.5}, {"hematoxylin": (1, 1, 1)}])
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(ValidationError):
        StainOptions(**options)
