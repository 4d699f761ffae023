"""Distances between meshes are those between the true surfaces of spheres, discs and boxes."""

import numpy as np
import pytest

from autoseg.evaluation import metrics
from autoseg.evaluation.mesh import Mesh, distances_to, surface_mesh
from autoseg.evaluation.surface import surface_distances
from moved_shapes import MOVED, Moved

WITHIN = 0.05
NSD_WITHIN = 0.065  # of a share; only small spheres and thick slices are off by more than 0.05


@pytest.mark.parametrize("moved", MOVED, ids=str)
def test_surface_metrics_of_a_moved_shape_are_those_of_geometry(moved):
    distances, true_mm = surface_distances(*moved.masks(), moved.spacing_mm), moved.distances_mm()
    assert metrics.assd_mm(distances) == pytest.approx(true_mm.mean(), rel=WITHIN)
    assert metrics.hausdorff_mm(distances, 95) == pytest.approx(np.percentile(true_mm, 95), rel=WITHIN)
    half = moved.length_mm / 2
    assert metrics.nsd(distances, half) == pytest.approx((true_mm <= half).mean(), abs=NSD_WITHIN)


def test_more_than_fifty_moved_shapes_are_measured():
    assert len(MOVED) >= 50 and len({str(moved) for moved in MOVED}) == len(MOVED)


def test_surfels_measure_half_of_a_small_displacement():
    moved = Moved("ball", (1.0, 1.0, 1.0), (20.0,), (1.0, 0.0, 0.0))
    assert moved.distances_mm().mean() == pytest.approx(0.5, rel=1e-3)
    assert metrics.assd_mm(surface_distances(*moved.masks(), moved.spacing_mm, surface="surfel")) < 0.3


def test_surface_dice_within_1_mm_of_a_sphere_that_is_moved_by_2_mm_is_a_half():
    moved = Moved("ball", (1.0, 1.0, 1.0), (20.0,), (0.0, 2.0, 0.0))
    assert metrics.nsd(surface_distances(*moved.masks(), moved.spacing_mm), 1.0) == pytest.approx(0.5, rel=WITHIN)
    assert metrics.nsd(surface_distances(*moved.masks(), moved.spacing_mm, surface="surfel"), 1.0) > 0.7


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 8), (1, 1, 6), (2, 2, 2)])
def test_thin_things_are_not_smoothed_away(shape):
    mesh = surface_mesh(np.ones(shape, bool), (3.0, 1.0, 0.5))
    low, high = mesh.points_mm.min(0), mesh.points_mm.max(0)
    np.testing.assert_allclose(low, [-1.5, -0.5, -0.25])
    np.testing.assert_allclose(high, (np.array(shape) - 0.5) * (3.0, 1.0, 0.5))


def test_the_mesh_stays_between_the_voxels_of_the_mask_and_its_background():
    moved = Moved("ball", (3.0, 1.0, 1.0), (12.0,), (0.0, 0.0, 0.0))
    mask, _ = moved.masks()
    mesh = surface_mesh(mask, moved.spacing_mm)
    centres = np.argwhere(mask) * moved.spacing_mm
    assert distances_to(mesh, centres).min() > 0


def test_the_distance_to_a_triangle_is_that_to_its_plane_its_sides_and_its_corners():
    mesh = Mesh(np.array([[0.0, 0, 0], [0, 4, 0], [0, 0, 3]]), np.array([[0, 1, 2]]))
    points = np.array([[2.0, 1, 1], [0, 2, -1], [0, -3, -4], [0, 4, 3]])
    np.testing.assert_allclose(distances_to(mesh, points), [2, 1, 5, 2.4])


def test_the_distance_to_a_contour_is_that_to_its_lines():
    mesh = surface_mesh(np.ones((3, 5), bool), (2.0, 1.0))
    np.testing.assert_allclose(distances_to(mesh, np.array([[2.0, 2.0], [8.0, 2.0]])), [2.5, 3.0])


def test_mirrored_and_turned_masks_have_the_same_distances():
    moved = Moved("ball", (3.0, 1.0, 1.0), (10.0,), (0.0, 2.0, 1.0))
    a, b = moved.masks()
    straight = metrics.assd_mm(surface_distances(a, b, moved.spacing_mm))
    mirrored = metrics.assd_mm(surface_distances(a[::-1, :, ::-1], b[::-1, :, ::-1], moved.spacing_mm))
    turned = metrics.assd_mm(surface_distances(a.transpose(2, 0, 1), b.transpose(2, 0, 1), (1.0, 3.0, 1.0)))
    assert mirrored == pytest.approx(straight, rel=0.02) and turned == pytest.approx(straight, rel=0.02)
