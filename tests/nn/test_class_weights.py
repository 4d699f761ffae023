"""Classes that weigh more, in the Dice term and in the cross-entropy, on numbers that a reader can check."""

import math

import pytest
import torch

from autoseg.nn.losses import LossContext
from autoseg.nn.losses.dice_ce import DiceCrossEntropy, DiceCrossEntropyOptions
from autoseg.nn.losses.targets import TargetEncoder
from planners.schema.labels import LabelSpec

PLAIN = LabelSpec(names={"background": (0,), "liver": (1,), "tumour": (2,)})
REGIONS = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))
LABEL = torch.tensor([[[[0, 1, 1, 2]]]])


def value(labels, weights, *, batch_dice=True, annotated=None, logits=None, **options):
    context = LossContext(labels.has_regions, batch_dice, weights)
    loss = DiceCrossEntropy(DiceCrossEntropyOptions(smooth=0, **options), context)
    logits = torch.zeros(1, labels.n_heads, 1, 1, 4) if logits is None else logits
    annotated = None if annotated is None else torch.tensor([annotated])
    return loss(logits, TargetEncoder(labels)(LABEL, annotated)).item()


# Of undecided plain labels each probability is 1/3: overlap 2/3 and 1/3, sizes 4/3 + 2 and 4/3 + 1, Dice 0.4 and 2/7.
@pytest.mark.parametrize("batch_dice", [True, False])
def test_the_dice_term_is_the_mean_by_weight(batch_dice):
    expected = 1 - (1 * 0.4 + 3 * 2 / 7) / 4
    assert value(PLAIN, (1, 3), ce_weight=0, batch_dice=batch_dice) == pytest.approx(expected)
    assert value(PLAIN, (1, 3), ce_weight=0, batch_dice=batch_dice, annotated=[True, True]) == pytest.approx(expected)


def test_what_is_not_annotated_has_no_weight_in_the_dice_term():
    assert value(PLAIN, (0.25, 3), ce_weight=0, annotated=[True, False]) == pytest.approx(1 - 0.4)


def test_a_voxel_counts_by_the_weight_of_its_class():
    logits = torch.zeros(1, 3, 1, 1, 4)
    logits[0, 0] = 2.0  # background everywhere
    sure, wrong = -math.log(math.exp(2) / (math.exp(2) + 2)), -math.log(1 / (math.exp(2) + 2))
    expected = (1 * sure + 2 * wrong + 5 * wrong) / 8
    assert value(PLAIN, (1, 5), dice_weight=0, logits=logits) == pytest.approx(expected)


def test_a_voxel_counts_by_the_weight_of_each_region_that_holds_it():
    logits = torch.full((1, 2, 1, 1, 4), -2.0)
    right, wrong = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    expected = ((1 * right + 3 * wrong) + (3 * right + 5 * wrong)) / (4 + 3 + 5)
    assert value(REGIONS, (1, 5), dice_weight=0, logits=logits) == pytest.approx(expected)


def test_weights_of_1_change_nothing():
    for labels in (PLAIN, REGIONS):
        assert value(labels, (1, 1)) == pytest.approx(value(labels, ()))


def test_where_nothing_is_annotated_the_loss_is_finite():
    assert math.isfinite(value(REGIONS, (1, 5), annotated=[False, False]))
    assert math.isfinite(value(PLAIN, (1, 5), annotated=[False, False]))
