"""Results of a volume of DICOM as objects that refer to its series."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.formats.dicom.stack import Stack
from autoseg.formats.results import DicomResults, is_dicom_name
from autoseg.formats.segments.rtstruct_write import write_rtstruct
from autoseg.formats.segments.seg_write import write_fractions, write_seg
from autoseg.formats.source import FileWriter
from autoseg.grids.geometry import Geometry


@dataclass(frozen=True)
class DicomWriter:
    """Writes labels as SEG or RTSTRUCT, and arrays as files of their own, but for the probabilities beside a SEG."""

    stack: Stack
    geometry: Geometry
    results: DicomResults

    def write_label(self, path: Path, label_DHW: np.ndarray) -> None:
        write = write_seg if self.results.kind == "seg" else write_rtstruct
        write(path, label_DHW, self.stack, self.geometry, self.results)

    def write_array(self, path: Path, array_CDHW: np.ndarray) -> None:
        if is_dicom_name(path.name):
            write_fractions(path, array_CDHW, self.stack, self.geometry, self.results)
        else:
            FileWriter(self.geometry).write_array(path, array_CDHW)
