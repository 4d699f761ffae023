"""Lesions found, missed and invented, in drawings that can be counted by eye."""

import itertools

import numpy as np
import pytest
from pydantic import ValidationError

from autoseg.evaluation.detection import Candidates, detect, match, no_lesions, summed
from autoseg.evaluation.metrics import metrics_of
from autoseg.evaluation.score import score_case, summarize
from autoseg.evaluation.table import table
from autoseg.evaluation.types import DetectionRule, Scoring, Summary
from autoseg.grids.components import components
from planners.schema.labels import LabelSpec

LABELS = LabelSpec(names={"background": (0,), "lesion": (1,)})
SCORING = Scoring(metrics=metrics_of("detection"))
ML = 0.001  # a voxel of 1 mm^3


def drawn(*rows: str) -> np.ndarray:
    """A mask of one slice."""
    return np.array([[character == "#" for character in row] for row in rows])[None]


def counts(of) -> tuple[int, int, int]:
    return of.true_positives, of.false_positives, of.false_negatives


def score(truth, predicted, scoring=SCORING, spacing_mm=(1.0, 1.0, 1.0), name="a"):
    (label,) = score_case(truth.astype(np.int16), predicted.astype(np.int16), LABELS, spacing_mm, name,
                          scoring=scoring).labels
    return label


TRUTH = drawn("##.....#",
              "##......",
              "....##..",
              "....##..")
PREDICTED = drawn("#......#",
                  "#.......",
                  ".......#",
                  "#......#")


def test_found_missed_and_invented_lesions_are_counted():
    # Found: the left one (IoU 2/4) and the dot. Missed: the one below. Invented: two at the bottom.
    assert counts(detect(TRUTH, PREDICTED, ML)) == (2, 2, 1)


def test_the_metrics_of_the_drawing():
    label = score(TRUTH, PREDICTED)
    assert label.lesion_recall == pytest.approx(2 / 3)
    assert label.lesion_precision == pytest.approx(2 / 4)
    assert label.lesion_f1 == pytest.approx(4 / 7)
    assert label.false_lesions == 2


@pytest.mark.parametrize(("min_iou", "found"), [(0.1, True), (0.1001, False)])
def test_an_overlap_of_exactly_the_threshold_is_enough(min_iou, found):
    truth, predicted = np.zeros((1, 1, 12), bool), np.zeros((1, 1, 12), bool)
    truth[..., 0:5], predicted[..., 4:10] = True, True  # 1 of 10
    assert counts(detect(truth, predicted, ML, DetectionRule(min_iou=min_iou))) == ((1, 0, 0) if found else (0, 1, 1))


def test_one_prediction_over_two_lesions_finds_one():
    assert counts(detect(drawn("##.###"), drawn("######"), ML)) == (1, 0, 1)


def test_two_predictions_in_one_lesion_find_it_once():
    assert counts(detect(drawn("######"), drawn("##.###"), ML)) == (1, 1, 0)


def test_the_best_overlaps_are_matched_not_the_first():
    # Truth A (4 pixels) and B (3); one prediction over the end of A and all of B, IoU 1/8 and 3/5.
    truth, predicted = drawn("####.###"), drawn("...#####")
    detection = detect(truth, predicted, ML, DetectionRule(sizes_ml=(3.5 * ML,)))
    assert counts(detection) == (1, 0, 1)
    assert [(size.n, size.found) for size in detection.sizes] == [(1, 1), (1, 0)]


def test_matching_has_the_largest_sum_of_overlaps():
    generator = np.random.default_rng(0)
    for _ in range(30):
        iou = np.where(generator.random((4, 5)) < 0.5, generator.random((4, 5)), 0)
        rows, columns = np.nonzero(iou)
        matched = match(Candidates(rows, columns, iou[rows, columns]))
        assert len(set(matched[0])) == len(matched[0]) and len(set(matched[1])) == len(matched[1])
        assert (iou[matched] > 0).all()
        best = max(sum(iou[row, column] for row, column in enumerate(order))
                   for order in itertools.permutations(range(5), 4))
        assert iou[matched].sum() == pytest.approx(best)


def test_corners_join_lesions():
    mask = np.zeros((2, 2, 2), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert components(mask)[1] == 1
    assert counts(detect(mask, mask, ML)) == (1, 0, 0)


def test_small_lesions_are_neither_found_nor_missed_nor_invented():
    rule = DetectionRule(min_mm3=2, small_false="leave_out")
    assert counts(detect(drawn("#..##..#"), drawn("#......#"), ML, rule)) == (0, 0, 1)
    # A large prediction of a small lesion is not an invention.
    assert counts(detect(drawn("#......."), drawn("###...##"), ML, rule)) == (0, 1, 0)
    # A small prediction still finds a large lesion.
    assert counts(detect(drawn("###....."), drawn("#......."), ML, rule)) == (1, 0, 0)


def test_the_smallest_lesion_has_the_size_of_its_voxels_in_mm3():
    rule = DetectionRule(min_mm3=2 * 0.7 * 0.7)
    assert counts(detect(drawn("##..#"), drawn("....."), 0.7 * 0.7 / 1000, rule)) == (0, 0, 1)


def test_recall_is_given_by_the_size_of_the_true_lesion():
    detection = detect(TRUTH, PREDICTED, 0.05)  # lesions of 0.2, 0.05 and 0.2 mL
    assert [(size.low_ml, size.high_ml, size.n, size.found) for size in detection.sizes] == [
        (0.0, 0.1, 1, 1), (0.1, 1.0, 2, 1), (1.0, 10.0, 0, 0), (10.0, None, 0, 0)]
    assert [size.recall for size in detection.sizes] == [1.0, 0.5, None, None]


def test_sizes_must_rise():
    with pytest.raises(ValidationError, match="increase"):
        DetectionRule(sizes_ml=(1.0, 0.1))


def test_what_the_truth_ignores_is_neither_a_lesion_nor_an_invention():
    labels = LabelSpec(names={"background": (0,), "lesion": (1,)}, ignore=9)
    truth = np.array([[[1, 1, 0, 9, 9, 9, 0, 0]]], np.int16)
    predicted = np.array([[[1, 1, 0, 0, 1, 1, 0, 1]]], np.int16)
    (label,) = score_case(truth, predicted, labels, (1.0, 1.0, 1.0), "a", scoring=SCORING).labels
    assert counts(label.detection) == (1, 1, 0)


@pytest.mark.parametrize(("truth", "predicted", "empty", "f1", "recall", "precision", "false_lesions"), [
    ("...", "...", "nan", None, None, None, 0),
    ("...", "...", "one", 1, 1, 1, 0),
    ("...", "#.#", "nan", 0, None, 0, 2),
    ("#.#", "...", "nan", 0, 0, 0, 0)])
def test_the_policy_of_cases_without_lesions(truth, predicted, empty, f1, recall, precision, false_lesions):
    label = score(drawn(truth), drawn(predicted), SCORING.model_copy(update={"empty": empty}))
    assert (label.lesion_f1, label.lesion_recall, label.lesion_precision, label.false_lesions) == (
        f1, recall, precision, false_lesions)


def test_lesions_are_detected_only_where_asked_for():
    assert score(TRUTH, PREDICTED, Scoring()).detection is None


def test_a_summary_has_the_lesions_of_all_cases_and_false_ones_a_case():
    nothing = np.zeros_like(TRUTH)
    cases = [score_case(truth.astype(np.int16), predicted.astype(np.int16), LABELS, (1.0, 10.0, 5.0), name, scoring=SCORING)
             for name, truth, predicted in (("a", TRUTH, PREDICTED), ("b", TRUTH, TRUTH), ("c", nothing, nothing),
                                            ("d", nothing, PREDICTED))]
    summary = summarize(cases, LABELS, SCORING)
    (label,) = summary.labels
    assert counts(label.detection) == (5, 6, 1)
    assert (label.means["false_lesions"].value, label.means["false_lesions"].n) == (1.5, 4)
    assert (label.means["lesion_recall"].value, label.means["lesion_recall"].n) == (pytest.approx(5 / 6), 2)
    assert ("lesion, lesions of all cases: 5 of 6 found, 6 false; found by size: below 0.1 mL 2 of 2, 0.1 to 1 mL 3 of 4"
            in table(summary))
    assert Summary.model_validate_json(summary.model_dump_json()) == summary
    assert summed([no_lesions(DetectionRule()), cases[0].labels[0].detection]) == cases[0].labels[0].detection


def test_a_wide_border_changes_nothing():
    generator = np.random.default_rng(1)
    truth, predicted = generator.random((2, 6, 20, 20)) < 0.06
    tight, wide = score(truth, predicted), score(np.pad(truth, 5), np.pad(predicted, 5))
    assert tight.detection.true_positives > 5
    assert wide == tight
