"""Optimisers and the average of weights."""

import pytest
import torch
from torch import nn

from autoseg.training.optimizers import OPTIMIZERS, OptimizerContext, WeightAverage
from planners.schema.base import Part


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_every_optimizer_descends(name):
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = OPTIMIZERS.make(Part(name=name), OptimizerContext(model, 0.05))
    x, y = torch.randn(64, 4), torch.randn(64, 1)
    first = None
    for _ in range(20):
        loss = (model(x) - y).square().mean()
        first = first if first is not None else loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < first


def test_adamw_does_not_decay_norms_and_biases():
    model = nn.Sequential(nn.Conv3d(1, 2, 3), nn.InstanceNorm3d(2, affine=True))
    optimizer = OPTIMIZERS.make(Part(name="adamw", options={"weight_decay": 0.3}), OptimizerContext(model, 1e-3))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays[id(model[0].weight)] == 0.3
    assert {decays[id(p)] for p in (model[0].bias, model[1].weight, model[1].bias)} == {0.0}


def test_the_first_updates_are_averaged_evenly_enough():
    value = torch.zeros(1)
    average = WeightAverage([value], decay=0.99)
    value.fill_(1.0)
    average.update([value])
    assert average.values[0].item() == pytest.approx(0.9)  # decay 1 / 10 at the first update


def test_a_long_run_reaches_its_decay():
    value = torch.zeros(1)
    average = WeightAverage([value], decay=0.9)
    average.updates = 10_000
    value.fill_(1.0)
    average.update([value])
    assert average.values[0].item() == pytest.approx(0.1)


def test_swapping_twice_changes_nothing():
    value = torch.tensor([3.0])
    average = WeightAverage([torch.tensor([5.0])], decay=0.9)
    average.swap([value])
    assert (value.item(), average.values[0].item()) == (5.0, 3.0)
    average.swap([value])
    assert (value.item(), average.values[0].item()) == (3.0, 5.0)
