"""Every registered network, in two and three dimensions, through the same contract."""

import copy
import itertools
import math
from typing import get_args

import pytest
import torch

from autoseg.clinical.encoded import ConditionBatch, ConditionInput, Layout
from autoseg.nn.conditioning import CONDITIONERS
from autoseg.nn.fusion import FUSIONS
from autoseg.nn.losses.deep import build_loss
from autoseg.nn.model import build_model
from autoseg.nn.networks import NETWORKS
from planners.architectures import Architecture
from planners.architectures.unet import Block, UNet
from planners.architectures.vit import ViT
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, Schedule

LABELS = LabelSpec(names={"background": (0,), "liver": (1,), "tumour": (2,)})
# By kind of architecture; of a U-Net the blocks with plain skips, and plain blocks with gated ones.
VARIANTS = {"unet": (*get_args(Block), "gated"), "vit": ("cubes", "thick slices")}
EVERY = [(name, variant, n) for name in NETWORKS.names()
         for variant in VARIANTS[NETWORKS.traits(name).architecture or "unet"] for n in (2, 3)]
COUNTED = [(name, variant, n) for name, variant, n in EVERY if NETWORKS.traits(name).costs_as_planned]
every = pytest.mark.parametrize(("network", "variant", "n"), EVERY)
counted = pytest.mark.parametrize(("network", "variant", "n"), COUNTED)


def make_architecture(variant: str, dimensions: int) -> Architecture:
    if variant in VARIANTS["vit"]:
        token = (4,) * dimensions if variant == "cubes" else (1,) + (4,) * (dimensions - 1)
        return ViT(token=token, width=24, depth=3, heads=2)
    residual, gated = variant == "residual", variant == "gated"
    return UNet(block="plain" if gated else variant, skip="gated" if gated else "plain",
                strides=((1,) * dimensions, (2,) * dimensions, (1,) + (2,) * (dimensions - 1)),
                kernel_sizes=((1,) + (3,) * (dimensions - 1), (3,) * dimensions, (3,) * dimensions),
                features=(4, 8, 8), blocks_encoder=(1, 2, 2) if residual else (2, 2, 2),
                convs_decoder=(1, 1) if residual else (2, 2))


def make_plan(network: str, variant: str, dimensions: int) -> Plan:
    architecture = make_architecture(variant, dimensions)
    configuration = Configuration(spacing_mm=(1.0,) * dimensions, median_shape=(8.0,) * dimensions,
                                  patch=(8,) * dimensions, batch=2, batch_dice=True, architecture=architecture,
                                  network=Part(name=network), normalizers=(Part(name="zscore"),) * 2,
                                  augmentation=Part(name="none"), schedule=Schedule(learning_rate=0.01, iterations=1))
    return Plan(dataset="Dataset001_X", planner="test", labels=LABELS, transpose=(0, 1, 2),
                channels=(ChannelSpec(name="a"), ChannelSpec(name="b")), configurations={"c": configuration})


def make_model(network: str, variant: str, dimensions: int):
    plan = make_plan(network, variant, dimensions)
    torch.manual_seed(0)
    return build_model(plan, plan.configurations["c"])


def image_of(dimensions: int, edge: int = 8) -> torch.Tensor:
    return torch.randn(2, 2, *(edge,) * dimensions, generator=torch.Generator().manual_seed(0))


@every
def test_logits_have_a_head_a_label_at_every_stage(network, variant, n):
    logits = make_model(network, variant, n)(image_of(n))
    stages = max(1, len(make_architecture(variant, n).channels) - 1)
    assert [stage.shape for stage in logits] == [(2, 3, *(8,) * n), (2, 3, *(4,) * n)][:stages]


@every
def test_features_are_those_that_the_architecture_announces(network, variant, n):
    architecture, features = make_architecture(variant, n), make_model(network, variant, n).network.encode(image_of(n))
    assert tuple(stage.shape[1] for stage in features) == architecture.channels
    assert [stage[0, 0].numel() for stage in features] == architecture.voxels((8,) * n)


@every
def test_a_patch_of_another_size_than_the_planned_one_is_predicted(network, variant, n):
    image = torch.randn(1, 2, 12, *(24,) * (n - 1), generator=torch.Generator().manual_seed(0))
    assert make_model(network, variant, n).eval()(image).shape == (1, 3, 12, *(24,) * (n - 1))


@every
def test_evaluation_gives_the_full_resolution_only(network, variant, n):
    assert make_model(network, variant, n).eval()(image_of(n)).shape == (2, 3, *(8,) * n)


@every
def test_gradients_are_finite_and_reach_every_parameter_that_is_trained(network, variant, n):
    model = make_model(network, variant, n)
    sum(stage.square().mean() for stage in model(image_of(n))).backward()
    trained = {name: parameter for name, parameter in model.network.named_parameters() if parameter.requires_grad}
    assert len(trained) > len(list(model.network.parameters())) / 2
    for name, parameter in trained.items():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@every
def test_the_same_seed_gives_the_same_model(network, variant, n):
    first, second = make_model(network, variant, n).eval(), make_model(network, variant, n).eval()
    assert torch.equal(first(image_of(n)), second(image_of(n)))


@every
def test_logits_begin_around_the_prior_at_every_stage(network, variant, n):
    plan = make_plan(network, variant, n)
    torch.manual_seed(0)
    even = build_model(plan, plan.configurations["c"])
    torch.manual_seed(0)
    model = build_model(plan, plan.configurations["c"].model_copy(update={"prior": (0.2, 0.05)}))
    expected = torch.tensor([0.75, 0.2, 0.05]).log().view(1, 3, *[1] * n)
    for stage, without in zip(model(image_of(n)), even(image_of(n)), strict=True):
        assert torch.allclose(stage - without, expected.expand_as(stage), atol=1e-5)


@every
def test_logits_of_regions_begin_around_theirs(network, variant, n):
    labels = LabelSpec(names={"background": (0,), "organ": (1, 2), "tumour": (2,)}, region_order=(1, 2))
    plan = make_plan(network, variant, n).model_copy(update={"labels": labels})
    torch.manual_seed(0)
    even = build_model(plan, plan.configurations["c"])
    torch.manual_seed(0)
    model = build_model(plan, plan.configurations["c"].model_copy(update={"prior": (0.5, 0.05)}))
    expected = torch.tensor([0.0, math.log(0.05 / 0.95)]).view(1, 2, *[1] * n)
    for stage, without in zip(model(image_of(n)), even(image_of(n)), strict=True):
        assert torch.allclose(stage - without, expected.expand_as(stage), atol=1e-5)


@every
def test_the_state_survives_a_round_trip(network, variant, n):
    model = make_model(network, variant, n).eval()
    other = make_model(network, variant, n).eval()
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    assert torch.equal(model(image_of(n)), other(image_of(n)))


@every
def test_the_input_is_left_unchanged(network, variant, n):
    image = image_of(n)
    kept = image.clone()
    make_model(network, variant, n)(image)
    assert torch.equal(image, kept)


@every
def test_an_absent_channel_is_never_read(network, variant, n):
    model = make_model(network, variant, n).eval()
    present = torch.tensor([[True, False], [True, True]])
    image = image_of(n)
    poisoned = image.clone()
    poisoned[0, 1] = float("nan")
    assert torch.equal(model(poisoned, present), model(image, present))


@every
@pytest.mark.parametrize(("fusion", "conditioning"), list(zip(FUSIONS.names(), itertools.cycle(CONDITIONERS.names()))))
def test_every_fusion_and_conditioner_trains_with_it(network, variant, n, fusion, conditioning):
    plan = make_plan(network, variant, n)
    configuration = plan.configurations["c"].model_copy(update={
        "fusion": Part(name=fusion), "conditioning": Part(name=conditioning), "prior": (0.2, 0.05)})
    torch.manual_seed(0)
    model = build_model(plan, configuration, Layout(inputs=(ConditionInput(name="age", width=1, start=0),)))
    age = ConditionBatch(torch.tensor([[0.5], [-1.0]]), torch.tensor([[True], [False]]), {})
    logits = model(image_of(n), torch.tensor([[True, False], [True, True]]), age)
    stages = max(1, len(make_architecture(variant, n).channels) - 1)
    assert [stage.shape[2:] for stage in logits] == [(8,) * n, (4,) * n][:stages]
    build_loss(LABELS, configuration, "cpu")(logits, torch.zeros(2, *(8,) * n, dtype=torch.long)).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert sum(p.grad is not None and p.grad.abs().sum() > 0 for p in model.network.parameters()) > 10


@counted
def test_the_planners_arithmetic_counts_the_parameters_exactly(network, variant, n):
    plan = make_plan(network, variant, n)
    configuration = plan.configurations["c"]
    n_parameters = sum(parameter.numel() for parameter in make_model(network, variant, n).network.parameters())
    assert configuration.architecture.cost(configuration.patch, 2, 3).parameters == n_parameters


@counted
def test_the_planners_arithmetic_counts_what_the_backward_pass_keeps(network, variant, n):
    plan = make_plan(network, variant, n)
    configuration = plan.configurations["c"]
    model = make_model(network, variant, n)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = model(image_of(n, edge=32))
    held = sum(kept.values()) + sum(stage.untyped_storage().nbytes() for stage in logits)
    predicted = configuration.architecture.cost((32,) * n, 2, 3, batch=2).activation_bytes
    assert predicted == pytest.approx(held, rel=0.05)
