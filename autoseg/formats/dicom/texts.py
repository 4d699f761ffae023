"""Texts of a DICOM header, by keyword."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoseg.formats.dicom.slices import pydicom_for
from autoseg.formats.door import reading


def read_header_texts(path: Path, keywords: Sequence[str]) -> dict[str, str]:
    """The first value of each keyword as text, empty where the file has none. Raises UserError where it is no DICOM."""
    pydicom = pydicom_for(path)
    with reading(path):
        file: Any = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(keywords))
        return {keyword: _text(file.get(keyword)) for keyword in keywords}


def _text(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else ""
    return "" if value is None else str(value).strip()
