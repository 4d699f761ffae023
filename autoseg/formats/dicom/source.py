"""A volume of a DICOM series as an image source."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.formats.dicom.stack import Stack
from autoseg.formats.registry import Header
from autoseg.formats.results import DicomResults
from autoseg.formats.segments.writer import DicomWriter
from autoseg.formats.source import FileWriter, ResultWriter
from autoseg.grids.geometry import Geometry


@dataclass(frozen=True)
class DicomSource:
    """One volume of a series. Its slices in order are `stack.slices`."""

    stack: Stack

    @property
    def path(self) -> Path:
        """What messages name: no file, but the folder of the slices with the name of the volume."""
        facts, phase = self.stack.facts, f", {self.stack.phase}" if self.stack.phase else ""
        return self.stack.slices[0].path.parent / f"series {facts.number or '?'} ({facts.uid}{phase})".replace("/", "_")

    def files(self) -> list[Path]:
        return list(dict.fromkeys(part.path for part in self.stack.slices))

    def header(self) -> Header:
        odd = (*self.stack.remarks, *self.stack.doubts)
        return Header(self.stack.geometry(), 1, tuple(f"{self.path}: {remark}" for remark in odd))

    def read(self) -> tuple[np.ndarray, Geometry]:
        return self.stack.read()

    @property
    def is_dicom(self) -> bool:
        return True

    def writer(self, geometry: Geometry, dicom: DicomResults | None = None) -> ResultWriter:
        return FileWriter(geometry) if dicom is None else DicomWriter(self.stack, geometry, dicom)
