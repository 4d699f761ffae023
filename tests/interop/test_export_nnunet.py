"""A raw dataset of ours becomes one of nnU-Net, which its own check accepts; what nnU-Net cannot read is said."""

import json
import pickle

import numpy as np
import pytest

from autoseg.cli import export
from autoseg.formats import read_header, read_image, read_label, write_array, write_label
from autoseg.grids.geometry import Geometry
from neighbour_layouts import nnunet_v2, write_image
from public_layouts import GRID, blocks, image

NAME = "Dataset012_Tiny"


def check_like_nnunet(folder):
    """What nnU-Net's `verify_dataset_integrity` asserts: files of all channels, consecutive labels, shapes and spacings."""
    content = json.loads((folder / "dataset.json").read_text())
    assert {"labels", "channel_names", "numTraining", "file_ending"} <= content.keys()
    ending, n_channels = content["file_ending"], len(content["channel_names"])
    cases = {path.name[:-len(ending) - 5] for path in (folder / "imagesTr").iterdir() if path.name.endswith(ending)}
    assert len(cases) == content["numTraining"]
    flat = {value for entry in content["labels"].values() for value in (entry if isinstance(entry, list) else [entry])}
    assert flat == set(range(len(flat)))
    for case in cases:
        label, grid = read_label(folder / "labelsTr" / f"{case}{ending}")
        assert set(np.unique(label)) <= flat
        for number in range(n_channels):
            header = read_header(folder / "imagesTr" / f"{case}_{number:04d}{ending}")
            assert header.geometry.shape == grid.shape
            assert np.allclose(header.geometry.spacing_mm, grid.spacing_mm)
            assert np.allclose(header.geometry.origin_mm, grid.origin_mm)
    return content


@pytest.fixture
def exported(tmp_path, capsys):
    """Export the dataset in the workspace; its dataset.json, its folder and what was printed."""

    def make(*options):
        arguments = ["nnunet", "12", "-o", str(tmp_path / "nnUNet_raw"), "--home", str(tmp_path), "--workers", "1", *options]
        assert export.main(arguments) == 0, capsys.readouterr().err
        folder = tmp_path / "nnUNet_raw" / NAME
        return check_like_nnunet(folder), folder, capsys.readouterr().out

    return make


def test_what_nnunet_can_read_is_linked(tmp_path, exported):
    folds = [{"train": ["a", "b"], "val": ["case c"]}]
    source = nnunet_v2(tmp_path / "raw" / NAME, n_channels=2, ignore_me="x")
    (source / "splits_final.json").write_text(json.dumps(folds))
    write_image(source / "imagesTs/t_0000.nii.gz", 80)
    write_image(source / "imagesTs/t_0001.nii.gz", 81)
    content, folder, printed = exported()
    assert content["labels"] == {"background": 0, "organ": 1, "lesion": 2}
    assert (folder / "imagesTr/case c_0001.nii.gz").is_symlink() and (folder / "imagesTs/t_0001.nii.gz").is_symlink()
    assert json.loads((folder / "splits_final.json").read_text()) == folds
    assert "3 cases, 1 to test" in printed and "copy splits_final.json there" in printed


def test_cases_without_a_channel_or_with_partial_labels_are_left_out_and_named(tmp_path, exported):
    source = nnunet_v2(tmp_path / "raw" / NAME, n_channels=2, optional_channels=["MR_T2"], reference_channel="MR_T1",
                       labels_present={"b": ["organ"]})
    (source / "imagesTr/a_0001.nii.gz").unlink()
    content, _, printed = exported()
    assert content["numTraining"] == 1
    assert "note: case a: the channel 'MR_T2' is missing, and nnU-Net needs all channels of every case" in printed
    assert "note: case b: left out, because lesion was not annotated there" in printed


def test_chosen_channels_keep_the_cases_that_have_them(tmp_path, exported):
    source = nnunet_v2(tmp_path / "raw" / NAME, n_channels=2, optional_channels=["MR_T2"])
    for case in ("a", "b", "case c"):
        (source / f"imagesTr/{case}_0001.nii.gz").unlink()
    assert export.main(["nnunet", "12", "-o", str(tmp_path / "all"), "--home", str(tmp_path), "--workers", "1"]) == 2
    content, _, printed = exported("--channels", "MR_T1")
    assert content["channel_names"] == {"0": "MR_T1"} and content["numTraining"] == 3
    assert "note: the channel 'MR_T2' is left out" in printed


def test_values_with_gaps_and_the_ignore_label_are_numbered_anew(tmp_path, exported):
    source = nnunet_v2(tmp_path / "raw" / NAME, labels={"background": 0, "organ": 1, "lesion": 7, "ignore": 9},
                       channel_names={"0": "CT_venous"})
    write_label(source / "labelsTr/a.nii.gz", blocks((1, 7, 9)), GRID)
    for case in ("b", "case c"):
        write_label(source / f"labelsTr/{case}.nii.gz", blocks((1, 7)), GRID)
    content, folder, printed = exported()
    assert content["labels"] == {"background": 0, "organ": 1, "lesion": 2, "ignore": 3}
    assert content["channel_names"] == {"0": "CT"}
    np.testing.assert_array_equal(read_label(folder / "labelsTr/a.nii.gz")[0], blocks((1, 2, 3)))
    assert "7 -> 2, 9 -> 3" in printed and "the channel 'CT_venous' is called 'CT'" in printed


def test_regions_are_numbered_anew_as_regions(tmp_path, exported):
    source = nnunet_v2(tmp_path / "raw" / NAME, labels={"background": 0, "whole": [1, 4], "core": 4},
                       regions_class_order=[1, 4])
    for case in ("a", "b", "case c"):
        write_label(source / f"labelsTr/{case}.nii.gz", blocks((1, 4)), GRID)
    content, _, _ = exported()
    assert content["labels"] == {"background": 0, "whole": [1, 2], "core": 2} and content["regions_class_order"] == [1, 2]


def test_channels_on_grids_of_their_own_are_brought_to_that_of_the_labels(tmp_path, exported):
    source = nnunet_v2(tmp_path / "raw" / NAME, n_channels=2, reference_channel="MR_T1",
                       conditions={"table": "t.csv", "id": "case", "columns": {"age": {"kind": "number"}}})
    (source / "t.csv").write_text("case,age\na,1\nb,2\ncase c,3\n")
    coarse = Geometry((4, 6, 7), (5.0, 1.5, 1.5), GRID.origin_mm)
    write_array(source / "imagesTr/b_0001.nii.gz", image(4)[:, ::2, ::2, ::2], coarse)
    _, folder, printed = exported()
    _, grid = read_image(folder / "imagesTr/b_0001.nii.gz")
    assert grid.is_at(GRID) and grid.shape == GRID.shape
    assert (folder / "imagesTr/a_0001.nii.gz").is_symlink()
    assert "1 case was written anew, MR_T2 on the grid of the labels (b)" in printed
    assert "nnU-Net knows nothing of these keys of dataset.json: conditions" in printed


def test_a_format_that_nnunet_does_not_read_is_converted(tmp_path, exported):
    source = nnunet_v2(tmp_path / "raw" / NAME, file_ending=".nii")
    content, folder, _ = exported()
    assert content["file_ending"] == ".nii.gz" and (folder / "labelsTr/a.nii.gz").is_symlink()
    assert (source / "labelsTr/a.nii.gz").is_file()


def test_a_folder_that_is_there_is_not_written_over(tmp_path, capsys):
    nnunet_v2(tmp_path / "raw" / NAME)
    arguments = ["nnunet", "12", "--home", str(tmp_path), "--workers", "1"]
    assert export.main([*arguments, "-o", str(tmp_path / "raw")]) == 2
    assert "a dataset lies here already" in capsys.readouterr().err
    assert export.main([*arguments, "-o", str(tmp_path / "out"), "--channels", "CT"]) == 2
    assert "unknown channel 'CT'" in capsys.readouterr().err


def probabilities_of(tmp_path, labels, heads):
    """A folder of predictions of one case, and the dataset that says what they are of."""
    source = nnunet_v2(tmp_path / "raw" / NAME, **labels)
    masks = tmp_path / "masks"
    write_label(masks / "a.nii.gz", blocks((1,)), GRID)
    write_array(masks / "a_probabilities.nii.gz", heads, GRID)
    where = ["-o", str(tmp_path / "theirs"), "--home", str(tmp_path), "--workers", "1"]
    return source, ["nnunet_probabilities", str(masks), *where]


def test_probabilities_are_written_as_nnunet_reads_them(tmp_path):
    heads = np.stack([np.full(GRID.shape, share, np.float32) for share in (0.5, 0.125, 0.375)])
    labels = {"background": 0, "lesion": 7, "organ": 1}
    _, arguments = probabilities_of(tmp_path, {"labels": labels}, heads)
    assert export.main([*arguments, "-d", "12"]) == 0
    with np.load(tmp_path / "theirs/a.npz", allow_pickle=False) as content:
        np.testing.assert_array_equal(content["probabilities"][:, 0, 0, 0], np.array([0.5, 0.125, 0.375], np.float16))
    assert json.loads((tmp_path / "theirs/dataset.json").read_text())["labels"] == {"background": 0, "organ": 1, "lesion": 2}
    assert json.loads((tmp_path / "theirs/plans.json").read_text())["image_reader_writer"] == "SimpleITKIO"
    properties = pickle.loads((tmp_path / "theirs/a.pkl").read_bytes())
    assert properties["spacing"] == list(GRID.spacing_mm)
    assert properties["sitk_stuff"] == {"spacing": GRID.spacing_mm[::-1], "origin": GRID.origin_mm,
                                        "direction": GRID.direction}


def test_probabilities_that_do_not_fit_the_labels_are_refused(tmp_path, capsys):
    _, arguments = probabilities_of(tmp_path, {}, np.zeros((2, *GRID.shape), np.float32))
    assert export.main([*arguments, "-d", "12"]) == 2
    assert "the probabilities do not fit the labels or the mask (found: (2, 8, 12, 14)" in capsys.readouterr().err
    (tmp_path / "masks/a_probabilities.nii.gz").unlink()
    assert export.main([*arguments, "-d", "12"]) == 2
    assert "the folder holds no probabilities (found: 1 masks); predict with --save_probabilities" in capsys.readouterr().err
    assert export.main([*arguments, "-d", "12", "--copy"]) == 2
    assert export.main(["nnunet", "12", "-d", "12", "-o", str(tmp_path / "x"), "--home", str(tmp_path)]) == 2
    assert "-d and --dataset_json say what probabilities are of" in capsys.readouterr().err
