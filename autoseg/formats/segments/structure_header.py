"""What an RTSTRUCT or a SEG says of itself before any mask is drawn: names of structures and what it was drawn on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autoseg.base.errors import UserError
from autoseg.formats.dicom.slices import pydicom_for
from autoseg.formats.door import reading
from autoseg.formats.segments.rtstruct_file import referenced_series

Kind = Literal["rtstruct", "seg"]
KINDS: dict[str, Kind] = {"RTSTRUCT": "rtstruct", "SEG": "seg"}  # by Modality (PS3.3 C.7.3.1.1.1)


@dataclass(frozen=True)
class StructureHeader:
    """A file of structures. `series` are those that it says it was drawn on; `created` orders versions of the same set
    (date and time as in the file; it is never written).
    """

    path: Path
    kind: Kind
    uid: str
    study: str
    series: tuple[str, ...]
    names: tuple[str, ...]
    created: str


def read_structure_header(path: Path) -> StructureHeader:
    """Names and references of a file. Raises UserError where it is neither RTSTRUCT nor SEG."""
    pydicom = pydicom_for(path)
    with reading(path):
        file: Any = pydicom.dcmread(path, stop_before_pixels=True)
        kind = KINDS.get(str(getattr(file, "Modality", "")))
        if kind is None:
            raise UserError("the file holds no structures", where=path, found=getattr(file, "Modality", "no modality"),
                            expected="RTSTRUCT or SEG")
        names, series = _of_rtstruct(file) if kind == "rtstruct" else _of_seg(file)
        dates = ("StructureSetDate", "StructureSetTime") if kind == "rtstruct" else ("ContentDate", "ContentTime")
        created = " ".join(_text(file, key) for key in (*dates, "InstanceCreationDate", "InstanceCreationTime"))
        uid, study = _text(file, "SOPInstanceUID"), _text(file, "StudyInstanceUID")
    return StructureHeader(path, kind, uid, study, series, names, created)


def _of_rtstruct(file: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """PS3.3 C.8.8.5: the structures, and the series of each frame of reference that they lie in."""
    names = tuple(_text(roi, "ROIName") for roi in getattr(file, "StructureSetROISequence", None) or ())
    return names, referenced_series(file)


def _of_seg(file: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """PS3.3 C.8.20.4 and C.12.4 (common instance reference)."""
    names = tuple(_text(segment, "SegmentLabel") for segment in getattr(file, "SegmentSequence", None) or ())
    series = tuple(_text(item, "SeriesInstanceUID") for item in getattr(file, "ReferencedSeriesSequence", None) or ())
    return names, series


def _text(item: Any, keyword: str) -> str:
    return str(getattr(item, keyword, "") or "").strip()
