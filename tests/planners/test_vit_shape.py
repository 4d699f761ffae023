"""What a transformer's shape answers, by hand."""

import pytest
from pydantic import TypeAdapter, ValidationError

from planners.architectures import Architecture
from planners.architectures.vit import ViT
from planners.schema.hardware import KnownHardware

SMALL = ViT(token=(2, 8, 8), width=48, depth=3, heads=4)
CUBES = SMALL.model_copy(update={"token": (8, 8, 8)})


def test_the_divisor_is_the_token():
    assert (SMALL.dimensions, SMALL.divisor, SMALL.channels) == (3, (2, 8, 8), (48,))
    assert SMALL.voxels((4, 16, 24)) == [2 * 2 * 3]


def test_a_shorter_edge_of_a_token_is_complete_earlier():
    assert SMALL.strides == ((2, 2, 2), (1, 2, 2), (1, 2, 2))
    assert SMALL.decoder == (48, 32, 16)


@pytest.mark.parametrize(("patch", "fault"), [
    ((4, 16, 24), None), ((4, 12, 16), "the patch [4, 12, 16] must be divisible by [2, 8, 8]"),
    ((2, 8, 8), "the patch [2, 8, 8] is a single token"), ((16, 16), "a token must have 2 axes")])
def test_a_patch_that_does_not_fit_is_told_why(patch, fault):
    faults = SMALL.faults(patch)
    assert (fault is None and faults == []) or (len(faults) == 1 and fault in faults[0])


@pytest.mark.parametrize(("change", "complaint"), [
    ({"token": (6, 6, 6)}, "powers of two"), ({"token": (1, 1)}, "one of them above 1"),
    ({"heads": 5}, "must be a multiple of the heads"), ({"heads": 12}, "each 6 channels or more")])
def test_a_shape_that_cannot_be_is_refused(change, complaint):
    with pytest.raises(ValidationError, match=complaint):
        ViT(**{**SMALL.model_dump(), **change})


def test_half_precision_keeps_the_sums_between_layers_in_single():
    full, half = (SMALL.cost((4, 16, 16), 1, 2, batch=2, bytes_per_value=n).activation_bytes for n in (4, 2))
    sums = 2 * 3 * 48 * 8 * 2
    assert half == full / 2 + 2 * sums


def test_attention_costs_the_square_of_the_tokens():
    # twice, four times the tokens: linear work and, per pair of tokens, 4 FLOPs for each channel of each layer
    one, two, four = (CUBES.cost((8, 8, 8 * n), 1, 2).forward_flops for n in (2, 4, 8))
    assert four - 2 * two - 2 * (two - 2 * one) == 4 * 48 * 3 * (64 - 2 * 16 - 2 * (16 - 2 * 4))


def test_a_step_takes_as_long_as_its_flops_where_nothing_else_is_known():
    speed = KnownHardware(memory_bytes=1, flops_per_s=1e9, cores=1).speed
    patch = (32, 32, 32)
    flops = CUBES.cost(patch, 1, 2, batch=2).training_flops
    assert CUBES.step_seconds(patch, 1, 2, batch=2, speed=speed) == pytest.approx(flops / 1e9, rel=0.1)


def test_published_sizes_have_their_published_parameters():
    # documentation of nnU-Net and the paper, in millions, with heads and decoders that differ a little
    sizes = {396: (12, 6, 22), 792: (12, 12, 88), 864: (16, 12, 141)}
    for width, (depth, heads, millions) in sizes.items():
        shape = ViT(token=(8, 8, 8), width=width, depth=depth, heads=heads)
        assert shape.cost((64, 64, 64), 1, 2).parameters / 1e6 == pytest.approx(millions, rel=0.1)


def test_plans_know_an_architecture_by_its_kind_and_one_without_is_a_unet():
    unet = {"strides": [[1, 1], [2, 2]], "kernel_sizes": [[3, 3], [3, 3]], "features": [4, 8], "blocks_encoder": [1, 1],
            "convs_decoder": [1]}
    plans = TypeAdapter(Architecture)
    assert plans.validate_json(SMALL.model_dump_json()) == SMALL
    assert plans.validate_python(unet).kind == "unet"
    with pytest.raises(ValidationError, match="does not match any of the expected tags: 'unet', 'vit'"):
        plans.validate_python({"kind": "swin"})
