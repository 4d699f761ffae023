"""Studies below a folder as cases: the series of each channel, structures, and what the headers say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError, as_fault, listed
from autoseg.formats.dicom import Stack, find_stacks
from autoseg.formats.dicom_headers import read_header_texts
from autoseg.formats.dicom_structures import KINDS, StructureHeader, read_structure_header
from autoseg.formats.files import list_tree
from autoseg.grids.geometry import Geometry
from autoseg.interop.dicom_dataset.attributes import KEYWORDS, Header


@dataclass(frozen=True)
class Volume:
    stack: Stack
    frame_of_reference: str

    @property
    def series(self) -> str:
        return self.stack.slices[0].series

    @property
    def identity(self) -> list[str]:
        return [part.uid for part in self.stack.slices]

    def read(self) -> tuple[np.ndarray, Geometry]:
        return self.stack.read()

    @property
    def n_bytes(self) -> int:
        return 0


@dataclass(frozen=True)
class ConvertedStudy:
    """A study as a case. `volumes` and `headers` are by channel; `fault` says why it cannot be one (empty: it can)."""

    patient: str
    uid: str
    date: str
    volumes: tuple[Volume | None, ...]
    headers: Mapping[str, Header]
    structure_sets: tuple[StructureHeader, ...]
    fault: str = ""


@dataclass
class _Growing:
    images: dict[str, list[Path]] = field(default_factory=dict)
    structures: list[StructureHeader] = field(default_factory=list)
    header: dict[str, str] = field(default_factory=dict)


def find_studies(source: Path, rules: Mapping[str, str], optional: Sequence[str]) -> list[ConvertedStudy]:
    growing: dict[str, _Growing] = {}
    for path in list_tree(source):
        header = read_header_texts(path, ("Modality", *KEYWORDS))
        study = growing.setdefault(header["StudyInstanceUID"], _Growing())
        if header["Modality"] in KINDS:
            study.structures.append(read_structure_header(path))
        else:
            study.images.setdefault(header["Modality"], []).append(path)
            study.header = header
    return [_study(uid, study, rules, optional) for uid, study in sorted(growing.items())]


def _study(uid: str, study: _Growing, rules: Mapping[str, str], optional: Sequence[str]) -> ConvertedStudy:
    volumes: list[Volume | None] = []
    headers: dict[str, Header] = {}
    fault = ""
    try:
        for channel, modality in rules.items():
            if modality not in study.images:
                raise UserError(f"no series is {channel}", found=listed(study.images), expected=modality)
            stacks = find_stacks(study.images[modality])
            if len(stacks) != 1:
                raise UserError(f"{len(stacks)} series fit {channel}")
            headers[channel] = read_header_texts(stacks[0].slices[0].path, KEYWORDS)
            volumes.append(Volume(stacks[0], headers[channel]["FrameOfReferenceUID"]))
    except Exception as error:
        fault = str(as_fault(error))
    return ConvertedStudy(study.header.get("PatientID", ""), uid, study.header.get("StudyDate", ""), tuple(volumes), headers,
                          tuple(study.structures), fault)
