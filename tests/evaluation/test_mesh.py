"""Distances between meshes are those between the true surfaces of spheres, discs and boxes."""

import numpy as np
import pytest
from moved_shapes import MOVED, Moved

from autoseg.evaluation import metrics
from autoseg.evaluation.mesh import Mesh, distances_to, surface_mesh
from autoseg.evaluation.surface import surface_distances

WITHIN = 0.05


@pytest.mark.parametrize("moved", MOVED, ids=str)
def test_surface_metrics_of_a_moved_shape_are_those_of_geometry(moved):
    distances, true_mm = surface_distances(*moved.masks(), moved.spacing_mm), moved.distances_mm()
    assert metrics.assd_mm(distances) == pytest.approx(true_mm.mean(), rel=WITHIN)
    assert metrics.hausdorff_mm(distances, 95) == pytest.approx(np.percentile(true_mm, 95), rel=WITHIN)
    half = moved.length_mm / 2
    assert metrics.nsd(distances, half) == pytest.approx((true_mm <= half).mean(), rel=WITHIN)


def test_more_than_fifty_moved_shapes_are_measured():
    assert len(MOVED) >= 50 and len({str(moved) for moved in MOVED}) == len(MOVED)


def test_surfels_measure_half_of_a_small_displacement():
    moved = Moved("ball", (1.0, 1.0, 1.0), (20.0,), (1.0, 0.0, 0.0))
    assert moved.distances_mm().mean() == pytest.approx(0.5, rel=1e-3)
    assert metrics.assd_mm(surface_distances(*moved.masks(), moved.spacing_mm, surface="surfel")) < 0.3
