"""Scores of cases and of folders, with every policy pinned."""

import json
import math

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.evaluation.metrics import metrics_of
from autoseg.evaluation.score import score_case, summarize
from autoseg.evaluation.statistics import bootstrap_mean
from autoseg.evaluation.table import table
from autoseg.evaluation.types import Scoring, Summary
from autoseg.formats import read_label
from autoseg.workspace.files import read_model, write_json
from planners.schema.labels import LabelSpec

LABELS = LabelSpec(names={"background": (0,), "liver": (1,), "tumour": (2,)})
REGIONS = LabelSpec(names={"background": (0,), "liver": (1, 2), "tumour": (2,)}, region_order=(1, 2))
ALL = Scoring(metrics=metrics_of("overlap", "volume", "surface"))
MM = (1.0, 1.0, 1.0)


def drawn(*rows: str) -> np.ndarray:
    """A label map of one slice; a dot is background."""
    return np.array([[int(character.replace(".", "0")) for character in row] for row in rows], np.int16)[None]


TRUTH = drawn("......",
              ".111..",
              ".122..",
              "......")
PREDICTED = drawn("......",
                  ".1111.",
                  ".112..",
                  ".....2")


def by_name(score):
    return {label.name: label for label in score.labels}


def test_each_label_is_scored_by_itself():
    score = by_name(score_case(TRUTH, PREDICTED, LABELS, MM, "a"))
    liver, tumour = score["liver"], score["tumour"]
    assert (liver.true_positives, liver.false_positives, liver.false_negatives) == (4, 2, 0)
    assert (tumour.true_positives, tumour.false_positives, tumour.false_negatives) == (1, 1, 1)
    assert liver.dice == pytest.approx(8 / 10)
    assert tumour.dice == tumour.precision == tumour.sensitivity == pytest.approx(1 / 2)
    assert tumour.iou == pytest.approx(1 / 3)


def test_a_region_is_the_union_of_its_values():
    score = by_name(score_case(TRUTH, PREDICTED, REGIONS, MM, "a"))
    assert (score["liver"].true_positives, score["liver"].false_positives, score["liver"].false_negatives) == (6, 2, 0)
    assert score["tumour"].true_positives == 1


def test_volumes_are_in_millilitres():
    score = by_name(score_case(TRUTH, PREDICTED, LABELS, (5.0, 10.0, 2.0), "a"))
    assert score["liver"].truth_ml == pytest.approx(4 * 0.1)
    assert score["liver"].predicted_ml == pytest.approx(6 * 0.1)
    assert score["liver"].volume_error_ml == pytest.approx(2 * 0.1)


def test_a_2d_image_counts_as_one_millimetre_thick():
    score = by_name(score_case(TRUTH, PREDICTED, LABELS, (9990.0, 10.0, 2.0), "a"))
    assert score["liver"].truth_ml == pytest.approx(4 * 0.02)


def test_voxels_of_the_ignore_label_do_not_count():
    labels = LabelSpec(names={"background": (0,), "liver": (1,)}, ignore=9)
    truth = drawn("11.999",
                  "11.999")
    predicted = drawn("11.111",
                      ".11111")
    score = by_name(score_case(truth, predicted, labels, MM, "a", scoring=ALL))["liver"]
    assert (score.true_positives, score.false_positives, score.false_negatives) == (3, 1, 1)
    assert score.hd_mm < 2


@pytest.mark.parametrize(("truth", "predicted", "empty", "overlap", "distance", "nsd"), [
    ("....", "....", "nan", None, None, None),
    ("....", "....", "one", 1.0, 0.0, 1.0),
    ("....", "..1.", "nan", 0.0, 5.0, 0.0),
    ("....", "..1.", "one", 0.0, 5.0, 0.0),
    ("..1.", "....", "nan", 0.0, 5.0, 0.0),
    ("..1.", "....", "one", 0.0, 5.0, 0.0),
    ("..1.", "..1.", "nan", 1.0, 0.0, 1.0),
])
def test_the_policy_of_empty_masks(truth, predicted, empty, overlap, distance, nsd):
    labels = LabelSpec(names={"background": (0,), "liver": (1,)})
    blank = "...."
    scoring = ALL.model_copy(update={"empty": empty})
    score = score_case(drawn(truth, blank, blank), drawn(predicted, blank, blank), labels, MM, "a", scoring=scoring)
    (liver,) = score.labels
    assert (liver.dice, liver.iou) == (overlap, overlap)
    assert (liver.hd_mm, liver.hd95_mm, liver.assd_mm) == (distance,) * 3  # 5 mm: the diagonal of 3x4 pixels
    assert liver.nsd == nsd


def test_a_prediction_of_nothing_scores_zero_on_all_that_is_there():
    score = score_case(TRUTH, np.zeros_like(TRUTH), LABELS, MM, "a", scoring=ALL)
    for label in score.labels:
        assert (label.dice, label.iou, label.precision, label.sensitivity, label.nsd) == (0, 0, 0, 0, 0)
        assert label.hd95_mm == pytest.approx(math.hypot(4, 6))
    assert score.mean_dice == 0


def test_surface_metrics_are_measured_only_where_asked_for():
    (liver, _) = score_case(TRUTH, PREDICTED, LABELS, MM, "a").labels
    assert liver.dice is not None
    assert liver.hd_mm is liver.hd95_mm is liver.assd_mm is liver.nsd is None
    (liver, _) = score_case(TRUTH, PREDICTED, LABELS, MM, "a", scoring=Scoring(metrics=("hd95_mm",))).labels
    assert liver.dice is liver.hd_mm is None
    assert liver.hd95_mm > 0


def test_each_label_may_have_its_own_tolerance():
    truth, predicted = drawn("11..", "22.."), drawn("11..", "..22")
    strict = ALL.model_copy(update={"nsd_tolerance_mm": 0.5})
    lenient = strict.model_copy(update={"nsd_tolerance_mm_of": {"tumour": 2.0}})
    assert by_name(score_case(truth, predicted, LABELS, MM, "a", scoring=strict))["tumour"].nsd < 1
    assert by_name(score_case(truth, predicted, LABELS, MM, "a", scoring=lenient))["tumour"].nsd == 1


def test_an_image_with_a_wide_border_scores_the_same():
    generator = np.random.default_rng(0)
    truth, predicted = (generator.integers(0, 3, (4, 5, 6)).astype(np.int16) for _ in range(2))
    spacing = (3.0, 1.0, 0.5)
    tight = score_case(truth, predicted, LABELS, spacing, "a", scoring=ALL)
    wide = score_case(np.pad(truth, 4), np.pad(predicted, 4), LABELS, spacing, "a", scoring=ALL)
    for label, other in zip(tight.labels, wide.labels, strict=True):
        assert label.model_dump() == pytest.approx(other.model_dump())


def test_undeclared_values_and_other_shapes_are_users_errors():
    with pytest.raises(UserError, match=r"the prediction has label values that are not declared \(found: -1, 7;"):
        score_case(TRUTH, np.where(PREDICTED == 2, 7, -PREDICTED).astype(np.int16), LABELS, MM, "a")
    with pytest.raises(UserError, match="the truth has label values"):
        score_case(TRUTH * 4, PREDICTED, LABELS, MM, "a")
    with pytest.raises(UserError, match="another shape"):
        score_case(TRUTH, PREDICTED[:, 1:], LABELS, MM, "a")


def cases_with_one_empty_tumour():
    nothing = np.where(TRUTH == 2, 1, TRUTH)
    return [score_case(TRUTH, PREDICTED, LABELS, MM, "a"), score_case(nothing, nothing, LABELS, MM, "b")]


def test_a_summary_says_of_how_many_cases_each_mean_is():
    summary = summarize(cases_with_one_empty_tumour(), LABELS)
    liver, tumour = summary.labels
    assert (liver.means["dice"].value, liver.means["dice"].n, liver.n_empty) == (pytest.approx(0.9), 2, 0)
    assert (tumour.means["dice"].value, tumour.means["dice"].n, tumour.n_empty) == (0.5, 1, 1)
    assert summary.foreground_means["dice"].value == pytest.approx(0.7)
    assert summary.foreground_means["dice"].n == 2


def test_a_label_that_no_case_has_has_no_mean_and_leaves_that_of_the_others_alone():
    nothing = np.where(TRUTH == 2, 1, TRUTH)
    summary = summarize([score_case(nothing, nothing, LABELS, MM, "b")], LABELS)
    assert summary.labels[1].means["dice"].value is None
    assert (summary.foreground_means["dice"].value, summary.foreground_means["dice"].n) == (1.0, 1)


def test_a_summary_is_written_as_strict_json_and_read_back(tmp_path):
    summary = summarize(cases_with_one_empty_tumour(), LABELS, ALL.model_copy(update={"metrics": ("dice", "hd_mm")}))
    write_json(tmp_path / "summary.json", summary)
    assert json.loads((tmp_path / "summary.json").read_text())["cases"][1]["labels"][1]["dice"] is None
    assert read_model(tmp_path / "summary.json", Summary) == summary


def test_the_table_shows_means_intervals_counts_and_faults():
    text = table(summarize(cases_with_one_empty_tumour(), LABELS, Scoring(metrics=("dice", "iou", "predicted_ml")),
                           faults=["case c: the prediction is missing"]))
    lines = text.splitlines()
    assert lines[0].split() == ["label", "n", "empty", "Dice", "IoU"]
    assert lines[2].split() == ["liver", "2", "0", "0.900", "[0.800", "to", "1.000]", "0.833"]
    assert lines[3].split() == ["tumour", "1", "1", "0.500", "0.333"]
    assert lines[4].split()[:2] == ["mean", "0.700"]
    assert lines[6].split() == ["label", "n", "empty", "predicted", "mL"]
    assert lines[9].split() == ["tumour", "2", "1", "0.001"]
    assert "2 cases scored; two empty masks are left out of means" in text
    assert "case c: the prediction is missing" in text


def test_a_mean_of_another_number_of_cases_says_so():
    scoring = Scoring(metrics=("volume_error_ml", "relative_volume_error"))
    text = table(summarize(cases_with_one_empty_tumour(), LABELS, scoring))
    assert text.splitlines()[3].split()[-2:] == ["0.000", "(1)"]


def test_the_interval_of_a_mean_is_that_of_resampled_cases():
    cases = [score_case(TRUTH, PREDICTED, LABELS, MM, "a"), score_case(TRUTH, TRUTH, LABELS, MM, "b")] * 20
    summary = summarize(cases, LABELS)
    tumour = summary.labels[1].means["dice"]
    expected = bootstrap_mean([0.5, 1.0] * 20)
    assert (tumour.low, tumour.high) == (pytest.approx(expected.low, abs=0.01), pytest.approx(expected.high, abs=0.01))
    # Both labels are better in the same cases, and so vary together: the interval of their mean is not narrower.
    mean = summary.foreground_means["dice"]
    liver = summary.labels[0].means["dice"]
    assert mean.high - mean.low == pytest.approx((tumour.high - tumour.low + liver.high - liver.low) / 2, rel=0.02)


def test_a_mean_of_one_case_has_no_interval():
    mean = summarize(cases_with_one_empty_tumour()[:1], LABELS).labels[0].means["dice"]
    assert mean.value is not None and mean.low is mean.high is None


def test_volume_errors_are_also_shares_of_the_truth():
    liver, tumour = score_case(TRUTH, PREDICTED, LABELS, (1.0, 10.0, 10.0), "a").labels
    assert (liver.volume_error_ml, liver.relative_volume_error) == (pytest.approx(0.2), pytest.approx(0.5))  # 6 for 4
    assert tumour.relative_volume_error == 0
    nothing = np.zeros_like(TRUTH)
    assert score_case(nothing, TRUTH, LABELS, MM, "a").labels[0].relative_volume_error is None
    assert score_case(TRUTH, nothing, LABELS, MM, "a").labels[0].relative_volume_error == -1


def test_voxel_accuracy_stands_beside_that_of_background_alone():
    scoring = Scoring(voxel_accuracy=True)
    score = score_case(TRUTH, np.zeros_like(TRUTH), LABELS, MM, "a", scoring=scoring)
    assert score.voxels.accuracy == score.voxels.background_only == pytest.approx(18 / 24)
    score = score_case(np.pad(TRUTH, 1), np.pad(PREDICTED, 1), LABELS, MM, "a", scoring=scoring)
    assert (score.voxels.accuracy, score.voxels.background_only) == (pytest.approx(141 / 144), pytest.approx(138 / 144))
    text = table(summarize([score] * 2, LABELS, scoring))
    assert "voxel accuracy 0.9792, of background alone 0.9583 (n 2)" in text
    assert score_case(TRUTH, PREDICTED, LABELS, MM, "a").voxels is None


def test_voxel_accuracy_leaves_out_ignored_voxels():
    labels = LabelSpec(names={"background": (0,), "liver": (1,)}, ignore=9)
    scoring = Scoring(voxel_accuracy=True)
    score = score_case(drawn("11.9", "...9"), drawn("1.11", "...."), labels, MM, "a", scoring=scoring)
    assert (score.voxels.accuracy, score.voxels.background_only) == (pytest.approx(4 / 6), pytest.approx(4 / 6))
    assert score_case(drawn("99"), drawn("11"), labels, MM, "a", scoring=scoring).voxels is None


def test_labels_that_nobody_annotated_are_part_of_no_mean():
    everything = Scoring(metrics=metrics_of("overlap", "volume", "surface", "detection"), voxel_accuracy=True,
                         empty="one")
    cases = [score_case(TRUTH, PREDICTED, LABELS, MM, "a", scoring=everything),
             score_case(np.where(TRUTH == 2, 0, TRUTH), PREDICTED, LABELS, MM, "b", scoring=everything, annotated=["liver"])]
    assert cases[1].voxels is None
    liver, tumour = summarize(cases, LABELS, everything).labels
    assert {mean.n for mean in liver.means.values()} == {2}
    assert {mean.n for mean in tumour.means.values()} == {1} and tumour.n_empty == 0


def test_a_prediction_of_nothing_has_a_value_for_every_metric():
    everything = Scoring(metrics=metrics_of("overlap", "volume", "surface", "detection"))
    for label in score_case(TRUTH, np.zeros_like(TRUTH), LABELS, MM, "a", scoring=everything).labels:
        assert all(getattr(label, metric) is not None for metric in everything.metrics)
        assert (label.lesion_f1, label.lesion_recall, label.lesion_precision, label.false_lesions) == (0, 0, 0, 0)


@pytest.mark.parametrize("axes", [(0, 2, 1), (2, 0, 1), (1, 2, 0)])
def test_no_metric_depends_on_the_order_of_the_axes(axes):
    generator = np.random.default_rng(3)
    truth, predicted = (np.where(generator.random((9, 11, 12)) < 0.15, generator.integers(1, 3, (9, 11, 12)), 0)
                        .astype(np.int16) for _ in range(2))
    everything = Scoring(metrics=metrics_of("overlap", "volume", "surface", "detection"), voxel_accuracy=True)
    spacing = (3.0, 1.0, 0.5)
    straight = score_case(truth, predicted, LABELS, spacing, "a", scoring=everything)
    turned = score_case(truth.transpose(axes), predicted.transpose(axes), LABELS, tuple(spacing[axis] for axis in axes), "a",
                        scoring=everything)
    assert turned.voxels == straight.voxels
    for label, other in zip(straight.labels, turned.labels, strict=True):
        assert other.detection == label.detection
        assert other.model_dump(exclude={"detection"}) == pytest.approx(label.model_dump(exclude={"detection"}))


def test_an_all_zero_prediction_of_real_hippocampi_scores_zero(shared_data):
    labels = LabelSpec(names={"background": (0,), "Anterior": (1,), "Posterior": (2,)})
    scores = []
    for path in sorted((shared_data / "Dataset004_Hippocampus" / "labelsTr").glob("*.nii.gz"))[:3]:
        truth, geometry = read_label(path)
        scores.append(score_case(truth, np.zeros_like(truth), labels, geometry.spacing_mm, path.name))
    assert summarize(scores, labels).foreground_means["dice"].value == 0
