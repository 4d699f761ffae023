"""The same change by batchgenerators (NumPy), on which nnU-Net's training was developed."""

import numpy as np
import pytest
import torch
from batchgenerators.augmentations.color_augmentations import augment_contrast, augment_gamma
from batchgenerators.augmentations.noise_augmentations import augment_gaussian_blur
from batchgenerators.augmentations.resample_augmentations import augment_linear_downsampling_scipy
from batchgenerators.augmentations.spatial_transformations import augment_spatial
from batchgenerators.augmentations.utils import rotate_coords_2d, rotate_coords_3d
from scipy.ndimage import gaussian_filter

from autoseg.batches.augment.intensity import blur, change_contrast, change_gamma, lower_resolution
from autoseg.batches.augment.nnunet import NnunetOptions
from autoseg.batches.augment.spatial import Moves, Spatial, affine_matrix, initial_patch, is_dummy_2d
from batch_phantoms import make_batch, seeded

SHAPE = (14, 17, 20)


def channels(count=2):
    return make_batch(SHAPE, n_samples=1, channels=count).image_BCDHW[0]


@pytest.mark.parametrize("gamma", [0.7, 1.0, 1.5])
@pytest.mark.parametrize("inverted", [False, True])
def test_gamma(gamma, inverted, monkeypatch):
    rows = channels()
    with monkeypatch.context() as patched:
        patched.setattr(np.random, "uniform", lambda low, high: gamma)
        expected = augment_gamma(rows.numpy().astype(np.float64), (0.7, 1.5), inverted, per_channel=True,
                                 retain_stats=True)
    ours = change_gamma(rows, torch.full((2,), gamma), inverted=inverted)
    assert np.abs(ours.numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("factor", [0.75, 1.0, 1.25])
def test_contrast(factor):
    rows = channels()
    expected = augment_contrast(rows.numpy().astype(np.float64), lambda: factor, preserve_range=True)
    assert np.abs(change_contrast(rows, torch.full((2,), factor)).numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.0])
def test_blur_inside_the_patch(sigma):
    rows = channels()
    expected = augment_gaussian_blur(rows.numpy().astype(np.float64), (sigma, sigma))
    ours = blur(rows, torch.full((2, 3), sigma)).numpy()
    # Kernels end at 3 standard deviations here (as in nnU-Net v2), at 4 there; borders reflect differently.
    assert np.abs(ours - expected)[:, 4:-4, 4:-4, 4:-4].max() < 0.01 * rows.std()


def test_blur_is_a_gaussian_filter_with_another_width_on_each_axis_and_row():
    rows = channels()
    sigma = torch.tensor([[0.5, 0.75, 1.0], [1.0, 0.6, 0.9]])
    ours = blur(rows, sigma).numpy()
    for row in range(2):
        expected = rows[row].numpy().astype(np.float64)
        for axis, s in enumerate(sigma[row].tolist()):
            radius = (6 * s + 0.5) // 2
            expected = gaussian_filter(expected, [s if a == axis else 0 for a in range(3)], mode="mirror",
                                       truncate=radius / s)
        assert np.abs(ours[row] - expected).max() < 1e-5


@pytest.mark.parametrize("scale", [0.5, 0.63, 0.85, 1.0])
def test_low_resolution(scale):
    rows = channels()
    expected = augment_linear_downsampling_scipy(rows.numpy().astype(np.float64), (scale, scale), order_downsample=0,
                                                 order_upsample=1)
    ours = lower_resolution(rows, torch.full((2, 3), scale)).numpy()
    assert np.abs(ours - expected).max() < 1e-4


def test_low_resolution_of_single_axes_is_that_of_interpolate():
    rows = channels()
    scale = torch.tensor([[1.0, 0.5, 0.7], [1.0, 1.0, 0.55]])
    ours = lower_resolution(rows, scale)
    for row in range(2):
        size = [round(n * s) for n, s in zip(SHAPE, scale[row].tolist(), strict=True)]
        small = torch.nn.functional.interpolate(rows[row][None, None], size, mode="nearest-exact")
        expected = torch.nn.functional.interpolate(small, SHAPE, mode="trilinear")[0, 0]
        assert (ours[row] - expected).abs().max() < 1e-5


@pytest.mark.parametrize(("full", "patch"), [((24, 26, 30), (12, 14, 16)), ((30, 34), (16, 18))])
@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_rotation_and_scaling(full, patch, scale):
    batch = make_batch(full, n_samples=1)
    angles = np.radians([20.0, -15.0, 25.0])
    spatial = Spatial(patch, NnunetOptions(), n_images=1, padding=0)
    spatial.initial_patch = full
    # batchgenerators multiplies coordinates by the transposed matrix: its angles have the other sign.
    moves = Moves([0], [affine_matrix(-angles, scale, len(patch))], [False])
    ours = spatial.apply(batch, moves, seeded())
    x, y, z = ((angle, angle) for angle in (angles if len(patch) == 3 else angles[[2, 0, 1]]))
    image, label = augment_spatial(
        batch.image_BCDHW.numpy(), batch.label_BDHW[:, None].numpy().astype(np.float32), patch, random_crop=False,
        do_elastic_deform=False, angle_x=x, angle_y=y, angle_z=z, scale=(scale, scale), do_scale=scale != 1,
        order_data=1, order_seg=1, border_mode_data="constant")
    # Voxels whose sources reach over the border are blended with zero here, and are zero there.
    inside = image[0, 0] != 0
    assert inside.mean() > 0.95
    assert np.abs(ours.image_BCDHW[0, 0].numpy() - image[0, 0])[inside].max() < 1e-4
    assert (ours.label_BDHW[0].numpy() == label[0, 0])[inside].mean() > 0.999


@pytest.mark.parametrize("patch", [(40, 56, 40), (128, 128, 128), (96, 160, 160), (28, 256, 256), (512, 512),
                                   (320, 192)])
def test_the_initial_patch_holds_the_corner_however_it_turns(patch):
    degrees = {3: 180 if is_dummy_2d(patch) else 30, 2: 15 if max(patch) > 1.5 * min(patch) else 180}[len(patch)]
    angle = np.radians(min(degrees, 90))
    corner = np.array(patch, float)
    if len(patch) == 3:
        turned = [rotate_coords_3d(corner, *(angle * np.eye(3)[axis])) for axis in range(3)]
    else:
        turned = [rotate_coords_2d(corner, angle)]
    expected = (np.max([corner, *np.abs(turned)], axis=0) / 0.85).astype(int)
    if is_dummy_2d(patch):
        expected[0] = patch[0]
    assert initial_patch(patch, NnunetOptions()) == tuple(expected)
