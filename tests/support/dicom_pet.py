"""Studies of PET with one oddity each, as `dicom_oddities`: activity becomes SUV by body weight, or is refused."""

import numpy as np

from dicom_expected import H, N, Outcome, W, at, one
from dicom_studies import item, radiopharmaceutical, write_frames, write_series


def suv(bq_per_ml: float, elapsed_s: float, weight_kg: float = 70.0) -> float:
    return bq_per_ml * weight_kg * 1000 / (3.7e8 * 0.5 ** (elapsed_s / 6586.2))


def pet(folder, expected, *, injected=None, **changes):
    activity = 100.0 * np.arange(N * H * W).reshape(N, H, W)
    slopes = np.linspace(10, 60, N)
    values = {"Units": "BQML", "DecayCorrection": "START", "PatientWeight": 70, "SeriesDate": "20200102",
              "SeriesTime": "130000", "AcquisitionDate": "20200102", "AcquisitionTime": lambda k: f"1300{k:02d}",
              "RadiopharmaceuticalInformationSequence": radiopharmaceutical(**(injected or {})), **changes}
    write_series(folder, activity, modality="PT", slope=lambda k: round(float(slopes[k]), 3), **values)
    return expected if isinstance(expected, Outcome) else one(activity * expected, tolerance=30 * expected + 1e-6)


def pet_with_a_slope_per_slice(folder):
    return pet(folder, suv(1, 3600))


def pet_that_was_made_again_later(folder):
    return pet(folder, suv(1, 3600), SeriesTime="170000")


def pet_corrected_to_the_injection(folder):
    return pet(folder, suv(1, 0), DecayCorrection="ADMIN")


def pet_over_midnight_without_dates(folder):
    return pet(folder, suv(1, 3600), SeriesDate=None, AcquisitionDate=None, SeriesTime="003000",
               AcquisitionTime=lambda k: f"0030{k:02d}",
               injected={"RadiopharmaceuticalStartDateTime": None, "RadiopharmaceuticalStartTime": "233000"})


def pet_in_counts(folder):
    return pet(folder, Outcome(refusal="the unit of the PET cannot become SUV.*CNTS.*BQML"), Units="CNTS")


def pet_that_is_suv_already(folder):
    return pet(folder, 1.0, Units="GML", PatientWeight=None)


def pet_of_lean_body_mass(folder):
    return pet(folder, Outcome(refusal="no uptake by body weight.*LBM"), Units="GML", SUVType="LBM")


def pet_without_weight(folder):
    return pet(folder, Outcome(refusal="without a sound PatientWeight"), PatientWeight=None)


def pet_that_is_not_decay_corrected(folder):
    return pet(folder, Outcome(refusal="DecayCorrection NONE.*START or ADMIN"), DecayCorrection="NONE")


def pet_injected_after_the_scan(folder):
    return pet(folder, Outcome(refusal="impossible time before the scan"),
               injected={"RadiopharmaceuticalStartDateTime": "20200103120000"})


def pet_of_a_later_series_whose_acquisitions_have_no_date(folder):
    return pet(folder, suv(1, 3600), SeriesTime="170000", AcquisitionDate=None)


def pet_whose_acquisitions_without_a_date_pass_midnight(folder):
    return pet(folder, suv(1, 3600), SeriesTime="235900", AcquisitionDate=None,
               AcquisitionTime=lambda k: ("235930", "000100")[k > 3],
               injected={"RadiopharmaceuticalStartDateTime": "20200102225900"})


def pet_whose_scan_began_a_minute_before_the_injection_without_dates(folder):
    return pet(folder, Outcome(refusal="impossible time before the scan.*24.0 h"), SeriesTime="115900",
               injected={"RadiopharmaceuticalStartDateTime": None, "RadiopharmaceuticalStartTime": "120000"})


def pet_of_an_injection_with_the_date_of_the_day_before(folder):
    return pet(folder, Outcome(refusal="impossible time before the scan.*25.0 h"),
               injected={"RadiopharmaceuticalStartDateTime": "20200101120000"})


def pet_of_a_long_half_life_without_the_day_of_injection(folder):
    return pet(folder, Outcome(refusal="on which day the dose was injected.*78.4 h"),
               injected={"RadiopharmaceuticalStartDateTime": None, "RadiopharmaceuticalStartTime": "120000",
                         "RadionuclideHalfLife": 282240})


def pet_without_correction_of_attenuation(folder):
    return pet(folder, Outcome(refusal="not corrected for attenuation.*DECY"), CorrectedImage=["DECY", "SCAT"])


def pet_without_a_slope(folder):
    return pet(folder, Outcome(refusal="how its numbers become quantities.*6 files"), RescaleSlope=None)


def enhanced_pet_in_bq_per_ml(folder):
    write_frames(folder / "x", np.full((N, H, W), 7400.0), [at(k) for k in range(N)], modality="PT", PatientWeight=70,
                 RadiopharmaceuticalInformationSequence=radiopharmaceutical(), DecayCorrected="YES",
                 DecayCorrectionDateTime="20200102130000",
                 RealWorldValueMappingSequence=[item(MeasurementUnitsCodeSequence=[item(CodeValue="Bq/ml")])])
    return one(np.full((N, H, W), suv(7400, 3600)), tolerance=1e-5)


PETS = [
    pet_with_a_slope_per_slice, pet_that_was_made_again_later, pet_corrected_to_the_injection,
    pet_over_midnight_without_dates, pet_in_counts, pet_that_is_suv_already, pet_of_lean_body_mass, pet_without_weight,
    pet_of_a_later_series_whose_acquisitions_have_no_date, pet_whose_acquisitions_without_a_date_pass_midnight,
    pet_whose_scan_began_a_minute_before_the_injection_without_dates, pet_of_an_injection_with_the_date_of_the_day_before,
    pet_of_a_long_half_life_without_the_day_of_injection, pet_without_correction_of_attenuation, pet_without_a_slope,
    pet_that_is_not_decay_corrected, pet_injected_after_the_scan, enhanced_pet_in_bq_per_ml]
