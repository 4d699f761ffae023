"""PET in Bq/ml as the standardised uptake value by body weight (SUVbw).

SUVbw = activity [Bq/ml] * weight [g] / dose [Bq], where 1 ml is taken for 1 g. The dose is that at the time to which the
activity is corrected: DecayCorrection START, the start of the scan; ADMIN, the injection (PS3.3 C.8.9.1.1.4; Quantitative
Imaging Biomarkers Alliance, "SUV vendor-neutral pseudo-code").
"""

import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from autoseg.base.errors import UserError
from autoseg.formats.dicom.elements import items, number, text, texts
from autoseg.formats.dicom.slices import Slice, pydicom_for
from autoseg.formats.door import reading

_TAGS = ["Modality", "Units", "SUVType", "CorrectedImage", "DecayCorrection", "DecayCorrectionDateTime", "DecayCorrected",
         "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "PatientWeight",
         "RadiopharmaceuticalInformationSequence", "SharedFunctionalGroupsSequence", "RealWorldValueMappingSequence"]
_UNITS = {"Bq/ml": "BQML", "{SUVbw}g/ml": "GML"}  # of enhanced files (UCUM)
_DAY = timedelta(days=1)
# Between injection and scan; 0.1 % of the dose is left then. A day is 13 half-lives of F-18: so a wrong date is noticed, and
# without dates a scan that lies before the injection.
_MOST_HALF_LIVES = 10.0
_LONGEST_UNDATED_S = 4 * 3600.0  # half-life; what lives longer may have been injected days before
WEIGHTS_KG = (0.01, 500.0)  # from a mouse on
_NO_DATE = "20000101"


def suv_factor(slices: Sequence[Slice]) -> float:
    """What values of a PET are multiplied by to be SUVbw; 1 where they are that already (GML).

    Raises UserError where the unit is another one, or where dose, weight, half-life or a time is missing or impossible.
    """
    first = slices[0]
    pydicom = pydicom_for(first.path)
    with reading(first.path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = pydicom.dcmread(first.path, stop_before_pixels=True, specific_tags=_TAGS)
    units = _units(file)
    if units == "GML":
        kind = text(file, "SUVType") or "BW"
        if kind != "BW":
            raise _refused(first, "the PET is no uptake by body weight", f"SUVType {kind}", "BW")
        return 1.0
    if units != "BQML":
        raise _refused(first, "the unit of the PET cannot become SUV", f"Units {units or 'not said'}", "BQML, or GML")
    corrections = texts(file, "CorrectedImage")
    if corrections and "ATTN" not in corrections:
        raise _refused(first, "the PET is not corrected for attenuation, so its values are no activity",
                       f"CorrectedImage {', '.join(corrections)}", "ATTN among them")
    injected = items(file, "RadiopharmaceuticalInformationSequence")
    if not injected:
        raise _refused(first, "the PET does not say what was injected", "no RadiopharmaceuticalInformationSequence")
    weight = _within(first, file, "PatientWeight", *WEIGHTS_KG)
    dose = _within(first, injected[0], "RadionuclideTotalDose", 1e3, 1e11)
    return weight * 1000.0 / (dose * _left(first, slices, file, injected[0]))


def _left(first: Slice, slices: Sequence[Slice], file: Any, injected: Any) -> float:
    """The share of the dose that is left at the time to which the activity is corrected."""
    corrected = text(file, "DecayCorrection")
    if not corrected and text(file, "DecayCorrectionDateTime"):
        corrected = "START" if text(file, "DecayCorrected") == "YES" else "NONE"
    if corrected == "ADMIN":
        return 1.0
    if corrected != "START":
        raise _refused(first, "the PET does not say to which time its activity is corrected",
                       f"DecayCorrection {corrected or 'not said'}", "START or ADMIN")
    half_life_s = _within(first, injected, "RadionuclideHalfLife", 1.0, 1e9)
    scanned, is_dated = _scan_start(first, slices, file)
    whole = text(injected, "RadiopharmaceuticalStartDateTime")
    if whole and is_dated:
        elapsed = scanned - _time(first, whole[:8], whole[8:])
    else:
        said = text(injected, "RadiopharmaceuticalStartTime") or whole[8:]
        if not said:
            raise _refused(first, "the PET does not say when the dose was injected", "no RadiopharmaceuticalStartTime")
        if half_life_s > _LONGEST_UNDATED_S:
            raise _refused(first, "the PET does not say on which day the dose was injected",
                           f"a half-life of {half_life_s / 3600:.1f} h", "RadiopharmaceuticalStartDateTime")
        elapsed = (scanned - _time(first, scanned.strftime("%Y%m%d"), said)) % _DAY  # over midnight it was the day before
    half_lives = elapsed.total_seconds() / half_life_s
    if not 0 <= half_lives <= _MOST_HALF_LIVES:
        raise _refused(first, "the injection lies at an impossible time before the scan",
                       f"{elapsed.total_seconds() / 3600:.1f} h, of a half-life of {half_life_s / 3600:.1f} h",
                       f"0 to {_MOST_HALF_LIVES:.0f} half-lives")
    return float(0.5**half_lives)


def _scan_start(first: Slice, slices: Sequence[Slice], file: Any) -> tuple[datetime, bool]:
    """When the scan began, and whether its day is known: the time of the series, or the earliest acquisition where that is
    earlier, as of series that were made again later.
    """
    whole = text(file, "DecayCorrectionDateTime")
    if whole:
        return _time(first, whole[:8], whole[8:]), True
    times = sorted(part.mark("acquisition time") for part in slices if part.mark("acquisition time"))
    date, time = text(file, "SeriesDate"), text(file, "SeriesTime")
    series = [_time(first, date, time)] if date and time else []
    dated = [_time(first, moment[:8], moment[8:]) for moment in times if _has_date(moment)]
    on_that_day = [_time(first, date, moment) for moment in times if date and not _has_date(moment)]
    on_that_day = [moment for moment in on_that_day if not series or series[0] - moment < _DAY / 2]  # else after midnight
    if candidates := [*series, *dated, *on_that_day]:
        return min(candidates), True
    bare = [*times, *([time] if time else [])]
    if not bare:
        raise _refused(first, "the PET does not say when it was taken", "no SeriesTime and no AcquisitionTime")
    day = text(file, "AcquisitionDate")
    return min(_time(first, day or _NO_DATE, moment) for moment in bare), bool(day)


def _has_date(moment: str) -> bool:
    """Whether a text begins with a date, and is no time alone."""
    return len(moment.split(".")[0]) > 8


def _units(file: Any) -> str:
    said = text(file, "Units")
    if said:
        return said
    shared = (items(file, "SharedFunctionalGroupsSequence") or [None])[0]
    for group in (file, shared):
        for mapping in items(group, "RealWorldValueMappingSequence") if group is not None else ():
            for code in items(mapping, "MeasurementUnitsCodeSequence"):
                return _UNITS.get(text(code, "CodeValue"), text(code, "CodeValue"))
    return ""


def _time(first: Slice, date: str, time: str) -> datetime:
    """A date and a time of DICOM (YYYYMMDD, HHMMSS.FFFFFF); a UserError where they are none."""
    digits = time.split("&")[0].split("+")[0].split("-")[0].replace(":", "")
    whole, _, fraction = digits.partition(".")
    try:
        moment = datetime.strptime(date.replace(".", "") + whole.ljust(6, "0"), "%Y%m%d%H%M%S")
        return moment + timedelta(seconds=float(f"0.{fraction or 0}"))
    except ValueError:
        raise _refused(first, "the PET has a time that is none", f"{date} {time}".strip()) from None


def _within(first: Slice, dataset: Any, name: str, low: float, high: float) -> float:
    value = number(dataset, name)
    if value is None or not low <= value <= high:
        raise _refused(first, f"the PET cannot become SUV without a sound {name}",
                       "none" if value is None else f"{value:g}", f"{low:g} to {high:g}")
    return value


def _refused(first: Slice, what: str, found: str, expected: str | None = None) -> UserError:
    return UserError(what, where=first.path.parent, found=f"{found}, {first.facts.called}", expected=expected,
                     do="write it as SUV (Units GML) with the scanner's software, or correct its header")
