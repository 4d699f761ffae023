"""Metrics of masks that can be counted by eye."""

import math

import numpy as np
import pytest

from autoseg.evaluation import metrics
from autoseg.evaluation.metrics import Overlap
from autoseg.evaluation.surface import surface_distances, surfels


def drawn(*rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows])


def cube(shape, start, size):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = True
    return mask


TRUTH = drawn("......",
              ".##...",
              ".##...",
              "......")
PREDICTED = drawn("......",
                  "..##..",
                  "..##..",
                  "..#...")


def test_overlap_counts_the_voxels_of_a_drawing():
    assert metrics.overlap(TRUTH, PREDICTED) == Overlap(tp=2, fp=3, fn=2)


def test_overlap_metrics_of_a_drawing():
    counts = metrics.overlap(TRUTH, PREDICTED)
    assert metrics.dice(counts) == pytest.approx(4 / 9)
    assert metrics.iou(counts) == pytest.approx(2 / 7)
    assert metrics.precision(counts) == pytest.approx(2 / 5)
    assert metrics.sensitivity(counts) == pytest.approx(2 / 4)


@pytest.mark.parametrize(("counts", "dice", "iou", "precision", "sensitivity"), [
    (Overlap(0, 0, 0), math.nan, math.nan, math.nan, math.nan),
    (Overlap(0, 5, 0), 0, 0, 0, math.nan),
    (Overlap(0, 0, 5), 0, 0, 0, 0),
    (Overlap(0, 5, 5), 0, 0, 0, 0),
    (Overlap(5, 0, 0), 1, 1, 1, 1),
])
def test_overlap_metrics_where_a_mask_is_empty(counts, dice, iou, precision, sensitivity):
    measured = [metrics.dice(counts), metrics.iou(counts), metrics.precision(counts), metrics.sensitivity(counts)]
    np.testing.assert_array_equal(measured, [dice, iou, precision, sensitivity])


def test_a_voxel_has_a_surfel_at_each_corner():
    points, area = surfels(np.ones((1, 1, 1), bool), (1.0, 1.0, 1.0))
    assert sorted(map(tuple, points)) == [(z, y, x) for z in (-0.5, 0.5) for y in (-0.5, 0.5) for x in (-0.5, 0.5)]
    # A corner is cut by an equilateral triangle with sides of half a face's diagonal.
    np.testing.assert_allclose(area, math.sqrt(3) / 4 * 0.5, rtol=1e-6)


def test_the_contour_of_a_pixel_is_a_rhombus():
    _, length = surfels(np.ones((1, 1), bool), (6.0, 8.0))
    np.testing.assert_allclose(length, [5, 5, 5, 5])


def test_the_flat_part_of_a_surface_has_the_area_of_its_voxel_faces():
    points, area = surfels(cube((6, 20, 20), (0, 0, 0), (3, 20, 20)), (2.0, 1.5, 0.5))
    flat = (points[:, 0] == 5) & (np.abs(points[:, 1] - 14) < 10) & (np.abs(points[:, 2] - 4.75) < 4)
    np.testing.assert_allclose(area[flat], 1.5 * 0.5, rtol=1e-6)


@pytest.mark.parametrize("code", range(1, 255))
def test_a_hole_has_the_surface_of_its_filling(code):
    corners = np.unpackbits(np.array([code], np.uint8)).reshape(2, 2, 2).astype(bool)
    spacing = (3.0, 1.0, 0.7)

    def area_in_the_middle(mask):
        points, area = surfels(mask, spacing)
        return area[(points == np.array([0.5, 0.5, 0.5]) * spacing).all(1)]

    np.testing.assert_allclose(area_in_the_middle(corners), area_in_the_middle(~corners))
    assert area_in_the_middle(corners) > 0


def test_two_voxels_three_apart():
    # Corners at -0.5 and 0.5 against 2.5 and 3.5: half of each surface is 3 mm away, half 2 mm.
    distances = surface_distances(drawn("#....")[None, :, :4], drawn("...#")[None], (1.0, 1.0, 1.0), surface="surfel")
    np.testing.assert_allclose(distances.of_truth_mm, [2, 2, 3, 3])
    assert metrics.hausdorff_mm(distances) == 3
    assert metrics.hausdorff_mm(distances, percent=40) == 2
    assert metrics.assd_mm(distances) == pytest.approx(2.5)
    assert metrics.nsd(distances, 2.5) == pytest.approx(0.5)
    assert metrics.nsd(distances, 1.9) == 0


@pytest.mark.parametrize(("shift", "distance_mm"), [((0, 0, 3), 2.1), ((0, 2, 0), 2.0), ((1, 0, 0), 5.0)])
def test_a_cube_shifted_along_an_axis_is_as_far_as_its_shift(shift, distance_mm):
    shape, spacing = (8, 12, 14), (5.0, 1.0, 0.7)
    truth = cube(shape, (2, 3, 4), (4, 5, 6))
    predicted = cube(shape, tuple(np.add((2, 3, 4), shift)), (4, 5, 6))
    distances = surface_distances(truth, predicted, spacing, surface="surfel")
    assert metrics.hausdorff_mm(distances) == pytest.approx(distance_mm)
    assert 0 < metrics.assd_mm(distances) < distance_mm
    assert metrics.nsd(distances, distance_mm + 1e-6) == 1
    assert metrics.nsd(distances, distance_mm - 1e-6) < 1


def test_concentric_squares_are_apart_by_their_margin():
    # Contours 3 mm apart on all sides, except at the cut corners of the outer square.
    inner, outer = cube((1, 40, 40), (0, 10, 10), (1, 20, 20)), cube((1, 40, 40), (0, 7, 7), (1, 26, 26))
    distances = surface_distances(inner, outer, (999.0, 1.0, 1.0), surface="surfel")
    assert distances.of_truth_mm.min() == distances.of_truth_mm.max() == 3
    assert metrics.hausdorff_mm(distances, 95) == pytest.approx(math.hypot(3, 3), abs=1.3)
    assert metrics.hausdorff_mm(distances) == pytest.approx(math.hypot(3, 3))


def test_a_mask_against_itself_is_perfect():
    mask = np.random.default_rng(0).random((5, 6, 7)) < 0.5
    distances = surface_distances(mask, mask, (3.0, 1.0, 1.0), surface="surfel")
    assert metrics.hausdorff_mm(distances) == metrics.assd_mm(distances) == 0
    assert metrics.nsd(distances, 0) == 1


# What surface-distance 0.1 answers for the same masks: HD, HD95, NSD at 1 mm, ASSD (its two averages weighted by area).
@pytest.mark.parametrize(("shape", "spacing", "expected"), [
    ((6, 9, 8), (3.0, 1.0, 0.7), (3.1622776601683795, 1.4, 0.9322141934722675, 0.3005957818691568)),
    ((5, 5, 5), (1.0, 1.0, 1.0), (2.23606797749979, 1.4142135623730951, 0.9481745456682275, 0.3318418201292278)),
    ((11, 9), (0.5, 2.0), (2.5, 2.0615528128088303, 0.8433784495222335, 0.5226190134517937)),
])
def test_surface_metrics_agree_with_surface_distance(shape, spacing, expected):
    generator = np.random.default_rng(7)
    truth, predicted = generator.random(shape) < 0.4, generator.random(shape) < 0.15
    distances = surface_distances(truth, predicted, spacing, surface="surfel")
    measured = (metrics.hausdorff_mm(distances), metrics.hausdorff_mm(distances, 95), metrics.nsd(distances, 1.0),
             metrics.assd_mm(distances))
    assert measured == pytest.approx(expected, rel=1e-6)


def test_a_lesion_in_one_slice_of_a_volume_is_measured_in_three_dimensions():
    volume = np.zeros((2, 3, 12, 12), bool)
    volume[0, 1, 2:8, 2:8] = volume[1, 1, 2:8, 4:10] = True
    whole = surface_distances(*volume, (5.0, 1.0, 1.0), surface="surfel")
    cut = surface_distances(*volume[:, 1:2], (5.0, 1.0, 1.0), volume.shape[1:], surface="surfel")
    flat = surface_distances(*volume[:, 1:2], (5.0, 1.0, 1.0), surface="surfel")
    assert metrics.assd_mm(cut) == pytest.approx(metrics.assd_mm(whole))
    assert metrics.assd_mm(cut) < metrics.assd_mm(flat)  # the faces above and below lie upon each other


def test_surface_metrics_do_not_depend_on_the_order_of_the_axes():
    generator = np.random.default_rng(1)
    truth, predicted = generator.random((6, 9, 8)) < 0.4, generator.random((6, 9, 8)) < 0.3
    straight = surface_distances(truth, predicted, (3.0, 1.0, 0.7), surface="surfel")
    turned = surface_distances(truth.transpose(2, 0, 1), predicted.transpose(2, 0, 1), (0.7, 3.0, 1.0), surface="surfel")
    for measure in (metrics.hausdorff_mm, metrics.assd_mm, lambda d: metrics.nsd(d, 1.0)):
        assert measure(straight) == pytest.approx(measure(turned))


def test_the_distance_to_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="not empty"):
        surface_distances(np.ones((2, 2), bool), np.zeros((2, 2), bool), (1.0, 1.0))


def test_the_diagonal_of_an_image_leaves_out_axes_of_one_voxel():
    assert metrics.diagonal_mm((1, 30, 40), (999.0, 1.0, 1.0)) == 50
    assert metrics.diagonal_mm((6, 3, 2), (1.0, 1.0, 1.0)) == 7
