"""Scores of cases and of folders, with every policy pinned."""

import json
import math

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.base.workspace import read_model, write_json
from autoseg.data.geometry import Geometry
from autoseg.data.readers import read_label, write_label
from autoseg.evaluate.score import evaluate_folders, score_case, summarize, table
from autoseg.evaluate.types import OVERLAP_METRICS, SURFACE_METRICS, Scoring, Summary
from planners.fingerprint import LabelSpec

LABELS = LabelSpec(names={"background": (0,), "liver": (1,), "tumour": (2,)})
REGIONS = LabelSpec(names={"background": (0,), "liver": (1, 2), "tumour": (2,)}, region_order=(1, 2))
ALL = Scoring(metrics=OVERLAP_METRICS + SURFACE_METRICS)
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


def test_the_table_shows_means_counts_and_faults():
    text = table(summarize(cases_with_one_empty_tumour(), LABELS, Scoring(metrics=("dice", "volume_error_ml")),
                           faults=["case c: the prediction is missing"]))
    lines = text.splitlines()
    assert lines[0].split() == ["label", "n", "empty", "Dice", "volume", "error", "mL"]
    assert lines[2].split() == ["liver", "2", "0", "0.900", "0.001"]
    assert lines[3].split() == ["tumour", "1", "1", "0.500", "0.000", "(2)"]
    assert lines[4].split() == ["mean", "0.700", "0.001"]
    assert "2 cases scored" in text
    assert "case c: the prediction is missing" in text


GRID = Geometry(shape=(1, 4, 6), spacing_mm=(3.0, 1.0, 1.0))


@pytest.fixture
def folders(tmp_path):
    """Truths a, b, c; predictions of a and b."""
    for name in "abc":
        write_label(tmp_path / "truth" / f"{name}.nii.gz", TRUTH, GRID)
    for name in "ab":
        write_label(tmp_path / "predicted" / f"{name}.nii.gz", PREDICTED, GRID)
    return tmp_path / "truth", tmp_path / "predicted"


def test_folders_are_scored_case_by_case(folders):
    truth, predicted = folders
    write_label(predicted / "c.nii.gz", TRUTH, GRID)
    summary = evaluate_folders(truth, predicted, LABELS, ".nii.gz")
    assert [case.name for case in summary.cases] == ["a", "b", "c"]
    assert summary.n_cases == 3
    assert summary.labels[1].means["dice"].value == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert summary.faults == summary.warnings == ()


def test_a_missing_prediction_is_listed_and_the_others_are_scored(folders):
    summary = evaluate_folders(*folders, LABELS, ".nii.gz")
    assert summary.n_cases == 2
    assert len(summary.faults) == 1
    assert summary.faults[0].startswith("case c: the prediction is missing")


def test_a_prediction_without_a_label_is_a_warning(folders):
    truth, predicted = folders
    (truth / "c.nii.gz").unlink()
    (truth / "b.nii.gz").unlink()
    summary = evaluate_folders(truth, predicted, LABELS, ".nii.gz")
    assert summary.n_cases == 1
    assert summary.faults == ()
    assert "b.nii.gz" in summary.warnings[0]


def test_another_grid_is_listed_for_its_case(folders):
    truth, predicted = folders
    write_label(predicted / "c.nii.gz", TRUTH, Geometry(shape=GRID.shape, spacing_mm=(3.0, 1.0, 2.0)))
    summary = evaluate_folders(truth, predicted, LABELS, ".nii.gz")
    assert summary.n_cases == 2
    assert "case c" in summary.faults[0] and "spacing" in summary.faults[0]


def test_a_damaged_file_and_undeclared_values_are_listed_for_their_cases(folders):
    truth, predicted = folders
    (predicted / "b.nii.gz").write_bytes((predicted / "b.nii.gz").read_bytes()[:40])
    write_label(predicted / "c.nii.gz", TRUTH * 5, GRID)
    summary = evaluate_folders(truth, predicted, LABELS, ".nii.gz")
    assert [case.name for case in summary.cases] == ["a"]
    assert len(summary.faults) == 2
    assert "b.nii.gz" in summary.faults[0]
    assert "5, 10" in summary.faults[1]


def test_folders_without_labels_are_users_errors(folders, tmp_path):
    truth, _ = folders
    with pytest.raises(UserError, match="folder is missing"):
        evaluate_folders(truth, tmp_path / "nowhere", LABELS, ".nii.gz")
    with pytest.raises(UserError, match="no label file"):
        evaluate_folders(truth, truth, LABELS, ".nrrd")


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr("autoseg.evaluate.score._SECONDS_WORTH_PROCESSES", 0.0)
    for number in range(6):
        write_label(tmp_path / "truth" / f"{number:02}.nii.gz", TRUTH, GRID)
        write_label(tmp_path / "predicted" / f"{number:02}.nii.gz", PREDICTED, GRID)
    args = (tmp_path / "truth", tmp_path / "predicted", LABELS, ".nii.gz")
    assert evaluate_folders(*args, 2) == evaluate_folders(*args, 1)


def test_an_all_zero_prediction_of_real_hippocampi_scores_zero(shared_data):
    labels = LabelSpec(names={"background": (0,), "Anterior": (1,), "Posterior": (2,)})
    scores = []
    for path in sorted((shared_data / "Dataset004_Hippocampus" / "labelsTr").glob("*.nii.gz"))[:3]:
        truth, geometry = read_label(path)
        scores.append(score_case(truth, np.zeros_like(truth), labels, geometry.spacing_mm, path.name))
    assert summarize(scores, labels).foreground_means["dice"].value == 0
