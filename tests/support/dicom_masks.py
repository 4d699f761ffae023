"""Masks in DICOM as other programs write them: small SEG and RTSTRUCT files, written with pydicom alone."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.formats.dicom import Stack
from autoseg.grids.transform import points_of
from dicom_studies import PLAIN, STUDY, item

FRAME_OF_REFERENCE = f"{STUDY}.0"


@dataclass(frozen=True)
class Contour:
    """A contour: the number of its slice, from 0 and with fractions, and its points (x, y) in voxels."""

    plane: float
    points: Sequence[tuple[float, float]]
    kind: str = "CLOSED_PLANAR"


def square(low: float, high: float) -> list[tuple[float, float]]:
    """The corners of a square."""
    return [(low, low), (high, low), (high, high), (low, high)]


@contextmanager
def change(path: Path) -> Iterator[Any]:
    """A file of DICOM, which is written again at the end."""
    import pydicom

    file = pydicom.dcmread(path)
    yield file
    file.save_as(path)


def write_seg_file(path: Path, stack: Stack, masks: Mapping[str, np.ndarray]) -> Path:
    """A binary SEG of masks (z, y, x) on the slices of a stack; frames without a voxel are left out."""
    first = stack.slices[0]
    frames, groups = [], []
    for number, mask_DHW in enumerate(masks.values(), start=1):
        for k in np.flatnonzero(mask_DHW.any((1, 2))):
            frames.append(mask_DHW[k])
            groups.append(item(
                SegmentIdentificationSequence=[item(ReferencedSegmentNumber=number)],
                PlanePositionSequence=[item(ImagePositionPatient=list(stack.slices[k].position_mm))],
                DerivationImageSequence=[item(SourceImageSequence=[item(ReferencedSOPInstanceUID=stack.slices[k].uid)])]))
    file = item(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", SOPInstanceUID=f"{first.series}.900", Modality="SEG",
        SeriesInstanceUID=f"{first.series}.9", FrameOfReferenceUID=FRAME_OF_REFERENCE, SegmentationType="BINARY",
        Rows=frames[0].shape[0], Columns=frames[0].shape[1], NumberOfFrames=len(frames), BitsAllocated=1, BitsStored=1,
        HighBit=0, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", PixelRepresentation=0,
        SegmentSequence=[item(SegmentNumber=k, SegmentLabel=name) for k, name in enumerate(masks, start=1)],
        ReferencedSeriesSequence=[item(SeriesInstanceUID=first.series)],
        SharedFunctionalGroupsSequence=[item(
            PlaneOrientationSequence=[item(ImageOrientationPatient=list(first.orientation))],
            PixelMeasuresSequence=[item(PixelSpacing=list(first.spacing_mm), SliceThickness=1)])],
        PerFrameFunctionalGroupsSequence=groups)
    file.PixelData = np.packbits(np.array(frames).ravel(), bitorder="little").tobytes()
    return written(file, path)


def write_result(path: Path, stack: Stack, masks: Mapping[str, np.ndarray]) -> Path:
    """A binary SEG of masks as a whole instance of the study, which a server can file."""
    write_seg_file(path, stack, masks)
    with change(path) as file:
        file.StudyInstanceUID, file.PatientID = STUDY, "P1"
    return path


def as_label_map(path: Path) -> Path:
    """A binary SEG whose segments do not overlap, as a label map: a frame holds the numbers of all segments of a plane."""
    from autoseg.formats.segments import read_segmentation

    segmentation = read_segmentation(path)
    planes: dict[tuple[float, ...], np.ndarray] = {}
    for frame in segmentation.frames:
        plane_HW = planes.setdefault(tuple(frame.position_mm.tolist()), np.zeros(segmentation.shape, np.uint8))
        plane_HW[segmentation.pixels_HW(frame.number)] = frame.segment
    with change(path) as file:
        file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.7"
        file.SegmentationType, file.NumberOfFrames = "LABELMAP", len(planes)
        file.BitsAllocated = file.BitsStored = 8
        file.HighBit, file.PixelData = 7, np.array(list(planes.values())).tobytes()
        file.SegmentSequence.insert(0, item(SegmentNumber=0, SegmentLabel="Background"))
        file.PerFrameFunctionalGroupsSequence = [item(PlanePositionSequence=[item(ImagePositionPatient=list(position))])
                                                 for position in planes]
    return path


def write_structures(path: Path, stack: Stack, structures: Mapping[str, Sequence[Contour]]) -> Path:
    """An RTSTRUCT that was drawn on a stack."""
    first, grid = stack.slices[0], stack.geometry()

    def contour_item(contour: Contour) -> Any:
        indices = np.array([(contour.plane, y, x) for x, y in contour.points])
        return item(ContourGeometricType=contour.kind, NumberOfContourPoints=len(indices),
                    ContourData=[f"{value:.4f}" for value in points_of(grid, indices).ravel()])

    numbered = list(enumerate(structures.items(), start=1))
    file = item(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", SOPInstanceUID=f"{first.series}.901", Modality="RTSTRUCT",
        SeriesInstanceUID=f"{first.series}.8",
        ReferencedFrameOfReferenceSequence=[item(
            FrameOfReferenceUID=FRAME_OF_REFERENCE, RTReferencedStudySequence=[item(
                RTReferencedSeriesSequence=[item(SeriesInstanceUID=first.series)])])],
        StructureSetROISequence=[item(ROINumber=number, ROIName=name, ReferencedFrameOfReferenceUID=FRAME_OF_REFERENCE)
                                 for number, (name, _) in numbered],
        ROIContourSequence=[item(ReferencedROINumber=number, ContourSequence=[contour_item(contour) for contour in contours])
                            for number, (_, contours) in numbered])
    return written(file, path)


def written(file: Any, path: Path) -> Path:
    """Save with the meta information that a file needs."""
    from pydicom.dataset import FileMetaDataset

    file.file_meta = FileMetaDataset()
    file.file_meta.MediaStorageSOPClassUID, file.file_meta.MediaStorageSOPInstanceUID = file.SOPClassUID, file.SOPInstanceUID
    file.file_meta.TransferSyntaxUID = PLAIN
    file.save_as(path, enforce_file_format=True)
    return path
