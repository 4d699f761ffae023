"""Sliding-window prediction against what can be computed without windows."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

from autoseg.base.errors import UserError
from autoseg.base.runtime import Runtime
from autoseg.clinical.encoded import ConditionBatch
from autoseg.prediction.memory_plan import MemoryPlan, PredictionMemory
from autoseg.prediction.tiles import cover, gaussian, tile_starts
from autoseg.prediction.window import predict_logits
from planners.architectures.unet import UNet
from planners.schema.base import Part
from planners.schema.plan import Configuration, Schedule

CPU = Runtime(torch.device("cpu"), torch.float32)


def configuration(patch, mirror_axes=(), n_channels=1, previous=""):
    n = len(patch)
    architecture = UNet(strides=((1,) * n,), kernel_sizes=((3,) * n,), features=(8,), blocks_encoder=(1,),
                        convs_decoder=())
    return Configuration(
        spacing_mm=(1.0,) * n, median_shape=patch, patch=patch, batch=2, batch_dice=True, architecture=architecture,
        network=Part(name="unet"), normalizers=(Part(name="zscore"),) * n_channels, augmentation=Part(name="none"),
        schedule=Schedule(learning_rate=0.1), mirror_axes=mirror_axes, previous=previous)


class Constant(nn.Module):
    """Two heads that answer 3 and -1 everywhere."""

    def forward(self, image, present=None, conditions=None, absent=None):
        ones = torch.ones_like(image[:, :1])
        return torch.cat([3 * ones, -ones], dim=1)


class Identity(nn.Module):
    def forward(self, image, present=None, conditions=None, absent=None):
        return image


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, image, present=None, conditions=None, absent=None):
        return image * self.factor


class Convolution(nn.Module):
    def __init__(self, dimensions=3):
        super().__init__()
        kind = nn.Conv3d if dimensions == 3 else nn.Conv2d
        self.layer = kind(1, 2, 3, padding=1)

    def forward(self, image, present=None, conditions=None, absent=None):
        return self.layer(image)


class NeedsMemory(nn.Module):
    """Runs out of memory with more than `limit` tiles at once."""

    def __init__(self, limit, error=None):
        super().__init__()
        self.limit = limit
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def forward(self, image, present=None, conditions=None, absent=None):
        if len(image) > self.limit:
            raise self.error
        return image


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# What nnU-Net's compute_steps_for_sliding_window answers with a step of 0.5.
@pytest.mark.parametrize(("extent", "tile", "starts"), [
    (64, 64, (0,)),
    (65, 64, (0, 1)),
    (96, 64, (0, 32)),
    (97, 64, (0, 16, 33)),
    (110, 64, (0, 23, 46)),
    (75, 50, (0, 25)),
    (77, 25, (0, 10, 21, 31, 42, 52)),
    (7, 2, (0, 1, 2, 3, 4, 5)),
])
def test_tiles_start_where_those_of_nnunet_do(extent, tile, starts):
    assert tile_starts(extent, tile) == starts


def test_a_tile_of_one_voxel_visits_every_voxel_once():
    assert tile_starts(4, 1) == (0, 1, 2, 3)


def test_the_gaussian_is_one_in_the_middle_and_never_zero():
    weights = gaussian(8)
    assert weights.argmax() == 4
    assert weights[4] == 1
    assert weights[0] == pytest.approx(np.exp(-8))  # half a tile is four standard deviations
    assert weights[3] == weights[5] == pytest.approx(np.exp(-0.5))


@pytest.mark.parametrize(("shape", "patch"), [((9, 21, 13), (4, 8, 6)), ((3, 21, 13), (8, 8)), ((2, 5, 30), (4, 8, 6))])
def test_the_weights_of_all_tiles_add_up_to_one_at_every_voxel(shape, patch):
    tiling = cover(shape, patch)
    total = torch.zeros(tiling.padded_shape)
    for tile in tiling:
        total[tile.window] += tile.weight_DHW()
    assert len(list(tiling)) == len(tiling)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_an_image_smaller_than_the_patch_is_padded_on_both_sides_the_odd_voxel_behind():
    tiling = cover((3, 8, 6), (6, 8, 8))
    assert tiling.padding == ((1, 2), (0, 0), (1, 1))
    image = torch.ones(1, 3, 8, 6)
    padded = tiling.padded(image)
    assert padded.shape == (1, 6, 8, 8)
    assert padded.sum() == image.numel()
    assert torch.equal(tiling.unpadded(padded), image)


@pytest.mark.parametrize("mirror_axes", [(), (0, 1, 2)])
def test_a_constant_model_gives_a_constant(mirror_axes):
    logits = predict_logits(Constant(), noise(1, 9, 21, 13), configuration((4, 8, 6), mirror_axes), CPU)
    assert logits.shape == (2, 9, 21, 13)
    torch.testing.assert_close(logits[0], torch.full((9, 21, 13), 3.0))
    torch.testing.assert_close(logits[1], torch.full((9, 21, 13), -1.0))


@pytest.mark.parametrize(("shape", "patch", "mirror_axes"), [
    ((9, 21, 13), (4, 8, 6), (0, 1, 2)),
    ((3, 5, 13), (4, 8, 6), (0, 2)),  # smaller than the patch along two axes
    ((5, 21, 13), (8, 6), (0, 1)),
    ((5, 3, 13), (8, 6), ()),
])
def test_the_identity_gives_the_image_back(shape, patch, mirror_axes):
    image = noise(3, *shape)
    logits = predict_logits(Identity(), image, configuration(patch, mirror_axes, n_channels=3), CPU, at_once=3)
    torch.testing.assert_close(logits, torch.from_numpy(image))


def test_a_convolution_over_tiles_is_that_over_the_volume_where_no_tile_border_reaches():
    torch.manual_seed(0)
    model = Convolution().eval()
    image = noise(1, 12, 12, 12)
    whole = model(torch.from_numpy(image)[None])[0].detach()
    one_tile = predict_logits(model, image, configuration((12, 12, 12)), CPU)
    torch.testing.assert_close(one_tile, whole)
    # Tiles of 8 start at 0 and 4: voxel 7 is at the border of the first, voxel 4 at that of the second.
    tiled = predict_logits(model, image, configuration((8, 8, 8)), CPU)
    inner = torch.tensor([1, 2, 3, 5, 6, 8, 9, 10])
    error = (tiled - whole).abs()
    torch.testing.assert_close(error[:, inner][:, :, inner][:, :, :, inner], torch.zeros(2, 8, 8, 8))
    assert 0 < error[:, 4, 5, 5].max() < 0.001  # the border weighs exp(-8) of the centre
    assert 0 < error[:, 7, 5, 5].max() < 0.02  # exp(-4.5): an even tile has its centre behind the middle


def test_a_2d_configuration_predicts_every_slice_by_itself():
    torch.manual_seed(0)
    model = Convolution(dimensions=2).eval()
    image = noise(1, 4, 10, 6)
    logits = predict_logits(model, image, configuration((10, 6)), CPU)
    for z in range(4):
        torch.testing.assert_close(logits[:, z], model(torch.from_numpy(image[:, z])[None])[0].detach())


def test_mirroring_averages_the_logits_of_all_mirrored_copies():
    torch.manual_seed(0)
    model = Convolution().eval()
    image = torch.from_numpy(noise(1, 6, 6, 6))
    logits = predict_logits(model, image, configuration((6, 6, 6), mirror_axes=(0, 2)), CPU)
    expected = sum(model(image.flip(axes)[None])[0].flip(axes) for axes in ((), (1,), (3,), (1, 3))) / 4
    torch.testing.assert_close(logits, expected.detach())


def test_mirroring_can_be_chosen_or_left_out():
    torch.manual_seed(0)
    model, image, plan = Convolution().eval(), noise(1, 6, 6, 6), configuration((6, 6, 6), mirror_axes=(0, 1, 2))
    plain = predict_logits(model, image, plan, CPU, mirror_axes=())
    torch.testing.assert_close(plain, predict_logits(model, image, configuration((6, 6, 6)), CPU))
    assert not torch.allclose(plain, predict_logits(model, image, plan, CPU))


def test_models_are_averaged():
    image = noise(1, 6, 9, 6)
    logits = predict_logits([Scaled(1.0), Scaled(2.0), Scaled(6.0)], image, configuration((6, 6, 6)), CPU)
    torch.testing.assert_close(logits, 3 * torch.from_numpy(image))


class LeftAndRight(nn.Module):
    """Heads background, left, right: an organ is left where x < 4 of 8, and right beyond."""

    def forward(self, image, present=None, conditions=None, absent=None):
        left = torch.zeros_like(image[:, :1])
        left[..., :4] = image[:, :1][..., :4]
        right = image[:, :1] - left
        return torch.cat([torch.zeros_like(left), left, right], dim=1)


def test_paired_heads_swap_where_their_axis_is_mirrored():
    image = np.ones((1, 2, 2, 8), np.float32)
    plan = configuration((2, 2, 8), mirror_axes=(0, 2))
    swapped = predict_logits(LeftAndRight(), image, plan, CPU, head_swap=(0, 2, 1), pair_axis=-1)
    assert swapped[:, 0, 0, 0].tolist() == [0, 1, 0]
    assert swapped[:, 0, 0, 7].tolist() == [0, 0, 1]
    unaware = predict_logits(LeftAndRight(), image, plan, CPU)
    assert unaware[:, 0, 0, 0].tolist() == [0, 0.5, 0.5]


class SaysPrevious(nn.Module):
    """Heads background, left, right: what the cascade's earlier stage said (channels 1 and 2 of the input)."""

    def forward(self, image, present=None, conditions=None, absent=None):
        return torch.cat([torch.zeros_like(image[:, :1]), image[:, 1:]], dim=1)


def test_a_cascades_input_channels_swap_with_the_heads():
    seen = []

    class Watching(SaysPrevious):
        def forward(self, image, present=None, conditions=None, absent=None):
            seen.append(image.clone())
            return super().forward(image)

    image = np.zeros((3, 2, 2, 4), np.float32)
    image[1, ..., :2], image[2, ..., 2:] = 1, 5
    plan = configuration((2, 2, 4), mirror_axes=(2,), previous="3d_lowres")
    logits = predict_logits(Watching(), image, plan, CPU, head_swap=(0, 2, 1), pair_axis=2, at_once=1)
    assert seen[1][0, 1, 0, 0].tolist() == [5, 5, 0, 0]  # mirrored: the right organ lies left, and is called left
    torch.testing.assert_close(logits[1:], torch.from_numpy(image[1:]))


def test_presence_and_conditions_reach_the_model_with_every_batch():
    class Told(nn.Module):
        def forward(self, image, present=None, conditions=None, absent=None):
            assert len(present) == len(image) == len(conditions.values_BK)
            return torch.where(present[:, :, None, None, None], image, conditions.values_BK[:, :, None, None, None])

    image = np.full((2, 4, 4, 9), np.nan, np.float32)
    image[0] = 1
    known = ConditionBatch(torch.tensor([[7.0, 8.0]]), torch.ones(1, 2, dtype=torch.bool))
    logits = predict_logits(Told(), image, configuration((4, 4, 4), n_channels=2), CPU,
                            present_C=np.array([True, False]), conditions=[known])
    torch.testing.assert_close(logits[:, 0, 0, 0], torch.tensor([1.0, 8.0]))


def test_progress_counts_to_the_number_of_tiles_times_mirrored_copies():
    seen = []
    predict_logits(Identity(), noise(1, 6, 6, 9), configuration((6, 6, 6), mirror_axes=(0, 1)), CPU, at_once=3,
                   progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 8), (6, 8), (8, 8)]


@pytest.mark.parametrize("error", [None, MemoryError()], ids=["torch", "numpy"])
def test_too_little_memory_is_answered_with_smaller_batches_and_one_warning(caplog, error):
    image = noise(1, 6, 6, 20)
    with caplog.at_level(logging.WARNING):
        logits = predict_logits(NeedsMemory(limit=1, error=error), image, configuration((6, 6, 6), (0, 1)), CPU, at_once=8)
    torch.testing.assert_close(logits, torch.from_numpy(image))
    assert len(caplog.records) == 1
    assert "1 tile at a time" in caplog.text


def test_too_little_memory_for_one_tile_is_a_users_error():
    with pytest.raises(UserError, match="too little memory for a single tile"):
        predict_logits(NeedsMemory(limit=0), noise(1, 6, 6, 6), configuration((6, 6, 6)), CPU)


def test_an_error_of_the_model_is_not_taken_for_lack_of_memory():
    with pytest.raises(RuntimeError, match="expected input"):
        predict_logits(Convolution(), noise(2, 6, 6, 6), configuration((6, 6, 6), n_channels=2), CPU)


def test_logits_that_are_not_finite_are_a_users_error():
    with pytest.raises(UserError, match="not finite"):
        predict_logits(Scaled(float("inf")), noise(1, 6, 6, 6), configuration((6, 6, 6)), CPU)


def test_the_logits_may_be_changed_in_place_afterwards():
    logits = predict_logits(Identity(), noise(1, 6, 6, 6), configuration((6, 6, 6)), CPU)
    before = logits.clone()
    logits += 1
    assert torch.equal(logits, before + 1)


def test_before_host_memory_smaller_batches_are_tried():
    gpu, host = torch.device("cuda"), torch.device("cpu")
    assert PredictionMemory().plans(4, gpu) == [MemoryPlan(4, gpu), MemoryPlan(2, gpu), MemoryPlan(1, gpu),
                                                MemoryPlan(1, host)]
    assert PredictionMemory().plans(3, host) == [MemoryPlan(3, host), MemoryPlan(1, host)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_what_the_cpu_gives():
    torch.manual_seed(0)
    model, image, plan = Convolution().eval(), noise(1, 20, 20, 20), configuration((8, 8, 8), (0, 1, 2))
    on_cpu = predict_logits(model, image, plan, CPU)
    gpu = Runtime(torch.device("cuda"), torch.float32)
    torch.testing.assert_close(predict_logits(gpu.arranged(model, 3), image, plan, gpu).cpu(), on_cpu, atol=1e-3, rtol=0)
