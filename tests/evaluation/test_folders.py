"""Two folders of label files, with everything that can be wrong about them."""

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.evaluation.folders import evaluate_folders
from autoseg.evaluation.types import Scoring
from autoseg.formats import write_array, write_label
from autoseg.grids.geometry import Geometry
from autoseg.workspace.files import write_json
from planners.schema.labels import LabelSpec

LABELS = LabelSpec(names={"background": (0,), "liver": (1,), "tumour": (2,)})
TRUTH = np.zeros((1, 4, 6), np.int16)
TRUTH[0, 1:3, 1:4] = [[1, 1, 1], [1, 2, 2]]
PREDICTED = np.zeros((1, 4, 6), np.int16)
PREDICTED[0, 1:4, 1:6] = [[1, 1, 1, 1, 0], [1, 1, 2, 0, 0], [0, 0, 0, 0, 2]]

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


def test_a_prediction_may_be_in_another_format(folders):
    truth, predicted = folders
    write_label(predicted / "c.nrrd", TRUTH, GRID)
    assert [case.name for case in evaluate_folders(truth, predicted, LABELS, ".nii.gz").cases] == ["a", "b", "c"]


@pytest.mark.parametrize(("where", "name"), [("predicted", "a.nrrd"), ("truth", "a.nrrd"), ("predicted", "A.nii.gz"),
                                             ("predicted", "a.NII.GZ")])
def test_two_files_of_one_case_are_refused(folders, where, name):
    folder = folders[where == "predicted"]
    (folder / name).write_bytes(b"not even read")
    with pytest.raises(UserError, match=f"{where}: several files belong to one case .found: .*{name}.*rename"):
        evaluate_folders(*folders, LABELS, ".nii.gz")


def test_a_drawing_beside_a_mask_is_no_second_mask(folders):
    truth, predicted = folders
    write_array(predicted / "a.png", np.zeros((1, 1, 4, 6), np.uint8), Geometry((1, 4, 6), (999.0, 1.0, 1.0), dimensions=2))
    summary = evaluate_folders(truth, predicted, LABELS, ".nii.gz")
    assert summary.n_cases == 2 and summary.warnings == ()


@pytest.mark.parametrize(("said", "words"), [
    ({"background": 0, "liver": 1}, r"tumour \(only the reference\)"),
    ({"background": 0, "liver": 1, "tumour": 2, "cyst": 3}, r"cyst \(only the predictions\)"),
    ({"background": 0, "liver": 2, "tumour": 1}, r"liver \(2 in the predictions, 1 in the reference\)")])
def test_labels_that_only_one_of_the_two_has_are_refused(folders, said, words):
    write_json(folders[1] / "labels.json", {"labels": said})
    with pytest.raises(UserError, match=f"different labels .*{words}"):
        evaluate_folders(*folders, LABELS, ".nii.gz")


def test_what_prediction_says_of_its_labels_may_agree(folders):
    write_json(folders[1] / "labels.json", {"labels": {"background": 0, "liver": 1, "tumour": 2}})
    assert evaluate_folders(*folders, LABELS, ".nii.gz").n_cases == 2


def test_a_tolerance_of_an_unknown_label_is_refused(folders):
    with pytest.raises(UserError, match=r"for a label that is not declared \(found: spleen; expected: liver, tumour"):
        evaluate_folders(*folders, LABELS, ".nii.gz", scoring=Scoring(nsd_tolerance_mm_of={"spleen": 1.0}))


@pytest.mark.slow
def test_a_label_that_nobody_looked_for_in_a_case_is_part_of_no_mean(folders):
    summary = evaluate_folders(*folders, LABELS, ".nii.gz", annotated={"a": ("liver",)})
    assert [case.labels[1].annotated for case in summary.cases] == [False, True]
    assert (summary.labels[0].means["dice"].n, summary.labels[1].means["dice"].n) == (2, 1)


def test_two_processes_give_the_scores_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr("autoseg.evaluation.folders._SECONDS_WORTH_PROCESSES", 0.0)
    for number in range(6):
        write_label(tmp_path / "truth" / f"{number:02}.nii.gz", TRUTH, GRID)
        write_label(tmp_path / "predicted" / f"{number:02}.nii.gz", PREDICTED, GRID)
    args = (tmp_path / "truth", tmp_path / "predicted", LABELS, ".nii.gz")
    assert evaluate_folders(*args, 2) == evaluate_folders(*args, 1)


def test_an_error_of_a_library_is_a_fault_of_its_case_and_the_others_are_scored(folders, monkeypatch):
    from autoseg.evaluation import folders as module

    read = module.read_label

    def broken(path):
        if path.name == "a.nii.gz":
            raise ZeroDivisionError("by nothing")
        return read(path)

    monkeypatch.setattr(module, "read_label", broken)
    summary = evaluate_folders(*folders, LABELS, ".nii.gz")
    assert [case.name for case in summary.cases] == ["b"]
    assert "case a: ZeroDivisionError: by nothing" in summary.faults


@pytest.mark.parametrize("name", ["c.nrrd", "c.NII.GZ", "c.Nii", "c.mha", "c.NRRD"])
def test_a_label_of_another_ending_or_in_capitals_is_scored(folders, name):
    truth, predicted = folders
    (truth / "c.nii.gz").unlink()
    write_label(truth.parent / name.lower(), TRUTH, GRID)
    (truth.parent / name.lower()).rename(truth / name)
    write_label(predicted / "c.nii.gz", TRUTH, GRID)
    summary = evaluate_folders(truth, predicted, LABELS, ".nii.gz")
    assert [case.name for case in summary.cases] == ["a", "b", "c"]
    assert summary.faults == summary.warnings == ()


def test_a_label_and_a_prediction_of_another_ending_are_scored_beside_those_of_the_dataset(folders):
    for folder in folders:
        write_label(folder / "d.nrrd", TRUTH, GRID)
    assert [case.name for case in evaluate_folders(*folders, LABELS, ".nii.gz").cases] == ["a", "b", "d"]


def test_a_label_without_a_prediction_is_a_fault_whatever_its_ending(folders):
    truth, _ = folders
    write_label(truth / "d.mha", TRUTH, GRID)
    (truth / "e.nii.gz").symlink_to(truth / "nowhere.nii.gz")
    faults = evaluate_folders(*folders, LABELS, ".nii.gz").faults
    assert [fault.split(" (")[0] for fault in faults] == [f"case {name}: the prediction is missing" for name in "cde"]


def test_a_link_to_nothing_is_a_fault_of_its_case(folders):
    truth, predicted = folders
    (truth / "c.nii.gz").unlink()
    (truth / "c.nii.gz").symlink_to(truth / "nowhere.nii.gz")
    write_label(predicted / "c.nii.gz", TRUTH, GRID)
    summary = evaluate_folders(truth, predicted, LABELS, ".nii.gz")
    assert summary.n_cases == 2 and "link leads to nothing" in summary.faults[0]


def test_files_that_are_no_masks_are_named(folders):
    truth, predicted = folders
    for path in (truth / "c.hdf5", truth / "note.txt", truth / "overview.png", truth / "dataset.json",
                 predicted / "c.nii.part", predicted / "a.npz", predicted / "sheet.png", truth / ".DS_Store"):
        path.write_bytes(b"not a mask")
    (truth / "more").mkdir()
    warnings = evaluate_folders(*folders, LABELS, ".nii.gz").warnings
    assert [warning.split(": ", 1)[1] for warning in warnings] == [
        "4 files or folders are not used (c.hdf5, note.txt, overview.png, more)", "1 file is not used (c.nii.part)"]
