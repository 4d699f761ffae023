"""Masks in DICOM: segmentations (SEG) and structure sets (RTSTRUCT), on the grid of the series that they were drawn on."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from autoseg.formats.dicom.stack import Stack
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
    segmentation.refuse_other_series(stack)
    return masks_on(segmentation, stack.geometry(), only)


def read_rtstruct(path: Path, stack: Stack, only: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The masks (z, y, x; bool) of an RTSTRUCT by the names of its structures, or of `only` some, on the grid that
    `Stack.read` gives.

    Structures may overlap. Raises UserError where they were drawn on another series, or a contour lies off the slices.
    """
    structures = read_structures(path)
    structures.refuse_other_series(stack)
    return structures.masks_on(stack.geometry(), only)
