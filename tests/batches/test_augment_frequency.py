"""How often each change of nnU-Net's set happens, and over which range its parameter is drawn."""

import math

import pytest
import torch

from autoseg.batches.augment import build_augmentation
from autoseg.batches.augment.masks import draw_factor, draw_uniform
from autoseg.batches.augment.nnunet import NnunetOptions
from batch_phantoms import LABELS, make_batch, make_configuration, seeded

OFF = {name: 0.0 for name in NnunetOptions.model_fields if name.startswith("p_") and not name.endswith("_channel")}
PATCH = (6, 6, 6)
N_SAMPLES, N_CALLS = 50, 20


def changed_rows(option):
    """(samples, channels) bool: which were changed by the one change that is not off, at its default probability."""
    options = {name: value for name, value in OFF.items() if name != option}
    configuration = make_configuration(PATCH, augmentation="nnunet", options=options, channels=2)
    augmentation = build_augmentation(configuration.augmentation, configuration, LABELS, "cpu")
    batch = make_batch(augmentation.initial_patch, n_samples=N_SAMPLES, channels=2)
    centre = tuple(slice(full // 2 - 3, full // 2 + 3) for full in augmentation.initial_patch)
    before = batch.image_BCDHW[(..., *centre)]
    generator = seeded(1)
    changed = [(augmentation(batch, generator).image_BCDHW - before).flatten(2).abs().amax(2) > 0
               for _ in range(N_CALLS)]
    return torch.cat(changed)


@pytest.mark.parametrize(("option", "p_sample", "p_channel"), [
    ("p_rotation", 0.2, 1.0), ("p_scaling", 0.2, 1.0), ("p_noise", 0.1, 1.0), ("p_blur", 0.2, 0.5),
    ("p_brightness", 0.15, 1.0), ("p_contrast", 0.15, 1.0), ("p_low_resolution", 0.25, 0.5),
    ("p_gamma_inverted", 0.1, 1.0), ("p_gamma", 0.3, 1.0), ("p_mirror", 1 - 0.5**3, 1.0)])
def test_a_change_happens_as_often_as_in_nnunet(option, p_sample, p_channel):
    changed = changed_rows(option)
    n = len(changed)
    some = p_sample * (1 - (1 - p_channel) ** 2)  # of a sample's two channels at least one
    both = p_sample * p_channel**2
    assert abs(changed.any(1).sum() - n * some) < 4 * math.sqrt(n * some * (1 - some))
    assert abs(changed.all(1).sum() - n * both) < 4 * math.sqrt(n * both * (1 - both))


def test_what_is_off_changes_nothing():
    assert not changed_rows("").any()


def test_factors_lie_below_and_above_one_equally_often():
    factors = draw_factor((0.7, 1.5), 10_000, seeded())
    assert factors.min() >= 0.7 and factors.max() <= 1.5
    assert abs((factors < 1).sum() - 5000) < 4 * 50
    # Uniform on either side: means 0.85 and 1.25.
    assert abs(factors[factors < 1].mean() - 0.85) < 0.01 and abs(factors[factors > 1].mean() - 1.25) < 0.01


def test_factors_of_an_interval_above_one_lie_above():
    assert draw_factor((1.1, 1.2), 1000, seeded()).min() >= 1.1


def test_uniform_values_fill_their_interval():
    values = draw_uniform((0.5, 1.0), 10_000, seeded())
    assert values.min() >= 0.5 and values.max() <= 1.0 and abs(values.mean() - 0.75) < 0.01


def test_light_contrast_and_brightness_stay_within_their_bounds():
    options = {"p_contrast": 1.0, "p_brightness": 1.0, "p_noise": 0.0, "p_mirror": 0.0}
    configuration = make_configuration(PATCH, augmentation="light", options=options)
    augmentation = build_augmentation(configuration.augmentation, configuration, LABELS, "cpu")
    batch = make_batch(PATCH, n_samples=200)
    batch.image_BCDHW[:] = 0
    batch.image_BCDHW[:, :, 0] = 1
    result = augmentation(batch, seeded()).image_BCDHW
    shift = result[:, 0, 1, 0, 0]
    contrast = result[:, 0, 0, 0, 0] - shift
    assert 0.13 < shift.abs().max() <= 0.15 and 0.18 < (contrast - 1).abs().max() <= 0.2 + 1e-6


def test_light_noise_has_its_standard_deviation():
    options = {"p_contrast": 0.0, "p_brightness": 0.0, "p_noise": 1.0, "p_mirror": 0.0}
    configuration = make_configuration((20, 20, 20), augmentation="light", options=options)
    batch = make_batch((20, 20, 20), n_samples=4)
    augmentation = build_augmentation(configuration.augmentation, configuration, LABELS, "cpu")
    noise = augmentation(batch, seeded()).image_BCDHW - batch.image_BCDHW
    assert abs(noise.std() - 0.1) < 0.002 and abs(noise.mean()) < 0.002


def test_noise_of_one_sample_has_one_strength_over_its_channels():
    configuration = make_configuration((12, 12, 12), augmentation="nnunet", options={**OFF, "p_noise": 1.0}, channels=2)
    batch = make_batch((12, 12, 12), n_samples=100, channels=2)
    augmentation = build_augmentation(configuration.augmentation, configuration, LABELS, "cpu")
    noise = (augmentation(batch, seeded()).image_BCDHW - batch.image_BCDHW).flatten(2)
    strength = noise.std(2)
    assert (strength[:, 0] / strength[:, 1] - 1).abs().max() < 0.15
    assert strength.max() < 0.106 and abs(strength.mean() - 0.05) < 4 * 0.1 / math.sqrt(12 * 100)
    assert not torch.equal(noise[:, 0], noise[:, 1])
