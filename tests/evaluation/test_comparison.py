"""Two sets of predictions compared: by folders, by their summaries, and what is refused."""

import json

import numpy as np
import pytest

from autoseg import pipeline
from autoseg.base.errors import ManyFaults, UserError
from autoseg.cli import compare as compare_command
from autoseg.cli import evaluate as evaluate_command
from autoseg.evaluation.comparison import PairedComparison, as_text, compare_summaries
from autoseg.evaluation.score import score_case, summarize
from autoseg.evaluation.types import Scoring, Summary, scoring_of
from autoseg.formats import write_label
from autoseg.grids.geometry import Geometry
from autoseg.workspace.files import read_model, write_json
from planners.schema.labels import LabelSpec

LABELS = LabelSpec(names={"background": (0,), "liver": (1,), "tumour": (2,)})
SHAPE = (1, 6, 20)
GRID = Geometry(shape=SHAPE, spacing_mm=(3.0, 1.0, 1.0))
N_CASES = 8


def label_map(liver: int, tumour: int) -> np.ndarray:
    """Bars of these lengths."""
    label = np.zeros(SHAPE, np.int16)
    label[0, 1, 1:1 + liver], label[0, 3, 1:1 + tumour] = 1, 2
    return label


def summary_of(liver: int, tumour: int, names=None, scoring: Scoring | None = None, labels: LabelSpec = LABELS) -> Summary:
    """Scores of predictions of these lengths, where the truth is 10 and 10."""
    names = names or [f"case_{i}" for i in range(N_CASES)]
    return summarize([score_case(label_map(10, 10), label_map(liver, tumour), labels, (1.0, 1.0, 1.0), name, scoring=scoring)
                      for name in names], labels, scoring)


def rows_of(comparison: PairedComparison) -> dict:
    return {(row.metric, row.label): row for row in comparison.rows}


def test_the_better_of_two_is_named_for_each_label_and_the_mean():
    rows = rows_of(compare_summaries(summary_of(10, 5), summary_of(10, 10)))
    liver, tumour, mean = (rows["dice", label] for label in ("liver", "tumour", "mean"))
    assert (liver.verdict, tumour.verdict, mean.verdict) == ("same", "worse", "worse")
    assert tumour.difference.difference == pytest.approx(10 / 15 - 1)
    assert mean.difference.difference == pytest.approx((10 / 15 - 1) / 2) and mean.difference.n == N_CASES
    assert mean.sentence == ("Dice, mean over labels: B is better (A - B -0.167, 95 % interval -0.167 to -0.167, 8 cases)")


def test_smaller_distances_and_volume_errors_are_better_whatever_their_sign():
    scoring = scoring_of(["surface", "volume"])
    rows = rows_of(compare_summaries(summary_of(9, 10, scoring=scoring), summary_of(14, 10, scoring=scoring)))
    assert rows["hd_mm", "liver"].difference.difference == pytest.approx(1 - 4, rel=0.01)
    assert rows["hd_mm", "liver"].verdict == rows["relative_volume_error", "liver"].verdict == "better"
    assert rows["relative_volume_error", "liver"].difference.difference == pytest.approx(0.1 - 0.4)
    assert ("truth_ml", "liver") not in rows


def test_volume_errors_within_a_hundredth_of_the_true_volume_are_as_good():
    def scores(missed):
        truth = np.full((10, 20, 20), 1, np.int16)
        predicted = truth.copy()
        predicted.flat[:missed] = 0
        labels = LabelSpec(names={"background": (0,), "liver": (1,)})
        return summarize([score_case(truth, predicted, labels, (1.0, 1.0, 1.0), f"c{i}") for i in range(7)], labels)

    for missed, verdict in ((39, "same"), (41, "worse")):
        assert rows_of(compare_summaries(scores(missed), scores(0)))["volume_error_ml", "liver"].verdict == verdict


def test_cases_are_paired_by_name_and_those_of_one_side_are_left_out():
    a, b = summary_of(10, 9, ["p", "q", "only"]), summary_of(10, 9, ["q", "p", "x", "y"])
    comparison = compare_summaries(a, b)
    assert (comparison.n_cases, comparison.only_a, comparison.only_b) == (2, ("only",), ("x", "y"))
    assert rows_of(comparison)["dice", "mean"].verdict == "few"
    assert "2 cases are too few to say, 6 are needed" in as_text(comparison)
    assert "only in B, left out: x, y" in as_text(comparison)


def test_pairs_that_only_one_of_the_two_defines_are_counted():
    nothing = label_map(10, 0)

    def scores(tumour):
        return summarize([score_case(nothing, label_map(10, tumour), LABELS, (1.0, 1.0, 1.0), f"c{i}") for i in range(7)],
                         LABELS)

    comparison = compare_summaries(scores(0), scores(4))
    row = rows_of(comparison)["dice", "tumour"]
    assert (row.difference.n, row.n_one_defined, row.verdict) == (0, 7, "few")
    assert rows_of(comparison)["dice", "mean"].difference.n == 7  # over the liver
    assert "0 (7)" in as_text(comparison) and "--empty one" in as_text(comparison)


def test_a_comparison_is_read_back_as_it_was_written(tmp_path):
    comparison = compare_summaries(summary_of(10, 5), summary_of(10, 10))
    write_json(tmp_path / "c.json", comparison)
    assert read_model(tmp_path / "c.json", PairedComparison) == comparison


def test_sets_without_a_common_case_are_refused():
    with pytest.raises(UserError, match=r"the two have no case in common \(found: p against q, r, s and 1 more\)"):
        compare_summaries(summary_of(10, 9, ["p"]), summary_of(10, 9, ["q", "r", "s", "t"]))


@pytest.mark.parametrize("names", [["p", "p"], ["case_1", "Case_1"]])
def test_a_case_that_is_there_twice_is_refused(names):
    with pytest.raises(UserError, match=f"B: two scores belong to one case .found: {names[0]} and {names[1]}"):
        compare_summaries(summary_of(10, 9, ["p", "case_1"]), summary_of(10, 9, names))


def test_a_label_that_only_one_of_the_two_has_is_refused():
    other = LabelSpec(names={"background": (0,), "liver": (1,), "cyst": (2,)})
    with pytest.raises(UserError, match=r"different labels \(found: tumour \(only A\), cyst \(only B\)\)"):
        compare_summaries(summary_of(10, 9), summary_of(10, 9, labels=other))


def test_scores_against_different_labels_are_refused():
    longer = summarize([score_case(label_map(10, 12), label_map(10, 9), LABELS, (1.0, 1.0, 1.0), f"case_{i}")
                        for i in range(N_CASES)], LABELS)
    with pytest.raises(UserError, match=r"scored against different labels \(found: case_0, .*score both again"):
        compare_summaries(summary_of(10, 9), longer)


def test_scores_by_different_rules_are_refused():
    a, b = scoring_of(["surface"], nsd_tolerance_mm=1), scoring_of(["surface"], nsd_tolerance_mm=2)
    with pytest.raises(UserError, match=r"different rules \(found: nsd_tolerance_mm: 1.0 against 2.0"):
        compare_summaries(summary_of(10, 9, scoring=a), summary_of(10, 9, scoring=b))
    c = scoring_of(["surface"], nsd_tolerance_mm=1, surface="surfel")
    with pytest.raises(UserError, match=r"different rules \(found: surface: mesh against surfel"):
        compare_summaries(summary_of(10, 9, scoring=a), summary_of(10, 9, scoring=c))
    with pytest.raises(UserError, match="the two have no metric in common"):
        compare_summaries(summary_of(10, 9, scoring=a), summary_of(10, 9))


@pytest.fixture
def sets(tmp_path):
    """Labels of eight cases, a poor and a perfect set of predictions, and what the labels mean."""
    for i in range(N_CASES):
        write_label(tmp_path / "truth" / f"case_{i}.nii.gz", label_map(10, 10), GRID)
        write_label(tmp_path / "poor" / f"case_{i}.nii.gz", label_map(10, 3 + i % 3), GRID)
        write_label(tmp_path / "good" / f"case_{i}.nii.gz", label_map(10, 10), GRID)
    write_json(tmp_path / "dataset.json", {"channel_names": {"0": "CT"}, "numTraining": N_CASES, "file_ending": ".nii.gz",
                                           "labels": {"background": 0, "liver": 1, "tumour": 2}})
    return tmp_path


def compared(sets, *more):
    return compare_command.main([str(sets / "good"), str(sets / "poor"), "-r", str(sets / "truth"), "--dataset_json",
                                 str(sets / "dataset.json"), "--workers", "1", *more])


def test_the_command_compares_folders_and_writes_json(sets, capsys):
    assert compared(sets, "-o", str(sets / "c.json"), "--metrics", "overlap", "detection") == 0
    said = capsys.readouterr().out
    assert "Dice, mean over labels: A is better (A - B +0.2" in said and "8 cases in both" in said
    comparison = read_model(sets / "c.json", PairedComparison)
    assert rows_of(comparison)["lesion_f1", "tumour"].verdict == "same"  # small overlaps still find the bar
    assert rows_of(comparison)["dice", "tumour"].verdict == "better"


def test_summaries_give_the_comparison_of_their_folders(sets, capsys):
    for name in ("good", "poor"):
        assert evaluate_command.main(["-r", str(sets / "truth"), "-i", str(sets / name), "--dataset_json",
                                      str(sets / "dataset.json"), "--metrics", "overlap", "--workers", "1"]) == 0
    assert compare_command.main([str(sets / "good" / "summary.json"), str(sets / "poor" / "summary.json"),
                                 "-o", str(sets / "by_file.json")]) == 0
    assert compared(sets, "--metrics", "overlap", "-o", str(sets / "by_folder.json")) == 0
    by_file, by_folder = (read_model(sets / f"by_{kind}.json", PairedComparison) for kind in ("file", "folder"))
    assert by_file.rows == by_folder.rows


def test_a_folder_without_the_true_labels_is_refused(sets):
    with pytest.raises(UserError, match="the true labels are not given"):
        pipeline.compare(sets / "good", sets / "poor")


def test_another_grid_in_one_of_the_sets_is_refused(sets):
    write_label(sets / "poor" / "case_3.nii.gz", label_map(10, 10), Geometry(SHAPE, (3.0, 1.0, 2.0)))
    with pytest.raises(ManyFaults, match="case case_3: truth and prediction lie on different grids"):
        pipeline.compare(sets / "good", sets / "poor", truth=sets / "truth", dataset_json=sets / "dataset.json", workers=1)


def test_a_case_that_one_set_lacks_is_left_out_and_said(sets, capsys):
    (sets / "poor" / "case_0.nii.gz").unlink()
    assert compared(sets) == 0
    assert "7 cases in both" in (said := capsys.readouterr().out) and "only in A, left out: case_0" in said


def test_the_command_takes_tolerances_by_label_and_the_policy_of_empty_masks(sets):
    assert evaluate_command.main([
        "-r", str(sets / "truth"), "-i", str(sets / "poor"), "--dataset_json", str(sets / "dataset.json"), "--workers", "1",
        "--metrics", "all", "--nsd_tolerance", "1.5", "tumour=3", "--empty", "one", "--lesion_min_mm3", "5"]) == 0
    scoring = json.loads((sets / "poor" / "summary.json").read_text())["scoring"]
    assert (scoring["nsd_tolerance_mm"], scoring["nsd_tolerance_mm_of"]) == (1.5, {"tumour": 3.0})
    assert scoring["empty"] == "one" and scoring["voxel_accuracy"] and scoring["detection"]["min_mm3"] == 5
    assert len(scoring["metrics"]) == 18


@pytest.mark.parametrize(("options", "words"), [
    (["--metrics", "surface", "--nsd_tolerance", "spleen=3"], "found: spleen; expected: liver, tumour"),
    (["--nsd_tolerance", "3"], "add surface to --metrics"),
    (["--lesion_iou", "0.5"], "add detection to --metrics"),
    (["--metrics", "all", "--lesion_iou", "2"], "the detection options are not valid (found: min_iou")])
def test_options_that_do_not_fit_are_users_errors(sets, capsys, options, words):
    assert compared(sets, *options) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("text", ["x", "tumour=", "=3", "-1", "nan"])
def test_nonsense_tolerances_are_refused(sets, capsys, text):
    with pytest.raises(SystemExit):
        compared(sets, f"--nsd_tolerance={text}")
    assert "LABEL=MM" in capsys.readouterr().err
