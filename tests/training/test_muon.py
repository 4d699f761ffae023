"""Muon: orthogonal updates of inner convolutions."""

import pytest
import torch
from torch import nn

from autoseg.nn.model import build_model
from autoseg.training.muon import inner_kernels, orthogonalized
from autoseg.training.optimizers import OPTIMIZERS, OptimizerContext
from planners.schema.base import Part
from tests_support import small_plan


def optimizer_of(model, name="muon", rate=1e-2, **options):
    return OPTIMIZERS.make(Part(name=name, options=options), OptimizerContext(model, rate))


def directly(matrix, steps=5):
    """The iteration as it is published."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", [(16, 432), (64, 27), (8, 8)])
def test_the_singular_values_of_an_update_are_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalized(matrix))
    assert shape == (8, 8) or values.min() > 0.6  # a square matrix may have one near 0
    assert values.max() < 1.3


def test_powers_of_the_gram_matrix_give_the_published_iteration():
    matrix = torch.randn(16, 432, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(orthogonalized(matrix), directly(matrix), rtol=1e-3, atol=1e-5)


def test_a_matrix_of_small_rank_and_one_of_zeros_stay_finite():
    column, row = torch.randn(16, 1), torch.randn(1, 432)
    assert orthogonalized(column @ row).isfinite().all()
    assert orthogonalized(torch.zeros(16, 432)).eq(0).all()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_stem_logits_and_vectors_are_left_to_adamw(dimensions):
    plan = small_plan(dimensions)
    model = build_model(plan, next(iter(plan.configurations.values())))
    inner = {id(kernel) for kernel in inner_kernels(model)}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in inner}
    assert names and not any("heads" in name or "norm" in name or name.endswith("bias") for name in names)
    first = next(name for name, parameter in model.network.named_parameters() if parameter.ndim > 1)
    assert f"network.{first}" not in names
    kernels = [name for name, parameter in model.named_parameters() if parameter.ndim > 2]
    assert len(names) == len(kernels) - 1 - len(model.network.logit_layers)


def test_depthwise_kernels_are_no_matrices():
    model = nn.Sequential(nn.Conv3d(1, 4, 3), nn.Conv3d(4, 4, 3, groups=4), nn.Conv3d(4, 4, 3))
    assert [id(kernel) for kernel in inner_kernels(model)] == [id(model[2].weight)]


def test_without_inner_kernels_it_is_adamw():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    mine, other = optimizer_of(ours), optimizer_of(theirs, "adamw")
    for seed in range(5):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(seed))
        for model, optimizer in ((ours, mine), (theirs, other)):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_an_update_has_the_size_of_one_of_adamw():
    model = nn.Sequential(nn.Conv3d(1, 8, 3), nn.Conv3d(8, 8, 3))
    optimizer = optimizer_of(model, rate=1e-3, weight_decay=0.0)
    before = model[1].weight.detach().clone()
    model(torch.randn(2, 1, 8, 8, 8)).square().mean().backward()
    optimizer.step()
    assert (model[1].weight - before).square().mean().sqrt().item() == pytest.approx(0.2 * 1e-3, rel=0.25)


def test_frozen_parameters_stay_as_they_are():
    model = nn.Sequential(nn.Conv3d(1, 4, 3), nn.Conv3d(4, 4, 3))
    optimizer = optimizer_of(model)
    model[1].weight.requires_grad_(False)
    before = model[1].weight.clone()
    model(torch.randn(1, 1, 8, 8, 8)).square().mean().backward()
    optimizer.step()
    assert torch.equal(model[1].weight, before)


def test_channels_last_kernels_move_as_contiguous_ones():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv3d(1, 4, 3), nn.Conv3d(4, 4, 3))
    last = nn.Sequential(nn.Conv3d(1, 4, 3), nn.Conv3d(4, 4, 3))
    last.load_state_dict(plain.state_dict())
    last = last.to(memory_format=torch.channels_last_3d)
    x = torch.randn(2, 1, 8, 8, 8)
    for model in (plain, last):
        optimizer = optimizer_of(model)
        for _ in range(3):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(plain[1].weight, last[1].weight, rtol=1e-3, atol=1e-4)
