"""Masks become polygons and polygons masks: checked by hand, and back and forth."""

import numpy as np
import pytest

from autoseg.grids.polygons import filled, outlines


def mask(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_a_pixel_belongs_to_a_polygon_if_its_centre_does():
    square = np.array([[0.6, 0.6], [2.4, 0.6], [2.4, 2.4], [0.6, 2.4]])
    np.testing.assert_array_equal(filled([square], (4, 4)), mask("....", ".##.", ".##.", "...."))


def test_polygons_with_a_common_edge_share_no_pixel():
    left, right = np.array([[0, 0], [2, 0], [2, 3], [0, 3]]), np.array([[2, 0], [4, 0], [4, 3], [2, 3]])
    np.testing.assert_array_equal(filled([left], (4, 5)), mask("##...", "##...", "##...", "....."))
    np.testing.assert_array_equal(filled([right], (4, 5)), mask("..##.", "..##.", "..##.", "....."))


def test_a_polygon_in_another_is_a_hole_and_two_apart_are_two_islands():
    outer, inner = np.array([[-1, -1], [5, -1], [5, 5], [-1, 5]]), np.array([[0.5, 0.5], [3.5, 0.5], [3.5, 3.5], [0.5, 3.5]])
    np.testing.assert_array_equal(filled([outer, inner], (5, 5)), mask("#####", "#...#", "#...#", "#...#", "#####"))
    apart = np.array([[2.5, 2.5], [3.5, 2.5], [3.5, 3.5], [2.5, 3.5]])
    assert filled([np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]), apart], (5, 5)).sum() == 2


def test_what_lies_beyond_the_image_is_cut():
    around = np.array([[-9, -9], [1.5, -9], [1.5, 9], [-9, 9]])
    np.testing.assert_array_equal(filled([around], (2, 3)), mask("##.", "##."))


def test_the_outline_of_a_pixel_is_its_four_corners():
    (polygon,) = outlines(mask("...", ".#.", "..."))
    assert sorted(map(tuple, polygon)) == [(0.5, 0.5), (0.5, 1.5), (1.5, 0.5), (1.5, 1.5)]


def test_pixels_that_touch_at_a_corner_are_two_islands():
    assert [len(polygon) for polygon in outlines(mask("#.", ".#"))] == [4, 4]


def test_a_hole_is_joined_to_its_outline():
    (polygon,) = outlines(mask("#####", "#.#.#", "#####", "#.#.#", "#####"))
    x, y = polygon.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area == 21  # of 25 pixels, four holes of one


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.7, 0.98])
def test_what_is_outlined_and_filled_is_the_same_mask(share):
    generator = np.random.default_rng(0)
    for shape in ((1, 1), (1, 9), (9, 1), (17, 23), (40, 31)):
        mask_HW = generator.random(shape) < share
        np.testing.assert_array_equal(filled(outlines(mask_HW), shape), mask_HW)


def test_an_island_within_a_hole_is_an_island():
    rings = mask("#######", "#.....#", "#.###.#", "#.#.#.#", "#.###.#", "#.....#", "#######")
    polygons = outlines(rings)
    assert len(polygons) == 2
    np.testing.assert_array_equal(filled(polygons, rings.shape), rings)


def test_an_empty_mask_has_no_outline():
    assert outlines(np.zeros((3, 3), bool)) == []
    assert not filled([], (3, 3)).any()
