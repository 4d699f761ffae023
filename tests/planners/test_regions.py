"""Regions in one label map: what painting one over the other makes of a perfect prediction, and which order is right."""

import itertools

import numpy as np
import pytest

from planners.rules.regions import common_part, right_order, wrongly_written

BRATS = {"WT": (1, 2, 3), "TC": (2, 3), "ET": (3,)}
PEDIATRIC = {"WT": (1, 2, 3, 4), "TC": (1, 2, 3), "ET": (1,)}
KIDNEY = {"kidney": (1, 2, 3), "masses": (2, 3), "tumour": (2,)}


@pytest.mark.parametrize(("regions", "order"), [
    (BRATS, [1, 2, 3]), (KIDNEY, [1, 3, 2]), (PEDIATRIC, [4, 2, 1]), (PEDIATRIC, [4, 3, 1]),
    ({"a": (1, 2), "b": (3,)}, [2, 3]), ({"whole": (1, 2), "left": (1,), "right": (2,)}, [1, 1, 2])])
def test_an_order_that_writes_a_perfect_prediction_as_it_is_stays(regions, order):
    assert wrongly_written(regions, order) == {}
    assert right_order(regions, order) == dict(zip(regions, order, strict=True))


@pytest.mark.parametrize(("regions", "order", "wrong", "right"), [
    (PEDIATRIC, [1, 2, 3], {1: 3, 4: 1}, {"WT": 4, "TC": 2, "ET": 1}),
    (BRATS, [3, 2, 1], {1: 3, 3: 1}, {"WT": 1, "TC": 2, "ET": 3}),
    (BRATS, [1, 1, 3], {2: 1}, {"WT": 1, "TC": 2, "ET": 3}),
    (dict(reversed(BRATS.items())), [3, 2, 1], {2: 1, 3: 1}, {"WT": 1, "TC": 2, "ET": 3}),  # parts are painted over
    (KIDNEY, [1, 2, 3], {2: 3, 3: 2}, {"kidney": 1, "masses": 3, "tumour": 2}),
    (BRATS, [1, 2, 9], {3: 9}, {"WT": 1, "TC": 2, "ET": 3})])
def test_a_wrong_order_is_seen_and_the_right_one_is_proposed(regions, order, wrong, right):
    assert wrongly_written(regions, order) == wrong
    proposed = right_order(regions, order)
    assert list(proposed.items()) == list(right.items())
    assert wrongly_written({name: regions[name] for name in proposed}, list(proposed.values())) == {}


def test_regions_that_overlap_need_a_region_of_their_common_part():
    regions = {"a": (1, 2), "b": (2, 3)}
    assert all(wrongly_written(regions, order) for order in itertools.product((1, 2, 3), repeat=2))
    assert right_order(regions, [1, 3]) is None
    assert common_part(regions) == (("a", "b"), (2,))
    assert right_order(regions | {"both": (2,)}, [1, 3, 2]) == {"a": 1, "b": 3, "both": 2}


def test_what_is_proposed_is_right_for_any_regions():
    rng = np.random.default_rng(0)
    for _ in range(300):
        regions = {str(i): tuple(np.flatnonzero(rng.random(4) < 0.5) + 1) or (1,) for i in range(rng.integers(1, 5))}
        proposed = right_order(regions, rng.integers(1, 5, len(regions)).tolist())
        if proposed is None:
            assert common_part(regions) is not None
        else:
            assert wrongly_written({name: regions[name] for name in proposed}, list(proposed.values())) == {}
