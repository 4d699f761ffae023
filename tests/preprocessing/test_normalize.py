"""Normalisers against values worked out by hand."""

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.preprocessing.normalize import (
    NORMALIZERS,
    STEP,
    absolute_unit_channels,
    normalize,
    round_to_step,
    traits_of,
    zero_outside_channels,
)
from planners.schema.base import Part
from planners.schema.fingerprint import IntensityStats

STATS = IntensityStats(mean=10, std=5, min=-100, max=900, median=8, percentile_00_5=0, percentile_99_5=30)
EVERYWHERE = np.ones((1, 1, 4), dtype=bool)


def image(*values):
    return np.array(values, dtype=np.float32).reshape(1, 1, -1)


def run(name, values, inside=EVERYWHERE, stats=STATS):
    return normalize(Part(name=name), values, inside, stats).ravel().tolist()


def test_ct_is_clipped_to_the_percentiles_before_it_is_scaled():
    assert run("ct", image(-50, 0, 20, 100)) == [-2, -2, 2, 4]


def test_ct_without_statistics_says_what_to_do():
    with pytest.raises(UserError, match="autoseg_plan_and_preprocess"):
        run("ct", image(0, 1, 2, 3), stats=None)


def test_zscore_uses_every_voxel_of_the_crop():
    assert run("zscore", image(0, 0, 2, 2), np.array([[[True, False, False, False]]])) == [-1, -1, 1, 1]


def test_zscore_of_a_constant_is_zero():
    assert run("zscore", image(7, 7, 7, 7)) == [0, 0, 0, 0]


def test_masked_zscore_leaves_the_outside_as_it_is():
    assert run("zscore_masked", image(0, 4, 8, 0), np.array([[[False, True, True, False]]])) == [0, -1, 1, 0]


def test_masked_zscore_of_an_empty_mask_changes_nothing():
    assert run("zscore_masked", image(1, 2, 3, 4), ~EVERYWHERE) == [1, 2, 3, 4]


def test_zscore_is_exact_on_large_offsets():
    assert run("zscore", image(1_000_000, 1_000_000, 1_000_002, 1_000_002)) == [-1, -1, 1, 1]


def test_rescaling_reaches_zero_and_one():
    assert run("rescale01", image(-2, 0, 2, 6)) == [0, 0.25, 0.5, 1]


def test_colours_are_divided_by_255():
    assert run("rgb", image(0, 51, 204, 255)) == pytest.approx([0, 0.2, 0.8, 1])


def test_a_value_that_is_no_colour_is_refused():
    with pytest.raises(UserError, match="values 0 to 256"):
        run("rgb", image(0, 1, 2, 256))


@pytest.mark.parametrize("name", NORMALIZERS.names())
def test_every_normalizer_gives_float32_and_leaves_its_input_alone(name):
    values = image(0, 3, 4, 200)
    before = values.copy()
    values.setflags(write=False)
    out = normalize(Part(name=name), values, np.array([[[False, True, True, True]]]), STATS)
    assert out.dtype == np.float32 and out.shape == values.shape and np.isfinite(out).all()
    assert not np.shares_memory(out, values)
    np.testing.assert_array_equal(values, before)


def test_an_unknown_normalizer_lists_the_known_ones():
    with pytest.raises(KeyError, match="zscore_masked"):
        run("zscores", image(0, 1, 2, 3))


@pytest.mark.parametrize("name", NORMALIZERS.names())
def test_what_is_absent_is_never_read_and_becomes_zero(name):
    values, absent = image(np.nan, 0, 4, np.inf), np.array([[[True, False, False, True]]])
    out = normalize(Part(name=name), values, EVERYWHERE, STATS, absent)
    assert out.dtype == np.float32 and out.ravel()[[0, 3]].tolist() == [0, 0]
    np.testing.assert_array_equal(out.ravel()[1:3], run(name, image(0, 4), EVERYWHERE[..., :2]))
    assert not normalize(Part(name=name), values, EVERYWHERE, STATS, np.ones_like(absent)).any()


@pytest.mark.parametrize("name", NORMALIZERS.names())
def test_without_an_absent_voxel_not_a_bit_changes(name):
    values = np.random.default_rng(0).uniform(0, 255, (5, 6, 7)).astype(np.float32)
    inside = values > 40
    np.testing.assert_array_equal(normalize(Part(name=name), values, inside, STATS, np.zeros(values.shape, dtype=bool)),
                                  normalize(Part(name=name), values, inside, STATS))


def test_what_is_stored_is_rounded_where_the_unit_is_known():
    image_CDHW = np.random.default_rng(0).normal(0, 9, (2, 3, 4, 5)).astype(np.float32)
    before = image_CDHW.copy()
    round_to_step(image_CDHW, (Part(name="zscore"), Part(name="none")))
    assert 0 < np.abs(image_CDHW[0] - before[0]).max() <= STEP / 2 < 1e-3 / 4
    assert (image_CDHW[0] / STEP % 1 == 0).all()
    np.testing.assert_array_equal(image_CDHW[1], before[1])


def parameter_map(spike, n_spikes=20, scale=1.0, seed=0):
    """Noise of deviation 0.0125 around 0.05, a lesion of 0.15 in an eighth of the voxels, and spikes; where they are."""
    generator = np.random.default_rng(seed)
    lesion_DHW = np.zeros((24, 32, 32), dtype=bool)
    lesion_DHW[6:18, 8:24, 8:24] = True
    values_DHW = generator.normal(0.05, 0.0125, lesion_DHW.shape) + 0.1 * lesion_DHW
    spikes_DHW = np.zeros(lesion_DHW.shape, dtype=bool)
    spikes_DHW.flat[generator.choice(lesion_DHW.size, n_spikes, replace=False)] = True
    values_DHW[spikes_DHW] = spike
    return (values_DHW * scale).astype(np.float32), lesion_DHW & ~spikes_DHW, ~lesion_DHW & ~spikes_DHW


def contrast(image_DHW, lesion_DHW, normal_DHW):
    """Of lesion and normal tissue, in deviations of the noise: 8 in the map as it was made."""
    inside, outside = image_DHW[lesion_DHW].astype(np.float64), image_DHW[normal_DHW].astype(np.float64)
    return (inside.mean() - outside.mean()) / outside.std()


@pytest.mark.parametrize("name", ["zscore", "zscore_masked", "rescale01"])
@pytest.mark.parametrize(("spike", "n_spikes"), [(1e4, 20), (1e6, 20), (-1e6, 20), (1e6, 1), (1e6, 200), (-9999, 8000),
                                                 (1e38, 20)])
def test_spikes_and_padding_leave_the_contrast_of_all_other_voxels(name, spike, n_spikes):
    values, lesion, normal = parameter_map(spike, n_spikes)
    image_CDHW = normalize(Part(name=name), values, np.ones(values.shape, dtype=bool))[None]
    round_to_step(image_CDHW, (Part(name=name),))
    assert np.isfinite(image_CDHW).all() and np.abs(image_CDHW).max() < 200
    assert contrast(image_CDHW[0], lesion, normal) == pytest.approx(8, rel=0.05)
    assert len(np.unique(image_CDHW[0][normal])) > 20


@pytest.mark.parametrize("name", ["zscore", "zscore_masked", "rescale01", "ct"])
def test_kept_spikes_are_values_like_all_others(name):
    values = parameter_map(1e6, 20)[0]
    kept = normalize(Part(name=name, options={"spikes": "kept"}), values, np.ones(values.shape, dtype=bool),
                     STATS.model_copy(update={"std": 1e4}))
    wide = values.astype(np.float64)
    expected = {"rescale01": (wide - wide.min()) / (wide.max() - wide.min()), "ct": (wide.clip(0, 30) - 10) / 1e4}
    np.testing.assert_allclose(kept, expected.get(name, (wide - wide.mean()) / wide.std()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["zscore", "zscore_masked", "rescale01"])
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e-9, 1e-3, 1e9, 1e30])
def test_the_unit_of_an_image_does_not_matter(name, scale):
    values, _, _ = parameter_map(0.3, scale=scale)
    image_CDHW = normalize(Part(name=name), values, np.ones(values.shape, dtype=bool))[None]
    round_to_step(image_CDHW, (Part(name=name),))
    usual = normalize(Part(name=name), parameter_map(0.3)[0], np.ones(values.shape, dtype=bool))
    np.testing.assert_allclose(image_CDHW[0], usual, atol=STEP)


@pytest.mark.parametrize("name", ["zscore", "zscore_masked", "rescale01"])
@pytest.mark.parametrize("value", [0.1, 7, -1e9, 1e30, 1e-30])
def test_a_constant_channel_becomes_a_constant(name, value):
    values = np.full((24, 32, 32), value, np.float32)
    assert not normalize(Part(name=name), values, np.ones(values.shape, dtype=bool)).any()


def test_the_order_of_spikes_is_kept():
    values, _, _ = parameter_map(1e6)
    values.flat[:3] = 1e5, 1e8, -1e7
    scores = normalize(Part(name="zscore"), values, np.ones(values.shape, dtype=bool))
    assert (np.diff(scores.ravel()[np.argsort(values, axis=None, kind="stable")]) >= 0).all()
    assert len(set(scores.flat[:3])) == 3


def test_ct_with_spikes_in_its_statistics_is_scaled_by_percentiles():
    stats = STATS.model_copy(update={"mean": 1e4, "std": 1e6, "max": 1e8})
    assert run("ct", image(8, 0, 30, 1e8), stats=stats) == pytest.approx([0, -8 * 5.15 / 30, 22 * 5.15 / 30, 22 * 5.15 / 30])


def test_ct_whose_foreground_has_one_value_keeps_what_lies_around_it():
    stats = STATS.model_copy(update={"std": 0, "percentile_00_5": 30, "percentile_99_5": 30})
    assert run("ct", image(0, 0, 30, 30), stats=stats) == [-1, -1, 1, 1]


def mixed(**parts):
    """A channel of several modalities; the statistics are those of CT cases."""
    return Part(name="by_modality", options={"parts": {key: {"name": name} for key, name in parts.items()},
                                             "intensities": {"ct": STATS.model_dump()}})


def test_each_modality_of_a_channel_has_its_own_normaliser_and_statistics():
    values, other = image(0, 3, 4, 200), STATS.model_copy(update={"mean": -999.0})
    for modality, name in (("ct", "ct"), ("mr", "zscore")):
        np.testing.assert_array_equal(normalize(mixed(ct="ct", mr="zscore"), values, EVERYWHERE, other, modality=modality),
                                      normalize(Part(name=name), values, EVERYWHERE, STATS))


@pytest.mark.parametrize(("modality", "found"), [("pet", "PET"), ("", "not said")])
def test_a_modality_that_training_never_saw_is_refused(modality, found):
    with pytest.raises(UserError, match=f"modality.*found: {found}; expected: CT, MR.*--modality"):
        normalize(mixed(ct="ct", mr="zscore"), image(0, 3, 4, 200), EVERYWHERE, modality=modality)


def test_a_mixed_channel_is_absolute_where_one_modality_is_and_keeps_only_what_all_keep():
    with_ct, masked = mixed(ct="ct", mr="zscore_masked"), mixed(mr="zscore_masked", pet="zscore_masked")
    parts = (Part(name="zscore"), with_ct, masked)
    assert absolute_unit_channels(parts) == (1,) and zero_outside_channels(parts) == (2,)
    assert traits_of(with_ct).near_one and not traits_of(mixed(ct="ct", other="none")).near_one


def test_an_unknown_normaliser_of_a_modality_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown normalizer 'zscores'.*zscore_masked"):
        NORMALIZERS.options("by_modality", {"parts": {"mr": {"name": "zscores"}}})
