"""Many patients' DICOM become a raw dataset: labels on their grid, no identifier, faults told, work kept."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.datasets.dataset import Dataset
from autoseg.formats import read_image, read_label
from autoseg.interop.dicom_dataset.build import Converted, Settings, convert_studies
from autoseg.interop.dicom_dataset.channels import channels_of
from autoseg.interop.dicom_dataset.pseudonyms import Pseudonyms
from autoseg.interop.dicom_dataset.structures import parse_structures, with_overlaps
from autoseg.interop.dicom_dataset.studies import find_studies
from autoseg.workspace.names import Workspace

pytest.importorskip("pydicom")

from dicom_patients import square, write_patient, write_structures
from dicom_studies import truth, write_series

TUMOUR = parse_structures(["GTV=tumour"])


CT, CT_AND_MR = channels_of(["CT"]), channels_of(["CT", "MR"], optional=["MR"])


def convert(folder: Path, table=TUMOUR, channels=CT, join_patients=False, **changes) -> Converted:
    settings = Settings(12, "Sarcoma", channels, table, **changes)
    studies = find_studies(folder / "dicom", channels, join_patients=join_patients).studies
    return convert_studies(studies, folder / "dicom", Workspace(folder / "home"),
                           settings, Pseudonyms(bytes(32)))


def described(converted: Converted) -> dict:
    return json.loads((converted.folder / "dataset.json").read_text())


def cases_of(converted: Converted) -> list[str]:
    return sorted(path.name.removesuffix(".nii.gz") for path in (converted.folder / "labelsTr").glob("*.nii.gz"))


def test_images_labels_and_table_of_two_patients_are_verified_without_fault(tmp_path):
    for seed, patient in enumerate(("A1", "B2")):
        write_patient(tmp_path / "dicom" / patient, patient, seed=seed, PatientAge=f"06{seed}Y", PatientSex="F")
    converted = convert(tmp_path)
    assert (converted.n_cases, converted.faults, converted.dataset) == (2, (), "Dataset012_Sarcoma")
    assert pipeline.verify(12, home=tmp_path / "home", workers=1).faults == ()
    content = described(converted)
    assert content["labels"] == {"background": 0, "tumour": 1} and content["numTraining"] == 2
    assert content["groups"]["patient"] == "patient"
    assert content["conditions"]["columns"] == {"age_years": {"kind": "number"}}  # the sex is the same in both
    images = [read_image(path)[0] for path in sorted((converted.folder / "imagesTr").iterdir())]
    assert {image.sum() for image in images} == {truth(seed).astype(np.float32).sum() for seed in (0, 1)}
    label, geometry = read_label(converted.folder / "labelsTr" / f"{cases_of(converted)[0]}.nii.gz")
    expected = np.zeros(geometry.shape)
    expected[1:3, 2:5, 3:7] = 1
    assert (label == expected).all()


def test_no_file_holds_a_name_a_number_an_identifier_or_a_date(tmp_path):
    said = {"InstitutionName": "Saint Elsewhere", "PatientBirthDate": "19530417", "AccessionNumber": "ACC4711",
            "ReferringPhysicianName": "House^Gregory", "StationName": "CTAWP77", "OtherPatientIDs": "SSN999",
            "AcquisitionDate": "20200102", "AcquisitionTime": "101112", "PatientSex": "M"}
    studies = [write_patient(tmp_path / f"dicom/Pat7{n}", f"Pat7{n}", mr=True, **said) for n in (1, 2)]
    converted = convert(tmp_path, channels=CT_AND_MR)
    assert converted.n_cases == 2
    for path in filter(Path.is_file, converted.folder.rglob("*")):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for text in (*said.values(), *studies, "Pat7", "20200102", "2020-01-02", "20200103", "Elsewhere", "House", "1.2.826",
                     str(tmp_path)):
            if text != "M":
                assert text.encode() not in content and text not in path.name, (path.name, text)
    row = (converted.folder / "clinical.csv").read_text().splitlines()[1].split(",")
    assert row[1].startswith("P") and row[2].startswith("S")  # pseudonyms of the patient and of the hospital


def test_identifiers_are_kept_where_they_are_asked_for(tmp_path):
    study = write_patient(tmp_path / "dicom", "A 1", PatientAge="095Y")
    converted = convert(tmp_path, keep_identifiers=True)
    assert cases_of(converted) == ["A-1_20200102"]
    table = (converted.folder / "clinical.csv").read_text()
    assert study in table and "20200102" in table and ",95," in table


def test_studies_of_one_patient_are_cases_that_folds_keep_together(tmp_path):
    for number in (1, 2):
        write_patient(tmp_path / f"dicom/{number}", "A1", number=number, seed=number, StudyDate=f"2020010{number}")
    write_patient(tmp_path / "dicom/3", "B2", seed=3)
    converted = convert(tmp_path)
    cases = cases_of(converted)
    patients, _ = Dataset.open(converted.folder).groups()
    assert len(cases) == 3 and len(set(patients.values())) == 2
    assert all(case.startswith(patients[case]) for case in cases)
    assert "days_since_first_study" in (converted.folder / "clinical.csv").read_text()


def test_a_bad_patient_is_told_and_the_others_go_on(tmp_path):
    write_patient(tmp_path / "dicom/a", "A1")
    write_patient(tmp_path / "dicom/b", "B2", structures={"Heart": [square(1, 2, 1, 2, 1)]})
    write_patient(tmp_path / "dicom/c", "C3", structures={})
    write_patient(tmp_path / "dicom/d", "D4")
    sorted((tmp_path / "dicom/d/scan").iterdir())[2].write_bytes(b"no DICOM")
    write_patient(tmp_path / "dicom/e", "E5", structures={"GTV": [square(2, 4, 3, 6, 1.4)]})
    converted = convert(tmp_path)
    assert converted.n_cases == len(cases_of(converted)) == len(list((converted.folder / "imagesTr").iterdir())) == 1
    faults = "\n".join(converted.faults)
    assert len(converted.faults) == 4
    for said in ("holds none of the chosen structures (found: Heart; expected: GTV)", "no RTSTRUCT, no SEG",
                 "slices are missing", "lies off the slices"):
        assert said in faults


def test_a_second_run_keeps_what_is_whole_and_adds_what_is_new(tmp_path):
    write_patient(tmp_path / "dicom/a", "A1")
    first = convert(tmp_path)
    image = next((first.folder / "imagesTr").iterdir())
    before = image.stat().st_mtime_ns
    write_patient(tmp_path / "dicom/b", "B2", seed=1)
    second = convert(tmp_path)
    assert (second.n_cases, second.kept, image.stat().st_mtime_ns) == (2, 1, before)
    image.unlink()
    assert convert(tmp_path).kept == 1 and image.is_file()
    assert convert(tmp_path, table=parse_structures(["GTV=lesion"])).kept == 0


def test_a_dataset_of_other_studies_is_not_mixed_with_these(tmp_path):
    write_patient(tmp_path / "dicom/a", "A1")
    convert(tmp_path)
    shutil.rmtree(tmp_path / "dicom")
    write_patient(tmp_path / "dicom/b", "B2")
    with pytest.raises(UserError, match="1 cases of studies that are not here"):
        convert(tmp_path)


def test_the_number_of_a_dataset_that_something_else_made_is_taken(tmp_path):
    write_patient(tmp_path / "dicom/a", "A1")
    (tmp_path / "home/raw/Dataset012_Liver").mkdir(parents=True)
    with pytest.raises(UserError, match="this number is taken.*Dataset012_Liver"):
        convert(tmp_path)


def test_labels_that_were_not_drawn_in_a_case_are_declared(tmp_path):
    write_patient(tmp_path / "dicom/a", "A1", structures={"GTV": [square(2, 4, 3, 6, 1)], "Heart": [square(0, 1, 0, 1, 1)]})
    write_patient(tmp_path / "dicom/b", "B2", structures={"GTV": [square(2, 4, 3, 6, 1)], "Heart": []})
    content = described(convert(tmp_path, table=parse_structures(["GTV=tumour", "heart", "Lung*=lung"])))
    assert list(content["labels_present"].values()) in ([["tumour", "heart"], ["tumour"]], [["tumour"], ["tumour", "heart"]])


def test_a_misspelt_structure_is_told(tmp_path):
    write_patient(tmp_path / "dicom/a", "A1")
    converted = convert(tmp_path, table=parse_structures(["GTV=tumour", "GVT=tumour"]))
    assert converted.warnings == ("no study has these structures: GVT",)


def test_nested_structures_become_regions_that_are_verified(tmp_path):
    drawn = {"CTV": [square(1, 5, 2, 7, k) for k in (1, 2)], "GTV": [square(2, 4, 3, 6, 1)]}
    write_patient(tmp_path / "dicom/a", "A1", structures=drawn)
    convert(tmp_path, table=with_overlaps(parse_structures(["GTV", "CTV"]), None, "CTV,GTV"))
    report = pipeline.verify(12, home=tmp_path / "home", workers=1)
    assert report.faults == ()


def test_two_files_with_the_same_label_are_a_question_that_the_newest_answers(tmp_path):
    study = write_patient(tmp_path / "dicom/a", "A1")
    write_structures(tmp_path / "dicom/a/RS2.dcm", {"gtv": [square(0, 1, 0, 1, 3)]}, study=study, number=81, patient="A1",
                     date="20210101")
    with pytest.raises(UserError, match="several files hold the label 'tumour'.*RS.*--newest-structures"):
        convert(tmp_path)
    converted = convert(tmp_path, newest=True)
    label, _ = read_label(converted.folder / "labelsTr" / f"{cases_of(converted)[0]}.nii.gz")
    assert np.argwhere(label).min(0).tolist() == [3, 0, 0] and label.sum() == 4


def test_structures_of_another_series_are_refused(tmp_path):
    study = write_patient(tmp_path / "dicom/a", "A1", mr=True, structures={})
    write_structures(tmp_path / "dicom/a/RS.dcm", {"GTV": [square(2, 4, 3, 6, 1)]}, study=study, series=2, patient="A1")
    with pytest.raises(UserError, match="drawn on another series"):
        convert(tmp_path)


def test_a_case_may_lack_an_optional_channel_and_keeps_each_grid(tmp_path):
    write_patient(tmp_path / "dicom/a", "A1", mr=True)
    write_patient(tmp_path / "dicom/b", "B2")
    converted = convert(tmp_path, channels=CT_AND_MR)
    content = described(converted)
    assert (content["optional_channels"], content["reference_channel"]) == (["MR"], "CT")
    shapes = {read_image(path)[1].shape for path in (converted.folder / "imagesTr").glob("*_0001.nii.gz")}
    assert shapes == {(3, 4, 5)} and pipeline.verify(12, home=tmp_path / "home", workers=1).faults == ()


def test_studies_of_a_patient_are_one_case_where_that_is_asked_for(tmp_path):
    write_patient(tmp_path / "dicom/ct", "A1")
    write_series(tmp_path / "dicom/mr", np.abs(truth(1)), study="1.2.826.9", patient="A1", modality="MR")
    converted = convert(tmp_path, channels=CT_AND_MR, join_patients=True)
    assert converted.n_cases == 1 and len(list((converted.folder / "imagesTr").iterdir())) == 2
    assert "1 cases have channels in different frames of reference" in converted.warnings[0]


def test_a_series_that_fits_a_channel_beside_another_is_a_question_that_a_flag_answers(tmp_path):
    study = write_patient(tmp_path / "dicom/a", "A1")
    write_series(tmp_path / "dicom/a/thin", truth(5), study=study, patient="A1", series=4, description="thin")
    with pytest.raises(UserError, match="several series fit the channel 'CT'.*--series CT=1"):
        convert(tmp_path)
    assert convert(tmp_path, channels=channels_of(["CT"], series=["CT=1"])).n_cases == 1
    own = channels_of(["CT=modality=CT description~venous not~thin"])
    assert convert(tmp_path, channels=own).n_cases == 1


@pytest.mark.parametrize(("changes", "said"), [
    ({"texts": []}, "the channels are not said"), ({"texts": ["CT", "CT"]}, "named twice"),
    ({"texts": ["CT=kernel~soft"]}, "the rule of a channel cannot be read.*'kernel~soft'"),
    ({"texts": ["CT=description~("]}, "the rule of a channel is not valid"), ({"texts": ["../CT"]}, "cannot have the name"),
    ({"texts": ["CT"], "optional": ["CT"]}, "cannot be optional"), ({"texts": ["CT"], "reference": "MR"}, "name channels"),
    ({"texts": ["CT"], "series": ["MR=3"]}, "no such channel")])
def test_wrong_channels_are_a_sentence(changes, said):
    with pytest.raises(UserError, match=said):
        channels_of(**changes)


def test_images_alone_are_a_dataset_for_pre_training(tmp_path):
    write_patient(tmp_path / "dicom/a", "A1", structures={})
    converted = convert(tmp_path, table=None)
    assert converted.images_alone and not (converted.folder / "labelsTr").exists()


def test_a_folder_without_images_is_told(tmp_path):
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom/readme.txt").write_text("nothing")
    with pytest.raises(UserError, match="no series of images is here"):
        convert(tmp_path)


def test_two_real_patients_become_the_published_images_and_masks(tmp_path, shared_data):
    channels = channels_of(["CT", "PET", "MR_T1"])
    source, published = shared_data / "samples/sts_dicom", shared_data / "Dataset010_STS"
    studies = find_studies(source, channels).studies
    converted = convert_studies(studies, source, Workspace(tmp_path), Settings(
        12, "Sarcoma", channels, parse_structures(["GTV_Mass*=tumour"])), Pseudonyms(bytes(32)))
    assert not converted.faults and {study.patient for study in converted.studies.values()} == {"STS_002", "STS_008"}
    for case, study in converted.studies.items():
        for channel in range(3):
            name = f"{channel:04d}.nii.gz"
            image, geometry = read_image(converted.folder / f"imagesTr/{case}_{name}")
            expected, grid = read_image(published / f"imagesTr/{study.patient}_{name}")
            assert geometry.shape == grid.shape and geometry.farthest_mm(grid) < 1e-3
            assert np.abs(image - expected).max() < 1e-4
        label, expected = (read_label(path)[0] > 0 for path in (
            converted.folder / f"labelsTr/{case}.nii.gz", published / f"labelsTr/{study.patient}.nii.gz"))
        assert 2 * (label & expected).sum() >= 0.99 * (label.sum() + expected.sum())
