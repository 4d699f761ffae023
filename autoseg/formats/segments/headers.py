"""What objects that are made from a series share: its headers, its patient and study, and who made them."""

import colorsys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autoseg.base.errors import UserError
from autoseg.formats.dicom.slices import pydicom_for
from autoseg.formats.dicom.stack import Stack
from autoseg.formats.door import reading

MAKER = "autoseg"
# Names are written in UTF-8 (PS3.3 C.12.1.1.2), whatever the source uses.
CHARACTER_SET = "ISO_IR 192"
_LONGEST = 64  # characters of a text of type LO
_NUMBER_AFTER = 1000
_GOLDEN = 0.618
# Type 2 in the modules of patient and study (PS3.3 C.7.1.1, C.7.2.1): they are there, if empty.
_NEEDED = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
           "AccessionNumber", "ReferringPhysicianName")
_SEXES = ("M", "F", "O", "")
_WHEN = {"PatientBirthDate": "DA", "StudyDate": "DA", "StudyTime": "TM"}  # with their types of values (PS3.5 6.2)
_LARGEST_NUMBER = 2**31 - 1  # of type IS


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of pydicom and highdicom about texts of the source that are longer than they may be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def source_headers(stack: Stack) -> list[Any]:
    """The headers of the files of a volume, each once, in the order of its slices; empty elements that must be there are
    added.

    Raises UserError where a file has no frame of reference, to which results could refer.
    """
    return [_header(path) for path in dict.fromkeys(part.path for part in stack.slices)]


def _header(path: Path) -> Any:
    with reading(path):
        header = pydicom_for(path).dcmread(path, stop_before_pixels=True)
        if not header.get("FrameOfReferenceUID"):
            raise UserError("the series has no frame of reference, to which results in DICOM refer", where=path,
                            do="write the results as --output-format nifti")
        for name in _NEEDED:
            if name not in header:
                setattr(header, name, "")
        if header.PatientSex not in _SEXES:
            header.PatientSex = ""
        for name in _WHEN:
            if not _is_when(name, str(header[name].value or "")):
                setattr(header, name, "")
        if "PerFrameFunctionalGroupsSequence" in header:
            _share(header)
    return header


def _is_when(name: str, value: str) -> bool:
    """Whether a date or a time is one: some programs write 00000000 where they remove the day of birth."""
    from pydicom.valuerep import DA, TM

    try:
        DA(value) if _WHEN[name] == "DA" else TM(value)
    except ValueError:
        return False
    return True


def _share(header: Any) -> None:
    """Let all frames share the orientation of the first, and its size of pixels: those of a volume are parallel."""
    first, shared = header.PerFrameFunctionalGroupsSequence[0], header.SharedFunctionalGroupsSequence[0]
    for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if name not in shared and name in first:
            setattr(shared, name, getattr(first, name))


def series_description(model: str) -> str:
    """What viewers show of the series of results."""
    return text(f"{MAKER} {model}".strip())


def series_number(header: Any) -> int:
    """A number after those of the study's own series, if there is one."""
    number = _NUMBER_AFTER + int(header.get("SeriesNumber") or 0)
    return number if number <= _LARGEST_NUMBER else _NUMBER_AFTER


def text(words: str) -> str:
    """A text that fits into an element of type LO: no backslash, which separates values, and at most 64 characters."""
    return words.replace("\\", "/")[:_LONGEST]


def colours(n: int) -> Sequence[tuple[int, int, int]]:
    """Colours (red, green, blue; 0 to 255) that differ from each other."""
    return [tuple(round(255 * part) for part in colorsys.hsv_to_rgb(k * _GOLDEN % 1, 0.75, 1.0))  # type: ignore[misc]
            for k in range(n)]
