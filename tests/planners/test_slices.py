"""Slices that are thicker than their headers say."""

import math

from measured_volumes import LAPTOP, volumes
from planners import PLANNERS
from planners.rules.slices import thick_slices
from planners.schema.hardware import Budget


def planned(fingerprint, minutes=15):
    return PLANNERS.get("budgeted")(fingerprint, LAPTOP, Budget(seconds_per_fold=60 * minutes))


def test_headers_that_tell_the_truth_are_believed():
    assert thick_slices(volumes((128, 128, 128))) is None
    assert thick_slices(volumes((30, 200, 200))) is None


def test_a_network_pools_thick_slices_later_whatever_their_header_says():
    thin, thick = (planned(volumes((30, 200, 200), thickness)).configurations["3d_fullres"] for thickness in (1.0, 3.0))
    assert (thin.architecture.strides[1], thick.architecture.strides[1]) == ((2, 2, 2), (1, 2, 2))


def test_a_plan_has_the_spacing_of_the_headers():
    volume = planned(volumes((30, 200, 200), 3.0), minutes=2).configurations["3d_fullres"]
    assert math.isclose(volume.spacing_mm[0], 1.0)
    assert volume.spacing_mm[1] == volume.spacing_mm[2] > 1.0  # coarser within slices alone


def test_slices_along_the_last_axis_come_first_in_the_plan():
    plan = planned(volumes((200, 200, 30), 3.0, across=2))
    assert plan.transpose == (2, 0, 1)
    assert plan.configurations["2d"].median_shape[0] == plan.configurations["2d"].median_shape[1]
    assert math.isclose(plan.configurations["3d_fullres"].spacing_mm[0], 1.0)


def test_the_reason_says_how_thick_slices_are():
    reasons = planned(volumes((30, 200, 200), 3.0)).reasons
    assert any("3.0 times thicker than their headers say" in reason for reason in reasons)
