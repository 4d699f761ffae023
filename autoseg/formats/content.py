"""What a file from a client is by its first bytes, whatever its name says."""

from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.formats.detached import holds_voxels
from autoseg.formats.inflate import first_bytes, is_gzip

ZIP = ".zip"
_MOST_HEADER = 544  # NIfTI-2 has the longest beginning that is looked at
_NRRD, _ZIP = b"NRRD000", b"PK\x03\x04"
_NIFTI = {1: (slice(344, 348), b"n+1\0"), 2: (slice(4, 12), b"n+2\0\r\n\032\n")}
_DICOM_AT, _DICOM = 128, b"DICM"
_META_KEYS = (b"objecttype", b"ndims", b"comment", b"binarydata", b"dimsize", b"elementtype")  # that a MetaImage begins with


def ending_of_content(path: Path) -> str:
    """`.nii`, `.nii.gz`, `.nrrd`, `.mha`, `.dcm` or `.zip`; empty for anything else, also for headers without voxels,
    which name other files of this machine.
    """
    try:
        start = first_bytes(path, _MOST_HEADER)
    except UserError:  # a damaged gzip
        return ""
    is_packed = is_gzip(path)
    if any(start[place] == magic for place, magic in _NIFTI.values()):
        return ".nii.gz" if is_packed else ".nii"
    if is_packed:
        return ""
    if start.startswith(_NRRD):
        return ".nrrd" if holds_voxels(path) else ""
    if start.startswith(_ZIP):
        return ZIP
    if start[_DICOM_AT:_DICOM_AT + len(_DICOM)] == _DICOM:
        return ".dcm"
    key, equals, _ = start.partition(b"\n")[0].partition(b"=")
    return ".mha" if equals and key.strip().lower() in _META_KEYS and holds_voxels(path) else ""
