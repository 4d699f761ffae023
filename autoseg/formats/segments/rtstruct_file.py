"""Structures of an RTSTRUCT (PS3.3 A.19.3) as masks on the grid of the series that they were drawn on. pydicom reads them.

Contours lie in planes of slices. They are filled as planning systems do: a voxel belongs to a structure if its centre lies
within an odd number of the closed contours of its slice, so that a contour within another is a hole (`grids/polygons.py`).
"""

import logging
import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.base.errors import UserError, listed
from autoseg.formats.dicom.slices import pydicom_for
from autoseg.formats.dicom.stack import Stack
from autoseg.formats.door import reading, refuse_more_than_memory
from autoseg.formats.segments.headers import quiet
from autoseg.grids.geometry import Geometry
from autoseg.grids.polygons import filled
from autoseg.grids.transform import indices_of

logger = logging.getLogger(__name__)

# PS3.3 C.8.8.6.1; what is left encloses nothing.
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# Points lie on a slice within this share of the distance of slices: planning systems round to hundredths of a millimetre.
_ON_SLICE = 0.1


@dataclass(frozen=True)
class Structure:
    """A region of interest: its closed contours (N, 3; x, y, z in mm), and how many of other kinds were left out."""

    name: str
    contours_mm: tuple[np.ndarray, ...] = field(repr=False)
    left_out: int = 0


@dataclass(frozen=True)
class StructureSet:
    """A file of structures, with the series and the frames of reference that it names."""

    path: Path
    series: tuple[str, ...]
    frames_of_reference: tuple[str, ...]
    structures: tuple[Structure, ...]

    def refuse_other_series(self, stack: Stack) -> None:
        """A UserError where the structures were drawn on another series: by the series named, else by the frame of
        reference.
        """
        series, frame_of_reference = stack.facts.uid, stack.facts.frame_of_reference
        if self.series:
            is_other = series not in self.series
        else:
            is_other = bool(self.frames_of_reference and frame_of_reference) \
                and frame_of_reference not in self.frames_of_reference
        if is_other:
            raise UserError("the structures were drawn on another series", where=self.path,
                            found=f"series {listed(self.series) or 'not said'}, "
                                  f"frame of reference {listed(self.frames_of_reference) or 'not said'}",
                            expected=f"series {series}, frame of reference {frame_of_reference or 'not said'}",
                            do="name the series that they were drawn on, or the structures of this one")

    def masks_on(self, geometry: Geometry, only: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """The mask (z, y, x; bool) of each structure, or of `only` some, on the grid of a series.

        A structure without closed contours has an empty mask. Raises UserError where a contour lies off the slices, or a
        name of `only` is not known.
        """
        names = [structure.name for structure in self.structures]
        if only is not None and (unknown := sorted(set(only) - set(names))):
            raise UserError("the file has no such structure", where=self.path, found=listed(unknown),
                            expected=listed(sorted(names)))
        wanted = [structure for structure in self.structures if only is None or structure.name in only]
        refuse_more_than_memory(self.path, len(wanted) * math.prod(geometry.shape))
        return {structure.name: self._mask(structure, geometry) for structure in wanted}

    def _mask(self, structure: Structure, geometry: Geometry) -> np.ndarray:
        if structure.left_out:
            logger.warning("%s: %d contours of %s enclose nothing (points or open lines) and are left out", self.path,
                           structure.left_out, structure.name)
        planes: dict[int, dict[bytes, np.ndarray]] = defaultdict(dict)
        for contour_mm in structure.contours_mm:
            indices = indices_of(geometry, contour_mm)
            plane = round(float(np.median(indices[:, 0])))
            self._refuse_off_slice(structure.name, geometry, plane, indices[:, 0])
            planes[plane][contour_mm.tobytes()] = indices[:, :0:-1]  # drawn twice, it would be its own hole
        mask = np.zeros(geometry.shape, bool)
        for plane, contours in planes.items():
            mask[plane] = filled(contours.values(), geometry.shape[1:])
        if len(planes) > 1 and not any(plane + 1 in planes for plane in planes):
            logger.warning("%s: %s has no contours on neighbouring slices, and no voxels between its contours", self.path,
                           structure.name)
        return mask

    def _refuse_off_slice(self, name: str, geometry: Geometry, plane: int, planes: np.ndarray) -> None:
        """A UserError where points do not lie on one slice; it says how far in mm."""
        nearest = min(max(plane, 0), geometry.shape[0] - 1)
        off_mm = float(np.abs(planes - nearest).max()) * geometry.spacing_mm[0]
        if off_mm > _ON_SLICE * geometry.spacing_mm[0]:
            raise UserError("a contour lies off the slices of the series", where=self.path,
                            found=f"{name}, up to {off_mm:.3g} mm from slice {nearest + 1} of {geometry.shape[0]}, the "
                                  "nearest",
                            expected=f"at most {_ON_SLICE * geometry.spacing_mm[0]:.2g} mm",
                            do="name the series that it was drawn on, with all its slices")


@quiet()
def read_structures(path: Path) -> StructureSet:
    """The structures of a file, in its order. Raises UserError where pydicom is missing, the file is no RTSTRUCT or two
    structures have one name.
    """
    pydicom = pydicom_for(path)
    with reading(path):
        file: Any = pydicom.dcmread(path)
        if getattr(file, "Modality", "") != "RTSTRUCT":
            raise UserError("the file is no RTSTRUCT", where=path, found=getattr(file, "Modality", "no modality"))
        contours = {int(roi.ReferencedROINumber): getattr(roi, "ContourSequence", None) or []
                    for roi in getattr(file, "ROIContourSequence", None) or []}
        regions = getattr(file, "StructureSetROISequence", None) or []
        structures = tuple(_structure(str(roi.ROIName).strip(), contours.get(int(roi.ROINumber), [])) for roi in regions)
        names = [structure.name for structure in structures]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UserError("several structures have one name", where=path, found=listed(twice),
                            do="rename one of them in the planning system")
        frames = tuple(dict.fromkeys(str(roi.ReferencedFrameOfReferenceUID) for roi in regions
                                     if getattr(roi, "ReferencedFrameOfReferenceUID", "")))
        return StructureSet(path, referenced_series(file), frames, structures)


def _structure(name: str, contours: Sequence[Any]) -> Structure:
    closed = [points_mm for contour in contours
              if contour.ContourGeometricType in _CLOSED and len(points_mm := _points(contour)) > 2]
    return Structure(name, tuple(closed), len(contours) - len(closed))


def _points(contour: Any) -> np.ndarray:
    """The points (N, 3) of a contour, from the text in the file: to make an object of each number takes a second per MB."""
    raw = contour.get_item("ContourData").value
    values = raw.decode("ascii").strip("\0 ").split("\\") if isinstance(raw, bytes) else raw
    points_mm = np.array(values, float).reshape(-1, 3)
    if not np.isfinite(points_mm).all():
        raise ValueError("contour data that are no finite numbers")
    return points_mm


def referenced_series(file: Any) -> tuple[str, ...]:
    """The series that the structures of a file were drawn on, of all its frames of reference (PS3.3 C.8.8.5)."""
    return tuple(str(series.SeriesInstanceUID)
                 for frame in getattr(file, "ReferencedFrameOfReferenceSequence", None) or []
                 for study in getattr(frame, "RTReferencedStudySequence", None) or []
                 for series in getattr(study, "RTReferencedSeriesSequence", None) or [])
