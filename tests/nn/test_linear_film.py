"""Linear FiLM changes the decoder, too, starts as the identity, and weighs a long vector like a number."""

import pytest
import torch

from autoseg.clinical.encoded import ConditionBatch, ConditionInput, Layout
from autoseg.nn.conditioning import CONDITIONERS, ConditionerContext
from autoseg.nn.conditioning.linear_film import FEW_INPUTS
from autoseg.nn.model import Model, build_model
from planners.architectures.unet import UNet
from planners.architectures.vit import ViT
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, Schedule

AGE = Layout(inputs=(ConditionInput(name="age", width=1, start=0),))
SHAPES = {"unet": UNet(strides=((1, 1), (2, 2), (2, 2)), kernel_sizes=((3, 3),) * 3, features=(4, 6, 8),
                       blocks_encoder=(1, 1, 1), convs_decoder=(1, 1)),
          "vit": ViT(token=(4, 4), width=24, depth=1, heads=2)}


def model_of(network: str, conditioner: str, layout: Layout = AGE) -> Model:
    configuration = Configuration(
        spacing_mm=(1, 1), median_shape=(8, 8), patch=(8, 8), batch=2, batch_dice=True, architecture=SHAPES[network],
        network=Part(name=network), normalizers=(Part(name="zscore"),), conditioning=Part(name=conditioner),
        augmentation=Part(name="none"), schedule=Schedule(learning_rate=0.01, iterations=1))
    plan = Plan(dataset="D", planner="test", channels=(ChannelSpec(name="MR"),), transpose=(0, 1, 2),
                labels=LabelSpec(names={"background": (0,), "lesion": (1,)}), configurations={"2d": configuration})
    torch.manual_seed(0)
    return build_model(plan, configuration, layout)


def with_decoder_weights(network: str) -> Model:
    """A model whose conditioner has learned something of the decoder, and nothing of the encoder."""
    model = model_of(network, "linear_film")
    for layer in model.conditioning.decoder_affine:
        torch.nn.init.normal_(layer.weight)
    return model


def ages(*years: float | None) -> ConditionBatch:
    known = torch.tensor([[age is not None] for age in years])
    return ConditionBatch(torch.tensor([[age or 0.0] for age in years]), known)


def image_of(n: int = 2) -> torch.Tensor:
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("network", SHAPES)
def test_an_untrained_model_computes_what_the_plain_network_does(network):
    plain, conditioned = model_of(network, "none"), model_of(network, "linear_film")
    conditioned.network.load_state_dict(plain.network.state_dict())
    for a, b in zip(plain(image_of()), conditioned(image_of(), None, ages(1.0, -2.0)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("network", SHAPES)
def test_logits_of_every_stage_follow_what_is_known_and_only_that(network):
    model = with_decoder_weights(network)
    nothing = model(image_of(), None, None)
    some = model(image_of(), None, ages(1.0, None))
    for plain, changed in zip(nothing, some, strict=True):
        assert not torch.allclose(plain[0], changed[0]) and torch.equal(plain[1], changed[1])


@pytest.mark.parametrize("network", SHAPES)
def test_every_layer_of_the_decoder_is_reached_by_the_first_gradient(network):
    model = model_of(network, "linear_film")
    sum((logits * torch.randn_like(logits)).sum() for logits in model(image_of(), None, ages(1.0, -2.0))).backward()
    assert len(model.conditioning.decoder_affine) == len(SHAPES[network].decoder_channels)
    assert all(layer.weight.grad.abs().max() > 0 for layer in model.conditioning.decoder_affine)


def test_a_network_that_does_not_show_its_decoder_is_conditioned_before_it():
    shown = model_of("unet", "linear_film")
    conditioner = CONDITIONERS.make(Part(name="linear_film"), ConditionerContext((4, 6, 8), AGE, 2))
    assert len(conditioner.decoder_affine) == 0 and len(conditioner.encoder_affine) == 3
    hidden = Model(shown.fusion, shown.network, conditioner, 1)
    for layer in conditioner.encoder_affine:
        torch.nn.init.normal_(layer.weight)
    assert not torch.equal(hidden(image_of(), None, ages(1.0, 2.0))[0], hidden(image_of(), None, ages(3.0, 2.0))[0])


def reach(layout: Layout, values: torch.Tensor) -> float:
    """How far all weights of a conditioner, moved by 1 in the direction of their inputs, move one scale."""
    conditioner = CONDITIONERS.make(Part(name="linear_film"), ConditionerContext((1,), layout, 2))
    vector = conditioner._known(ConditionBatch(values, torch.ones_like(values, dtype=torch.bool)))
    return vector.abs().sum().item()


def test_a_vector_and_a_category_move_a_scale_as_far_as_a_number_does():
    wide, one_hot = torch.ones(1, 1000), torch.tensor([[0.0, 1, 0]])
    number = reach(AGE, torch.ones(1, 1))
    for values in (wide, one_hot):
        layout = Layout(inputs=(ConditionInput(name="x", width=values.shape[1], start=0),))
        assert reach(layout, values) == pytest.approx(number)


def test_many_columns_together_move_a_scale_as_far_as_few_do():
    def columns(n):
        return Layout(inputs=tuple(ConditionInput(name=str(k), width=1, start=k) for k in range(n)))
    few = reach(columns(FEW_INPUTS), torch.ones(1, FEW_INPUTS))
    assert reach(columns(50), torch.ones(1, 50)) == pytest.approx(few)


def test_film_of_earlier_models_has_the_weights_that_it_had():
    """A model on the disk names them: a name more or less, and it cannot be read."""
    names = set(model_of("unet", "film").conditioning.state_dict())
    assert names == {*(f"trunk.{k}.{kind}" for k in (0, 2) for kind in ("weight", "bias")),
                     *(f"heads.{stage}.weight" for stage in range(3))}
