"""Masks of any program are cleaned by rules that are given, or that pay on a reference."""

import json

import numpy as np
import pytest

from autoseg.cli import postprocess as command
from autoseg.formats import read_label, write_label
from autoseg.grids.geometry import Geometry

GRID = Geometry((4, 12, 12), (5.0, 10.0, 10.0))  # 0.5 mL per voxel
LABELS = {"background": 0, "organ": 1, "lesion": 2}


def organ(number, *, speck=False, hole=False):
    label = np.zeros(GRID.shape, np.int16)
    label[1:3, 2:7, 2:6 + number % 3] = 1
    label[1, 9, 9] = 1 if speck else 0
    if hole:
        label[1, 4, 4] = 0
    return label


@pytest.fixture
def folders(tmp_path):
    """Eight masks with a false speck each, and their true labels."""
    for number in range(8):
        write_label(tmp_path / f"masks/case{number}.nii.gz", organ(number, speck=True), GRID)
        write_label(tmp_path / f"truth/case{number}.nii.gz", organ(number), GRID)
    (tmp_path / "masks/labels.json").write_text(json.dumps({"labels": LABELS}))
    return tmp_path


def run(folders, *options):
    return command.main(["-i", str(folders / "masks"), "-o", str(folders / "out"), "--home", str(folders), "--workers", "1",
                         *options])


def test_given_rules_are_applied_and_written_beside_the_masks(folders, capsys):
    write_label(folders / "masks/case0.nii.gz", organ(0, speck=True, hole=True), GRID)
    assert run(folders, "--fill_holes", "organ", "--minimum_ml", "organ=0.6") == 0
    assert "8 of 8 masks changed" in capsys.readouterr().out
    np.testing.assert_array_equal(read_label(folders / "out/case1.nii.gz")[0], organ(1))
    written = json.loads((folders / "out/postprocessing.json").read_text())
    assert written["postprocessing"]["minimum_ml"] == {"organ": 0.6} and written["labels"] == LABELS


def test_rules_that_pay_on_a_reference_are_found_and_can_be_given_again(folders, capsys):
    assert run(folders, "-r", str(folders / "truth")) == 0
    printed = capsys.readouterr().out
    assert "kept: keep the largest component of the foreground: Dice +" in printed
    np.testing.assert_array_equal(read_label(folders / "out/case3.nii.gz")[0], organ(3))
    assert json.loads((folders / "out/postprocessing.json").read_text())["n_cases"] == 8
    again = ["-i", str(folders / "masks"), "-o", str(folders / "again"), "--workers", "1"]
    assert command.main([*again, "--rules", str(folders / "out/postprocessing.json")]) == 0
    np.testing.assert_array_equal(read_label(folders / "again/case3.nii.gz")[0], organ(3))


def test_cases_with_a_mask_and_a_true_label_count_and_the_others_are_named(folders, capsys):
    write_label(folders / "truth/case9.nii.gz", organ(0), GRID)
    (folders / "truth/case5.nii.gz").unlink()
    assert run(folders, "-r", str(folders / "truth")) == 0
    printed = capsys.readouterr()
    assert "7 cases that have a mask and a true label, without 2 others: case5, case9" in printed.err
    assert "8 of 8 masks changed" in printed.out
    assert json.loads((folders / "out/postprocessing.json").read_text())["n_cases"] == 7


def test_a_reference_that_lies_elsewhere_is_refused(folders, capsys):
    write_label(folders / "truth/case2.nii.gz", organ(2), Geometry(GRID.shape, GRID.spacing_mm, (9.0, 0.0, 0.0)))
    assert run(folders, "-r", str(folders / "truth")) == 2
    assert "case case2" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "message"), [
    ([], "the rules are said in one way (found: no rules"),
    (["--keep_largest_of_all", "--rules", "x.json"], "found: --rules and --keep_largest and the like"),
    (["--keep_largest", "organs"], "no label is called 'organs', did you mean 'organ'"),
    (["--rules", "none.json"], "none.json: the file is missing")])
def test_rules_that_are_missing_doubled_or_of_unknown_labels_are_refused(options, message, folders, capsys):
    assert run(folders, *options) == 2
    assert message in capsys.readouterr().err


def test_rules_of_other_labels_are_refused(folders, capsys):
    assert run(folders, "--keep_largest_of_all") == 0
    (folders / "masks/labels.json").write_text(json.dumps({"labels": {"background": 0, "other": 1}}))
    again = ["-i", str(folders / "masks"), "-o", str(folders / "again"), "--workers", "1"]
    assert command.main([*again, "--rules", str(folders / "out/postprocessing.json")]) == 2
    assert "the rules are of other labels than the masks" in capsys.readouterr().err


def test_a_mask_with_unknown_values_is_named_and_the_others_are_written(folders, capsys):
    write_label(folders / "masks/case4.nii.gz", organ(4) * 9, GRID)
    assert run(folders, "--keep_largest_of_all") == 2
    printed = capsys.readouterr()
    assert "7 of 7 masks changed" in printed.out
    assert "case4" in printed.err and "label values are not declared" in printed.err


def test_a_volume_without_its_label_is_refused(folders, capsys):
    with pytest.raises(SystemExit):
        run(folders, "--minimum_ml", "0.5")
    assert "expected LABEL=ML such as tumour=0.5, found '0.5'" in capsys.readouterr().err


def test_masks_without_labels_need_a_dataset(folders, capsys):
    (folders / "masks/labels.json").unlink()
    assert run(folders, "--keep_largest_of_all") == 2
    assert "nothing says what the values of these masks are" in capsys.readouterr().err


def test_folders_without_masks_and_rules_of_unknown_labels_are_refused(folders, capsys):
    assert run(folders, "--keep_largest", "organ") == 0
    rules = json.loads((folders / "out/postprocessing.json").read_text())
    rules["postprocessing"]["keep_largest"] = ["orgna"]
    del rules["file_digest"]
    (folders / "edited.json").write_text(json.dumps(rules))
    (folders / "only_probabilities").mkdir()
    (folders / "only_probabilities/case0.npz").write_bytes(b"")
    for words, message in ((("--rules", str(folders / "edited.json")), "no label is called 'orgna'"),
                           (("-r", str(folders / "only_probabilities")), "too few cases have a mask and a true label"),
                           (("-i", str(folders / "only_probabilities"), "--keep_largest", "organ", "--dataset_json",
                             str(folders / "dataset.json")), "holds probabilities and no mask")):
        (folders / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "labels": LABELS, "numTraining": 1,
                                                          "file_ending": ".nii.gz"}))
        assert run(folders, *words) == 2
        assert message in capsys.readouterr().err


def test_rules_are_not_measured_on_one_case(folders, capsys):
    for number in range(1, 8):
        (folders / f"truth/case{number}.nii.gz").unlink()
    assert run(folders, "-r", str(folders / "truth")) == 2
    printed = capsys.readouterr().err
    assert "too few cases have a mask and a true label to say which rules pay (found: 1; expected: 2 or more" in printed
