"""Target spacing, axis order and low resolution, checked by hand."""

import numpy as np
import pytest

from planners.rules.spacing import Grid, axis_order, coarser, full_resolution, low_resolution, median_shape, target_spacing
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import CaseMeasure, Fingerprint
from planners.schema.labels import LabelSpec

THIN = np.array([[10, 200, 200]] * 11)


def cases(z_mm) -> np.ndarray:
    return np.array([[z, 1.0, 1.0] for z in z_mm])


def test_target_is_the_median_spacing():
    assert target_spacing(np.array([[1, 2, 3], [2, 2, 5], [9, 2, 4.0]]), THIN[:3]).tolist() == [2, 2, 4]


def test_coarse_and_thin_axis_takes_the_tenth_percentile():
    assert target_spacing(cases(range(5, 16)), THIN).tolist() == [6, 1, 1]


def test_coarse_axis_with_many_voxels_keeps_the_median():
    thick = np.array([[67, 200, 200]] * 11)  # 3 * 67 > 200
    assert target_spacing(cases(range(5, 16)), thick).tolist() == [10, 1, 1]


def test_axis_three_times_as_coarse_is_not_yet_coarse():
    assert target_spacing(cases([2.0] * 5 + [3.0] * 6), THIN).tolist() == [3, 1, 1]


def test_coarse_axis_does_not_become_finer_than_the_others():
    assert target_spacing(cases([0.5] * 2 + [10] * 9), THIN).tolist() == [1 + 1e-5, 1, 1]


@pytest.mark.parametrize(("spacing_mm", "order"), [
    ((1, 1, 1), (0, 1, 2)), ((1, 2, 2), (1, 0, 2)), ((1, 2, 3), (2, 0, 1))])
def test_coarsest_axis_comes_first_and_the_first_of_equals(spacing_mm, order):
    assert axis_order(spacing_mm) == order


def test_median_shape_rounds_each_case_to_even_halves():
    shapes = np.array([[5, 10, 7], [5, 10, 7]])
    spacings = np.array([[0.5, 2, 1.0], [0.7, 2, 1.0]])  # 2.5 and 3.5 voxels: 2 and 4
    assert median_shape(shapes, spacings, np.ones(3)).tolist() == [3, 20, 7]


def test_median_shape_keeps_a_voxel():
    assert median_shape(np.array([[1, 50, 50]]), np.array([[0.3, 1, 1]]), np.ones(3)).tolist() == [1, 50, 50]


def test_coarser_starts_with_the_axes_more_than_twice_as_fine():
    assert coarser((4.0, 1.0, 2.0)) == (4.0, 1.03, 2.0)
    assert coarser((2.0, 1.0, 1.0)) == (2.06, 1.03, 1.03)


def cube(edge: float) -> Grid:
    return Grid((1.0, 1.0, 1.0), (edge,) * 3, edge**3)


def test_no_low_resolution_where_a_patch_sees_a_quarter():
    assert low_resolution(cube(100), lambda grid: (64, 64, 64)) is None  # 26 %


def test_low_resolution_is_the_first_at_which_a_patch_sees_a_quarter():
    low = low_resolution(cube(100), lambda grid: (50, 50, 50))  # 12.5 %: 1.03**24 is the first power of its cube over 2
    assert low.spacing_mm == pytest.approx((1.03**8,) * 3)
    assert low.median_shape == (79, 79, 79)
    assert low.voxels == pytest.approx(1e6 / 1.03**24)


def test_low_resolution_that_hardly_differs_is_dropped():
    assert low_resolution(cube(100), lambda grid: (60, 60, 60)) is None  # 21.6 %: 1.03**6 = 1.19 times fewer voxels


def fingerprint(*measures: CaseMeasure) -> Fingerprint:
    return Fingerprint(dataset="D", channels=(ChannelSpec(name="CT"),), labels=LabelSpec(names={"background": (0,)}),
                       cases=measures)


def test_full_resolution_is_in_transposed_order():
    measure = CaseMeasure(case="a", shape=(512, 400, 30), spacing_mm=(0.5, 0.6, 5.0))
    order, grid = full_resolution(fingerprint(measure))
    assert order == (2, 0, 1)
    assert grid == Grid((5.0, 0.5, 0.6), (30, 512, 400), 30 * 512 * 400)
    assert grid.in_plane() == Grid((0.5, 0.6), (512, 400), 30 * 512 * 400)


def test_dataset_without_cases_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="'D' holds no case"):
        full_resolution(fingerprint())


def test_spacing_of_zero_is_an_error_that_names_the_case():
    good = CaseMeasure(case="good", shape=(9, 9, 9), spacing_mm=(1, 1, 1))
    bad = CaseMeasure(case="flat", shape=(9, 9, 9), spacing_mm=(0, 1, 1))
    with pytest.raises(ValueError, match="'flat' has spacing"):
        full_resolution(fingerprint(good, bad))


@pytest.mark.parametrize(("shape", "spacing_mm", "first"), [
    ((1, 256, 256), (1.0, 1.5, 1.5), 0), ((256, 1, 256), (1.5, 1.0, 1.5), 1), ((3, 256, 256), (1.0, 1.5, 1.5), 0),
    ((1, 256, 256), (999.0, 1.0, 1.0), 0), ((4, 256, 256), (1.0, 1.5, 1.0), 1)])
def test_few_slices_are_never_an_axis_of_planes(shape, spacing_mm, first):
    measures = tuple(CaseMeasure(case=f"c{i}", shape=shape, spacing_mm=spacing_mm) for i in range(5))
    fingerprint = Fingerprint(dataset="x", channels=(ChannelSpec(name="MR"),),
                              labels=LabelSpec(names={"background": (0,), "a": (1,)}), cases=measures)
    order, full = full_resolution(fingerprint)
    assert order[0] == first and full.median_shape[0] == shape[first]


def test_single_slices_of_different_thickness_stay_single():
    measures = tuple(CaseMeasure(case=f"c{i}", shape=(1, 256, 256), spacing_mm=(mm, 1.0, 1.0))
                     for i, mm in enumerate((4.0, 9.0, 9.0, 9.0, 9.0)))
    fingerprint = Fingerprint(dataset="x", channels=(ChannelSpec(name="MR"),),
                              labels=LabelSpec(names={"background": (0,), "a": (1,)}), cases=measures)
    assert full_resolution(fingerprint)[1].median_shape[0] == 1
