"""Schedule-free AdamW: the average is the answer."""

import math

import pytest
import torch
from torch import nn

from autoseg.base.errors import UserError
from autoseg.planning.check import check_plan
from autoseg.training.optimizers import OPTIMIZERS, OptimizerContext, swap_own_average
from planners.rules.budget import ended_early, extended, for_race, has_begun_to_decay
from planners.schema.base import Part
from planners.schema.plan import ResolvedSchedule, Schedule
from tests_support import small_plan

FREE = Part(name="schedule_free_adamw")
CONSTANT = ResolvedSchedule(iterations=1000, learning_rate=0.01, decay="constant", optimizer=FREE)


def optimizer_of(parameter, rate, **options):
    model = nn.Module()
    model.w = parameter
    return OPTIMIZERS.make(Part(name=FREE.name, options=options), OptimizerContext(model, rate))


def descend(parameter, optimizer, steps, rates=None):
    """On a noiseless quadratic with its minimum at 3."""
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] if rates is None else rates[step]
        optimizer.zero_grad()
        (parameter - 3).square().sum().backward()
        optimizer.step()


def by_hand(start, rates, beta1=0.9, beta2=0.999):
    """Algorithm 1 of the paper on the same quadratic, in Python's numbers: the point of gradients and the average."""
    y = z = x = start
    square = total = 0.0
    for k, rate in enumerate(rates, start=1):
        gradient = 2 * (y - 3)
        square = beta2 * square + (1 - beta2) * gradient**2
        z -= rate * gradient / (math.sqrt(square / (1 - beta2**k)) + 1e-8)
        weight = max(rates[:k]) ** 2
        total += weight
        x += weight / total * (z - x)
        y = (1 - beta1) * z + beta1 * x
    return y, x


def test_layers_that_read_a_table_have_a_share_of_the_rate():
    weights = {rate: (nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))) for rate in (0.25, 1.0)}
    for rate, (read, other) in weights.items():
        model = nn.Module()
        model.conditioning, model.network = nn.ParameterList([read]), nn.ParameterList([other])
        optimizer = OPTIMIZERS.make(Part(name=FREE.name, options={"conditioning_rate": rate}), OptimizerContext(model, 0.1))
        (read + other - 3).square().sum().backward()
        optimizer.step()
    moved = {rate: [optimized.item() for optimized in pair] for rate, pair in weights.items()}
    assert moved[0.25] == pytest.approx([0.25 * moved[1.0][0], moved[1.0][1]])


def test_parameters_stay_in_the_order_of_the_model_so_that_a_resume_finds_their_state():
    model = nn.Module()
    model.conditioning, model.network = (nn.Sequential(*(nn.Linear(2, 3) for _ in range(20))) for _ in range(2))
    optimizer = OPTIMIZERS.make(Part(name=FREE.name, options={"conditioning_rate": 0.5}), OptimizerContext(model, 0.1))
    kernels = [[id(p) for p in part.parameters() if p.ndim > 1] for part in (model.network, model.conditioning)]
    assert [[id(p) for p in group["params"]] for group in optimizer.param_groups[::2]] == kernels


def test_it_is_the_algorithm_of_the_paper_with_warm_up():
    parameter, rates = nn.Parameter(torch.zeros(1, dtype=torch.float64)), [0.1, 0.2, 0.3, 0.3, 0.3, 0.3]
    optimizer = optimizer_of(parameter, 0.3)
    descend(parameter, optimizer, 6, rates)
    y, x = by_hand(0.0, rates)
    assert parameter.item() == pytest.approx(y)
    swap_own_average(optimizer)
    assert parameter.item() == pytest.approx(x)


def test_the_average_reaches_the_minimum_without_any_decay():
    parameter = nn.Parameter(torch.zeros(4))
    optimizer = optimizer_of(parameter, 0.1)
    descend(parameter, optimizer, 400)
    swap_own_average(optimizer)
    assert (parameter - 3).abs().max() < 0.05


def test_looking_at_the_average_changes_no_bit():
    parameter = nn.Parameter(torch.zeros(4))
    optimizer = optimizer_of(parameter, 0.1)
    swap_own_average(optimizer)  # before its first step there is none
    descend(parameter, optimizer, 5)
    before = parameter.detach().clone()
    swap_own_average(optimizer)
    assert not torch.equal(parameter, before)
    swap_own_average(optimizer)
    assert torch.equal(parameter, before)


def test_a_constant_rate_ends_at_once_and_goes_on_constant():
    assert not has_begun_to_decay(CONSTANT, 999)
    assert ended_early(CONSTANT, 400).iterations == 400
    assert extended(Schedule(iterations=10, learning_rate=0.01, decay="constant"), 60.0).decay == "constant"


def test_a_race_keeps_a_constant_rate_without_a_second_average():
    plan = for_race(small_plan(schedule=Schedule(iterations=10, learning_rate=0.01, decay="constant", optimizer=FREE)), 60)
    schedule = plan.configurations["3d_fullres"].schedule
    assert (schedule.decay, schedule.ema, schedule.budget_seconds) == ("constant", 0.0, 60)


@pytest.mark.parametrize("change", [{"ema": 0.9}, {"decay": "cosine"}])
def test_a_second_average_or_a_decay_is_refused(change):
    schedule = Schedule(**{"iterations": 10, "learning_rate": 0.01, "decay": "constant", "optimizer": FREE, **change})
    with pytest.raises(UserError, match=r"averages weights itself.*ema must be 0.*decay constant"):
        check_plan(small_plan(schedule=schedule), "3d_fullres")
