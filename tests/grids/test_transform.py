"""Transforms of world points: what a reader can work out by hand."""

import numpy as np
import pytest

from autoseg.grids import transform
from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import Registered, Stage, Transform, indices_of, points_of

QUARTER_TURN = np.array([[0.0, -1.0, 0.0, 10.0], [1.0, 0.0, 0.0, 20.0], [0.0, 0.0, 1.0, 30.0]])  # x -> y, then a shift


def pushed(matrix: np.ndarray) -> Transform:
    """By 4 mm along x on a lattice of 3 x 3 x 3 points, 10 mm apart, from (0, 0, 0)."""
    displacement_mm = np.zeros((3, 3, 3, 3))
    displacement_mm[0] = 4.0
    return Transform(matrix, displacement_mm, Geometry((3, 3, 3), (10.0, 10.0, 10.0)))


def test_a_matrix_turns_and_shifts():
    assert Transform(QUARTER_TURN).apply(np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 5.0]])).tolist() == [
        [10.0, 21.0, 30.0], [8.0, 20.0, 35.0]]


def test_the_displacement_comes_before_the_matrix_and_is_zero_outside_its_lattice():
    points = np.array([[5.0, 5.0, 5.0], [25.0, 5.0, 5.0]])  # the lattice ends at 20 mm
    assert pushed(np.eye(3, 4)).apply(points).tolist() == [[9.0, 5.0, 5.0], [25.0, 5.0, 5.0]]
    # (5, 5, 5) -> (9, 5, 5), turned: (-5, 9, 5), shifted: (5, 29, 35)
    assert pushed(QUARTER_TURN).apply(points[:1]).tolist() == [[5.0, 29.0, 35.0]]


def test_a_displacement_is_linear_between_lattice_points_and_follows_the_lattices_axes():
    lattice = Geometry((2, 1, 2), (4.0, 1.0, 2.0), origin_mm=(100.0, 0.0, 0.0), direction=(-1, 0, 0, 0, 1, 0, 0, 0, 1))
    displacement_mm = np.zeros((3, 2, 1, 2))
    displacement_mm[1, 1, 0, 1] = 8.0  # y component at the last z, last x: world (98, 0, 4)
    bent = Transform(np.eye(3, 4), displacement_mm, lattice)
    assert bent.apply(np.array([[98.0, 0.0, 4.0], [99.0, 0.0, 4.0], [99.0, 0.0, 2.0]])).tolist() == [
        [98.0, 8.0, 4.0], [99.0, 4.0, 4.0], [99.0, 2.0, 2.0]]


def test_many_points_are_mapped_in_parts_that_change_nothing(monkeypatch):
    points = np.random.default_rng(0).uniform(-5, 25, (1000, 3))
    whole = pushed(QUARTER_TURN).apply(points)
    monkeypatch.setattr(transform, "_POINTS_AT_ONCE", 7)
    np.testing.assert_array_equal(pushed(QUARTER_TURN).apply(points), whole)


def test_the_linear_inverse_brings_points_back():
    there = Transform(QUARTER_TURN)
    points = np.array([[1.0, 2.0, 3.0], [-4.0, 0.5, 7.0]])
    np.testing.assert_allclose(there.linear_inverse().apply(there.apply(points)), points, atol=1e-12)


def test_only_the_exact_identity_is_one():
    assert Transform.identity().is_identity
    assert not Transform(QUARTER_TURN).is_identity
    assert not pushed(np.eye(3, 4)).is_identity


def test_indices_and_world_points_are_in_opposite_orders():
    grid = Geometry((5, 6, 7), (3.0, 2.0, 1.0), origin_mm=(10.0, 20.0, 30.0))
    assert points_of(grid, np.array([[1, 2, 3]])).tolist() == [[13.0, 24.0, 33.0]]
    np.testing.assert_allclose(indices_of(grid, np.array([[13.0, 24.0, 33.0]])), [[1.0, 2.0, 3.0]], atol=1e-12)


@pytest.mark.parametrize("matrix, displacement, lattice", [
    (np.eye(4), None, None),
    (np.full((3, 4), np.nan), None, None),
    (np.eye(3, 4), np.zeros((3, 2, 2, 2)), None),
    (np.eye(3, 4), np.zeros((3, 2, 2, 3)), Geometry((2, 2, 2), (1.0, 1.0, 1.0))),
    (np.eye(3, 4), np.full((3, 2, 2, 2), np.inf), Geometry((2, 2, 2), (1.0, 1.0, 1.0)))])
def test_what_is_no_transform_is_refused(matrix, displacement, lattice):
    with pytest.raises(ValueError):
        Transform(matrix, displacement, lattice)


def test_the_last_accepted_stage_is_the_one_that_is_kept():
    stages = tuple(Stage(kind=kind, before=0.1, after=0.2, accepted=accepted)
                   for kind, accepted in (("rigid", True), ("affine", False)))
    assert Registered("affine", Transform.identity(), stages).kept == "rigid"
    assert Registered("affine", Transform.identity(), stages[1:]).kept == "identity"
    assert Registered("affine", Transform.identity(), stages, reason="unrelated").kept == "identity"
