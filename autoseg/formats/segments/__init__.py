"""Masks in DICOM: segmentations (SEG) and structure sets (RTSTRUCT), on the grid of the series that they were drawn on."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.formats.dicom.slices import pydicom_for
from autoseg.formats.dicom.stack import Stack
from autoseg.formats.door import reading
from autoseg.formats.segments.on_grid import label_on, masks_on, own_grid
from autoseg.formats.segments.rtstruct_file import StructureSet, read_structures
from autoseg.formats.segments.seg_file import Segmentation, read_segmentation

__all__ = ["Segmentation", "StructureSet", "label_on", "masks_on", "own_grid", "read_rtstruct", "read_segmentation",
           "read_segments", "read_structures"]


def read_segments(path: Path, stack: Stack, only: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The masks (z, y, x; bool) of a SEG by the names of its segments, or of `only` some, on the grid that `Stack.read`
    gives.

    Segments may overlap. Raises UserError where the file was drawn on another series or cannot be brought to this grid.
    """
    segmentation = read_segmentation(path)
    segmentation.refuse_other_series(stack, _frame_of_reference(stack))
    return masks_on(segmentation, stack.geometry(), only)


def read_rtstruct(path: Path, stack: Stack, only: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The masks (z, y, x; bool) of an RTSTRUCT by the names of its structures, or of `only` some, on the grid that
    `Stack.read` gives.

    Structures may overlap. Raises UserError where they were drawn on another series, or a contour lies off the slices.
    """
    structures = read_structures(path)
    structures.refuse_other_series(stack.slices[0].series, _frame_of_reference(stack))
    return structures.masks_on(stack.geometry(), only)


def _frame_of_reference(stack: Stack) -> str:
    path = stack.slices[0].path
    with reading(path):
        header: Any = pydicom_for(path).dcmread(path, stop_before_pixels=True, specific_tags=["FrameOfReferenceUID"])
    return str(getattr(header, "FrameOfReferenceUID", ""))
