"""Label maps as structure sets (RTSTRUCT, PS3.3 A.19.3); pydicom writes them (extra `dicom`).

Contours run along the edges of voxels: every centre is half a voxel from them, so that whoever fills them gets the same
mask, and the area that they enclose is that of the voxels. See docs/decisions/0049-contours-along-voxel-edges.md.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.base.version import __version__
from autoseg.formats.dicom.slices import pydicom_for
from autoseg.formats.dicom.stack import Stack
from autoseg.formats.results import DicomResults
from autoseg.formats.segments.concepts import SCHEME, concept_of
from autoseg.formats.segments.headers import (
    CHARACTER_SET,
    MAKER,
    colours,
    quiet,
    series_description,
    series_number,
    source_headers,
    text,
)
from autoseg.grids.geometry import Geometry
from autoseg.grids.polygons import outlines
from autoseg.grids.transform import points_of
from autoseg.workspace.files import write_atomically

_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.1"  # retired, and what planning systems expect of a referenced study
_DECIMALS = 6  # of millimetres; a decimal string has at most 16 characters (PS3.5 6.2)
# Contour data may be longer than the 64 KiB that explicit lengths of decimal strings allow (PS3.5 7.1.2).
_IMPLICIT = "1.2.840.10008.1.2"
# What the patient, the study and the frame of reference of the source say (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2, C.7.4.1).
_COPIED = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
           "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
           "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
           "ReferringPhysicianName", "FrameOfReferenceUID", "PositionReferenceIndicator")


@quiet()
def write_rtstruct(path: Path, label_DHW: np.ndarray, stack: Stack, geometry: Geometry, results: DicomResults) -> None:
    """Write a label map (z, y, x) on a grid as a structure set of a series, a structure for each; atomically.

    Structures may overlap. What is read again is the same mask.
    """
    pydicom = pydicom_for(path)
    headers = source_headers(stack)
    file = _structure_set(pydicom, headers[0], results)
    images = [_item(pydicom, ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)
              for header in headers]
    file.ReferencedFrameOfReferenceSequence = [_item(
        pydicom, FrameOfReferenceUID=file.FrameOfReferenceUID, RTReferencedStudySequence=[_item(
            pydicom, ReferencedSOPClassUID=_STUDY_COMPONENT, ReferencedSOPInstanceUID=file.StudyInstanceUID,
            RTReferencedSeriesSequence=[_item(pydicom, SeriesInstanceUID=headers[0].SeriesInstanceUID,
                                              ContourImageSequence=images)])])]
    classes = {str(header.SOPInstanceUID): header.SOPClassUID for header in headers}
    planes = [_image(pydicom, classes[part.uid], part) for part in stack.slices]
    present = [set(np.flatnonzero(np.bincount(label_HW.ravel())).tolist()) for label_HW in label_DHW]
    file.StructureSetROISequence, file.ROIContourSequence, file.RTROIObservationsSequence = [], [], []
    for number, (name, colour) in enumerate(zip(results.structures, colours(len(results.structures)), strict=True), start=1):
        file.StructureSetROISequence.append(_item(
            pydicom, ROINumber=number, ReferencedFrameOfReferenceUID=file.FrameOfReferenceUID, ROIName=text(name),
            ROIGenerationAlgorithm="AUTOMATIC", ROIGenerationDescription=text(f"{MAKER} {__version__}")))
        outlined = enumerate(_contours(label_DHW, present, results.structures[name], geometry), start=1)
        contours = [_item(pydicom, ContourImageSequence=[planes[plane]], ContourGeometricType="CLOSED_PLANAR",
                          NumberOfContourPoints=len(points_mm), ContourNumber=k, ContourData=_decimals(points_mm))
                    for k, (plane, points_mm) in outlined]
        file.ROIContourSequence.append(_item(pydicom, ROIDisplayColor=list(colour), ReferencedROINumber=number,
                                             **({"ContourSequence": contours} if contours else {})))
        file.RTROIObservationsSequence.append(_observation(pydicom, number, name))
    write_atomically(path, lambda temporary: file.save_as(temporary, enforce_file_format=True))


def _contours(label_DHW: np.ndarray, present: Sequence[set[int]], values: tuple[int, ...], geometry: Geometry
              ) -> Iterator[tuple[int, np.ndarray]]:
    """The slice and the points (N, 3; x, y, z in mm) of each contour of a structure. `present` are the values of each slice.
    """
    for plane, label_HW in enumerate(label_DHW):
        if present[plane].isdisjoint(values):
            continue
        for polygon in outlines(np.isin(label_HW, values)):
            yield plane, points_of(geometry, np.column_stack([np.full(len(polygon), plane), polygon[:, ::-1]]))


def _structure_set(pydicom: Any, source: Any, results: DicomResults) -> Any:
    """The modules of a structure set up to its contours; patient, study and frame of reference are those of the source."""
    now = datetime.now()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    meta = pydicom.dataset.FileMetaDataset()
    uid = pydicom.uid.generate_uid()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = _STRUCTURE_SET, uid, _IMPLICIT
    file = _item(
        pydicom, SpecificCharacterSet=CHARACTER_SET, SOPClassUID=_STRUCTURE_SET, SOPInstanceUID=uid, Modality="RTSTRUCT",
        InstanceCreationDate=date, InstanceCreationTime=time, SeriesInstanceUID=pydicom.uid.generate_uid(),
        SeriesNumber=series_number(source), SeriesDescription=series_description(results.model), SeriesDate=date,
        SeriesTime=time, OperatorsName="", Manufacturer=MAKER, ManufacturerModelName=MAKER, SoftwareVersions=__version__,
        StructureSetLabel="AUTOSEG", StructureSetName=series_description(results.model), StructureSetDate=date,
        StructureSetTime=time, PositionReferenceIndicator="", InstanceNumber=1, ApprovalStatus="UNAPPROVED")
    if results.identity:
        file.DeviceSerialNumber = text(results.identity)
    for name in _COPIED:
        if name in source:
            setattr(file, name, getattr(source, name))
    file.file_meta = meta
    return file


def _observation(pydicom: Any, number: int, name: str) -> Any:
    kind = concept_of(name).kind
    return _item(pydicom, ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType="", ROIInterpreter="",
                 RTROIIdentificationCodeSequence=[_item(pydicom, CodeValue=kind.value, CodingSchemeDesignator=SCHEME,
                                                        CodeMeaning=kind.meaning)])


def _image(pydicom: Any, sop_class: str, part: Any) -> Any:
    image = _item(pydicom, ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=part.uid)
    if part.frame is not None:
        image.ReferencedFrameNumber = part.frame + 1
    return image


def _decimals(points_N3_mm: np.ndarray) -> list[str]:
    return [f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".") for value in points_N3_mm.ravel().tolist()]


def _item(pydicom: Any, **values: Any) -> Any:
    item = pydicom.Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item
