"""Patients as DICOM with structures, of what `dicom_studies` writes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dicom_studies import ORIGIN, PLAIN, SPACING, STUDY, item, save, truth, write_series

Contour = list[float]


def square(y0: float, y1: float, x0: float, x1: float, k: int, *, spacing_mm: Sequence[float] = SPACING) -> Contour:
    """A rectangle on slice k around the pixels y0 to y1 and x0 to x1, with the last ones, of the grid of `write_series`: its
    edges lie half a pixel outside. Points are x, y, z in mm.
    """
    corners = [(x0 - 0.5, y0 - 0.5), (x1 + 0.5, y0 - 0.5), (x1 + 0.5, y1 + 0.5), (x0 - 0.5, y1 + 0.5)]
    return [float(value) for x, y in corners
            for value in (ORIGIN[0] + x * spacing_mm[2], ORIGIN[1] + y * spacing_mm[1], ORIGIN[2] + k * spacing_mm[0])]


def write_structures(path: Path, structures: Mapping[str, Sequence[Contour]], *, study: str = STUDY, series: int = 1,
                     number: int = 80, patient: str = "P1", date: str = "20200103") -> Path:
    """An RTSTRUCT that was drawn on a series of a study."""
    frame = f"{study}.0"
    referenced = item(SeriesInstanceUID=f"{study}.{series}", ContourImageSequence=[])
    file = item(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", SOPInstanceUID=f"{study}.{number}.1", StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.{number}", SeriesNumber=number, Modality="RTSTRUCT", PatientID=patient,
        PatientName=f"Name^{patient}", StudyDate="20200102", StructureSetLabel="RS", StructureSetDate=date,
        StructureSetTime="120000", FrameOfReferenceUID=frame,
        ReferencedFrameOfReferenceSequence=[item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[
            item(ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID=study,
                 RTReferencedSeriesSequence=[referenced])])],
        StructureSetROISequence=[item(ROINumber=n, ReferencedFrameOfReferenceUID=frame, ROIName=name,
                                      ROIGenerationAlgorithm="") for n, name in enumerate(structures, start=1)],
        ROIContourSequence=[item(ReferencedROINumber=n, ContourSequence=[
            item(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=len(points) // 3, ContourData=points)
            for points in contours]) for n, contours in enumerate(structures.values(), start=1)])
    file.ensure_file_meta()
    file.file_meta.TransferSyntaxUID = PLAIN
    return save(file, path)


def write_patient(folder: Path, patient: str, *, number: int = 1, structures: Mapping[str, Sequence[Contour]] | None = None,
                  mr: bool = False, seed: int = 0, **changes: Any) -> str:
    """A study of a CT (and a coarser MR) with a tumour on slices 1 and 2; its UID. `number` tells studies apart."""
    study = f"{STUDY}.{int.from_bytes(patient.encode(), 'big')}.{number}"
    common = {"study": study, "patient": patient, **changes}
    write_series(folder / "scan", truth(seed), series=1, description="CT venous", **common)
    if mr:
        write_series(folder / "other", np.abs(truth(seed + 1, (3, 4, 5))), series=2, modality="MR", description="T1",
                     spacing_mm=(5.0, 1.5, 1.0), **common)
    drawn = {"GTV": [square(2, 4, 3, 6, k) for k in (1, 2)]} if structures is None else structures
    if drawn:
        write_structures(folder / "RS.dcm", drawn, study=study, patient=patient)
    return study
