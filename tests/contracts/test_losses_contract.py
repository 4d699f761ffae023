"""Every registered loss, in two and three dimensions, through the same contract."""

import pytest
import torch

from autoseg.nn.losses import LOSSES, LossContext
from autoseg.nn.losses.targets import TargetEncoder
from planners.schema.base import Part
from planners.schema.labels import LabelSpec

PLAIN = LabelSpec(names={"background": (0,), "a": (1,), "b": (2,)})
REGIONS = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))
IGNORING = LabelSpec(names={"background": (0,), "a": (1,)}, ignore=2)
PARTIAL = [(name, labels, n) for name in LOSSES.names() for labels in (PLAIN, REGIONS) for n in (2, 3)]
EVERY = [(name, labels, n) for name in LOSSES.names() for labels in (PLAIN, REGIONS, IGNORING) for n in (2, 3)]


def make(name, labels, batch_dice=True):
    return LOSSES.make(Part(name=name), LossContext(labels.has_regions, batch_dice))


def task(labels, n):
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, max(labels.values) + 1, (2, *(6,) * n), generator=generator)
    logits = torch.randn(2, labels.n_heads, *(6,) * n, generator=generator)
    return logits, TargetEncoder(labels)(label)


@pytest.mark.parametrize(("name", "labels", "n"), EVERY)
def test_the_loss_is_a_finite_scalar_with_finite_gradients(name, labels, n):
    logits, targets = task(labels, n)
    logits.requires_grad_()
    value = make(name, labels)(logits, targets)
    value.backward()
    assert value.ndim == 0 and value.isfinite()
    assert logits.grad.isfinite().all() and logits.grad.abs().max() > 0


@pytest.mark.parametrize(("name", "labels", "n"), EVERY)
def test_the_truth_costs_less_than_a_guess(name, labels, n):
    logits, targets = task(labels, n)
    right = (2 * targets.truth_BKDHW.float() - 1) * 20
    assert make(name, labels)(right, targets) < make(name, labels)(logits, targets)


@pytest.mark.parametrize(("name", "labels", "n"), EVERY)
def test_the_logits_are_left_unchanged_and_the_value_repeats(name, labels, n):
    logits, targets = task(labels, n)
    kept = logits.clone()
    loss = make(name, labels, batch_dice=False)
    assert loss(logits, targets) == loss(logits, targets)
    assert torch.equal(logits, kept)


@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize(("name", "labels", "n"), PARTIAL)
def test_what_a_label_says_of_a_name_that_was_not_annotated_is_not_believed(name, labels, n, batch_dice):
    logits, _ = task(labels, n)
    unseen = torch.zeros(2, *(6,) * n, dtype=torch.int16)
    unseen[:, :3] = 1
    seen = unseen.clone()
    seen[0, 2] = 2  # in the first sample nobody looked for the second name; what was there stays, or is background
    if not labels.has_regions:
        unseen[0, 2] = 0
    encode, annotated = TargetEncoder(labels), torch.tensor([[True, False], [True, True]])
    loss = make(name, labels, batch_dice)
    assert torch.equal(loss(logits, encode(seen, annotated)), loss(logits, encode(unseen, annotated)))
    assert not torch.equal(loss(logits, encode(seen)), loss(logits, encode(unseen)))


@pytest.mark.parametrize("name", LOSSES.names())
def test_extreme_logits_stay_finite_in_half_precision(name):
    logits, targets = task(PLAIN, 3)
    assert make(name, PLAIN)((1e4 * logits).to(torch.bfloat16), targets).isfinite()
