"""Series of DICOM slices as volumes."""

from autoseg.formats.dicom.stacks import Slice, Stack, find_stacks, series_of_file

__all__ = ["Slice", "Stack", "find_stacks", "series_of_file"]
