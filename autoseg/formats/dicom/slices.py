"""One slice of a series: where it lies in the patient, how its numbers become values, and what tells phases apart."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoseg.base.errors import UserError


@dataclass(frozen=True)
class Series:
    """What a series says of itself; empty where it says nothing."""

    uid: str
    study: str = ""  # StudyInstanceUID
    patient: str = ""  # PatientID
    number: str = ""
    modality: str = ""
    description: str = ""
    protocol: str = ""
    study_date: str = ""
    frame_of_reference: str = ""  # FrameOfReferenceUID: positions in one frame can be compared

    @property
    def called(self) -> str:
        """For messages."""
        said = f" {self.description!r}" if self.description else ""
        return f"series {self.number or self.uid}{said} ({self.modality or 'no modality'})"


def share_a_frame(series: Iterable[Series]) -> bool:
    """Whether positions in all of them can be compared (PS3.3 C.7.4.1), as far as they say it."""
    return len({facts.frame_of_reference for facts in series} - {""}) < 2


@dataclass(frozen=True)
class Stored:
    """How stored numbers become values: `slope * number + intercept` (PS3.3 C.7.6.16.2.9). `is_inverted`: the smallest
    number is shown white (MONOCHROME1), and values have no unit, so that they are read as viewers show them. `rescale_type`
    is what the values are (PS3.3 C.11.1.1.2), such as HU; empty where the header does not say it.
    """

    slope: float = 1.0
    intercept: float = 0.0
    bits: int = 16
    is_signed: bool = False
    is_inverted: bool = False
    rescale_type: str = ""

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest number that can be stored."""
        return (-2 ** (self.bits - 1), 2 ** (self.bits - 1) - 1) if self.is_signed else (0, 2**self.bits - 1)

    @property
    def is_whole(self) -> bool:
        """Whether values are whole numbers, that are exact also as float64."""
        largest = max(map(abs, self.limits)) * abs(self.slope) + abs(self.intercept)
        return self.slope == int(self.slope) and self.intercept == int(self.intercept) and largest < 2**53


@dataclass(frozen=True)
class Slice:
    """One slice: a file, or one `frame` (from 0) of a file of several.

    `position_mm` (x, y, z; LPS) is the centre of its first pixel, `orientation` the directions of its rows and columns,
    `along_mm` its distance from the origin along the `normal`. `marks` are what may tell apart the phases of a series that
    lie at one place: (name, value).
    """

    path: Path
    uid: str  # SOPInstanceUID
    series: str  # SeriesInstanceUID
    acquisition: str
    position_mm: tuple[float, float, float]
    normal: tuple[float, float, float]
    along_mm: float
    orientation: tuple[float, ...]
    shape_HW: tuple[int, int]
    spacing_mm: tuple[float, float]  # y, x
    facts: Series
    thickness_mm: float | None = None
    frame: int | None = None
    marks: tuple[tuple[str, str], ...] = ()
    image_type: tuple[str, ...] = ()
    stored: Stored = field(default_factory=Stored)

    def mark(self, name: str) -> str:
        """The value of a mark; empty where there is none."""
        return dict(self.marks).get(name, "")


@dataclass(frozen=True)
class OtherFile:
    """A file that is no slice of a volume, and what it is instead. `fault`: why it is none though it should be."""

    path: Path
    kind: str
    series: Series | None = None  # None: it is not DICOM
    fault: str = ""


def pydicom_for(where: Path) -> Any:
    """The package pydicom; a UserError where it is not installed."""
    try:
        import pydicom
    except ImportError:
        raise UserError("the file is DICOM, and the package pydicom is not installed", where=where,
                        do="pip install 'autoseg-pipeline[dicom]'") from None
    return pydicom
