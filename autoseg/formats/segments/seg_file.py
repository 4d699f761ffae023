"""A DICOM segmentation (SEG, PS3.3 A.51) as it lies in its file: segments, and frames with a place in the patient.

pydicom reads it (extra `dicom`). What is said of all frames (shared functional groups) or of each one (per frame) is
understood. Voxels of a fractional segmentation belong to a segment from half of the largest value on: a probability of at
least 0.5, or a voxel that is at least half occupied.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.base.errors import UserError, listed
from autoseg.formats.dicom.slices import pydicom_for
from autoseg.formats.dicom.stack import Stack
from autoseg.formats.door import reading
from autoseg.formats.segments.headers import quiet

_SAME_PLACE_MM = 0.1
_LABELMAP = "LABELMAP"
_KINDS = ("BINARY", "FRACTIONAL", _LABELMAP)


@dataclass(frozen=True)
class Frame:
    """One segment in one plane: the world position of its first pixel and the steps to the next row and column, x, y, z in
    mm.

    `source` is the image that it was drawn on (SOPInstanceUID; empty: not said), `number` that of the frame in the file.
    """

    segment: int
    number: int
    position_mm: np.ndarray
    row_step_mm: np.ndarray
    column_step_mm: np.ndarray
    source: str


@dataclass(frozen=True)
class Segmentation:
    """A file of segments. `series` are those that it says it was drawn on; `frame_of_reference` may be empty."""

    path: Path
    series: tuple[str, ...]
    frame_of_reference: str
    names: Mapping[int, str]  # of the segments, by number
    frames: tuple[Frame, ...]
    spacing_mm: float | None  # between slices, where the file says it
    kind: str
    file: Any = field(repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.file.Rows), int(self.file.Columns)

    def pixels_HW(self, number: int) -> np.ndarray:
        """The pixels of a frame of the file: bool, or in a label map the numbers of segments."""
        from pydicom import pixels

        with reading(self.path):
            if self.file.BitsAllocated == 1 and not self.file.file_meta.TransferSyntaxUID.is_compressed:
                return self._bits_HW(number)
            values_HW = pixels.pixel_array(self.file, index=number)
        if self.kind == "FRACTIONAL":
            return np.asarray(values_HW >= int(self.file.MaximumFractionalValue) / 2)
        return np.asarray(values_HW if self.kind == _LABELMAP else values_HW > 0)

    def mask_HW(self, frame: Frame, pixels_HW: np.ndarray) -> np.ndarray:
        """The mask of a segment in the pixels of its frame."""
        return pixels_HW == frame.segment if self.kind == _LABELMAP else pixels_HW

    def choose(self, stacks: Sequence[Stack]) -> Stack:
        """The volume that it was drawn on: the one with most of the slices that its frames name, else of its series, else
        with slices at its places. Raises UserError where there is none.
        """
        sources = {frame.source for frame in self.frames} - {""}
        votes = Counter({number: len(sources & {part.uid for part in stack.slices}) for number, stack in enumerate(stacks)})
        if not any(votes.values()):
            votes = Counter({number: sum(_is_on_a_slice(stack, frame.position_mm) for frame in self.frames)
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

    def refuse_other_series(self, stack: Stack) -> None:
        """A UserError where it says that it was drawn on other images than those of a volume.

        What its frames name decides, else the series that it names, else the frame of reference.
        """
        frame_of_reference = stack.facts.frame_of_reference
        sources = {frame.source for frame in self.frames} - {""}
        if sources:
            is_other = not sources & {part.uid for part in stack.slices}
        elif self.series:
            is_other = stack.slices[0].series not in self.series
        else:
            is_other = bool(self.frame_of_reference and frame_of_reference) and self.frame_of_reference != frame_of_reference
        if is_other:
            said = f"series {listed(self.series)}" if self.series else f"frame of reference {self.frame_of_reference}"
            raise UserError("the segmentation was drawn on another series", where=self.path, found=said,
                            expected=f"{stack.name}, frame of reference {frame_of_reference or 'not said'}",
                            do="name the series that it was drawn on, or the segmentation of this one")

    def _bits_HW(self, number: int) -> np.ndarray:
        """A frame of single bits; frames follow each other without padding (PS3.5 8.1.1)."""
        height, width = self.shape
        first = number * height * width
        block = np.frombuffer(self.file.PixelData, np.uint8)[first // 8:(first + height * width + 7) // 8]
        bits = np.unpackbits(block, bitorder="little")[first % 8:first % 8 + height * width]
        return bits.reshape(height, width).astype(bool)


@quiet()
def read_segmentation(path: Path) -> Segmentation:
    """The segments of a file; voxels are decoded when they are asked for.

    Raises UserError where pydicom is missing, the file is no segmentation, or its frames have no place in the patient.
    """
    pydicom = pydicom_for(path)
    with reading(path):
        file: Any = pydicom.dcmread(path)
        if getattr(file, "Modality", "") != "SEG":
            raise UserError("the file is no DICOM segmentation", where=path, found=getattr(file, "Modality", "no modality"))
        kind = str(getattr(file, "SegmentationType", "BINARY"))
        if kind not in _KINDS:
            raise UserError("the kind of the segmentation is not known", where=path, found=kind, expected=listed(_KINDS))
        names = {int(segment.SegmentNumber): str(segment.SegmentLabel).strip() for segment in file.SegmentSequence
                 if int(segment.SegmentNumber) > 0}  # 0 is the background of a label map
        shared = (getattr(file, "SharedFunctionalGroupsSequence", None) or [pydicom.Dataset()])[0]
        frames, spacing_mm = [], None
        for number, group in enumerate(file.PerFrameFunctionalGroupsSequence):
            measures = _said(path, group, shared, "PixelMeasuresSequence")
            if "SpacingBetweenSlices" in measures:
                spacing_mm = float(measures.SpacingBetweenSlices)
            segments = names if kind == _LABELMAP else [
                int(_said(path, group, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber)]
            frames += [_frame(path, group, shared, (segment, number)) for segment in segments]
        series = tuple(str(item.SeriesInstanceUID) for item in getattr(file, "ReferencedSeriesSequence", []))
        if unknown := sorted({frame.segment for frame in frames} - set(names)):
            raise UserError("frames name segments that the file does not describe", where=path, found=listed(unknown),
                            expected=listed(sorted(names)))
    return Segmentation(path, series, str(getattr(file, "FrameOfReferenceUID", "")), names, tuple(frames), spacing_mm, kind,
                        file)


def _frame(path: Path, group: Any, shared: Any, segment_and_number: tuple[int, int]) -> Frame:
    position = np.array(_said(path, group, shared, "PlanePositionSequence").ImagePositionPatient, float)
    orientation = np.array(_said(path, group, shared, "PlaneOrientationSequence").ImageOrientationPatient, float)
    spacing = [float(mm) for mm in _said(path, group, shared, "PixelMeasuresSequence").PixelSpacing]
    if not (np.isfinite([*position, *orientation, *spacing]).all() and min(spacing) > 0):
        raise UserError("a frame lies at no place in the patient", where=path,
                        found=f"position {listed(position)}, spacing {listed(spacing)}",
                        expected="finite numbers of millimetres")
    source = ""
    if getattr(group, "DerivationImageSequence", None):
        images = getattr(group.DerivationImageSequence[0], "SourceImageSequence", None)
        source = str(images[0].ReferencedSOPInstanceUID) if images else ""
    return Frame(*segment_and_number, position, orientation[3:] * spacing[0], orientation[:3] * spacing[1], source)


def _said(path: Path, group: Any, shared: Any, name: str) -> Any:
    """What is said of a frame, else of all frames."""
    items = getattr(group, name, None) or getattr(shared, name, None)
    if not items:
        raise UserError("the segmentation does not say where its frames lie in the patient", where=path,
                        found=f"no {name}", expected="a segmentation of slices with positions")
    return items[0]


def _is_on_a_slice(stack: Stack, position_mm: np.ndarray) -> bool:
    distances = np.linalg.norm(np.array([part.position_mm for part in stack.slices]) - position_mm, axis=1)
    return bool(distances.min() < _SAME_PLACE_MM)
