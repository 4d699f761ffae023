"""Where voxels and labels go when a patch is turned, scaled and deformed."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from autoseg.batches.augment.nnunet import NnunetOptions
from autoseg.batches.augment.spatial import (
    Moves,
    Spatial,
    affine_matrix,
    initial_patch,
    is_dummy_2d,
    rotation_limit_degrees,
    sample_labels,
)
from autoseg.batches.batch import Batch
from batch_phantoms import make_batch, seeded

STILL = np.zeros(3)


def moved(batch, patch, matrix, *, n_images=1, padding=0):
    spatial = Spatial(patch, NnunetOptions(), n_images=n_images, padding=padding)
    spatial.initial_patch = tuple(batch.label_BDHW.shape[1:])
    return spatial.apply(batch, Moves([0], [matrix], [False]), seeded())


def cube(edge, size, value=1):
    """A batch of one with a cube in the middle."""
    label = torch.zeros(1, size, size, size, dtype=torch.int16)
    first = (size - edge) // 2
    inside = slice(first, first + edge)
    label[:, inside, inside, inside] = value
    return Batch(label[:, None].float(), label, torch.ones(1, 1, dtype=torch.bool))


def test_the_ranges_of_rotation_are_nnunets():
    assert rotation_limit_degrees((128, 128, 128)) == 30
    assert rotation_limit_degrees((28, 256, 256)) == 180 and is_dummy_2d((28, 256, 256))
    assert rotation_limit_degrees((512, 512)) == 180
    assert rotation_limit_degrees((320, 192)) == 15
    assert not is_dummy_2d((40, 120, 120))  # exactly three times is not more


def test_known_initial_patches():
    # 40 x 56 x 40 by nnU-Net 2.8.1 itself; where nothing moves the patch is its own.
    assert initial_patch((40, 56, 40), NnunetOptions()) == (73, 80, 64)
    assert initial_patch((40, 56, 40), NnunetOptions(p_rotation=0, p_scaling=0)) == (40, 56, 40)
    assert initial_patch((28, 256, 256), NnunetOptions()) == (28, 301, 301)


def test_an_unmoved_resampling_is_the_centre_crop():
    batch = make_batch((12, 14, 16))
    patch = (8, 8, 10)
    spatial = Spatial(patch, NnunetOptions(), n_images=1, padding=0)
    spatial.initial_patch = (12, 14, 16)
    resampled = spatial.apply(batch, Moves([0, 1], [affine_matrix(STILL, 1.0, 3)] * 2, [False] * 2), seeded())
    cropped = spatial.apply(batch, Moves([], [], []), seeded())
    assert torch.equal(cropped.image_BCDHW, batch.image_BCDHW[:, :, 2:10, 3:11, 3:13])
    assert (resampled.image_BCDHW - cropped.image_BCDHW).abs().max() < 1e-5
    assert torch.equal(resampled.label_BDHW, cropped.label_BDHW)


def test_a_scaling_of_two_halves_the_object():
    result = moved(cube(8, 20), (20, 20, 20), affine_matrix(STILL, 2.0, 3))
    assert result.label_BDHW.sum() == 4**3


@pytest.mark.parametrize(("axis", "before", "after"), [(0, (3, 5, 3), (3, 3, 1)), (1, (5, 3, 3), (3, 3, 5)),
                                                        (2, (3, 5, 3), (5, 3, 3))])
def test_a_quarter_turn_exchanges_the_two_other_axes(axis, before, after):
    # One voxel, two steps from the centre of 7 voxels an edge.
    label = torch.zeros(1, 7, 7, 7, dtype=torch.int16)
    label[(0, *before)] = 4
    angles = np.zeros(3)
    angles[axis] = math.pi / 2
    batch = Batch(label[:, None].float(), label, torch.ones(1, 1, dtype=torch.bool))
    result = moved(batch, (7, 7, 7), affine_matrix(angles, 1.0, 3)).label_BDHW
    assert result.sum() == 4 and result[(0, *after)] == 4


def test_image_and_label_move_together():
    batch = cube(8, 20)
    matrix = affine_matrix(np.radians([20.0, 10.0, -25.0]), 1.2, 3)
    result = moved(batch, (16, 16, 16), matrix)
    assert torch.equal(result.label_BDHW, (result.image_BCDHW[:, 0] > 0.5).to(torch.int16))


def test_outside_the_image_there_are_zeros_and_the_padding_label():
    result = moved(cube(12, 12, value=3), (12, 12, 12), affine_matrix(STILL, 2.0, 3), padding=9)
    # At half its size the image fills 6 of 12 voxels: three on each side are outside.
    assert result.image_BCDHW[0, 0, 6, 6].tolist() == [0] * 3 + [3] * 6 + [0] * 3
    assert result.label_BDHW[0, 6, 6].tolist() == [9] * 3 + [3] * 6 + [9] * 3


def test_anisotropic_patches_turn_in_plane_only():
    batch = make_batch((4, 20, 20))
    batch.image_BCDHW[:, :, 2] = 0
    batch.label_BDHW[:, 2] = 0
    spatial = Spatial((4, 16, 16), NnunetOptions(p_rotation=1, p_scaling=1), n_images=1, padding=0)
    spatial.initial_patch = (4, 20, 20)
    result = spatial(batch, seeded())
    assert result.image_BCDHW[:, :, 2].abs().max() == 0 and result.label_BDHW[:, 2].max() == 0
    assert (result.image_BCDHW[:, :, [0, 1, 3]].flatten(3).abs().amax(3) > 0).all()


def test_all_slices_of_an_anisotropic_patch_turn_alike():
    batch = make_batch((4, 20, 20), n_samples=1)
    batch = Batch(batch.image_BCDHW[:, :, :1].expand(-1, -1, 4, -1, -1).contiguous(),
                  batch.label_BDHW[:, :1].expand(-1, 4, -1, -1).contiguous(), batch.present_BC)
    spatial = Spatial((4, 16, 16), NnunetOptions(p_rotation=1), n_images=1, padding=0)
    spatial.initial_patch = (4, 20, 20)
    result = spatial(batch, seeded())
    assert torch.equal(result.label_BDHW[:, 0], result.label_BDHW[:, 3])
    assert torch.allclose(result.image_BCDHW[:, :, 0], result.image_BCDHW[:, :, 3])


def test_angles_and_scales_fill_their_ranges():
    spatial = Spatial((16, 16, 16), NnunetOptions(p_rotation=0, p_scaling=1), n_images=1, padding=0)
    scales = np.array([np.linalg.det(m) ** (1 / 3) for m in spatial.draw(2000, seeded()).matrices])
    assert 0.7 <= scales.min() < 0.71 and 1.39 < scales.max() <= 1.4
    spatial = Spatial((16, 16), NnunetOptions(p_rotation=1, p_scaling=0, rotation_degrees=40), n_images=1, padding=0)
    angles = np.degrees([math.atan2(m[1, 0], m[0, 0]) for m in spatial.draw(2000, seeded()).matrices])
    assert -40 <= angles.min() < -39 and 39 < angles.max() <= 40


@pytest.mark.parametrize("patch", [(16, 16, 16), (4, 20, 20), (20, 20)])
def test_elastic_deformation_moves_voxels_no_further_than_asked(patch):
    options = NnunetOptions(p_rotation=0, p_scaling=0, p_elastic=1, elastic_voxels=(2, 2))
    spatial = Spatial(patch, options, n_images=1, padding=0)
    # A ramp along the last axis: values of the deformed patch say where they came from.
    ramp = torch.arange(spatial.initial_patch[-1], dtype=torch.float32).expand(1, 1, *spatial.initial_patch)
    batch = Batch(ramp.contiguous(), torch.zeros(1, *spatial.initial_patch, dtype=torch.int16), torch.ones(1, 1))
    plain = spatial.apply(batch, Moves([], [], []), seeded()).image_BCDHW
    shift = spatial(batch, seeded()).image_BCDHW - plain
    middle = shift[(..., *[slice(5, -5)] * 2)]
    assert 0.1 < middle.abs().max() < 4.1  # twice the largest, as the mean is taken off
    assert middle.diff(dim=-1).abs().max() < 1.5  # smooth


def elected(label_22, position):
    """The label at (position, position) of a map of 2 x 2 voxels whose centres are at 0 and 1."""
    at = position + 0.5 - 1  # in grid units, the map reaches from -1 to 1
    return sample_labels(torch.tensor(label_22, dtype=torch.int16)[None, None], torch.full((1, 1, 1, 2), at), 0).item()


def test_labels_are_elected_by_interpolation_weight():
    assert elected([[5, 0], [0, 0]], 0.2) == 5  # 0.8 * 0.8 = 0.64 for the first voxel
    assert elected([[5, 0], [0, 0]], 0.3) == 0  # 0.49
    # 0.4096 for the nearest voxel wins over 0.2304 for 1 and 0.2304 + 0.1296 for 2, though it is less than half.
    assert elected([[7, 1], [2, 2]], 0.36) == 7


@pytest.mark.parametrize(("nearest", "others"), [(1, 2), (2, 1)])
def test_a_tie_of_labels_goes_to_the_nearest_voxel(nearest, others):
    assert elected([[nearest, others], [others, others]], 1 - math.sqrt(0.5)) == nearest


@pytest.mark.parametrize("n", [2, 3])
def test_labels_are_those_of_the_largest_interpolated_one_hot_map(n):
    generator = seeded()
    coarse = torch.randint(0, 4, (2, 3, *(3,) * n), generator=generator).float()
    label = F.interpolate(coarse.flatten(0, 1)[:, None], size=(12,) * n, mode="nearest")[:, 0].view(2, 3, *(12,) * n).short()
    grid = torch.rand(2, *(15,) * n, n, generator=generator) * 2.4 - 1.2
    sampled = sample_labels(label, grid, 1)
    padded = F.pad(label, [4] * (2 * n), value=1)  # so far out that every position lies inside
    one_hot = F.one_hot(padded.long(), 4).movedim(-1, 2).flatten(1, 2).float()
    shares = F.grid_sample(one_hot, grid * (12 / 20), align_corners=False).unflatten(1, (3, 4))
    best, second = shares.topk(2, dim=2).values.unbind(2)
    clear = best - second > 1e-3  # the weight that decides ties
    assert clear.float().mean() > 0.9
    assert torch.equal(sampled[clear].long(), shares.argmax(2)[clear])


def test_the_channels_of_an_earlier_prediction_are_resampled_as_labels():
    batch = make_batch((16, 16, 16), n_samples=1, previous=1)
    shown = Batch(batch.image_BCDHW, batch.image_BCDHW[:, 1].to(torch.int16), batch.present_BC)
    result = moved(shown, (12, 12, 12), affine_matrix(np.radians([10.0, 20.0, 5.0]), 0.9, 3))
    assert torch.equal(result.image_BCDHW[:, 1], result.label_BDHW.float())
