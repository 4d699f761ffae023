"""Weights of one model for another one: channels and labels by name, shapes, kernels, what is left."""

import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.clinical.encoded import NO_CONDITIONS, ConditionInput, Layout
from autoseg.nn.fusion import FUSIONS
from autoseg.nn.model import build_model
from autoseg.nn.transfer import Meaning, channel_matrix, freeze_encoder, take_over
from planners.architectures.unet import UNet
from planners.architectures.vit import ViT
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from tests_support import small_plan

BLOCKS = ("plain", "residual", "ghost", "mednext")


def unet(block="plain", kernel=3, n=3, features=(8, 16)):
    return UNet(strides=((1,) * n, (2,) * n), kernel_sizes=((kernel,) * n,) * 2, features=features, blocks_encoder=(1, 1),
                convs_decoder=(1,), block=block)


def meaning(channels=("T1",), labels=("background", "sphere", "core"), layout=NO_CONDITIONS, n=3, **changes):
    spec = LabelSpec(names={name: (value,) for value, name in enumerate(labels)})
    plan = small_plan(n, labels=spec, n_channels=len(channels), **changes)
    plan = plan.model_copy(update={"channels": tuple(ChannelSpec(name=name) for name in channels)})
    (configuration,) = plan.configurations.values()
    return Meaning(plan, configuration, layout, spec.heads)


def trained(side, seed=0):
    """A model of which no weight has the value that it starts with."""
    torch.manual_seed(seed)
    model = build_model(side.plan, side.configuration, side.layout).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return model


def transferred(source, target):
    """The source's model, the target's with what it took over, and what was taken."""
    model, fresh = trained(source), trained(target, 1)
    taken = take_over(model.state_dict(), source, fresh.state_dict(), target)
    fresh.load_state_dict(taken.weights)
    return model, fresh, taken


@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_the_same_channels_in_another_order_give_the_same_output(fusion):
    source = meaning(("T1", "T2", "FLAIR"), fusion=Part(name=fusion))
    target = meaning(("FLAIR", "t1", "T2"), fusion=Part(name=fusion))
    model, other, taken = transferred(source, target)
    assert not taken.left and taken.encoder_share == 1
    image, available = torch.randn(1, 3, 16, 16, 16), torch.tensor([[True, False, True]])
    order = [2, 0, 1]
    torch.testing.assert_close(other(image[:, order], available[:, order]), model(image, available), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("channels", [("T1", "ADC"), ("ADC", "DWI"), ("T1",), ("T1", "T2", "ADC", "DWI")])
def test_every_block_takes_over_all_of_the_encoder_whatever_the_channels(block, channels):
    source = meaning(("T1", "T2"), architecture=unet(block))
    _, _, taken = transferred(source, meaning(channels, architecture=unet(block)))
    assert taken.encoder_share == 1 and not taken.left


def test_new_channels_keep_the_sum_over_the_channels():
    for source, target in ((("A",), ("B", "C", "D")), (("A", "B"), ("A", "B", "C")), (("A", "B", "C"), ("A", "X", "Y"))):
        columns = channel_matrix(source, target, is_sum=True).sum(0)
        assert columns.sum() == pytest.approx(len(source))
        one = channel_matrix(("A",), ("B", "C"), is_sum=True)
        assert one.tolist() == [[0.5], [0.5]]
    assert channel_matrix(("A", "B"), ("A", "C"), is_sum=False).tolist() == [[1, 0], [0, 1]]


def test_a_stem_repeated_over_channels_answers_an_image_given_in_each_of_them_as_before():
    model, other, _ = transferred(meaning(("CT",)), meaning(("a", "b", "c")))
    image = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(other(image.expand(-1, 3, -1, -1, -1)), model(image), rtol=1e-3, atol=1e-4)


def test_labels_in_another_order_are_mapped_by_name():
    model, other, taken = transferred(meaning(), meaning(labels=("background", "core", "sphere")))
    image = torch.randn(1, 1, 16, 16, 16)
    assert not taken.left
    torch.testing.assert_close(other(image), model(image)[:, [0, 2, 1]])


def test_a_dropped_label_leaves_the_others_and_a_new_one_starts_fresh():
    source = meaning()
    model, other, _ = transferred(source, meaning(labels=("background", "core")))
    image = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(other(image), model(image)[:, [0, 2]])
    fresh = trained(target := meaning(labels=("background", "vessel", "core")), 1).state_dict()
    taken = take_over(model.state_dict(), source, fresh, target).weights
    name = "network.decoder.heads.0.bias"
    assert taken[name][1] == fresh[name][1] and taken[name][2] == model.state_dict()[name][2]


@pytest.mark.parametrize("target", [meaning(labels=("background", "liver")), meaning(labels=("background", "a", "b"))])
def test_heads_without_a_common_label_are_dropped(target):
    _, _, taken = transferred(meaning(), target)
    assert set(taken.left) == {name for name in taken.weights if ".heads." in name}
    assert taken.encoder_share == 1


def test_heads_of_a_pretraining_are_no_labels():
    source = meaning(("T1", "T2", "ADC"))
    pretraining = Meaning(source.plan, source.configuration)
    weights = build_model(source.plan, source.configuration, n_outputs=3).state_dict()
    taken = take_over(weights, pretraining, trained(source).state_dict(), source)
    assert all(".heads." in name for name in taken.left) and taken.left


@pytest.mark.parametrize("n", [2, 3])
def test_a_vision_transformer_is_taken_over(n):
    shape = ViT(token=(8,) * n, width=48, depth=2, heads=2)
    source, target = (meaning(channels, n=n, architecture=shape, network=Part(name="vit"), patch=(16,) * n)
                      for channels in (("T1",), ("T1", "T2")))
    assert transferred(source, target)[2].encoder_share == 1


def test_small_kernels_grow_only_where_the_blocks_are_made_for_it():
    grown = transferred(meaning(architecture=unet("mednext", 3)), meaning(architecture=unet("mednext", 5)))[2]
    assert grown.encoder_share == 1
    plain = transferred(meaning(architecture=unet("plain", 3)), meaning(architecture=unet("plain", 5)))[2]
    assert plain.encoder_share < 0.1 and "3x3x3" in next(iter(plain.left.values()))


def test_another_width_is_left():
    taken = transferred(meaning(), meaning(architecture=unet(features=(8, 32))))[2]
    assert 0 < taken.encoder_share < 0.9


def test_conditioning_is_taken_where_its_inputs_are_the_same():
    age, site = (Layout(inputs=(ConditionInput(name=name, width=1, start=0),)) for name in ("age", "site"))
    film = {"conditioning": Part(name="film")}
    same = transferred(meaning(layout=age, **film), meaning(layout=age, **film))[2]
    other = transferred(meaning(layout=age, **film), meaning(layout=site, **film))[2]
    assert not same.left
    assert other.left and all(name.startswith("conditioning.") for name in other.left)


def test_a_cascades_second_stage_takes_over_a_single_stage_and_does_not_look_at_masks_at_first():
    source = meaning()
    target = meaning(previous="3d_lowres")
    model, other, taken = transferred(source, target)
    image, masks = torch.randn(1, 1, 16, 16, 16), torch.ones(1, 2, 16, 16, 16)
    assert not taken.left
    torch.testing.assert_close(other(torch.cat([image, masks], 1)), model(image), rtol=1e-3, atol=1e-4)


def test_a_frozen_encoder_gets_no_gradient():
    model = trained(meaning()).train()
    freeze_encoder(model)
    model(torch.randn(2, 1, 16, 16, 16))[0].sum().backward()
    has_gradient = {name: parameter.grad is not None for name, parameter in model.named_parameters()}
    assert not any(has_gradient[name] for name in has_gradient if name.startswith(("network.encoder", "fusion")))
    assert has_gradient["network.decoder.heads.0.weight"]


def test_a_network_without_a_decoder_by_name_is_not_frozen_as_a_whole():
    with pytest.raises(UserError, match="decoder"):
        freeze_encoder(torch.nn.ModuleDict({"network": torch.nn.Linear(2, 2)}))
