"""A study of DICOM is predicted as the same images in NIfTI are."""

from pathlib import Path

import numpy as np
import pytest
import torch

from autoseg.base.errors import ManyFaults, UserError
from autoseg.base.runtime import Runtime
from autoseg.cli import common, dicom, predict
from autoseg.datasets.dicom_cases import DicomInput
from autoseg.formats import read_header, read_label, write_array
from autoseg.formats.dicom import find_stacks
from autoseg.formats.files import list_tree
from autoseg.grids.geometry import Geometry, triple
from autoseg.nn.model import build_model
from autoseg.prediction.folder import predict_folder
from autoseg.prediction.member import ConfigurationModel
from autoseg.prediction.models import FoldModel
from autoseg.prediction.predictor import Predictor
from planners.schema.channels import ChannelSpec
from tests_support import small_plan

pydicom = pytest.importorskip("pydicom")

from dicom_studies import truth, write_directory, write_series  # noqa: E402  (it needs pydicom)

CT_PET_MR = (ChannelSpec(name="CT", reference=True), ChannelSpec(name="PET", registration="regrid"),
             ChannelSpec(name="MR_T1", registration="regrid", required=False))


def predictor_of(channels, spacing_mm: float) -> Predictor:
    """A network that has learned nothing."""
    plan = small_plan(n_channels=len(channels), mirror_axes=(), spacing_mm=(spacing_mm,) * 3)
    plan = plan.model_copy(update={"channels": channels})
    torch.manual_seed(0)
    models = [FoldModel(build_model(plan, plan.configurations["3d_fullres"]).eval())]
    return Predictor([ConfigurationModel(plan, "3d_fullres", models, Runtime(torch.device("cpu"), torch.float32))])


def as_nifti(series, path) -> None:
    """A series as SimpleITK reads it."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    image = reader.Execute()
    array = sitk.GetArrayFromImage(image)
    write_array(path, array[None], Geometry(triple(array.shape), triple(image.GetSpacing()[::-1]), triple(image.GetOrigin()),
                                            tuple(image.GetDirection())))


def test_a_study_of_three_modalities_is_predicted_as_its_nifti_files_are(shared_data, tmp_path):
    study = shared_data / "samples" / "sts_dicom" / "STS_008"
    for number, name in enumerate(("CT", "PET", "MR_T1")):
        as_nifti(study / name / "image", tmp_path / "nifti" / f"STS_008_{number:04d}.nii.gz")
    predictor = predictor_of(CT_PET_MR, 8.0)
    (expected,) = predict_folder(predictor, tmp_path / "nifti", tmp_path / "expected")
    (mask,) = predict_folder(predictor, study, tmp_path / "masks")
    label, geometry = read_label(mask)
    same, other = read_label(expected)
    assert len(np.unique(label)) > 1
    np.testing.assert_array_equal(label, same)
    np.testing.assert_allclose(geometry.corners_mm(), other.corners_mm(), atol=1e-3)
    assert mask.name.startswith("study_") and "STS_008" not in mask.name


def test_the_volumes_of_the_samples_are_what_simpleitk_reads(shared_data):
    import SimpleITK as sitk

    patient = shared_data / "samples" / "sts_dicom" / "STS_002"
    stacks = find_stacks(path for path in list_tree(patient) if "image" in path.parts)
    assert sorted(stack.facts.modality for stack in stacks) == ["CT", "MR", "PT"]
    for stack in stacks:
        array_CDHW, geometry = stack.read()
        image = sitk.ReadImage([str(part.path) for part in stack.slices])
        np.testing.assert_allclose(array_CDHW[0], sitk.GetArrayFromImage(image), rtol=1e-6)
        np.testing.assert_allclose(geometry.origin_mm, image.GetOrigin(), atol=1e-3)
        np.testing.assert_allclose(geometry.spacing_mm, image.GetSpacing()[::-1], atol=1e-5)
        np.testing.assert_allclose(geometry.direction, image.GetDirection(), atol=1e-6)


def test_the_spacing_of_a_series_is_that_of_its_nifti_file_to_the_last_bit(shared_data):
    for patient in ("STS_002", "STS_008"):
        study = shared_data / "samples" / "sts_dicom" / patient
        for number, name in enumerate(("CT", "PET", "MR_T1")):
            (stack,) = find_stacks(path for path in list_tree(study / name) if "image" in path.parts)
            header = read_header(shared_data / "Dataset010_STS" / "imagesTr" / f"{patient}_{number:04}.nii.gz")
            assert stack.geometry().spacing_mm == header.geometry.spacing_mm


def test_a_study_with_missing_slices_is_named_by_position_and_the_other_is_predicted(tmp_path):
    write_series(tmp_path / "study" / "a", truth(0), study="1.2.3.1")
    write_series(tmp_path / "study" / "b", truth(1), study="1.2.3.2")[3].unlink()
    with pytest.raises(ManyFaults, match=r"1 of 2 cases predicted(.|\n)*none at .*-592.50\) mm"):
        predict_folder(predictor_of((ChannelSpec(name="CT"),), 1.0), tmp_path / "study", tmp_path / "masks")
    assert len(list((tmp_path / "masks").glob("study_*.nii.gz"))) == 1


def test_the_flags_of_the_command_say_how_a_study_is_understood():
    options = predict.parser().parse_args(["-i", "study", "-o", "masks", "--series", "CT=4", "--series", "PET=1.2.3",
                                           "--dicom-rules", "own.json", "--case-names", "PatientID"])
    assert common.dicom_input(options) == DicomInput(Path("study"), Path("own.json"), ("CT=4", "PET=1.2.3"), "PatientID")
    assert common.dicom_input(predict.parser().parse_args(["-i", "study", "-o", "masks"])) == Path("study")


def test_the_dicomdir_of_a_disc_stands_for_the_disc(tmp_path):
    write_directory(tmp_path / "DICOMDIR")
    write_series(tmp_path / "IMAGES", truth())
    (mask,) = predict_folder(predictor_of((ChannelSpec(name="CT"),), 1.0), tmp_path / "DICOMDIR", tmp_path / "masks")
    assert read_label(mask)[0].shape == truth().shape


def test_the_list_of_a_study_says_what_is_odd_and_no_identifier(tmp_path, capsys):
    write_series(tmp_path, truth(), description="Abdomen", patient="Secret")[3].unlink()
    assert dicom.main(["list", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Abdomen" in printed and "slices are missing" in printed and "5x8x10" in printed and "Secret" not in printed
    assert dicom.main(["list", str(tmp_path), "--json", "--case-names", "PatientID"]) == 0
    assert '"patient": "Secret"' in capsys.readouterr().out


def test_a_series_is_segmented_from_python_and_saved_as_an_object_that_refers_to_it(tmp_path):
    from autoseg.formats.segments import read_rtstruct, read_segments

    pytest.importorskip("highdicom")
    write_series(tmp_path / "study", truth(shape=(8, 12, 16)), spacing_mm=(1.0, 1.0, 1.0))
    predictor = predictor_of((ChannelSpec(name="CT"),), 1.0)
    found = predictor.predict(tmp_path / "study")
    found.save(tmp_path / "mask.nii.gz")
    found.save(tmp_path / "mask.dcm")
    found.save(tmp_path / "structures.dcm", dicom="rtstruct")
    label_DHW, _ = read_label(tmp_path / "mask.nii.gz")
    (stack,) = find_stacks(list_tree(tmp_path / "study"))
    assert np.array_equal(found.label.array, label_DHW) and found.label.array.any()
    assert read_segments(tmp_path / "mask.dcm", stack) and read_rtstruct(tmp_path / "structures.dcm", stack)
    image = found.label.on_grid(np.random.default_rng(0).normal(0, 300, label_DHW.shape), found.label.geometry)
    with pytest.raises(UserError, match="refer to a series of DICOM"):
        predictor.predict(image).save(tmp_path / "other.dcm")
