"""What several models say of a case, for probabilities of a few voxels."""

import numpy as np
import pytest

from autoseg.formats.probabilities import levels_of
from autoseg.prediction.inference_settings import QualityControl
from autoseg.prediction.uncertainty import Votes, agreement, entropy, expected_dice, predicted_dice
from planners.schema.labels import LabelSpec

BALL = LabelSpec(names={"background": (0,), "ball": (1,)})
NESTED = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))
TRUST = QualityControl(temperature=1.0, intercept=-0.1, slope=1.0, review_below=0.6, correlation=0.8, n=20)


def line(*ball: float) -> np.ndarray:
    """Probabilities of background and ball in a row of voxels."""
    inside = np.array([[ball]], np.float32)
    return np.stack([1 - inside, inside])


def votes_of(*probabilities, labels=BALL, images=True, temperature=1.0):
    shape = probabilities[0].shape[1:]
    votes = Votes(labels, shape, len(probabilities), temperature, images)
    for model in probabilities:
        votes.add([(tuple(slice(0, n) for n in shape), model)])
    return votes


def test_the_expected_dice_of_a_certain_mask_is_one():
    assert expected_dice(levels_of(line(0, 1, 1)), BALL) == 1.0


def test_the_expected_dice_by_hand():
    """The mask is the voxels of 0.8 and 0.6; 2 * 1.4 / (2 + 1.6)."""
    assert expected_dice(levels_of(line(0.8, 0.6, 0.2)), BALL) == pytest.approx(2.8 / 3.6)


def test_an_empty_mask_is_right_if_nothing_is_there():
    assert expected_dice(levels_of(line(0, 0, 0)), BALL) == 1.0
    assert expected_dice(levels_of(line(0.4, 0.2, 0)), BALL) == pytest.approx(0.6)


def test_regions_have_each_their_mask():
    """Whole: 2 * 1.6 / (2 + 1.8); core: an empty mask, 0.4 at most."""
    probabilities = np.array([[[[0.8, 0.8, 0.2]]], [[[0.4, 0.0, 0.0]]]], np.float32)
    assert expected_dice(levels_of(probabilities), NESTED) == pytest.approx((3.2 / 3.8 + 0.6) / 2)


def test_entropy_goes_from_nought_to_one():
    assert np.allclose(entropy(line(0, 1, 0.5), False), [[[0, 0, 1]]])
    assert np.allclose(entropy(np.array([[0.5], [1.0]]), True), [0.5])


def test_models_that_agree_do_not_disagree():
    total, apart = votes_of(line(0.5, 0.9), line(0.5, 0.9)).images()
    assert np.allclose(apart, 0, atol=2e-3)
    assert total[0, 0, 0] == pytest.approx(1, abs=2e-3)


def test_certain_models_that_contradict_each_other_disagree_completely():
    total, apart = votes_of(line(0, 1), line(1, 1)).images()
    assert np.allclose(total, [[[1, 0]]], atol=2e-3)
    assert np.allclose(apart, [[[1, 0]]], atol=2e-3)


def test_slabs_give_what_a_whole_gives():
    probabilities = np.random.default_rng(0).dirichlet((1, 1), (4, 3, 2)).astype(np.float32).transpose(3, 0, 1, 2)
    whole, parts = votes_of(probabilities, images=False), Votes(BALL, (4, 3, 2), 1, 1.0, False)
    parts.add([((slice(z, z + 2), slice(0, 3), slice(0, 2)), probabilities[:, z:z + 2]) for z in (0, 2)])
    assert parts.expected == pytest.approx(whole.expected)
    assert np.array_equal(parts.masks[0], whole.masks[0])
    assert whole.expected[0] == pytest.approx(expected_dice(levels_of(probabilities), BALL))


def test_agreement_is_the_mean_dice_of_pairs():
    a, b, c = (np.array([[row]]) for row in ([1, 1, 0], [1, 0, 0], [1, 1, 0]))
    assert agreement([a, b, c], BALL) == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert agreement([a], BALL) is None
    assert agreement([a * 0, a * 0], BALL) == 1.0
    assert agreement([a, a * 0], BALL) == 0.0


def test_the_rule_predicts_and_the_flag_is_raised_below_its_limit():
    quality = votes_of(line(0.8, 0.6, 0.2), line(0.8, 0.6, 0.2), images=False).quality("a", TRUST)
    assert quality.predicted_dice == pytest.approx(2.8 / 3.6 - 0.1)
    assert (quality.fold_agreement, quality.needs_review) == (1.0, False)
    assert votes_of(line(0.55, 0.5, 0.5), images=False).quality("a", TRUST).needs_review


def test_without_quality_control_only_agreement_is_known():
    quality = votes_of(line(1, 1), line(1, 0)).quality("a", None)
    assert (quality.predicted_dice, quality.needs_review) == (None, None)
    assert quality.fold_agreement == pytest.approx(2 / 3)


def test_predicted_dice_stays_a_dice():
    steep = TRUST.model_copy(update={"slope": 5.0})
    assert predicted_dice(steep, [1.0, 0.9]) == 1.0
    assert predicted_dice(steep, [0.0]) == 0.0
