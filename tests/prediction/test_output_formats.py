"""Masks in the format that a user asks for: objects of DICOM that refer to the input, or files of another ending."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.base.runtime import Runtime
from autoseg.formats import read_header, read_label, write_array
from autoseg.formats.dicom import find_stacks
from autoseg.formats.files import list_tree
from autoseg.nn.model import build_model
from autoseg.prediction.folder import predict_folder
from autoseg.prediction.member import ConfigurationModel
from autoseg.prediction.models import FoldModel
from autoseg.prediction.predictor import Predictor
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from predict_phantoms import CASE, predictor_of
from tests_support import small_plan

REGIONS = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))


@pytest.fixture
def images(tmp_path):
    write_array(tmp_path / "images" / "a_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    return tmp_path / "images"


@pytest.fixture
def study(tmp_path):
    pytest.importorskip("highdicom")
    from dicom_studies import truth, write_series

    write_series(tmp_path / "study", truth(shape=(8, 12, 16)), spacing_mm=(1.0, 1.0, 1.0))
    return tmp_path / "study"


def predictor_of_regions() -> Predictor:
    """A network of a CT that has learned nothing, with regions that overlap."""
    plan = small_plan(labels=REGIONS, mirror_axes=()).model_copy(update={"channels": (ChannelSpec(name="CT"),)})
    torch.manual_seed(3)
    models = [FoldModel(build_model(plan, plan.configurations["3d_fullres"]).eval())]
    return Predictor([ConfigurationModel(plan, "3d_fullres", models, Runtime(torch.device("cpu"), torch.float32))])


@pytest.mark.parametrize("kind", ["seg", "rtstruct"])
def test_a_study_is_predicted_as_an_object_of_dicom_with_all_regions(tmp_path, study, kind):
    from autoseg.formats.segments import read_rtstruct, read_segments

    predictor = predictor_of_regions()
    (nifti,) = predict_folder(predictor, study, tmp_path / "nifti")
    (path,) = predict_folder(predictor, study, tmp_path / kind, output_format=kind)
    assert path.name == nifti.name.replace(".nii.gz", f"_{kind}.dcm")
    label_DHW, _ = read_label(nifti)
    (stack,) = find_stacks(list_tree(study))
    masks = (read_segments if kind == "seg" else read_rtstruct)(path, stack)
    assert list(masks) == ["whole", "core"]
    assert masks["whole"].any()
    for name, mask_DHW in masks.items():
        np.testing.assert_array_equal(mask_DHW, np.isin(label_DHW, REGIONS.names[name]))


def test_a_file_of_dicom_may_be_named(tmp_path, study):
    (path,) = predict_folder(predictor_of_regions(), study, tmp_path / "out" / "mask.dcm", output_format="seg",
                             probabilities=True, uncertainty=True)
    assert path.name == "mask.dcm"
    assert {"mask_probabilities.dcm", "mask_entropy.nii.gz", "mask_labels.json"} <= {
        file.name for file in path.parent.iterdir()}


@pytest.mark.parametrize("kind", ["seg", "rtstruct"])
def test_files_have_no_results_in_dicom_and_nothing_is_predicted(tmp_path, images, kind):
    with pytest.raises(UserError, match=r"a_0000\.nii\.gz: results in DICOM refer to a series of DICOM.*nifti, nrrd or mha"):
        predict_folder(predictor_of(), images, tmp_path / "masks", output_format=kind)
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize(("name", "ending"), [("nrrd", ".nrrd"), ("mha", ".mha"), ("nifti", ".nii.gz")])
def test_files_may_have_another_ending(tmp_path, images, name, ending):
    (expected,) = predict_folder(predictor_of(), images, tmp_path / "expected")
    (mask,) = predict_folder(predictor_of(), images, tmp_path / "masks", output_format=name)
    assert mask.name == f"a{ending}"
    np.testing.assert_array_equal(read_label(mask)[0], read_label(expected)[0])
    assert read_header(mask).geometry.difference(CASE.geometry) == ""


def test_a_name_that_does_not_fit_the_format_is_refused(tmp_path, images):
    for name, form in (("mask.nrrd", "nifti"), ("mask.nii.gz", "seg"), ("mask.dcm", "mha")):
        with pytest.raises(UserError, match=rf"does not fit the output format.*--output-format {form}"):
            predict_folder(predictor_of(), images, tmp_path / name, output_format=form)
    with pytest.raises(UserError, match="does not say which object of DICOM.*add --output-format seg"):
        predict_folder(predictor_of(), images, tmp_path / "mask.dcm")
    with pytest.raises(UserError, match="format is not known.*found: dicom; expected: seg, rtstruct, nifti, nrrd, mha"):
        predict_folder(predictor_of(), images, tmp_path / "masks", output_format="dicom")


def test_a_case_in_memory_has_no_results_in_dicom():
    from autoseg.formats.results import DicomResults

    with pytest.raises(UserError, match="this image is none"):
        replace(CASE, source=None).results_in_dicom(DicomResults("seg", {"ball": (1,)}))
