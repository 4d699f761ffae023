"""What a mask and its intensities say: hand-derived values."""

import math

import numpy as np
import pytest

from autoseg.grids.geometry import Geometry
from autoseg.outcome.lesion import FIRST_ORDER, SHAPE, first_order_of, intensities_of, shape_of, volume_of

# The 74 voxels of the IBSI digital phantom (manual, 2.1); its first-order values are those of the manual's section 3.3.
PHANTOM = np.repeat([1, 3, 4, 6], [50, 1, 16, 7]).astype(float)
IBSI = {"stat_mean": 2.15, "stat_var": 3.05, "stat_skew": 1.08, "stat_kurt": -0.355, "stat_median": 1, "stat_min": 1,
        "stat_p10": 1, "stat_p90": 4, "stat_max": 6, "stat_iqr": 3, "stat_range": 5, "stat_mad": 1.55, "stat_rmad": 1.11,
        "stat_medad": 1.15, "stat_cov": 0.812, "stat_qcod": 0.6, "stat_energy": 567, "stat_rms": 2.77}


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_intensities_have_the_benchmark_values_of_the_ibsi(name):
    found = dict(zip(FIRST_ORDER, first_order_of(PHANTOM), strict=True))[name]
    assert found == pytest.approx(IBSI[name], rel=0.005)


def test_intensities_of_few_voxels_are_not_known():
    assert all(map(math.isnan, first_order_of(np.ones(3))))


def test_a_channel_that_is_absent_or_outside_its_field_of_view_is_not_known():
    image = np.arange(2 * 27, dtype=np.float32).reshape(2, 3, 3, 3)
    absent = np.zeros((2, 3, 3, 3), bool)
    absent[0, :2] = True
    mask = np.ones((3, 3, 3), bool)
    found = intensities_of(image, np.array([True, False]), absent, mask, ["CT", "PET"])
    assert found["CT stat_min"] == 18 and math.isnan(found["PET stat_mean"])


def test_the_volume_components_and_diameter_of_two_boxes():
    mask = np.zeros((4, 20, 20), bool)
    mask[0, 0, 0:4] = True
    mask[3, 19, 19] = True
    geometry = Geometry(mask.shape, (5.0, 1.0, 2.0))
    log_volume, components, diameter = volume_of(mask, geometry)
    assert log_volume == pytest.approx(math.log1p(5 * 10 / 1000)) and components == 2
    assert diameter == pytest.approx(math.dist((0, 0, 0), (15, 19, 38)))


def test_the_diameter_of_a_large_flat_mask_is_found_by_its_hull():
    mask = np.zeros((3, 64, 64), bool)
    mask[1] = True
    assert volume_of(mask, Geometry(mask.shape, (1.0, 1.0, 1.0)))[2] == pytest.approx(63 * math.sqrt(2))


def test_a_ball_is_round_and_a_rod_is_not():
    z, y, x = np.indices((24, 24, 24))
    ball = (z - 11.5) ** 2 + (y - 11.5) ** 2 + (x - 11.5) ** 2 < 100
    rod = (abs(z - 11.5) < 10) & (abs(y - 11.5) < 2) & (abs(x - 11.5) < 2)
    geometry = Geometry(ball.shape, (1.0, 1.0, 1.0))
    area, sphericity, elongation, flatness = shape_of(ball, geometry)
    assert area == pytest.approx(4 * math.pi * 100, rel=0.03) and sphericity == pytest.approx(1, abs=0.03)
    assert elongation == pytest.approx(1, abs=0.01) and flatness == pytest.approx(1, abs=0.01)
    _, of_rod, elongation, flatness = shape_of(rod, geometry)
    assert of_rod < 0.75 and elongation == pytest.approx(0.2, abs=0.01) and flatness == pytest.approx(0.2, abs=0.01)


def test_a_disc_in_a_slice_is_round():
    _, y, x = np.indices((1, 40, 40))
    disc = (y - 19.5) ** 2 + (x - 19.5) ** 2 < 225
    length, roundness, elongation, flatness = shape_of(disc, Geometry(disc.shape, (999.0, 1.0, 1.0), dimensions=2))
    assert length == pytest.approx(2 * math.pi * 15, rel=0.05) and roundness == pytest.approx(1, abs=0.05)
    assert elongation == pytest.approx(1, abs=0.01) and math.isnan(flatness)


def test_an_empty_mask_has_no_shape_and_no_volume():
    empty, geometry = np.zeros((4, 4, 4), bool), Geometry((4, 4, 4), (1.0, 1.0, 1.0))
    assert volume_of(empty, geometry) == (0.0, 0.0, 0.0)
    assert len(shape_of(empty, geometry)) == len(SHAPE) and all(map(math.isnan, shape_of(empty, geometry)))
