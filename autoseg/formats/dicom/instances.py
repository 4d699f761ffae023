"""Single instances of DICOM, as the network sends and takes them: to which study and patient they belong."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.base.errors import UserError
from autoseg.formats.dicom.slices import pydicom_for

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64  # characters (DICOM PS3.5, 9.1)
_TAGS = ["PatientID", "StudyInstanceUID", "StudyDescription", "SOPClassUID", "SOPInstanceUID"]


@dataclass(frozen=True)
class InstanceFacts:
    """What an instance says of itself; texts are empty where it does not say."""

    patient: str
    study: str
    study_description: str
    sop_class: str
    sop_instance: str
    transfer_syntax: str


def is_uid(text: str) -> bool:
    """Whether a text is a unique identifier of DICOM: numbers with dots between. Nothing else enters an address.

    >>> is_uid("1.2.840.10008"), is_uid("1.2/../3"), is_uid("1..2")
    (True, False, False)
    """
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def facts_of_instance(path: Path) -> InstanceFacts:
    """What the header of a file says. Raises UserError where it is no DICOM file, or one without a valid study."""
    pydicom = pydicom_for(path)
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
        patient, study, description, sop_class, sop_instance = (str(header.get(tag) or "") for tag in _TAGS)
        syntax = str(header.file_meta.get("TransferSyntaxUID", ""))
    except Exception as error:  # pydicom raises what it likes for damaged files
        raise UserError("an instance is not DICOM that can be read", found=type(error).__name__) from None
    facts = InstanceFacts(patient, study, description, sop_class, sop_instance, syntax)
    if not is_uid(facts.study):
        raise UserError("an instance names no valid study", expected="a StudyInstanceUID of numbers and dots")
    return facts


def read_instance(path: Path) -> Any:
    """A file as a pydicom dataset with its voxels. Raises UserError where it is no DICOM file."""
    pydicom = pydicom_for(path)
    try:
        return pydicom.dcmread(path)
    except Exception as error:
        raise UserError("an instance is not DICOM that can be read", found=type(error).__name__) from None
