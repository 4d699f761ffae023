"""The packages of the extra `dicom`, which are imported when a file needs them."""

from pathlib import Path
from typing import Any

from autoseg.base.errors import UserError

INSTALL = "pip install 'autoseg-pipeline[dicom]'"


def imported_pydicom(where: Path) -> Any:
    """The package pydicom; a UserError of a file where it is not installed."""
    try:
        import pydicom
    except ImportError:
        raise UserError("the file is DICOM, and the package pydicom is not installed", where=where, do=INSTALL) from None
    return pydicom


def imported_highdicom(where: Path) -> Any:
    """The package highdicom; a UserError of a file where it is not installed."""
    try:
        import highdicom
        import highdicom.seg
    except ImportError:
        raise UserError("the file shall be a DICOM segmentation, and the package highdicom is not installed", where=where,
                        do=INSTALL) from None
    return highdicom
