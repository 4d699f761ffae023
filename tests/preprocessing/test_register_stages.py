"""The stages of a registration: what each recovers, what is refused, and that a seed decides all."""

import numpy as np
import pytest
import SimpleITK as sitk

from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import Transform
from autoseg.preprocessing.registration import register_channel
from autoseg.preprocessing.registration.checks import implausible, least_jacobian
from autoseg.preprocessing.registration.deform import Spline, deformable_stage
from autoseg.preprocessing.registration.images import Volume, clipped, padded, pyramid, shrunk
from autoseg.preprocessing.registration.metric import Comparison, Score
from autoseg.preprocessing.registration.optimise import one_thread
from registration_phantoms import (
    Anatomy,
    bump,
    bumped_pair,
    cube,
    first_contrast,
    grid_points,
    moved_back,
    offset_pair,
    picture,
    rotation,
    second_contrast,
)


def body_points(anatomy: Anatomy, scale: float = 1.0) -> np.ndarray:
    """World points of the body, 2 voxels apart."""
    points = grid_points(cube(24, (2.0, 2.0, 2.0)))
    return points[anatomy.inside(points)] * scale


def test_an_affine_stage_recovers_a_stretch():
    anatomy, truth = Anatomy(1), np.column_stack([np.diag([1.08, 0.95, 1.0]) @ rotation(3, (1, 1, 1)), [2, 1, -1]])
    fixed = picture(cube(), lambda p: first_contrast(anatomy.density(p)), 20, 0)
    moving = picture(cube(), lambda p: second_contrast(anatomy.density(moved_back(truth, p))), 8, 1)
    found = register_channel(fixed, cube(), moving, cube(), kind="affine")
    points = body_points(anatomy)
    assert found.kept == "affine"
    assert np.linalg.norm(found.transform.apply(points) - Transform(truth).apply(points), axis=1).max() < 1


def test_a_deformable_stage_recovers_most_of_a_bump_and_folds_nothing():
    pair, anatomy = bumped_pair(seed=0, amplitude_mm=6.0)
    found = register_channel(*pair, kind="deformable")
    points = body_points(anatomy, 3.0)
    truth = points.copy()
    for _ in range(30):  # the moving image shows at q what the fixed one shows at q + bump(q)
        truth = points - bump(truth, 6.0)
    far = np.linalg.norm(points - truth, axis=1) > 3
    left = np.linalg.norm(found.transform.apply(points) - truth, axis=1)
    assert found.kept == "deformable"
    assert left[far].mean() < 0.5 * np.linalg.norm(points - truth, axis=1)[far].mean()
    assert least_jacobian(found.transform, pair[1]) > 0.5


@pytest.mark.slow
def test_a_deformable_stage_of_an_aligned_pair_is_not_kept():
    pair, _ = bumped_pair(seed=2, amplitude_mm=0.0)
    found = register_channel(*pair, kind="deformable")
    assert found.kept == "identity"
    assert found.reason == ""
    assert all("does not grow" in stage.reason for stage in found.stages)


def test_images_of_different_world_frames_are_laid_on_one_another_first():
    (fixed, grid, moving, _), truth = offset_pair(seed=1)
    elsewhere = cube()
    elsewhere = Geometry(elsewhere.shape, elsewhere.spacing_mm, tuple(o + 1000.0 for o in elsewhere.origin_mm))
    found = register_channel(fixed, grid, moving, elsewhere, kind="rigid")
    points = body_points(Anatomy(1))
    assert found.stages[0].kind in ("centres", "moments")
    assert found.stages[0].before is None
    expected = Transform(truth).apply(points) + 1000.0
    assert np.linalg.norm(found.transform.apply(points) - expected, axis=1).max() < 1


def test_oblique_axes_and_thick_slices_change_nothing_in_the_world():
    turned = rotation(20, (1, 0, 0))
    grid = cube(48, (3.0, 1.0, 1.0))
    oblique = Geometry(grid.shape, grid.spacing_mm, tuple((turned @ np.array(grid.origin_mm)).tolist()),
                       tuple(turned.ravel().tolist()))
    pair, truth = offset_pair(seed=0, moving_grid=oblique)
    found = register_channel(*pair, kind="rigid")
    points = body_points(Anatomy(0))
    assert np.linalg.norm(found.transform.apply(points) - Transform(truth).apply(points), axis=1).max() < 1.5


def test_flat_images_are_not_registered():
    flat = Geometry((1, 32, 32), (999.0, 1.0, 1.0), dimensions=2)
    image = np.random.default_rng(0).normal(size=flat.shape).astype(np.float32)
    assert "only volumes" in register_channel(image, flat, image, flat, kind="rigid").reason


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="known: rigid, affine, deformable"):
        register_channel(np.zeros((8, 8, 8)), cube(8), np.zeros((8, 8, 8)), cube(8), kind="regrid")


@pytest.mark.parametrize("matrix, words", [
    (np.column_stack([rotation(50, (0, 0, 1)), np.zeros(3)]), "rotates by 50 degrees"),
    (np.column_stack([np.eye(3), [0, 30, 0]]), "shifts by 30 mm"),
    (np.column_stack([np.diag([1.5, 1, 1]), np.zeros(3)]), "stretches by 1.00 to 1.50"),
    (np.column_stack([np.diag([-1, 1, 1]), np.zeros(3)]), "stretches"),
    (np.column_stack([rotation(40, (0, 0, 1)), [0, 20, 0]]), "")])
def test_what_cannot_be_is_named(matrix, words):
    volume = Volume(np.zeros((48, 48, 48), np.float32), cube())
    found = implausible(Transform(np.asarray(matrix, float)), Transform.identity(), volume, volume)
    assert words in found and bool(found) == bool(words)


def test_a_fold_is_seen():
    # Neighbouring lattice points, 10 mm apart, change places: x moves by +12 and -12 mm.
    displacement_mm = np.zeros((3, 2, 2, 4))
    displacement_mm[0, :, :, 1], displacement_mm[0, :, :, 2] = 12.0, -12.0
    folded = Transform(np.eye(3, 4), displacement_mm, Geometry((2, 2, 4), (10.0, 10.0, 10.0)))
    assert least_jacobian(folded, Geometry((2, 2, 16), (5.0, 5.0, 2.0))) == pytest.approx(1 - 24 / 10)
    assert least_jacobian(Transform(2 * np.eye(3, 4)), cube(8)) == pytest.approx(8)


def test_jacobians_do_not_depend_on_the_slabs(monkeypatch):
    bent = Transform(np.eye(3, 4), np.random.default_rng(0).normal(0, 1, (3, 4, 4, 4)), Geometry((4, 4, 4), (4.0,) * 3))
    whole = least_jacobian(bent, Geometry((9, 8, 8), (1.0, 1.0, 1.0)))
    monkeypatch.setattr("autoseg.preprocessing.registration.checks._SLAB_VOXELS", 1)
    assert least_jacobian(bent, Geometry((9, 8, 8), (1.0, 1.0, 1.0))) == whole


def test_an_image_shares_all_with_itself_and_little_with_noise():
    grid = cube()
    image = clipped(picture(grid, lambda p: first_contrast(Anatomy(0).density(p)), 20, 0), grid)
    noise = clipped(np.random.default_rng(5).normal(size=grid.shape).astype(np.float32), grid)
    assert Comparison(image, image).score(Transform.identity()).information > 0.95
    assert Comparison(image, noise).score(Transform.identity()).information < 0.05
    away = Transform(np.column_stack([np.eye(3), [500.0, 0, 0]]))
    assert Comparison(image, image).score(away) == Score(None, 0.0)


def test_what_is_pushed_out_of_view_is_no_gain():
    before, after = Score(0.4, 1.0), Score(0.6, 0.5)
    assert after.worth(before) == pytest.approx(0.3)
    assert before.worth(after) == 0.4


def test_averages_lie_where_their_voxels_lie():
    ramp = np.broadcast_to(np.arange(50, dtype=np.float32), (50, 50, 50))
    coarse = shrunk(Volume(ramp, Geometry((50, 50, 50), (1.0, 1.0, 1.0))), 2.0)
    assert coarse.geometry.shape == (25, 25, 25)
    assert coarse.geometry.origin_mm == (0.5, 0.5, 0.5)
    assert coarse.image_DHW[0, 0, :3].tolist() == [0.5, 2.5, 4.5]
    thick = Volume(ramp, Geometry((50, 50, 50), (4.0, 1.0, 1.0)))
    assert shrunk(thick, 2.0).geometry.spacing_mm == (4.0, 2.0, 2.0)
    assert padded(thick, 8.0).geometry.shape == (54, 66, 66)
    assert padded(thick, 8.0).geometry.origin_mm == (-8.0, -8.0, -8.0)


def test_splines_of_equal_coefficients_displace_all_alike():
    spline = Spline.over(cube(60))
    weights = [basis.sum(axis=1) for basis in spline.bases(cube(60))]
    assert all(np.allclose(weight, 1) for weight in weights)
    lattice = spline.lattice()
    inside = np.abs(grid_points(cube(60))).max()
    assert lattice.origin_mm[0] < -inside and lattice.corners_mm()[:, 0].max() - lattice.spacing_mm[2] / 2 > inside


def test_a_displacement_of_noise_stays_small_and_is_found_again():
    grid = cube(144, (6.0, 6.0, 6.0))
    noise = [clipped(np.random.default_rng(seed).normal(size=grid.shape).astype(np.float32), grid) for seed in (0, 1)]
    found, again = (deformable_stage(pyramid(*noise), Transform.identity(), 0) for _ in range(2))
    assert np.linalg.norm(found.displacement_mm, axis=0).max() < 12
    np.testing.assert_array_equal(found.displacement_mm, again.displacement_mm)


def test_the_number_of_threads_is_given_back():
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    with one_thread():
        assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 1
    assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == before
