"""A study of DICOM as a job: its mask, what is asked about it, and what is refused."""

import nibabel
import numpy as np
import pytest

from autoseg.cli import predict
from autoseg.formats import read_image, read_label
from planners.schema.channels import ChannelSpec
from tests_support import SPHERES, sphere_case
from worker_support import NAME, Bench, write_model

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from dicom_studies import write_series  # noqa: E402  (it needs pydicom)

CT = (ChannelSpec(name="CT", reference=True),)
CT_HU = np.rint(sphere_case("ball", 3).image_CDHW[0] * 100).astype(np.int16)


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    write_model(bench.home, channels=CT)
    with bench.spool.held():
        yield bench


def study(folder, *descriptions, **changes):
    """A study of one CT for each description."""
    for series, description in enumerate(descriptions, 1):
        write_series(folder / f"s{series}", CT_HU, series=series, description=description, **changes)
    return folder


def test_a_study_gets_the_mask_of_autoseg_predict_and_objects_of_dicom(bench, tmp_path):
    folder = study(tmp_path / "study", "Abdomen")
    job = bench.done(bench.ask_study(folder))
    assert predict.main(["-i", str(folder), "-o", str(tmp_path / "mask.nii.gz"), "-d", NAME, "--home", str(bench.home),
                         "--device", "cpu"]) == 0
    files = bench.spool.job(job.id)
    label_DHW, geometry = read_label(files.result / "mask.nii.gz")
    np.testing.assert_array_equal(label_DHW, read_label(tmp_path / "mask.nii.gz")[0])
    assert {"seg", "rtstruct", "nifti"} <= set(job.result.files) and job.result.images == ("CT",)
    assert pydicom.dcmread(files.result / "seg.dcm").Modality == "SEG"
    assert pydicom.dcmread(files.result / "rtstruct.dcm").PatientID == "P1"
    image_CDHW, own = read_image(files.images / "0.nii.gz")
    np.testing.assert_array_equal(image_CDHW[0], CT_HU)
    assert nibabel.load(files.images / "0.nii.gz").get_data_dtype() == np.int16 and not own.difference(geometry)


def test_two_patients_are_refused_and_neither_is_named(bench, tmp_path):
    first = study(tmp_path / "a", "Abdomen", patient="MUELLER-1")
    second = study(tmp_path / "b", "Abdomen", patient="MEIER-2", study="1.2.826.0.1.3680043.8.498.2")
    job = bench.done(bench.ask_study(first, second))
    assert job.state == "failed" and "several patients" in job.problem.what
    assert not any(word in job.model_dump_json() for word in ("MUELLER", "MEIER"))


def test_two_studies_of_a_patient_are_refused(bench, tmp_path):
    first, second = study(tmp_path / "a", "Head"), study(tmp_path / "b", "Head", study="1.2.826.0.1.3680043.8.498.3")
    job = bench.done(bench.ask_study(first, second))
    assert job.state == "failed" and "several studies" in job.problem.what


def test_several_series_that_fit_are_a_question_whose_answer_is_predicted(bench, tmp_path):
    job = bench.done(bench.ask_study(study(tmp_path / "study", "Soft tissue", "Bone")))
    assert job.state == "question"
    soft, bone = job.question.channels["CT"]
    assert [(choice.number, choice.description, choice.n_slices) for choice in (soft, bone)] == [
        ("1", "Soft tissue", len(CT_HU)), ("2", "Bone", len(CT_HU))]
    bench.jobs.answer(job.id, {"CT": bone.uid})
    assert bench.done(job.id).state == "done"
    seg = pydicom.dcmread(bench.spool.job(job.id).result / "seg.dcm")
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == bone.uid


def test_a_series_that_no_rule_knows_is_a_question_too(bench, tmp_path):
    write_model(bench.home, channels=(ChannelSpec(name="MR_T1", reference=True),))
    job = bench.done(bench.ask_study(study(tmp_path / "study", "?", modality="MR")))
    assert job.state == "question"
    (choice,) = job.question.channels["MR_T1"]
    bench.jobs.answer(job.id, {"MR_T1": choice.uid})
    assert bench.done(job.id).state == "done"


def test_a_study_without_anything_to_see_is_done_with_an_empty_mask(bench, tmp_path):
    from autoseg.prediction.predictor import Predictor

    def nothing(self, *arguments, **others):
        segmentation = predict_all(self, *arguments, **others)
        segmentation.prediction.label_DHW[:] = 0
        return segmentation

    predict_all = Predictor.predict
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Predictor, "predict", nothing)
        job = bench.done(bench.ask_study(study(tmp_path / "study", "Abdomen")))
    assert job.state == "done", job.problem
    assert [label.voxels for label in job.result.labels] == [0] * len(SPHERES.foreground)
    assert not {"stl", "obj"} & set(job.result.files)


def test_files_without_an_image_are_said(bench, tmp_path):
    folder = study(tmp_path / "study", "Abdomen", ImagePositionPatient=None, ImageOrientationPatient=None)
    job = bench.done(bench.ask_study(folder))
    assert job.state == "failed" and job.problem.what
