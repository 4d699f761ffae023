"""Dice + cross-entropy of samples in which not every name was annotated, on numbers that a reader can check."""

import math

import pytest
import torch

from autoseg.nn.losses import LossContext
from autoseg.nn.losses.deep import DeepSupervision
from autoseg.nn.losses.dice_ce import DiceCrossEntropy, DiceCrossEntropyOptions
from autoseg.nn.losses.targets import TargetEncoder
from planners.schema.labels import LabelSpec

PLAIN = LabelSpec(names={"background": (0,), "liver": (1,), "tumour": (2,)})
REGIONS = LabelSpec(names={"background": (0,), "liver": (1, 2), "tumour": (2,)}, region_order=(1, 2))
IGNORING = LabelSpec(names={"background": (0,), "liver": (1,), "tumour": (2,)}, ignore=3)
LIVER_ONLY, BOTH, NEITHER = [True, False], [True, True], [False, False]
# Probabilities 1/2, 1/4 and 1/4 of background, liver and tumour.
LEANING = (math.log(2), 0.0, 0.0)


def make(labels=PLAIN, *, batch_dice=False, **options):
    return DiceCrossEntropy(DiceCrossEntropyOptions(**{"smooth": 0.0, **options}),
                            LossContext(labels.has_regions, batch_dice))


def rows(*values):
    """Samples that are one row of voxels."""
    return torch.tensor(values)[:, None, :]


def leaning(n_samples, n_voxels):
    return torch.tensor(LEANING).view(1, 3, 1, 1).expand(n_samples, -1, 1, n_voxels).clone().requires_grad_()


def value(loss, logits, label, annotated, labels=PLAIN):
    annotated = None if annotated is None else torch.tensor(annotated)
    return loss(logits, TargetEncoder(labels)(label, annotated))


def random_task(labels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, labels.n_heads, 4, 5, generator=generator)
    return logits, torch.randint(0, max(labels.values) + 1, (3, 4, 5), generator=generator)


def test_a_class_that_was_not_annotated_is_part_of_the_background():
    found = value(make(dice_weight=0), leaning(1, 2), rows([0, 1]), [LIVER_ONLY])
    # Background or tumour: 1/2 + 1/4; liver: 1/4.
    assert found.item() == pytest.approx((-math.log(3 / 4) - math.log(1 / 4)) / 2)
    assert value(make(dice_weight=0), leaning(1, 2), rows([0, 1]), [BOTH]).item() == pytest.approx(
        (-math.log(1 / 2) - math.log(1 / 4)) / 2)


def test_background_may_be_any_class_that_was_not_annotated():
    logits, label = random_task(PLAIN)
    label = label.clamp(max=1)
    swapped = torch.where((label == 0)[:, None], logits[:, [2, 1, 0]], logits)
    one, other = (value(make(), given, label, [LIVER_ONLY] * 3) for given in (logits, swapped))
    assert one.item() == pytest.approx(other.item(), rel=1e-6)
    assert value(make(), logits, label, [BOTH] * 3).item() != pytest.approx(
        value(make(), swapped, label, [BOTH] * 3).item(), rel=1e-2)


def test_the_dice_of_a_class_leaves_out_samples_where_it_was_not_annotated():
    # Liver: 2 * 1/4 / (1/2 + 1) = 1/3 in both samples. Tumour in the second: 2 * 1/4 / (1/2 + 1) as well, where it is
    # one of two voxels; in the first its dice would be 0.
    label = rows([0, 1], [2, 1])
    loss = make(ce_weight=0)
    assert value(loss, leaning(2, 2), label, [BOTH, BOTH]).item() == pytest.approx(1 - (1 / 3 + 0 + 1 / 3 + 1 / 3) / 4)
    assert value(loss, leaning(2, 2), label, [LIVER_ONLY, BOTH]).item() == pytest.approx(1 - 1 / 3)


def test_the_dice_of_the_batch_sums_over_samples_where_the_class_was_annotated():
    label = rows([0, 1], [2, 1])
    loss = make(ce_weight=0, batch_dice=True)
    # Liver: 2 * 2/4 / (1 + 2) = 1/3. Tumour of both samples: 2 * 1/4 / (1 + 1) = 1/4, of the second alone 1/3.
    assert value(loss, leaning(2, 2), label, [BOTH, BOTH]).item() == pytest.approx(1 - (1 / 3 + 1 / 4) / 2)
    assert value(loss, leaning(2, 2), label, [LIVER_ONLY, BOTH]).item() == pytest.approx(1 - (1 / 3 + 1 / 3) / 2)


def test_a_class_that_was_annotated_in_no_sample_leaves_the_mean():
    found = value(make(ce_weight=0, batch_dice=True), leaning(2, 2), rows([0, 1], [0, 1]), [LIVER_ONLY, LIVER_ONLY])
    assert found.item() == pytest.approx(1 - 1 / 3)


@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("labels", [PLAIN, REGIONS])
def test_where_nothing_was_annotated_nothing_is_learnt(labels, batch_dice):
    logits, label = random_task(labels)
    logits.requires_grad_()
    found = value(make(labels, batch_dice=batch_dice, smooth=1e-5), logits, label, [NEITHER] * 3, labels)
    found.backward()
    assert found.item() == pytest.approx(0, abs=1e-6) and logits.grad.abs().max() < 1e-6


@pytest.mark.parametrize("batch_dice", [True, False])
def test_a_region_that_was_not_annotated_counts_in_neither_term(batch_dice):
    logits, label = random_task(REGIONS)
    logits.requires_grad_()
    found = value(make(REGIONS, batch_dice=batch_dice), logits, label, [LIVER_ONLY] * 3, REGIONS)
    liver = LabelSpec(names={"background": (0,), "liver": (1, 2)}, region_order=(1,))
    assert found.item() == pytest.approx(value(make(liver, batch_dice=batch_dice), logits[:, :1], label, None, liver).item())
    found.backward()
    assert logits.grad[:, 1].abs().max() == 0 and logits.grad[:, 0].abs().max() > 0


def test_the_entropy_of_regions_is_the_mean_over_what_was_annotated():
    # One voxel; liver is there with probability 1/2 in both samples, tumour with 3/4 in the second.
    logits = torch.tensor([[0.0, 7.0], [0.0, math.log(3)]])[:, :, None, None]
    found = value(make(REGIONS, dice_weight=0), logits, rows([2], [2]), [LIVER_ONLY, BOTH], REGIONS)
    assert found.item() == pytest.approx((2 * math.log(2) + math.log(4 / 3)) / 3)


@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("labels", [PLAIN, REGIONS, IGNORING])
def test_a_batch_that_is_annotated_in_full_costs_what_it_does_without_saying_so(labels, batch_dice):
    logits, label = random_task(labels)
    said, unsaid = (value(make(labels, batch_dice=batch_dice), logits, label, given, labels) for given in ([BOTH] * 3, None))
    assert said.item() == pytest.approx(unsaid.item(), rel=1e-6)


def test_ignored_voxels_stay_ignored():
    logits, label = random_task(IGNORING)
    other = torch.where((label == 3)[:, None], 5 * logits.flip(1), logits)
    one, two = (value(make(IGNORING), given, label, [LIVER_ONLY, BOTH, NEITHER], IGNORING) for given in (logits, other))
    assert torch.equal(one, two)


def test_gradients_are_finite_where_the_network_is_certain():
    logits = (1e4 * random_task(PLAIN)[0]).requires_grad_()
    value(make(smooth=1e-5), logits, random_task(PLAIN)[1], [LIVER_ONLY, BOTH, NEITHER]).backward()
    assert logits.grad.isfinite().all()


def test_deep_supervision_tells_every_stage_what_was_annotated():
    label, annotated = torch.zeros(2, 4, 4, dtype=torch.int16), torch.tensor([LIVER_ONLY, BOTH])
    heard = []

    def loss(logits, targets):
        heard.append(targets.annotated_BK)
        return torch.zeros(())

    deep = DeepSupervision(loss, TargetEncoder(PLAIN))
    stages = [torch.zeros(2, 3, n, n) for n in (4, 2, 1)]
    deep(stages, label, annotated), deep(stages, label)
    assert all(torch.equal(one, annotated) for one in heard[:2]) and heard[2:] == [None, None]
