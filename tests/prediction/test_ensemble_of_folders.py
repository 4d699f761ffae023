"""Masks and probabilities of several models become one; what does not fit together is named."""

import json

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.cli import ensemble as command
from autoseg.formats import read_label, write_array, write_label
from autoseg.formats.npz import read_npz, write_npz
from autoseg.formats.probabilities import write_probabilities
from autoseg.grids.geometry import Geometry
from autoseg.prediction.ensemble import ensemble
from planners.schema.labels import LabelSpec

GRID = Geometry((2, 3, 4), (3.0, 2.0, 1.0), (-7.0, 11.0, 30.0))
LABELS = LabelSpec(names={"background": (0,), "a": (1,), "b": (2,)})


def mask(*values):
    """The first voxels of a label map."""
    label = np.zeros(GRID.shape, np.int16)
    label.ravel()[:len(values)] = values
    return label


def model(folder, labels=None, geometry=GRID, **masks):
    """A folder of masks, with a labels.json as autoseg writes it beside them."""
    for name, label in masks.items():
        write_label(folder / f"{name}.nii.gz", label, geometry)
    if labels:
        (folder / "labels.json").write_text(json.dumps({"labels": labels}))
    return folder


def probabilities(*heads):
    """(K, z, y, x), of which the first voxels have these probabilities of each head; elsewhere it is background."""
    array = np.zeros((len(heads), *GRID.shape), np.float32)
    array[0] = 1
    for head, values in zip(array, heads, strict=True):
        head.ravel()[:len(values)] = values
    return array


def test_masks_vote_by_weight_and_of_equal_votes_the_lower_value_counts(tmp_path):
    folders = [model(tmp_path / name, c=label) for name, label in
               (("x", mask(1, 1, 2, 2)), ("y", mask(1, 2, 2, 0)), ("z", mask(0, 2, 0, 1)))]
    result = ensemble(folders, tmp_path / "out")
    assert (result.n_masks, result.n_averaged, result.faults) == (1, 0, ())
    assert read_label(tmp_path / "out/c.nii.gz")[0].ravel()[:4].tolist() == [1, 2, 2, 0]
    ensemble(folders, tmp_path / "weighted", weights=[3, 1, 1])
    np.testing.assert_array_equal(read_label(tmp_path / "weighted/c.nii.gz")[0], mask(1, 1, 2, 2))
    assert read_label(tmp_path / "out/c.nii.gz")[1].is_at(GRID)


def test_probabilities_of_ours_of_nnunet_and_of_validation_are_averaged(tmp_path):
    values = {"background": 0, "a": 1, "b": 2}
    first = model(tmp_path / "ours", values, c=mask(1, 2))
    write_array(first / "c_probabilities.nii.gz", probabilities((0.1, 0.2), (0.8, 0.1), (0.1, 0.7)), GRID)
    write_array(first / "c_entropy.nii.gz", probabilities((0.1,)), GRID)
    second = model(tmp_path / "theirs", c=mask(2, 1))
    write_npz(second / "c.npz", probabilities((0.1, 0.2), (0.3, 0.5), (0.6, 0.3)).astype(np.float16))
    (second / "c.pkl").write_bytes(b"never opened")
    third = tmp_path / "validation"
    write_probabilities(third / "c.b2nd", probabilities((0.2, 0.2), (0.4, 0.4), (0.4, 0.4)), False)
    result = ensemble([first, second, third], tmp_path / "out")
    assert (result.n_masks, result.n_averaged) == (1, 1)
    np.testing.assert_array_equal(read_label(tmp_path / "out/c.nii.gz")[0], mask(1, 2))
    assert json.loads((tmp_path / "out/labels.json").read_text())["labels"] == values


def test_a_mask_without_probabilities_beside_others_is_certain(tmp_path):
    first = model(tmp_path / "ours", c=mask(1, 1))
    write_npz(first / "c.npz", probabilities((0.0, 0.0), (0.6, 1.0), (0.4, 0.0)))
    second = model(tmp_path / "theirs", c=mask(2, 2))
    ensemble([first, second], tmp_path / "out", labels=LABELS)
    np.testing.assert_array_equal(read_label(tmp_path / "out/c.nii.gz")[0], mask(2, 1))


def test_regions_are_decided_one_by_one_and_painted_in_their_order(tmp_path):
    values = {"background": 0, "whole": 1, "core": 2}
    folders = [model(tmp_path / name, values, c=mask(1)) for name in "xy"]
    write_npz(folders[0] / "c.npz", np.stack([mask(1, 1, 1), mask(1, 0, 0)]).astype(np.float32))
    write_npz(folders[1] / "c.npz", np.stack([mask(1, 1, 0), mask(1, 0, 0)]).astype(np.float32) * 0.9)
    ensemble(folders, tmp_path / "out")
    np.testing.assert_array_equal(read_label(tmp_path / "out/c.nii.gz")[0], mask(2, 1))


def test_other_labels_other_cases_and_wrong_weights_are_refused(tmp_path):
    x = model(tmp_path / "x", {"background": 0, "a": 1}, c=mask(1), d=mask(1))
    y = model(tmp_path / "y", {"background": 0, "b": 1}, c=mask(1), d=mask(1))
    z = model(tmp_path / "z", c=mask(1), e=mask(1))
    with pytest.raises(UserError, match=r"do not have the same labels \(found: background 0, b 1 in .*y; expected: .*a 1"):
        ensemble([x, y], tmp_path / "out")
    with pytest.raises(UserError, match=r"do not have the same cases \(found: .*x lacks e; .*z lacks d"):
        ensemble([x, z], tmp_path / "out")
    with pytest.raises(UserError, match="the weights do not fit the folders.*expected: 2 numbers above 0"):
        ensemble([x, x], tmp_path / "out", weights=[1, 0])
    with pytest.raises(UserError, match="would replace those of a model"):
        ensemble([x, z], x)
    with pytest.raises(UserError, match="needs two folders"):
        ensemble([x], tmp_path / "out")


def test_a_case_on_two_grids_or_of_unknown_values_is_named_and_the_others_are_written(tmp_path, capsys):
    values = {"background": 0, "a": 1}
    moved = Geometry(GRID.shape, GRID.spacing_mm, (0.0, 0.0, 0.0))
    x = model(tmp_path / "x", values, c=mask(1), d=mask(1), e=mask(5))
    y = model(tmp_path / "y", None, c=mask(1), e=mask(5))
    model(y, None, moved, d=mask(1))
    status = command.main(["-i", str(x), str(y), "-o", str(tmp_path / "out"), "--home", str(tmp_path), "--workers", "1"])
    printed = capsys.readouterr()
    assert status == 2 and "1 mask written" in printed.out and "all by votes" in printed.out
    assert "case d" in printed.err and "the masks lie on different grids" in printed.err
    assert "case e: the masks have values that are not declared (found: 5" in printed.err


def test_probabilities_of_another_number_of_labels_or_without_a_mask_are_refused(tmp_path):
    x = model(tmp_path / "x", {"background": 0, "a": 1, "b": 2}, c=mask(1))
    y = model(tmp_path / "y", c=mask(1))
    write_npz(y / "c.npz", probabilities(*[(0.1,)] * 5))
    with pytest.raises(UserError, match="the probabilities are of other labels.*5 heads"):
        ensemble([x, y], tmp_path / "out")
    z = model(tmp_path / "z", c=mask(1))
    with pytest.raises(UserError, match="nothing says what the probabilities are of"):
        ensemble([y, z], tmp_path / "out")
    bare = [tmp_path / "bare", tmp_path / "bare too"]
    for folder in bare:
        write_npz(folder / "c.npz", probabilities((0.1,), (0.9,), (0.0,)))
    with pytest.raises(UserError, match="no folder has a mask of this case"):
        ensemble(bare, tmp_path / "out", labels=LABELS)


@pytest.mark.parametrize(("content", "message"), [(b"no archive", "the file cannot be read"),
                                                  ({"logits": np.zeros(3)}, "the file holds no probabilities"),
                                                  ({"probabilities": np.zeros((2, 3))}, "2 axes of float64"),
                                                  ({"probabilities": np.array([{}], object)}, "cannot be read")])
def test_a_file_that_holds_no_probabilities_is_refused_and_a_pickle_is_not_opened(content, message, tmp_path):
    path = tmp_path / "c.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(UserError, match=message):
        read_npz(path)


def test_probabilities_of_a_reader_that_turns_axes_are_refused_and_its_masks_are_not(tmp_path):
    folders = [model(tmp_path / name, {"background": 0, "a": 1, "b": 2}, c=mask(1, 2)) for name in "xy"]
    (folders[1] / "plans.json").write_text('{"image_reader_writer": "NibabelIOWithReorient"}')
    assert ensemble(folders, tmp_path / "out").n_masks == 1
    write_npz(folders[1] / "c.npz", probabilities((0, 0), (1, 0), (0, 1)))
    with pytest.raises(UserError, match=r"other axes than the images \(found: c.npz, read by NibabelIOWithReorient"):
        ensemble(folders, tmp_path / "out")


def test_a_folder_twice_and_probabilities_that_are_no_numbers_are_refused(tmp_path):
    folders = [model(tmp_path / name, {"background": 0, "a": 1, "b": 2}, c=mask(1, 2)) for name in "xy"]
    with pytest.raises(UserError, match="a folder is named twice"):
        ensemble([folders[0], folders[1], tmp_path / "y" / ".." / "x"], tmp_path / "out")
    write_npz(folders[1] / "c.npz", probabilities((np.nan,), (1, 0), (0, 1)))
    with pytest.raises(UserError, match="c.npz: the probabilities hold NaN"):
        ensemble(folders, tmp_path / "out")
