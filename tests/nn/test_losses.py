"""Dice + cross-entropy, regions, ignore and deep supervision, on numbers that a reader can check."""

import math

import pytest
import torch

from autoseg.nn.losses import LossContext
from autoseg.nn.losses.deep import DeepSupervision
from autoseg.nn.losses.dice_ce import DiceCrossEntropy, DiceCrossEntropyOptions
from autoseg.nn.losses.targets import TargetEncoder, downsampled
from planners.schema.labels import LabelSpec

TWO = LabelSpec(names={"background": (0,), "tumour": (1,)})
GAPS = LabelSpec(names={"background": (0,), "liver": (5,), "tumour": (117,)})
REGIONS = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))
IGNORED = LabelSpec(names={"background": (0,), "tumour": (1,)}, ignore=2)


def dice_only(**options):
    return DiceCrossEntropy(DiceCrossEntropyOptions(ce_weight=0, smooth=0, **options),
                            LossContext(regions=False, batch_dice=True))


def logits_of(label, labels=TWO, confidence=100.0):
    truth = TargetEncoder(labels)(label).truth_BKDHW.float()
    return (2 * truth - 1) * confidence


def test_a_certain_and_right_prediction_costs_nothing():
    label = torch.tensor([[[[0, 1], [1, 0]]]])
    loss = DiceCrossEntropy(DiceCrossEntropyOptions(), LossContext(regions=False, batch_dice=False))
    assert loss(logits_of(label), TargetEncoder(TWO)(label)).item() == pytest.approx(0, abs=1e-5)


def test_an_undecided_prediction_costs_log_2_and_the_dice_of_a_half():
    label = torch.tensor([[[[0, 1], [1, 0]]]])
    loss = DiceCrossEntropy(DiceCrossEntropyOptions(smooth=0), LossContext(regions=False, batch_dice=True))
    # probability 1/2 everywhere: overlap 2 * 1/2, sizes 4 * 1/2 and 2, Dice = 2 * 1 / 4
    assert loss(torch.zeros(1, 2, 1, 2, 2), TargetEncoder(TWO)(label)).item() == pytest.approx(math.log(2) + 0.5)


def test_batch_dice_sees_the_batch_as_one_volume():
    label = torch.tensor([[[[1, 1, 0, 0]]], [[[0, 0, 0, 0]]]])
    predicted = torch.tensor([[[[1, 1, 0, 0]]], [[[1, 0, 0, 0]]]])
    logits, targets = logits_of(predicted), TargetEncoder(TWO)(label)
    # one volume: overlap 2, sizes 3 and 2
    assert dice_only()(logits, targets).item() == pytest.approx(1 - 4 / 5)
    apart = DiceCrossEntropy(DiceCrossEntropyOptions(ce_weight=0, smooth=0), LossContext(regions=False, batch_dice=False))
    assert apart(logits, targets).item() == pytest.approx(1 - (1 + 0) / 2)


def test_label_values_may_have_gaps():
    label = torch.tensor([[[[0, 5, 117, 5]]]])
    truth = TargetEncoder(GAPS)(label).truth_BKDHW
    assert truth[0, :, 0, 0].int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]]


def test_regions_overlap():
    truth = TargetEncoder(REGIONS)(torch.tensor([[[[0, 1, 2]]]])).truth_BKDHW
    assert truth[0, :, 0, 0].int().tolist() == [[0, 1, 1], [0, 0, 1]]


def test_ignored_voxels_change_neither_loss_nor_gradient():
    label = torch.tensor([[[[0, 1, 2, 2]]]])
    loss = DiceCrossEntropy(DiceCrossEntropyOptions(), LossContext(regions=False, batch_dice=False))
    short = loss(torch.tensor([[[[[1.0, -1.0]]], [[[0.5, 2.0]]]]]), TargetEncoder(IGNORED)(label[..., :2]))
    logits = torch.tensor([[[[[1.0, -1.0, 9.0, -9.0]]], [[[0.5, 2.0, 3.0, 7.0]]]]], requires_grad=True)
    long = loss(logits, TargetEncoder(IGNORED)(label))
    assert long.item() == pytest.approx(short.item(), rel=1e-5)
    long.backward()
    assert logits.grad[..., 2:].abs().max() == 0
    assert logits.grad[..., :2].abs().max() > 0


def test_a_batch_without_any_annotation_costs_nothing_and_has_finite_gradients():
    logits = torch.randn(1, 2, 2, 2, 2, requires_grad=True)
    loss = DiceCrossEntropy(DiceCrossEntropyOptions(), LossContext(regions=False, batch_dice=True))
    value = loss(logits, TargetEncoder(IGNORED)(torch.full((1, 2, 2, 2), 2)))
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().max() == 0


def test_deep_supervision_halves_the_weight_of_each_stage_and_leaves_out_the_coarsest():
    label = torch.zeros(1, 4, 4, 4, dtype=torch.int16)
    values = iter((1.0, 4.0))
    deep = DeepSupervision(lambda logits, targets: torch.tensor(next(values)), TargetEncoder(TWO))
    stages = [torch.zeros(1, 2, n, n, n) for n in (4, 2, 1)]
    assert deep(stages, label).item() == pytest.approx((1 * 1.0 + 0.5 * 4.0) / 1.5)


def test_downsampling_takes_the_nearest_voxel_and_keeps_values_exact():
    label = torch.tensor([[[[0, 0, 117, 117]]]], dtype=torch.int16)
    assert downsampled(label, torch.Size((1, 1, 2))).tolist() == [[[[0, 117]]]]
