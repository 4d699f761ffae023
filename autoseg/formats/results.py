"""How results are written where a user asks for a format: as files of another ending, or as objects of DICOM."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from autoseg.base.errors import UserError, listed

DicomKind = Literal["seg", "rtstruct"]


@dataclass(frozen=True)
class OutputFormat:
    """A format of results: what follows the name of a case, the endings that a file of it may have, and the kind of object
    that it is in DICOM, which refers to a series.
    """

    name: str
    ending: str
    endings: tuple[str, ...]
    dicom: DicomKind | None = None


OUTPUT_FORMATS = {form.name: form for form in (
    OutputFormat("seg", "_seg.dcm", (".dcm",), "seg"), OutputFormat("rtstruct", "_rtstruct.dcm", (".dcm",), "rtstruct"),
    OutputFormat("nifti", ".nii.gz", (".nii.gz", ".nii")), OutputFormat("nrrd", ".nrrd", (".nrrd",)),
    OutputFormat("mha", ".mha", (".mha",)))}


@dataclass(frozen=True)
class DicomResults:
    """Results as objects of DICOM: the values of a label map that form each structure (one value may be part of several),
    the names of the channels of probabilities, and what made them.
    """

    kind: DicomKind
    structures: Mapping[str, tuple[int, ...]]
    heads: tuple[str, ...] = ()
    model: str = ""  # in words
    identity: str = ""  # a digest


def named_format(name: str | None) -> OutputFormat | None:
    """The format of a name; None where none is asked for. Raises UserError where there is no such format."""
    if name is None:
        return None
    if name not in OUTPUT_FORMATS:
        raise UserError("the output format is not known", found=name, expected=listed(OUTPUT_FORMATS, len(OUTPUT_FORMATS)))
    return OUTPUT_FORMATS[name]


def is_dicom_name(name: str) -> bool:
    """Whether the name of a file is that of a DICOM object."""
    return name.lower().endswith(".dcm")
