"""Surfels give the metrics of the surface-distance package, whose answers benchmarks/against_surface_distance.py wrote."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from autoseg.evaluation import metrics
from autoseg.evaluation.surface import surface_distances

ROOT = Path(__file__).parents[2]
FIXTURE = json.loads((ROOT / "tests" / "fixtures" / "surface_distance.json").read_text())


@pytest.fixture(scope="module")
def pair_of_masks():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from against_surface_distance import pair_of_masks
    finally:
        sys.path.pop(0)
    return pair_of_masks


@pytest.mark.parametrize("pair", FIXTURE["pairs"], ids=lambda pair: f"{pair['kind']}_{pair['seed']}")
def test_hd_hd95_assd_and_nsd_are_those_of_surface_distance(pair, pair_of_masks):
    truth, predicted = pair_of_masks(pair["kind"], pair["seed"], pair["shape"])
    distances = surface_distances(truth, predicted, tuple(pair["spacing_mm"]), surface="surfel")
    expected = pair["expected"]
    assert metrics.hausdorff_mm(distances) == pytest.approx(expected["hd_mm"], rel=1e-6)
    assert metrics.hausdorff_mm(distances, 95) == pytest.approx(expected["hd95_mm"], rel=1e-6)
    assert metrics.assd_mm(distances) == pytest.approx(expected["assd_mm"], rel=1e-6)
    measured = [metrics.nsd(distances, mm) for mm in FIXTURE["tolerances_mm"]]
    np.testing.assert_allclose(measured, expected["nsd"], atol=1e-6)


def test_the_fixture_is_of_masks_that_differ_and_of_unequal_spacing():
    assert all(pair["expected"]["hd95_mm"] > 0 and 0 < pair["expected"]["nsd"][0] < 1 for pair in FIXTURE["pairs"])
    assert sum(len(set(pair["spacing_mm"])) > 1 for pair in FIXTURE["pairs"]) >= 6
