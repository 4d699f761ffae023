"""Binary segmentations of DICOM (SEG), as far as recipes need it. pydicom reads them (extra `dicom`)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.base.errors import UserError, listed
from autoseg.formats.dicom import Stack
from autoseg.formats.door import reading

_SAME_PLACE_MM = 0.1


@dataclass(frozen=True)
class Segment:
    """One frame of a segmentation: the segment's name in lower case, the slice's place, the image that it was drawn on."""

    name: str
    position_mm: tuple[float, float, float]
    source: str  # SOPInstanceUID; empty: not said
    mask_HW: np.ndarray


@dataclass(frozen=True)
class Segmentation:
    """A file of segments. `series` are the series that it says it was drawn on."""

    path: Path
    series: tuple[str, ...]
    frames: tuple[Segment, ...]

    def choose(self, stacks: Sequence[Stack]) -> Stack:
        """The volume that it was drawn on: the one with most of the slices that its frames name, else of its series, else
        with slices at its places. Raises UserError where there is none.
        """
        sources = {frame.source for frame in self.frames} - {""}
        votes = Counter({number: len(sources & {part.uid for part in stack.slices}) for number, stack in enumerate(stacks)})
        if not any(votes.values()):
            votes = Counter({number: sum(_slice_at(stack, frame.position_mm) is not None for frame in self.frames)
                             for number, stack in enumerate(stacks)
                             if not self.series or stack.slices[0].series in self.series})
        best = votes.most_common(2)
        if not best or not best[0][1]:
            raise UserError("the series that the segmentation was drawn on is not here", where=self.path,
                            found=f"{len(stacks)} volumes", expected=f"series {listed(self.series) or 'not said'}",
                            do="download this series, too")
        if len(best) > 1 and best[0][1] == best[1][1]:
            raise UserError("the segmentation fits two volumes alike", where=self.path,
                            found=f"{stacks[best[0][0]].name}; {stacks[best[1][0]].name}")
        return stacks[best[0][0]]

    def label_DHW(self, stack: Stack, shape: tuple[int, int, int], values: Mapping[str, int]) -> np.ndarray:
        """The label map on the grid of a volume (z, y, x); segments without a value are left out, and of two that overlap
        the later one of `values` is kept. Raises UserError where no segment is known, or a frame lies on no slice.
        """
        known = {frame.name for frame in self.frames}
        if not known & set(values):
            raise UserError("no segment is known", where=self.path, found=listed(sorted(known)), expected=listed(values))
        label = np.zeros(shape, np.int16)
        for name, value in values.items():
            for frame in self.frames:
                if frame.name == name:
                    at = _slice_at(stack, frame.position_mm)
                    if at is None or frame.mask_HW.shape != shape[1:]:
                        raise UserError("a frame of the segmentation lies on no slice of its series", where=self.path,
                                        found=f"{name}, position {frame.position_mm}, {frame.mask_HW.shape} pixels",
                                        expected=f"{shape[1:]} pixels")
                    label[at][frame.mask_HW] = value
        return label


def read_segmentation(path: Path) -> Segmentation:
    """The segments of a file. Raises UserError where pydicom is missing, or the file is no segmentation of bits."""
    try:
        import pydicom
    except ImportError:
        raise UserError("this dataset has its labels as DICOM-SEG, and the package pydicom is not installed", where=path,
                        do="pip install 'autoseg-pipeline[dicom]'") from None
    with reading(path):
        file: Any = pydicom.dcmread(path)
        if getattr(file, "Modality", "") != "SEG":
            raise UserError("the file is no DICOM segmentation", where=path, found=getattr(file, "Modality", "no modality"))
        if (kind := getattr(file, "SegmentationType", "BINARY")) != "BINARY":
            raise UserError("the segmentation does not hold bits", where=path, found=kind, expected="BINARY",
                            do="export it as a binary segmentation")
        names = {int(segment.SegmentNumber): str(segment.SegmentLabel).strip().lower() for segment in file.SegmentSequence}
        masks_NHW = np.asarray(file.pixel_array).astype(bool).reshape(-1, file.Rows, file.Columns)
        shared = getattr(file, "SharedFunctionalGroupsSequence", [None])[0]
        frames = tuple(_frame(group, shared, names, mask_HW) for group, mask_HW in
                       zip(file.PerFrameFunctionalGroupsSequence, masks_NHW, strict=True))
        series = tuple(str(item.SeriesInstanceUID) for item in getattr(file, "ReferencedSeriesSequence", []))
    return Segmentation(path, series, frames)


def _frame(group: Any, shared: Any, names: Mapping[int, str], mask_HW: np.ndarray) -> Segment:
    number = _of_either(group, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber
    x, y, z = (float(value) for value in _of_either(group, shared, "PlanePositionSequence").ImagePositionPatient)
    source = ""
    if getattr(group, "DerivationImageSequence", None):
        images = getattr(group.DerivationImageSequence[0], "SourceImageSequence", None)
        source = str(images[0].ReferencedSOPInstanceUID) if images else ""
    return Segment(names[int(number)], (x, y, z), source, mask_HW)


def _of_either(group: Any, shared: Any, name: str) -> Any:
    """What is said of a frame, else of all frames."""
    return (getattr(group, name, None) or getattr(shared, name))[0]


def _slice_at(stack: Stack, position_mm: tuple[float, float, float]) -> int | None:
    """The number of the slice at a position; None where there is none."""
    distances = np.linalg.norm(np.array([part.position_mm for part in stack.slices]) - position_mm, axis=1)
    at = int(distances.argmin())
    return at if distances[at] < _SAME_PLACE_MM else None
