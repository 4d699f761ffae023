import numpy as np
import pytest

from autoseg.grids.geometry import Geometry

GRID = Geometry(shape=(4, 5, 6), spacing_mm=(3.0, 2.0, 1.0), origin_mm=(-7.0, 11.0, 30.0))


def test_the_last_voxel_lies_where_the_steps_lead():
    half = np.array([0.5, 1, 1.5])
    assert (GRID.corners_mm().min(0) + half).tolist() == [-7, 11, 30]
    assert (GRID.corners_mm().max(0) - half).tolist() == [-7 + 5 * 1, 11 + 4 * 2, 30 + 3 * 3]


def test_volumes_are_in_ml_and_areas_are_a_millimetre_thick():
    assert GRID.voxel_ml() == pytest.approx(0.006)
    assert Geometry((1, 5, 6), (999.0, 2.0, 1.0), dimensions=2).voxel_ml() == pytest.approx(0.002)


def test_a_grid_does_not_differ_from_itself_or_by_rounding():
    rounded = Geometry(GRID.shape, tuple(np.float32(s) * (1 + 1e-7) for s in GRID.spacing_mm), GRID.origin_mm)
    assert GRID.difference(GRID) == "" and GRID.difference(rounded) == ""


@pytest.mark.parametrize(("change", "word"), [
    ({"shape": (4, 5, 7)}, "shape"), ({"spacing_mm": (3.0, 2.0, 1.1)}, "spacing"),
    ({"origin_mm": (-7.0, 11.0, 31.0)}, "origin"),
    ({"direction": (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)}, "direction")])
def test_a_difference_is_named(change, word):
    other = Geometry(**{"shape": GRID.shape, "spacing_mm": GRID.spacing_mm, "origin_mm": GRID.origin_mm} | change)
    assert GRID.difference(other).startswith(word)


def test_the_description_holds_shape_spacing_origin_and_turned_axes():
    assert GRID.describe() == ("shape (z, y, x) (4, 5, 6), spacing (3, 2, 1) mm, origin (x, y, z) (-7, 11, 30) mm")
    turned = Geometry((4, 5, 6), (3.0, 2.0, 1.0), direction=(0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    assert turned.describe().endswith("axes (0, -1, 0, 1, 0, 0, 0, 0, 1)")


@pytest.mark.parametrize(("direction", "axis"), [
    ((1, 0, 0, 0, 1, 0, 0, 0, 1), 2), ((0, 0, 1, 1, 0, 0, 0, 1, 0), 0), ((0, 1, 0, 1, 0, 0, 0, 0, 1), 1)])
def test_left_and_right_are_found_along_any_axis(direction, axis):
    assert Geometry((4, 5, 6), (1.0, 1.0, 1.0), direction=direction).left_right_axis() == axis
