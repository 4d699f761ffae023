"""What DICOM headers say of a patient and a scanner, as a row of the clinical table. Nothing that names anybody.

Datasets are converted with these cells, and new studies are predicted with them. What cannot be true is missing.
"""

import datetime
import math
import re
from collections.abc import Mapping
from typing import Any

from autoseg.formats.dicom.suv import WEIGHTS_KG

Header = Mapping[str, str]  # keyword of DICOM (PS3.6) -> text of the value, empty where it has none

# What is read of the first slice of a series.
KEYWORDS = ("PatientID", "PatientName", "PatientBirthDate", "IssuerOfPatientID", "PatientAge", "PatientSex", "PatientWeight",
            "PatientSize", "StudyInstanceUID", "StudyDate", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime",
            "AcquisitionDateTime", "ContrastBolusStartTime", "InstitutionName", "Manufacturer", "ManufacturerModelName",
            "MagneticFieldStrength", "KVP", "SliceThickness")

_YEARS = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}
_MOST_YEARS = 125.0  # 999Y stands for an age that is not known
_METRES = (0.1, 2.8)  # beyond it the height is in another unit
_OLDEST = 90  # older patients are so few that their age tells who they are (45 CFR 164.514(b)(2)(i)(C))
_MOST_TESLA = 30.0  # beyond it the value is in gauss
_MOST_GAUSS = 3e5
_TESLA_PER_GAUSS = 1e-4
_DAY_S = 86400.0
_DIGITS_OF_LENGTH = 4  # some programs compute it from rounded positions: 3.26995 and 3.26996 mm are one protocol
_LONGEST_PHASE_S = 3600.0  # after the injection; longer is another day's clock
NUMBERS = ("age_years", "weight_kg", "height_m")
CHANNEL_NUMBERS = ("field_strength_T", "kvp", "slice_thickness_mm", "contrast_s", "after_first_s")


def case_cells(headers: Mapping[str, Header], reference: Header, *, exact_age: bool) -> dict[str, str]:
    """All cells of a case. `headers` are by channel, in the order of the channels; the scanner is that of `reference`."""
    return ({"scanner": scanner_of(reference)} | patient_cells(headers, exact_age=exact_age) | channel_cells(headers))


def patient_cells(headers: Mapping[str, Header], *, exact_age: bool) -> dict[str, str]:
    """Age, sex, weight and size of a patient from the first channel that says them. Ages from 90 years are written as 90
    unless they are to be exact. The sex O (other) is missing: programs write it where the sex is not known.
    """
    age = next((age for header in headers.values() if (age := age_years(header)) is not None), None)
    if age is not None and not exact_age:
        age = min(age, _OLDEST)
    sex = _first(headers, "PatientSex").upper()
    weight = _within(_first(headers, "PatientWeight"), *WEIGHTS_KG)
    height = _within(_first(headers, "PatientSize"), *_METRES)
    return {"age_years": _text(age), "sex": sex if sex in ("F", "M") else "", "weight_kg": _text(weight),
            "height_m": _text(height)}


def channel_cells(headers: Mapping[str, Header]) -> dict[str, str]:
    """Scanner and times of each channel: field strength (T), tube voltage (kV), slice thickness (mm), seconds from the
    injection of the contrast agent to the image, and from the earliest image of the case. No date and no time of day.
    """
    times = {channel: acquired_at(header) for channel, header in headers.items()}
    known = [time for time in times.values() if time is not None]
    first = min(known) if len(known) > 1 else None
    cells: dict[str, str] = {}
    for channel, header in headers.items():
        after = None if first is None else _seconds_between(first, times[channel])
        cells |= {f"{channel}_manufacturer": _name(header.get("Manufacturer", "")),
                  f"{channel}_model": _name(header.get("ManufacturerModelName", "")),
                  f"{channel}_field_strength_T": _text(_tesla(header.get("MagneticFieldStrength", ""))),
                  f"{channel}_kvp": _text(_positive(header.get("KVP", ""))),
                  f"{channel}_slice_thickness_mm": _text(_positive(header.get("SliceThickness", "")), _DIGITS_OF_LENGTH),
                  f"{channel}_contrast_s": _text(_contrast_s(header)),
                  f"{channel}_after_first_s": _text(after)}
    return cells


def scanner_of(header: Header) -> str:
    """Maker and model, such as `GE MEDICAL SYSTEMS DISCOVERY ST`."""
    return _name(f"{header.get('Manufacturer', '')} {header.get('ManufacturerModelName', '')}")


def age_years(header: Header) -> float | None:
    """Years at the time of the study: the age that the header says (PS3.5 6.2, AS: `061Y`), else from the dates.

    >>> age_years({"PatientAge": "018M"})
    1.5
    """
    match = re.fullmatch(r"(\d{1,3})([DWMY])", header.get("PatientAge", "").strip().upper())
    if match and match[0] != "000Y":  # which stands for a removed age; newborns have days
        years = round(int(match[1]) / _YEARS[match[2]], 2)
        if years <= _MOST_YEARS:
            return years
    born, seen = _date(header.get("PatientBirthDate", "")), _date(header.get("StudyDate", ""))
    if born is None or seen is None or seen < born:
        return None
    years = float(seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day)))
    return years if years <= _MOST_YEARS else None


def study_day(header: Header) -> int | None:
    """The day of a study as a number, only to count days between two of them."""
    date = _date(header.get("StudyDate", "")) or _date(header.get("SeriesDate", ""))
    return None if date is None else date.toordinal()


def acquired_at(header: Header) -> float | None:
    """Seconds on a clock that is the same for all series of a study; None where the header does not say."""
    stamp, dated = header.get("AcquisitionDateTime", "").strip(), header.get("AcquisitionDate", "").strip()
    day, time = (stamp[:8], stamp[8:]) if stamp else (dated or header.get("SeriesDate", ""),
                                                      header.get("AcquisitionTime", ""))
    date, seconds, begin = _date(day), _seconds_of_day(time), _seconds_of_day(header.get("SeriesTime", ""))
    if date is None or seconds is None:
        return None
    is_next_day = not (stamp or dated) and begin is not None and seconds < begin - _DAY_S / 2
    return (date.toordinal() + is_next_day) * _DAY_S + seconds


def declared_columns(rows: Mapping[str, Mapping[str, str]], channels: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The columns that can be conditions, as `dataset.json` names them: those in which two cases differ."""
    numbers = (*NUMBERS, *(f"{channel}_{name}" for channel in channels for name in CHANNEL_NUMBERS))
    kinds = dict.fromkeys(numbers, "number")
    kinds |= dict.fromkeys(("sex", *(f"{channel}_manufacturer" for channel in channels)), "category")
    differing = {name for name in kinds if len({row[name] for row in rows.values() if row.get(name)}) > 1}
    return {name: {"kind": kind} for name, kind in kinds.items() if name in differing}


def _first(headers: Mapping[str, Header], keyword: str) -> str:
    return next((text for header in headers.values() if (text := header.get(keyword, "").strip())), "")


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _within(text: str, low: float, high: float) -> float | None:
    value = _positive(text)
    return value if value is not None and low <= value <= high else None


def _tesla(text: str) -> float | None:
    value = _within(text, 0.0, _MOST_GAUSS)
    return value if value is None or value <= _MOST_TESLA else value * _TESLA_PER_GAUSS


def _contrast_s(header: Header) -> float | None:
    """PS3.3 C.7.6.4: the start of the injection has a time of day, without a date."""
    start, image = (_seconds_of_day(header.get(key, "")) for key in ("ContrastBolusStartTime", "AcquisitionTime"))
    if start is None or image is None:
        return None
    after = (image - start) % _DAY_S
    return after if after <= _LONGEST_PHASE_S else None


def _seconds_between(first: float, time: float | None) -> float | None:
    """None where the images are not of one day: then it is no phase."""
    return None if time is None or time - first > _DAY_S else time - first


def _seconds_of_day(text: str) -> float | None:
    """PS3.5 6.2, TM: HHMMSS.FFFFFF, of which the end may be missing; a zone after it is the same for all."""
    match = re.match(r"(\d{2})(\d{2})(\d{2}(?:\.\d+)?)?", text.strip().replace(":", ""))
    return None if match is None else 3600.0 * int(match[1]) + 60.0 * int(match[2]) + float(match[3] or 0)


def _date(text: str) -> datetime.date | None:
    digits = text.strip().replace(".", "")[:8]
    try:
        return datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:])) if len(digits) == 8 else None
    except ValueError:
        return None


def _name(text: str) -> str:
    return " ".join(text.split()).upper()


def _text(value: float | None, digits: int = 6) -> str:
    return "" if value is None else f"{value:.{digits}g}"
