"""What headers say becomes a row of the clinical table; who a patient is does not."""

import pytest

from autoseg.base.errors import UserError
from autoseg.datasets.dicom_attributes import (
    age_years,
    channel_cells,
    declared_columns,
    patient_cells,
    study_day,
)
from autoseg.interop.dicom_dataset.pseudonyms import Pseudonyms
from autoseg.interop.dicom_dataset.studies import CaseStudy, identity
from autoseg.interop.dicom_dataset.table import rows_of_studies
from autoseg.workspace.secret import pseudonym_key

KEY = Pseudonyms(bytes(32))
PATIENT = {"PatientID": "123", "PatientName": "Doe^Jane", "PatientBirthDate": "19600301", "StudyDate": "20200229",
           "InstitutionName": "St. Elsewhere", "StudyInstanceUID": "1.2.3"}


def study(header: dict[str, str]) -> CaseStudy:
    return CaseStudy(identity(header), header["StudyInstanceUID"], header["StudyDate"], (), {"CT": header})


@pytest.mark.parametrize(("header", "years"), [
    ({"PatientAge": "061Y"}, 61), ({"PatientAge": "018M"}, 1.5), ({"PatientAge": "", **PATIENT}, 59),
    ({"PatientBirthDate": "19600229", "StudyDate": "20200229"}, 60), ({}, None), ({"PatientAge": "old"}, None),
    ({"PatientAge": "000Y"}, None), ({"PatientAge": "003D"}, 0.01)])
def test_the_age_is_the_stated_one_or_that_of_the_dates(header, years):
    assert age_years(header) == years


def test_the_first_channel_that_says_something_of_the_patient_counts():
    headers = {"CT": {"PatientAge": "", "PatientSex": "m"}, "PET": {"PatientAge": "061Y", "PatientWeight": "99.0"}}
    cells = patient_cells(headers, exact_age=False)
    assert cells == {"age_years": "61", "sex": "M", "weight_kg": "99", "height_m": ""}


@pytest.mark.parametrize(("keyword", "text", "column"), [
    ("PatientAge", "999Y", "age_years"), ("PatientSex", "O", "sex"), ("PatientWeight", "-70", "weight_kg"),
    ("PatientWeight", "9999", "weight_kg"), ("PatientSize", "178", "height_m"), ("PatientSize", "nan", "height_m")])
def test_what_cannot_be_true_is_missing(keyword, text, column):
    assert patient_cells({"CT": {keyword: text}}, exact_age=True)[column] == ""


def test_the_oldest_patients_share_an_age():
    assert patient_cells({"CT": {"PatientAge": "097Y"}}, exact_age=False)["age_years"] == "90"
    assert patient_cells({"CT": {"PatientAge": "097Y"}}, exact_age=True)["age_years"] == "97"


def test_times_become_seconds_after_the_injection_and_after_the_first_image():
    cells = channel_cells({
        "CT_art": {"AcquisitionDate": "20200102", "AcquisitionTime": "100035.0", "ContrastBolusStartTime": "100000"},
        "CT_ven": {"AcquisitionDateTime": "20200102100110.000000+0100", "AcquisitionTime": "100110"},
        "MR": {"AcquisitionDate": "20200110", "AcquisitionTime": "100110", "MagneticFieldStrength": "15000"}})
    assert (cells["CT_art_contrast_s"], cells["CT_art_after_first_s"]) == ("35", "0")
    assert (cells["CT_ven_contrast_s"], cells["CT_ven_after_first_s"]) == ("", "35")
    assert cells["MR_after_first_s"] == "" and cells["MR_field_strength_T"] == "1.5"


def test_a_phase_over_midnight_is_seconds_too():
    cells = channel_cells({"CT": {"ContrastBolusStartTime": "235950", "AcquisitionTime": "000020"}})
    assert cells["CT_contrast_s"] == "30"


def test_of_a_series_over_midnight_the_later_phase_is_of_the_next_day():
    series = {"SeriesDate": "20200102", "SeriesTime": "235900"}
    times = {"CT_art": "235950", "CT_ven": "000020"}
    cells = channel_cells({channel: {**series, "AcquisitionTime": time} for channel, time in times.items()})
    assert (cells["CT_art_after_first_s"], cells["CT_ven_after_first_s"]) == ("0", "30")


def test_columns_that_are_the_same_in_all_cases_are_no_conditions():
    rows = {"a": {"sex": "F", "age_years": "60", "CT_kvp": "120"}, "b": {"sex": "F", "age_years": "61", "CT_kvp": ""}}
    assert declared_columns(rows, ("CT",)) == {"age_years": {"kind": "number"}}


def test_no_cell_holds_who_the_patient_is_or_when_the_study_was():
    later = {**PATIENT, "StudyDate": "20200310", "StudyInstanceUID": "1.2.4"}
    rows = rows_of_studies({"a": study(PATIENT), "b": study(later)}, "CT", KEY, keep_identifiers=False)
    written = " ".join(text for row in rows.values() for text in row.values())
    assert not any(text in written for text in PATIENT.values())
    assert [rows[case]["days_since_first_study"] for case in "ab"] == ["0", "10"]
    assert rows["a"]["patient"] == rows["b"]["patient"] and rows["a"]["site"] == rows["b"]["site"] != ""


def test_identifiers_are_written_where_they_are_asked_for():
    row = rows_of_studies({"a": study(PATIENT)}, "CT", KEY, keep_identifiers=True)["a"]
    assert (row["patient"], row["site"], row["study_date"]) == ("123", "St. Elsewhere", "20200229")


def test_pseudonyms_depend_on_the_secret_and_on_nothing_else(tmp_path):
    other = Pseudonyms(bytes([1] * 32))
    assert KEY.patient("ab 12 ") == KEY.patient("AB 12") != other.patient("AB 12")
    assert KEY.site("") == "" and KEY.patient("12") != KEY.patient("21")
    key = pseudonym_key(tmp_path / "home/pseudonyms.key")
    assert pseudonym_key(tmp_path / "home/pseudonyms.key") == key and len(key) == 32
    assert (tmp_path / "home/pseudonyms.key").stat().st_mode & 0o077 == 0


def test_a_damaged_secret_is_refused(tmp_path):
    (tmp_path / "key").write_text("abcd\n")
    with pytest.raises(UserError, match="another length"):
        pseudonym_key(tmp_path / "key")


def test_days_between_studies_need_a_date():
    assert study_day({}) is None and study_day({"StudyDate": "2020.01.02"}) == study_day({"SeriesDate": "20200102"})


def test_a_patient_without_a_number_is_known_by_name_and_birth_or_is_one_of_its_own():
    assert identity({**PATIENT, "PatientID": ""}) == "Doe^Jane 19600301"
    assert identity({**PATIENT, "PatientID": "", "PatientBirthDate": ""}) == "1.2.3"
    assert identity({**PATIENT, "IssuerOfPatientID": "Site B"}) == "123 Site B"
