"""The five cases on which detection rules disagree, each with what the code of its source answers.

The expected counts follow from the published sources (docs/reference/metrics.md); those of panoptica were answered by
panoptica 2.1.7.
"""

import numpy as np
import pytest

from autoseg.cli import evaluate as command
from autoseg.cli.scoring import DETECTION, scoring_from
from autoseg.evaluation.detection import detect
from autoseg.evaluation.types import DETECTION_RULES, Scoring, Summary

ML = 0.001  # a voxel of 1 mm^3


def cubes(*places, size=4):
    """A mask with a cube at each place (z, y, x), or (z, y, x, size)."""
    mask = np.zeros((30, 40, 40), bool)
    for z, y, x, *own in places:
        n = own[0] if own else size
        mask[z:z + n, y:y + n, x:x + n] = True
    return mask


def bar():
    mask = np.zeros((30, 40, 40), bool)
    mask[5:9, 5:9, 5:15] = True
    return mask


TWO_CUBES = cubes((5, 5, 5), (5, 5, 11))
FIVE_CASES = {
    "one prediction over two lesions": (TWO_CUBES, bar()),
    "two pieces in one lesion": (bar(), TWO_CUBES),
    "concentric": (cubes((5, 5, 5, 12)), cubes((8, 8, 8, 6))),
    "small miss and small false alarm": (cubes((5, 5, 5, 6), (20, 5, 5, 2)), cubes((5, 5, 5, 6), (20, 30, 30, 2))),
    "neighbours joined by dilation": (TWO_CUBES, cubes((5, 5, 5))),
}
EXPECTED = {  # found, false, missed
    "one_to_one": ((1, 0, 1), (1, 1, 0), (1, 0, 0), (1, 1, 1), (1, 0, 1)),
    # Two true cubes that are two voxels apart are one lesion. The small miss (8 mm^3) does not count, the false alarm does.
    "brats": ((1, 0, 0), (1, 0, 0), (1, 0, 0), (1, 1, 0), (1, 0, 0)),
    "isles": ((2, 0, 0), (1, 0, 0), (1, 0, 0), (1, 1, 1), (1, 0, 1)),
    "autopet": ((2, 0, 0), (1, 0, 0), (1, 0, 0), (1, 1, 1), (1, 0, 1)),
    "panoptica": ((0, 1, 2), (0, 2, 1), (0, 1, 1), (1, 1, 1), (1, 0, 1)),
}


def counts(detection):
    return detection.true_positives, detection.false_positives, detection.false_negatives


@pytest.mark.parametrize("rule", EXPECTED)
@pytest.mark.parametrize("case", FIVE_CASES)
def test_each_rule_answers_as_its_source(rule, case):
    expected = EXPECTED[rule][list(FIVE_CASES).index(case)]
    assert counts(detect(*FIVE_CASES[case], ML, DETECTION_RULES[rule])) == expected


def test_brats_finds_both_of_two_lesions_that_are_far_apart():
    far, over = cubes((5, 5, 5), (5, 5, 20)), np.zeros((30, 40, 40), bool)
    over[5:9, 5:9, 5:24] = True
    assert counts(detect(far, over, ML, DETECTION_RULES["brats"])) == (2, 0, 0)


def test_brats_finds_a_lesion_by_a_prediction_within_three_voxels():
    assert counts(detect(cubes((5, 5, 5)), cubes((5, 5, 11)), ML, DETECTION_RULES["brats"])) == (1, 0, 0)
    assert counts(detect(cubes((5, 5, 5)), cubes((5, 5, 13)), ML, DETECTION_RULES["brats"])) == (0, 1, 1)


@pytest.mark.parametrize(("voxels", "missed"), [(50, 0), (51, 1)])
def test_brats_drops_true_lesions_of_50_mm3_and_less(voxels, missed):
    truth = np.zeros((30, 40, 40), bool)
    truth[5:15, 5:10, 5] = True
    if voxels == 51:
        truth[15, 5, 5] = True
    assert counts(detect(truth, np.zeros_like(truth), ML, DETECTION_RULES["brats"])) == (0, 0, missed)


def test_autopet_separates_voxels_that_share_only_a_corner():
    truth = cubes((5, 5, 5), (9, 9, 9))
    nothing = np.zeros_like(truth)
    assert counts(detect(truth, nothing, ML, DETECTION_RULES["autopet"])) == (0, 0, 2)
    assert counts(detect(truth, nothing, ML, DETECTION_RULES["isles"])) == (0, 0, 1)


def test_volumes_of_missed_and_false_lesions_are_those_of_autopet():
    truth, predicted = FIVE_CASES["small miss and small false alarm"]
    detection = detect(truth, predicted, ML, DETECTION_RULES["autopet"])
    assert (detection.missed_ml, detection.false_ml) == pytest.approx((0.008, 0.008))


def test_small_false_lesions_count_unless_they_are_left_out_and_then_are_named():
    truth, predicted = FIVE_CASES["small miss and small false alarm"]
    rule = DETECTION_RULES["one_to_one"].model_copy(update={"min_mm3": 50})
    assert counts(detect(truth, predicted, ML, rule)) == (1, 1, 0)
    spared = detect(truth, predicted, ML, rule.model_copy(update={"small_false": "leave_out"}))
    assert counts(spared) == (1, 0, 0) and (spared.small_lesions, spared.small_false) == (1, 1)


def options(*more):
    return command.parser().parse_args(["-r", "a", "-i", "b", "--metrics", "detection", *more])


@pytest.mark.parametrize("rule", DETECTION)
def test_the_command_takes_each_rule(rule):
    assert scoring_from(options("--detection", rule)).detection == DETECTION_RULES[rule]


def test_the_command_changes_single_values_of_a_rule():
    rule = scoring_from(options("--detection", "brats", "--lesion_dilation", "1", "--lesion_min_mm3", "2")).detection
    assert (rule.matching, rule.dilation, rule.min_mm3) == ("any_overlap", 1, 2)


def test_files_of_earlier_versions_are_of_surfels_and_leave_small_false_lesions_out():
    written = Summary(scoring=Scoring(), n_cases=0, foreground_means={}, labels=(), cases=()).model_dump(mode="json")
    del written["scoring"]["surface"], written["scoring"]["detection"]["small_false"]
    earlier = Summary.model_validate(written).scoring
    assert (earlier.surface, earlier.detection.small_false) == ("surfel", "leave_out")
    assert Scoring().surface == "mesh"
