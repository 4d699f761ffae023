"""Regridding against ramps, whose value everywhere is known by hand, and against SimpleITK."""

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.formats import read_header, read_image
from autoseg.grids.geometry import Geometry
from autoseg.grids.regrid import outside, regrid
from autoseg.grids.transform import Transform, indices_of, points_of

# A patient's ramp: 2 a mm to the left, -1 a mm backwards, 0.5 a mm upwards, and 3 in the world's origin.
SLOPES = np.array((2.0, -1.0, 0.5))


def ramp(geometry: Geometry, moved_mm=(0.0, 0.0, 0.0)) -> np.ndarray:
    """The ramp on a grid (1, D, H, W)."""
    indices = np.indices(geometry.shape).reshape(3, -1).T
    values = (points_of(geometry, indices) - np.array(moved_mm)) @ SLOPES + 3
    return values.reshape(1, *geometry.shape).astype(np.float32)


def turned(degrees: float, axis: int = 2) -> np.ndarray:
    """Directions (3, 3) of axes that are turned about the world's x, y or z."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    first, second = (k for k in range(3) if k != axis)
    matrix = np.eye(3)
    matrix[first, first], matrix[first, second], matrix[second, first], matrix[second, second] = c, -s, s, c
    return matrix


def grid(shape, spacing_mm=(1.0, 1.0, 1.0), origin_mm=(0.0, 0.0, 0.0), axes=None, dimensions=3) -> Geometry:
    return Geometry(shape, spacing_mm, origin_mm, tuple(np.eye(3).ravel() if axes is None else np.ravel(axes)), dimensions)


def between_centres(moving: Geometry, fixed: Geometry, margin: float = 0.0) -> np.ndarray:
    """Voxels of `fixed` that lie `margin` voxels within the outermost centres of `moving`."""
    index_N3 = indices_of(moving, points_of(fixed, np.indices(fixed.shape).reshape(3, -1).T))
    inner_N3 = (index_N3 >= margin) & (index_N3 <= np.array(moving.shape) - 1 - margin)
    return inner_N3.all(axis=1).reshape(fixed.shape)


FIXED = grid((8, 9, 10), (2.0, 1.0, 1.5), (-4.0, 2.0, 7.0))
MOVING = {
    "finer": grid((15, 12, 16), (1.3, 0.8, 1.0), (-5.0, 1.0, 6.0)),
    "coarser": grid((6, 5, 6), (4.0, 3.0, 4.0), (-6.0, 1.0, 5.0)),
    "much finer": grid((70, 45, 70), (0.3, 0.25, 0.3), (-5.0, 1.0, 6.0)),
    "flipped": grid((20, 12, 18), (1.0, 1.0, 1.0), (12.0, 11.0, 25.0), np.diag((-1.0, -1.0, -1.0))),
    "axes swapped": grid((18, 20, 12), (1.0, 1.0, 1.0), (-5.0, 1.0, 6.0), [[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "oblique": grid((24, 24, 24), (1.0, 1.0, 1.0), (-6.0, -1.0, 3.0), turned(20)),
    "oblique and much finer": grid((60, 60, 60), (0.4, 0.4, 0.4), (-6.0, -1.0, 5.0), turned(20)),
}


@pytest.mark.parametrize("name", MOVING)
def test_a_ramp_is_the_same_ramp_on_any_other_grid(name):
    image_CDHW, absent_DHW = regrid(ramp(MOVING[name]), MOVING[name], FIXED)
    # The mean over a voxel that reaches over the image's edge is not the ramp's.
    where = between_centres(MOVING[name], FIXED, 5.0 if "much" in name else 1e-6)
    assert image_CDHW.dtype == np.float32 and image_CDHW.shape == (1, 8, 9, 10) and where.sum() > 100
    assert not absent_DHW[where].any()
    np.testing.assert_allclose(image_CDHW[0][where], ramp(FIXED)[0][where], atol=2e-5)


def test_the_same_grid_gives_the_same_bits():
    image_CDHW = np.random.default_rng(0).normal(size=(2, 8, 9, 10)).astype(np.float32)
    regridded_CDHW, absent_DHW = regrid(image_CDHW, FIXED, FIXED)
    np.testing.assert_array_equal(regridded_CDHW, image_CDHW)
    assert not absent_DHW.any()


def test_half_a_voxel_beyond_the_last_centre_is_inside_and_has_its_value():
    moving, fixed = grid((1, 1, 2), (9.0, 9.0, 4.0)), grid((1, 1, 8), (9.0, 9.0, 1.0), (-3.0, 0.0, 0.0))
    image_CDHW, absent_DHW = regrid(np.array([10, 18], np.float32).reshape(1, 1, 1, 2), moving, fixed)
    # Centres at 0 and 4 mm, so the image reaches from -2 to 6 mm; the new centres are at -3, -2, ..., 4 mm.
    assert absent_DHW.ravel().tolist() == [True, *[False] * 7]
    assert image_CDHW.ravel().tolist() == [0, 10, 10, 10, 12, 14, 16, 18]


def test_a_much_finer_image_is_averaged_and_not_picked():
    moving, fixed = grid((1, 1, 16), (1.0, 1.0, 0.25), (-0.375, 0, 0)), grid((1, 1, 4))
    stripes = np.tile(np.array([0, 8], np.float32), 8).reshape(1, 1, 1, 16)
    image_CDHW, _ = regrid(stripes, moving, fixed)
    assert image_CDHW.ravel()[1:3].tolist() == [4, 4]
    assert set(regrid(stripes, moving, grid((1, 1, 4), (1.0, 1.0, 0.5), (-0.375, 0, 0)))[0].ravel()) == {0}


def test_axis_by_axis_and_point_by_point_give_the_same():
    moving = MOVING["finer"]
    image_CDHW = np.random.default_rng(0).normal(size=(1, *moving.shape)).astype(np.float32)
    nowhere = Transform(np.eye(3, 4), np.zeros((3, 2, 2, 2)), grid((2, 2, 2), (50.0,) * 3, (-20.0,) * 3))
    for one, other in zip(regrid(image_CDHW, moving, FIXED), regrid(image_CDHW, moving, FIXED, nowhere), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_transform_leads_from_the_reference_to_the_image():
    moving = grid((24, 18, 24), (1.0, 1.0, 1.0), (-7.0, -1.0, 4.0))
    there = Transform(np.column_stack([np.eye(3), (1.0, 2.0, -1.5)]))  # the image lies where its header is wrong by this
    image_CDHW, _ = regrid(ramp(moving, moved_mm=(1.0, 2.0, -1.5)), moving, FIXED, there)
    np.testing.assert_allclose(image_CDHW, ramp(FIXED), atol=2e-5)
    turn = Transform(np.column_stack([turned(5, axis=0), np.zeros(3)]))
    image_CDHW, absent_DHW = regrid(ramp(moving), moving, FIXED, turn)
    points_mm = turn.apply(points_of(FIXED, np.indices(FIXED.shape).reshape(3, -1).T))
    expected = (points_mm @ SLOPES + 3).reshape(FIXED.shape)
    assert not absent_DHW.any()
    np.testing.assert_allclose(image_CDHW[0], expected, atol=2e-5)


def test_absent_voxels_are_zero_and_marked_true():
    part = grid((8, 9, 4), (2.0, 1.0, 1.5), (-4.0 + 6 * 1.5, 2.0, 7.0))  # the last four columns of FIXED
    image_CDHW, absent_DHW = regrid(np.full((1, *part.shape), 5, np.float32), part, FIXED)
    assert absent_DHW[:, :, :6].all() and not absent_DHW[:, :, 6:].any()
    assert not image_CDHW[0, :, :, :6].any() and (image_CDHW[0, :, :, 6:] == 5).all()
    np.testing.assert_array_equal(outside(part, FIXED), absent_DHW)


def test_slabs_leave_no_seam(monkeypatch):
    image_CDHW, absent_DHW = regrid(ramp(MOVING["oblique"]), MOVING["oblique"], FIXED)
    monkeypatch.setattr("autoseg.grids.regrid._SLAB_VOXELS", 37)
    np.testing.assert_allclose(regrid(ramp(MOVING["oblique"]), MOVING["oblique"], FIXED)[0], image_CDHW, atol=1e-6)
    np.testing.assert_array_equal(outside(MOVING["oblique"], FIXED), absent_DHW)


def test_pictures_are_regridded_in_their_plane():
    """A 2D image has a slice spacing that means nothing."""
    moving = grid((1, 8, 8), (999 * 2.0, 2.0, 2.0), dimensions=2)
    fixed = grid((1, 12, 12), (999.0, 1.0, 1.0), (1.0, 1.0, 0.0), dimensions=2)
    image_CDHW, absent_DHW = regrid(ramp(moving), moving, fixed)
    np.testing.assert_allclose(image_CDHW, ramp(fixed), atol=1e-5)
    assert not absent_DHW.any()
    oblique = grid((1, 12, 12), (999.0, 1.0, 1.0), (6.0, 1.0, 0.0), turned(30), dimensions=2)
    image_CDHW, absent_DHW = regrid(ramp(moving), moving, oblique)
    assert 0 < absent_DHW.mean() < 0.5
    inner = between_centres(moving, oblique)
    np.testing.assert_allclose(image_CDHW[0][inner], ramp(oblique)[0][inner], atol=1e-5)


def test_images_that_do_not_overlap_are_an_error_with_both_frames():
    far = grid((4, 4, 4), origin_mm=(500.0, 0.0, 0.0))
    with pytest.raises(UserError) as raised:
        regrid(ramp(far), far, FIXED, names=("channel 1 'PET' (a.nii)", "channel 0 'CT' (b.nii)"))
    for words in ("channel 1 'PET' (a.nii) and channel 0 'CT' (b.nii) do not overlap", "x 500 to 504",
                  "x -5 to 10, y 2 to 10, z 6 to 22 mm"):
        assert words in str(raised.value)
    turned_far = grid((4, 4, 4), origin_mm=(500.0, 0.0, 0.0), axes=turned(30))
    with pytest.raises(UserError, match="do not overlap"):
        regrid(ramp(turned_far), turned_far, FIXED)


def test_the_input_is_left_unchanged():
    image_CDHW = ramp(MOVING["axes swapped"])
    before = image_CDHW.copy()
    image_CDHW.setflags(write=False)
    regrid(image_CDHW, MOVING["axes swapped"], FIXED)
    np.testing.assert_array_equal(image_CDHW, before)


@pytest.mark.parametrize("channel", [1, 2])
def test_pet_and_mr_of_a_patient_are_regridded_as_by_simpleitk(shared_data, channel):
    import SimpleITK as sitk

    images = shared_data / "Dataset010_STS" / "imagesTr"
    paths = images / f"STS_019_{channel:04d}.nii.gz", images / "STS_019_0000.nii.gz"
    image_CDHW, moving = read_image(paths[0])
    mine, absent_DHW = regrid(image_CDHW, moving, read_header(paths[1]).geometry)
    moved, reference = (sitk.ReadImage(str(path), sitk.sitkFloat32) for path in paths)
    theirs = sitk.GetArrayFromImage(sitk.Resample(moved, reference, sitk.Transform(), sitk.sitkLinear, -999.0))
    assert (theirs[absent_DHW] == -999).all()
    covered = theirs != -999
    assert np.count_nonzero(~covered & ~absent_DHW) <= 0.01 * covered.size  # exactly half a voxel beyond is outside there
    assert np.abs(mine[0] - theirs)[covered].max() < 1e-6 * np.ptp(image_CDHW)
