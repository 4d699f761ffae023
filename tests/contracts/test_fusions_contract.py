"""Every registered fusion, in two and three dimensions, through the same contract."""

import copy

import pytest
import torch

from autoseg.nn.fusion import FUSIONS, FusionContext
from autoseg.nn.fusion.masking import masked_mean
from autoseg.nn.model import build_model
from planners.architectures.unet import UNet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, Schedule

SHAPES = {2: (11, 6), 3: (5, 9, 6)}  # windows of four tokens of two voxels divide none of these
EVERY = [(name, n) for name in FUSIONS.names() for n in (2, 3)]
GATED = [(name, n) for name, n in EVERY if name in ("attention", "window")]
every = pytest.mark.parametrize(("name", "n"), EVERY)


def make(name, n, n_channels=3):
    """A fusion in the middle of a training: nothing is at the value that it starts from."""
    torch.manual_seed(0)
    fusion = FUSIONS.make(Part(name=name), FusionContext(n_channels, n))
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return fusion


def image_of(n, n_channels=3):
    return torch.randn(2, n_channels, *SHAPES[n], generator=torch.Generator().manual_seed(1))


def channels_available(n):
    return torch.tensor([[True, False, True], [False, True, False]])[(..., *[None] * n)]


def fields_of_view(n):
    """The second channel covers a part of the first sample; nothing covers the second sample's first row."""
    available = torch.ones(2, 3, *SHAPES[n], dtype=torch.bool)
    available[0, 1, :3] = False
    available[1, 2] = False
    available[1, :, 0] = False
    return available


def every_availability(n):
    return {"all": None, "channels": channels_available(n), "fields of view": fields_of_view(n)}


def gradients(fusion, image, available):
    fusion.zero_grad()
    fused = fusion(image, available)
    if fused.requires_grad:  # concat has no parameter in what is not absent
        fused.square().mean().backward()
    return {key: parameter.grad for key, parameter in fusion.named_parameters() if parameter.grad is not None}


@every
def test_outputs_keep_the_space_and_are_as_many_as_announced(name, n):
    for n_channels in (1, 3):
        fusion = make(name, n, n_channels)
        assert fusion(image_of(n, n_channels), None).shape == (2, fusion.n_outputs, *SHAPES[n])


@every
@pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), -1e30])
@pytest.mark.parametrize("kind", ["channels", "fields of view"])
def test_what_is_not_available_changes_no_bit_of_output_and_gradients(name, n, rubbish, kind):
    fusion, image, available = make(name, n), image_of(n), every_availability(n)[kind]
    spoilt = torch.where(available, image, rubbish)
    assert torch.equal(fusion(spoilt, available), fusion(image, available))
    expected, found = gradients(fusion, image, available), gradients(fusion, spoilt, available)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@every
def test_a_voxel_without_any_channel_is_what_the_fusion_learned_for_it(name, n):
    fused = make(name, n)(image_of(n), fields_of_view(n))[1, :, 0].flatten(1)
    assert fused.isfinite().all() and torch.equal(fused, fused[:, :1].expand_as(fused))


@every
def test_a_patch_outside_every_field_of_view_is_finite(name, n):
    fused = make(name, n)(image_of(n), torch.zeros(2, 3, *SHAPES[n], dtype=torch.bool))
    assert fused.isfinite().all()


@every
def test_a_sample_without_any_channel_is_an_error_that_names_it(name, n):
    available = channels_available(n)
    available[1] = False
    with pytest.raises(ValueError, match=r"needs a channel, found none available in \[1\]"):
        make(name, n)(image_of(n), available)


@every
def test_everything_available_is_the_same_in_every_way_to_say_so(name, n):
    fusion, image = make(name, n), image_of(n)
    whole = torch.ones(2, 3, *[1] * n, dtype=torch.bool)
    torch.testing.assert_close(fusion(image, whole), fusion(image, None))
    torch.testing.assert_close(fusion(image, whole.expand_as(image)), fusion(image, None))


@every
def test_an_absent_channel_is_one_that_is_absent_in_every_voxel(name, n):
    fusion, image, available = make(name, n), image_of(n), channels_available(n)
    torch.testing.assert_close(fusion(image, available.expand_as(image)), fusion(image, available))


@every
def test_samples_of_a_batch_do_not_see_each_other(name, n):
    fusion, image, available = make(name, n), image_of(n), fields_of_view(n)
    torch.testing.assert_close(fusion(image, available)[1:], fusion(image[1:], available[1:]))


@every
def test_gradients_are_finite_and_reach_every_parameter(name, n):
    fusion, image, available = make(name, n), image_of(n), fields_of_view(n)
    found = gradients(fusion, image, available)
    for key, _ in fusion.named_parameters():
        assert found[key].isfinite().all() and found[key].abs().max() > 0, key


@every
def test_one_channel_alone_can_be_trained_and_be_absent_in_places(name, n):
    fusion, image = make(name, n, n_channels=1), image_of(n, n_channels=1)
    for available in (None, fields_of_view(n)[:, 1:2]):
        assert fusion(image, available).isfinite().all()
        assert all(gradient.isfinite().all() for gradient in gradients(fusion, image, available).values())


@every
def test_channels_are_told_apart(name, n):
    fusion, image = make(name, n), image_of(n)
    assert not torch.allclose(fusion(image, None), fusion(image.flip(1), None))


@every
def test_the_same_seed_gives_the_same_fusion_and_a_second_call_the_same_bits(name, n):
    first, second, image = make(name, n), make(name, n), image_of(n)
    for available in every_availability(n).values():
        assert torch.equal(first(image, available), second(image, available))
        expected, found = gradients(first, image, available), gradients(first, image, available)
        assert all(torch.equal(found[key], expected[key]) for key in expected)


@every
def test_training_and_evaluation_fuse_alike(name, n):
    fusion, image = make(name, n), image_of(n)
    for available in every_availability(n).values():
        trained = fusion.train()(image, available)
        with torch.inference_mode():
            assert torch.equal(fusion.eval()(image, available), trained)


@every
def test_the_state_survives_a_round_trip(name, n):
    fusion, image, available = make(name, n), image_of(n), fields_of_view(n)
    other = FUSIONS.make(Part(name=name), FusionContext(3, n))
    other.load_state_dict(copy.deepcopy(fusion.state_dict()))
    assert torch.equal(other(image, available), fusion(image, available))


@every
def test_image_and_availability_are_left_unchanged(name, n):
    image, available = image_of(n), fields_of_view(n)
    kept = image.clone(), available.clone()
    make(name, n)(image, available)
    assert torch.equal(image, kept[0]) and torch.equal(available, kept[1])


@every
def test_half_precision_gives_nearly_the_same_and_finite_gradients(name, n):
    fusion, image = make(name, n), image_of(n)
    for available in every_availability(n).values():
        exact = fusion(image, available)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = fusion(image, available)
            found = gradients(fusion, image, available)
        torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05)
        assert all(gradient.isfinite().all() for gradient in found.values())


@pytest.mark.parametrize(("name", "n"), GATED)
def test_a_closed_gate_leaves_the_masked_mean_and_new_gates_are_closed(name, n):
    fusion = FUSIONS.make(Part(name=name), FusionContext(3, n))
    image = image_of(n)
    for available in (None, channels_available(n)):
        mask = None if available is None else available.unsqueeze(2)
        torch.testing.assert_close(fusion(image, available), masked_mean(fusion.stem(image, available), mask))


@every
def test_a_model_with_the_fusion_never_reads_what_is_absent(name, n):
    architecture = UNet(strides=((1,) * n, (2,) * n), kernel_sizes=((3,) * n,) * 2, features=(4, 8), blocks_encoder=(1, 1),
                        convs_decoder=(1,))
    configuration = Configuration(spacing_mm=(1.0,) * n, median_shape=(8.0,) * n, patch=(8,) * n, batch=2, batch_dice=True,
                                  architecture=architecture, network=Part(name="unet"), fusion=Part(name=name),
                                  normalizers=(Part(name="zscore"),) * 3, augmentation=Part(name="none"),
                                  schedule=Schedule(learning_rate=0.01, iterations=1))
    plan = Plan(dataset="Dataset001_X", planner="test", labels=LabelSpec(names={"background": (0,), "tumour": (1,)}),
                transpose=(0, 1, 2), channels=tuple(ChannelSpec(name=name) for name in "abc"),
                configurations={"c": configuration})
    model = build_model(plan, configuration).eval()
    image = torch.randn(2, 3, *(8,) * n, generator=torch.Generator().manual_seed(0))
    present = torch.tensor([[True, False, True], [True, True, True]])
    absent = torch.zeros(2, 3, *(8,) * n, dtype=torch.bool)
    absent[1, 0, :4] = True
    spoilt = image.clone()
    spoilt[0, 1], spoilt[1, 0, :4] = float("nan"), float("nan")
    logits = model(image, present, None, absent)
    assert logits.isfinite().all() and torch.equal(model(spoilt, present, None, absent), logits)
