"""What a prediction writes, where, and whose masks lie in a folder afterwards."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.formats import read_label, source, write_array, write_label
from autoseg.prediction import folder as prediction_folder
from autoseg.prediction.folder import predict_folder
from autoseg.prediction.inference_settings import Postprocessing
from autoseg.prediction.predictor import Predictor
from autoseg.workspace.files import check_writable
from predict_phantoms import CASE, member_of, predictor_of


@pytest.fixture
def images(tmp_path):
    for name in ("a", "b"):
        write_array(tmp_path / "images" / f"{name}_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    return tmp_path / "images"


def other_model() -> Predictor:
    return Predictor([member_of(1)], Postprocessing(keep_largest_of_all=True))


def record(masks) -> dict:
    return json.loads((masks / "labels.json").read_text())


def test_one_case_is_written_to_the_file_that_was_named(tmp_path, images):
    target = tmp_path / "out" / "liver.NII.GZ"
    (mask,) = predict_folder(predictor_of(), images / "a_0000.nii.gz", target, probabilities=True)
    assert mask == target and read_label(mask)[0].shape == CASE.geometry.shape
    assert sorted(path.name for path in target.parent.iterdir()) == ["liver.NII.GZ", "liver_labels.json",
                                                                      "liver_probabilities.NII.GZ", "liver_provenance.json"]


def test_one_file_for_several_cases_is_refused_before_anything_is_predicted(tmp_path, images):
    with pytest.raises(UserError, match=r"mask\.nii\.gz: one file cannot hold .*2 cases; expected: a folder"):
        predict_folder(predictor_of(), images, tmp_path / "mask.nii.gz")
    assert not (tmp_path / "mask.nii.gz").exists()


def test_a_file_in_the_way_of_the_folder_is_one_sentence(tmp_path, images):
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file", tmp_path / "file" / "masks"):
        with pytest.raises(UserError, match="it cannot be written .*is not a folder"):
            predict_folder(predictor_of(), images, target)


def test_asking_whether_a_folder_can_be_written_leaves_nothing(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_masks_of_another_model_are_made_again_and_those_of_this_one_are_kept(tmp_path, images):
    masks = tmp_path / "masks"
    predict_folder(other_model(), images, masks)
    before = record(masks)
    assert predict_folder(other_model(), images, masks, keep_existing=True) == []
    assert record(masks) == before
    written = predict_folder(predictor_of(), images / "a_0000.nii.gz", masks, keep_existing=True)
    assert [mask.name for mask in written] == ["a.nii.gz"]
    known = record(masks)
    assert (known["masks"], known["masks_of_other_models"]) == (["a.nii.gz"], ["b.nii.gz"])
    written = predict_folder(predictor_of(), images, masks, keep_existing=True)
    assert [mask.name for mask in written] == ["b.nii.gz"]
    assert (record(masks)["masks"], record(masks)["masks_of_other_models"]) == (["a.nii.gz", "b.nii.gz"], [])


def test_a_kept_mask_without_the_probabilities_that_are_asked_for_is_made_again(tmp_path, images):
    predict_folder(predictor_of(), images, tmp_path / "masks")
    assert len(predict_folder(predictor_of(), images, tmp_path / "masks", keep_existing=True, probabilities=True)) == 2
    assert (tmp_path / "masks" / "a_probabilities.nii.gz").is_file()


def test_a_mask_of_unknown_origin_is_kept_and_not_claimed(tmp_path, images, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("autoseg"), "propagate", True)
    write_label(tmp_path / "masks" / "a.nii.gz", np.ones(CASE.geometry.shape, np.uint8), CASE.geometry)
    for _ in range(2):
        predict_folder(predictor_of(), images, tmp_path / "masks", keep_existing=True)
        assert read_label(tmp_path / "masks" / "a.nii.gz")[0].all()
    assert record(tmp_path / "masks")["masks"] == ["b.nii.gz"]
    assert "of 1 masks that are kept it is not known what made them (a.nii.gz)" in caplog.text


def test_masks_of_a_prediction_that_was_stopped_are_kept(tmp_path, images, monkeypatch):
    with monkeypatch.context() as stopped:
        stopped.setattr(prediction_folder, "add_masks", lambda *_: None)
        predict_folder(predictor_of(), images / "a_0000.nii.gz", tmp_path / "masks")
    assert record(tmp_path / "masks")["masks"] == []
    written = predict_folder(predictor_of(), images, tmp_path / "masks", keep_existing=True)
    assert [mask.name for mask in written] == ["b.nii.gz"]
    assert record(tmp_path / "masks")["masks"] == ["a.nii.gz", "b.nii.gz"]


def test_labels_of_another_program_are_kept(tmp_path, images):
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / "labels.json").write_text('{"liver": 1}')
    predict_folder(predictor_of(), images, masks)
    assert json.loads((masks / "labels_1.json").read_text()) == {"liver": 1} and record(masks)["masks"]


def test_predictions_into_one_folder_list_all_their_masks(tmp_path, images):
    for name in ("a", "b"):
        predict_folder(predictor_of(), images / f"{name}_0000.nii.gz", tmp_path / "masks")
    assert record(tmp_path / "masks")["masks"] == ["a.nii.gz", "b.nii.gz"]


def test_a_file_that_is_left_out_is_a_fault_after_the_others_are_predicted(tmp_path, images):
    (images / "c_0000.dcm").write_bytes(b"x")
    with pytest.raises(ManyFaults, match=r"2 of 2 cases predicted(.|\n)*c_0000\.dcm: the file is not used"):
        predict_folder(predictor_of(), images, tmp_path / "masks")


@pytest.mark.parametrize("error", [MemoryError("140 TB"), ZeroDivisionError("division by zero"), IndexError("axis 3")])
def test_whatever_breaks_in_one_case_does_not_end_the_others(tmp_path, images, monkeypatch, error):
    predictor = predictor_of()
    load = predictor.load

    def breaking(files, conditions):
        if files.name == "a":
            raise error
        return load(files, conditions)

    monkeypatch.setattr(predictor, "load", breaking)
    with pytest.raises(ManyFaults, match=r"1 of 2 cases predicted") as raised:
        predict_folder(predictor, images, tmp_path / "masks")
    assert raised.value.faults[0].startswith("case a: the case ") and str(error) in raised.value.faults[0]


def test_a_mask_that_is_not_read_back_as_it_was_written_gets_no_name(tmp_path, monkeypatch):
    reader = source.reader_of(tmp_path / "a.nii.gz")

    def full_disk(path, array_CDHW, geometry):
        reader.write(path, array_CDHW, geometry)
        path.write_bytes(path.read_bytes()[:-20])

    monkeypatch.setattr(source, "reader_of", lambda path: replace(reader, write=full_disk))
    for array in (CASE.image_CDHW, np.concatenate([CASE.image_CDHW] * 2)):
        with pytest.raises(UserError, match=r"a\.nii\.gz: the file was not written whole .*disk is full"):
            write_array(tmp_path / "a.nii.gz", array, CASE.geometry)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change, words", [
    ({"image_CDHW": CASE.image_CDHW[0]}, r"found: shape \(\d+, \d+, \d+\); expected: shape \(1, "),
    ({"image_CDHW": CASE.image_CDHW[..., :-1]}, "has not the shape"),
    ({"image_CDHW": np.concatenate([CASE.image_CDHW] * 2)}, r"found: shape \(2, "),
    ({"image_CDHW": CASE.image_CDHW.astype(np.float64)}, "found: float64; expected: float32"),
    ({"image_CDHW": CASE.image_CDHW * np.nan}, "NaN or infinity"),
    ({"present_C": np.ones(2, bool)}, "present_C"),
    ({"present_C": np.zeros(1, bool)}, "a channel is missing"),
    ({"absent_CDHW": np.zeros((1, 2, 3), bool)}, "absent_CDHW does not fit"),
])
def test_an_array_that_the_model_does_not_take_is_a_users_error(change, words):
    with pytest.raises(UserError, match=words):
        predictor_of().predict(replace(CASE, **change))


@pytest.mark.parametrize("label", [np.zeros(CASE.geometry.shape), np.zeros((2, 2), np.uint8),
                                   np.full(CASE.geometry.shape, 70_000, np.int32)])
def test_an_array_that_is_no_label_of_the_image_is_a_users_error(tmp_path, label):
    with pytest.raises(UserError, match="expected: "):
        write_label(tmp_path / "a.nii.gz", label, CASE.geometry)
    assert list(tmp_path.iterdir()) == []
