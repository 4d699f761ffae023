"""Which series of a study become which channel: rules, questions to the user, and names without identifiers."""

import json

import pytest

from autoseg.base.errors import UserError
from autoseg.datasets.dicom_cases import DicomInput, holds_dicom, scan_studies
from autoseg.datasets.dicom_listing import list_study
from autoseg.datasets.dicom_rules import SHIPPED, Candidate, read_rules
from autoseg.formats import write_array
from autoseg.formats.dicom import Series
from autoseg.grids.geometry import Geometry
from planners.schema.channels import ChannelSpec

CT = (ChannelSpec(name="CT"),)
CT_AND_PET = (ChannelSpec(name="CT", reference=True), ChannelSpec(name="PET", registration="regrid"))
PHASES = (ChannelSpec(name="CT_arterial"), ChannelSpec(name="CT_venous", registration="regrid"))

# What a series says of itself, and the one of these channels that it fits.
CHANNELS = ("CT", "CT_native", "CT_arterial", "CT_portal-venous", "CT_delayed", "PET", "T1", "MR_T1ce", "T2", "FLAIR", "ADC",
            "DWI")
SERIES = [
    ("CT", "Abdomen nativ 5.0", {"CT", "CT_native"}), ("CT", "ABD W/O CONTRAST", {"CT", "CT_native"}),
    ("CT", "Arterial 1.5 B30f", {"CT", "CT_arterial"}), ("CT", "ART. PHASE", {"CT", "CT_arterial"}),
    ("CT", "Portal venous phase", {"CT", "CT_portal-venous"}), ("CT", "PV 5mm", {"CT", "CT_portal-venous"}),
    ("CT", "Delayed 10 min", {"CT", "CT_delayed"}), ("CT", "CHEST ABD PEL", {"CT"}),
    ("PT", "PET AC", {"PET"}), ("PT", "PET WB NAC", set()), ("PT", "WB Uncorrected", set()),
    ("MR", "t1_tse_tra", {"T1"}), ("MR", "T1 MPRAGE +C", {"MR_T1ce"}), ("MR", "t1_tse_tra_Gd", {"MR_T1ce"}),
    ("MR", "AX T1 POST", {"MR_T1ce"}), ("MR", "T1 pre-contrast", {"T1"}), ("MR", "t2_tse_tra", {"T2"}),
    ("MR", "AX T2 FLAIR", {"FLAIR"}), ("MR", "t2_tirm_tra_dark-fluid", {"FLAIR"}), ("MR", "ep2d_diff_ADC", {"ADC"}),
    ("MR", "DWI b50_800 TRACEW", {"DWI"}), ("MR", "AX T2* GRE", set()), ("CT", "t1_tse_tra", {"CT"})]


@pytest.mark.parametrize(("modality", "description", "fitting"), SERIES, ids=[text for _, text, _ in SERIES])
def test_the_rules_know_what_clinics_call_their_series(modality, description, fitting):
    rules = read_rules()
    candidate = Candidate(Series(uid="1.2", modality=modality, description=description))
    assert {name for name in CHANNELS if rules.rule_of(name).fits(name, candidate, from_zero=False)} == fitting


def test_a_channel_without_a_rule_wants_every_word_of_its_name():
    rule = read_rules().rule_of("MR_SWI")
    said = {text: rule.fits("MR_SWI", Candidate(Series(uid="1", modality="MR", description=text)), from_zero=False)
            for text in ("SWI_Images", "t2_tse")}
    assert said == {"SWI_Images": True, "t2_tse": False}


@pytest.mark.parametrize("description", ["Scout", "TOPOGRAM 0.6", "3-plane localizer", "Dose Report", "Bolus tracking"])
def test_a_series_that_is_no_volume_of_interest_is_ignored(description):
    assert read_rules().ignored.reason(Candidate(Series(uid="1", modality="CT", description=description)))


pydicom = pytest.importorskip("pydicom")

from dicom_studies import AXIAL, truth, write_other, write_series  # noqa: E402  (they need pydicom)


def test_a_case_has_its_series_in_the_order_of_the_channels(tmp_path):
    write_series(tmp_path, truth(0), series=4, modality="PT", description="PET AC", Units="GML", name=lambda k: f"p{k}")
    write_series(tmp_path, truth(1), series=3, description="CT AC", name=lambda k: f"c{k}")
    write_other(tmp_path / "report", "SR")
    scanned = scan_studies(DicomInput(tmp_path), CT_AND_PET)
    (case,) = scanned.cases
    assert [path.name.split(" (")[0] for path in case.images] == ["series 3", "series 4"]
    assert scanned.faults == [] and "1 file, a report (SR) (report)" in scanned.warnings[0]
    assert case.name.startswith("study_") and "P1" not in case.name


def test_two_series_that_fit_one_channel_are_a_question(tmp_path):
    write_series(tmp_path / "a", truth(0), series=3, description="Lung B60")
    write_series(tmp_path / "b", truth(1), series=4, description="Soft B30")
    (fault,) = scan_studies(DicomInput(tmp_path), CT).faults
    assert ("several series fit the channel 'CT' (found: series 3 'Lung B60' (CT), 6 slices, series 4 'Soft B30' (CT), "
            "6 slices); choose one with --series CT=3") in fault
    (case,) = scan_studies(DicomInput(tmp_path, series=("CT=4",)), CT).cases
    assert case.images[0].name.startswith("series 4 ")
    (fault,) = scan_studies(DicomInput(tmp_path, series=("CT=9",)), CT).faults
    assert "the series that was chosen for the channel 'CT' is not here" in fault and "expected: 9" in fault


def test_two_series_of_one_number_are_chosen_by_their_uid(tmp_path):
    uids = ("1.2.3.4.1", "1.2.3.4.2")
    for k, uid in enumerate(uids):
        write_series(tmp_path / uid, truth(k), SeriesInstanceUID=uid, first=10 * k)
    (fault,) = scan_studies(DicomInput(tmp_path), CT).faults
    assert f"UID {uids[0]}" in fault and f"--series CT={uids[0]}" in fault
    (case,) = scan_studies(DicomInput(tmp_path, series=(f"CT={uids[1]}",)), CT).cases
    assert uids[1] in case.images[0].name


def test_two_phases_of_one_series_are_chosen_by_their_number(tmp_path):
    for k in range(2):
        write_series(tmp_path, truth(k), AcquisitionNumber=k + 1, first=10 * k, description="LIVER 2 PHASE")
    (fault,) = scan_studies(DicomInput(tmp_path), PHASES).faults
    assert "no series fits the channel 'CT_arterial'" in fault and "phase 2 of 2 (acquisition 2)" in fault
    chosen = ("CT_arterial=1:1", "CT_venous=1:2")
    (case,) = scan_studies(DicomInput(tmp_path, series=chosen), PHASES).cases
    assert ["acquisition 1" in case.images[0].name, "acquisition 2" in case.images[1].name] == [True, True]


def test_the_phases_of_a_dynamic_series_are_the_numbered_channels_in_time(tmp_path):
    for k in range(3):
        write_series(tmp_path, truth(k), modality="MR", description="dyn VIBE", TemporalPositionIdentifier=k + 1,
                     first=10 * k)
    channels = tuple(ChannelSpec(name=f"DCE_{k}") for k in range(3))
    (case,) = scan_studies(DicomInput(tmp_path), channels).cases
    assert [path.name.split("temporal position ")[1] for path in case.images] == ["1)", "2)", "3)"]


def test_a_series_that_alone_fits_one_channel_is_no_candidate_of_another(tmp_path):
    write_series(tmp_path / "a", truth(0), series=3, description="native")
    write_series(tmp_path / "b", truth(1), series=4, description="arterial")
    channels = (ChannelSpec(name="CT"), ChannelSpec(name="CT_arterial"))
    (case,) = scan_studies(DicomInput(tmp_path), channels).cases
    assert [path.name[:8] for path in case.images] == ["series 3", "series 4"]


def test_one_series_for_two_channels_is_refused(tmp_path):
    write_series(tmp_path, truth(), description="arterial")
    (fault,) = scan_studies(DicomInput(tmp_path), (ChannelSpec(name="CT"), ChannelSpec(name="CT_arterial"))).faults
    assert "one series fits the channels 'CT', 'CT_arterial'" in fault


def test_where_no_series_fits_all_that_there_are_are_named_and_an_optional_channel_is_absent(tmp_path):
    write_series(tmp_path, truth(), description="Abdomen")
    (fault,) = scan_studies(DicomInput(tmp_path), CT_AND_PET).faults
    assert "no series fits the channel 'PET' (found: series 1 'Abdomen' (CT), 6 slices); choose one with --series" in fault
    channels = (CT_AND_PET[0], ChannelSpec(name="PET", registration="regrid", required=False))
    (case,) = scan_studies(DicomInput(tmp_path), channels).cases
    assert case.images[1] is None


def test_a_localiser_alone_is_no_case(tmp_path):
    for k, plane in enumerate((AXIAL, (0, 1, 0, 0, 0, -1))):
        write_series(tmp_path, truth(k)[:1], first=k, orientation=plane)
    with pytest.raises(UserError, match=r"no series of images was found.*a localiser"):
        scan_studies(DicomInput(tmp_path), CT)


def test_a_single_slice_is_no_candidate_and_is_named(tmp_path):
    write_series(tmp_path / "a", truth()[:1], series=1, description="premon")
    write_series(tmp_path / "b", truth(), series=2)
    scanned = scan_studies(DicomInput(tmp_path), CT)
    assert scanned.cases[0].images[0].name.startswith("series 2")
    assert "series 1 'premon' (CT) is not used: 1 slice" in scanned.warnings[0]


def test_a_bad_study_does_not_stop_the_good_ones(tmp_path):
    write_series(tmp_path / "a", truth(), study="1.2.3.1", patient="A")
    for k in range(2):
        write_series(tmp_path / "b", truth(k), study="1.2.3.2", patient="B", first=10 * k)  # two slices at each place
    scanned = scan_studies(DicomInput(tmp_path), CT)
    assert len(scanned.cases) == 1
    (fault,) = scanned.faults
    assert "several slices of one acquisition lie at the same place" in fault


def test_names_of_patients_are_used_where_they_are_asked_for(tmp_path):
    for k, (patient, study) in enumerate((("A/1", "1.2.3.1"), ("B", "1.2.3.2"), ("B", "1.2.3.3"))):
        write_series(tmp_path / str(k), truth(k), study=study, patient=patient)
    names = [case.name for case in scan_studies(DicomInput(tmp_path, case_names="PatientID"), CT).cases]
    assert names[0] == "A_1" and all(name.startswith("B_study_") for name in names[1:]) and len(set(names)) == 3
    again = [case.name for case in scan_studies(DicomInput(tmp_path), CT).cases]
    assert [name[2:] for name in names[1:]] == again[1:]


def test_patients_whose_names_differ_only_in_what_a_file_cannot_be_called_stay_two(tmp_path):
    for k, patient in enumerate(("A/1", "a 1")):
        write_series(tmp_path / str(k), truth(k), study=f"1.2.3.{k + 1}", patient=patient)
    names = [case.name for case in scan_studies(DicomInput(tmp_path, case_names="PatientID"), CT).cases]
    assert [name[:10] for name in names] == ["A_1_study_", "a_1_study_"] and names[0][10:] != names[1][10:]


def test_names_are_made_of_uids_alone(tmp_path):
    for number, patient in enumerate("AB"):
        write_series(tmp_path / "one" / patient, truth(number), series=number + 1, patient=patient)
        write_series(tmp_path / "two" / patient, truth(number), series=number + 1, patient=f"another {patient}")
    names, others = ([case.name for case in scan_studies(DicomInput(tmp_path / folder), CT).cases]
                     for folder in ("one", "two"))
    assert names == others and len(set(names)) == 2
    listing = list_study(tmp_path / "one", read_rules())
    assert [(volume.case, volume.patient) for volume in listing.volumes] == list(zip(names, ("patient_1", "patient_2"),
                                                                                     strict=True))


def test_channels_in_different_frames_of_reference_are_told(tmp_path):
    write_series(tmp_path / "a", truth(0), series=3)
    write_series(tmp_path / "b", truth(1), series=4, modality="PT", Units="GML", FrameOfReferenceUID="1.2.3.9")
    (warning,) = scan_studies(DicomInput(tmp_path), CT_AND_PET).warnings
    assert "the channels CT, PET have different frames of reference" in warning
    registered = (CT_AND_PET[0], ChannelSpec(name="PET", registration="rigid"))
    assert scan_studies(DicomInput(tmp_path), registered).warnings == []


def test_rules_of_the_user_are_used_and_wrong_ones_named(tmp_path):
    write_series(tmp_path / "study", truth(), description="Gesicht")
    rules = json.loads(SHIPPED.read_text())
    rules["channels"].insert(0, {"names": ["face"], "modalities": ["CT"], "any": ["gesicht"]})
    (tmp_path / "own.json").write_text(json.dumps(rules))
    (case,) = scan_studies(DicomInput(tmp_path / "study", tmp_path / "own.json"), (ChannelSpec(name="Face"),)).cases
    assert case.images[0] is not None
    rules["channels"][0]["any"] = ["(gesicht"]
    (tmp_path / "own.json").write_text(json.dumps(rules))
    with pytest.raises(UserError, match="own.json: the file is not a valid DicomRules.*no regular expression"):
        scan_studies(DicomInput(tmp_path / "study", tmp_path / "own.json"), CT)


@pytest.mark.parametrize("text", ["CT", "CT=", "=4", "CT=4:x"])
def test_what_chooses_no_series_is_refused(text, tmp_path):
    write_series(tmp_path, truth())
    with pytest.raises(UserError, match="this chooses no series"):
        scan_studies(DicomInput(tmp_path, series=(text,)), CT)
    with pytest.raises(UserError, match="the model has no such channel.*found: MR; expected: CT"):
        scan_studies(DicomInput(tmp_path, series=("MR=4",)), CT)


def test_a_folder_with_volumes_of_its_own_is_no_dicom(tmp_path):
    write_series(tmp_path / "dicom", truth())
    assert holds_dicom(tmp_path) and holds_dicom(sorted((tmp_path / "dicom").iterdir())[0])
    write_array(tmp_path / "case_0000.nii.gz", truth()[None], Geometry(truth().shape, (1.0, 1.0, 1.0)))
    assert not holds_dicom(tmp_path)


@pytest.mark.parametrize("quantity", ["MGML", "Z_EFF", "ED", "PCT"])
def test_a_map_of_another_quantity_is_never_read_as_a_ct(quantity, tmp_path):
    write_series(tmp_path / "map", truth(1), series=5, description="DE map", RescaleType=quantity)
    scanned = scan_studies(DicomInput(tmp_path), CT)
    assert not scanned.cases
    assert f"no series fits the channel 'CT' (found: series 5 'DE map' (CT), 6 slices, RescaleType {quantity})" in \
        scanned.faults[0]
    write_series(tmp_path / "ct", truth(0), series=4, RescaleType="HU")
    scanned = scan_studies(DicomInput(tmp_path), CT)
    assert "series 4" in str(scanned.cases[0].images[0])
    assert any(f"is not used: its values are no HU: RescaleType {quantity}" in warning for warning in scanned.warnings)
    named = scan_studies(DicomInput(tmp_path, series=("CT=5",)), CT)
    assert not named.cases and f"is no CT in HU (found: series 5 'DE map' (CT), 6 slices, RescaleType {quantity}" in \
        named.faults[0]


def test_a_model_of_such_a_map_takes_it_where_it_is_named(tmp_path):
    write_series(tmp_path, truth(1), series=5, description="Zeff", RescaleType="Z_EFF")
    channels = (ChannelSpec(name="Zeff"),)
    assert scan_studies(DicomInput(tmp_path, series=("Zeff=5",)), channels).cases


@pytest.mark.parametrize("quantity", ["US", "HU_MOD"])
def test_a_ct_that_does_not_say_its_unit_is_read_with_a_warning(quantity, tmp_path):
    write_series(tmp_path, truth(), RescaleType=quantity)
    (files,) = scan_studies(DicomInput(tmp_path), CT).cases
    assert any(f"RescaleType is {quantity}" in warning for warning in files.source(files.images[0]).header().warnings)
    assert any(f"RescaleType is {quantity}" in odd for odd in list_study(tmp_path, read_rules()).volumes[0].odd)
