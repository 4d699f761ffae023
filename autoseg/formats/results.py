"""How results are written where a user asks for a format: by the ending of a file, or as an object of DICOM."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

DicomKind = Literal["seg", "rtstruct"]

# What follows the name of a case, by the name of the format.
OUTPUT_ENDINGS = {"nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha", "seg": "_seg.dcm", "rtstruct": "_rtstruct.dcm"}
DICOM_ENDING = ".dcm"


@dataclass(frozen=True)
class DicomResults:
    """Results as objects of DICOM: the values of a label map that form each structure (one value may be part of several), the
    names of the channels of probabilities, and what made them.
    """

    kind: DicomKind
    structures: Mapping[str, tuple[int, ...]]
    heads: tuple[str, ...] = ()
    model: str = ""  # in words
    identity: str = ""  # a digest


def dicom_kind(output_format: str | None) -> DicomKind | None:
    """The kind of DICOM object that a format is; None where it is a format of files."""
    return {"seg": "seg", "rtstruct": "rtstruct"}.get(output_format or "")  # type: ignore[return-value]
