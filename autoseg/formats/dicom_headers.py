"""Texts of a DICOM header, by keyword."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoseg.formats.door import reading


def read_header_texts(path: Path, keywords: Sequence[str]) -> dict[str, str]:
    """The first value of each keyword as text, empty where the file has none. Raises UserError where it is no DICOM."""
    import pydicom

    with reading(path):
        file: Any = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(keywords))
        return {keyword: _text(file.get(keyword)) for keyword in keywords}


def _text(value: Any) -> str:
    import pydicom

    if isinstance(value, pydicom.multival.MultiValue):
        value = value[0] if len(value) else ""
    return "" if value is None else str(value).strip()
