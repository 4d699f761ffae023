"""Series of DICOM as volumes, in mm of the patient (LPS). Headers and voxels are read by pydicom (extra `dicom`)."""

from autoseg.formats.dicom.find import FolderContent, Refused, find_all, find_stacks, is_dicom, series_of_file
from autoseg.formats.dicom.slices import OtherFile, Series, Slice, share_a_frame
from autoseg.formats.dicom.source import DicomSource
from autoseg.formats.dicom.stack import Stack

__all__ = ["DicomSource", "FolderContent", "OtherFile", "Refused", "Series", "Slice", "Stack", "find_all", "find_stacks",
           "is_dicom", "series_of_file", "share_a_frame"]
