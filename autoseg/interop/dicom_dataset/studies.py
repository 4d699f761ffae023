"""Studies below a folder as cases: the series of each channel, the files of structures, and what the headers say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autoseg.base.errors import AutosegError, UserError
from autoseg.formats.dicom import Stack
from autoseg.formats.dicom.find import Refused, find_all
from autoseg.formats.dicom_headers import read_header_texts
from autoseg.formats.dicom_structures import KINDS, StructureHeader, read_structure_header
from autoseg.formats.files import list_tree
from autoseg.interop.dicom_dataset.attributes import KEYWORDS, Header

Matcher = Callable[[Sequence[Stack]], Mapping[str, Stack | None]]  # raises UserError where a series has to be chosen
_SHOWN = 3  # reasons of series that are no volume, in a message


@dataclass(frozen=True)
class Volume:
    """The series of a channel."""

    stack: Stack
    frame_of_reference: str

    @property
    def series(self) -> str:
        return self.stack.facts.uid

    @property
    def identity(self) -> list[str]:
        """What says that it is made of the same files."""
        return [f"{part.uid} {part.frame}" for part in self.stack.slices]

    @property
    def n_voxels(self) -> int:
        return int(np.prod(self.stack.shape))


@dataclass(frozen=True)
class CaseStudy:
    """A study as a case. `volumes` and `headers` are by channel; `fault` says why it cannot be one (empty: it can)."""

    patient: str
    uid: str
    date: str
    volumes: tuple[Volume | None, ...]
    headers: Mapping[str, Header]
    structures: tuple[StructureHeader, ...]
    fault: str = ""


@dataclass(frozen=True)
class FoundStudies:
    """All studies below a folder; `warnings` are of files that cannot be read and belong to none."""

    studies: tuple[CaseStudy, ...]
    warnings: tuple[str, ...]


@dataclass
class _Growing:
    patient: str = ""
    date: str = ""
    stacks: list[Stack] = field(default_factory=list)
    structures: list[StructureHeader] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def find_studies(source: Path, match: Matcher) -> FoundStudies:
    """The studies below a folder, each with the series that `match` gives to the channels.

    Raises UserError where pydicom is not installed, and where no volume is there. What is wrong with a study is its fault.
    """
    found = find_all(list_tree(source))
    growing: dict[str, _Growing] = {}
    warnings = [refused.sentence for refused in found.refused if refused.series is None]
    for stack in found.stacks:
        study = growing.setdefault(stack.facts.study, _Growing(stack.facts.patient, stack.facts.study_date))
        study.stacks.append(stack)
    if not growing:
        raise UserError("no series of images is here", where=source,
                        found=(warnings or [refused.sentence for refused in found.refused] or ["no DICOM file"])[0])
    for refused in found.refused:
        if refused.series is not None and refused.series.study in growing:
            growing[refused.series.study].refused.append(refused)
    for other in found.others:
        if other.series is not None and other.series.modality in KINDS:
            try:
                header = read_structure_header(other.path)
            except AutosegError as error:
                warnings.append(str(error))
            else:
                _add(header, growing)
    return FoundStudies(tuple(_study(uid, study, match) for uid, study in sorted(growing.items())), tuple(warnings))


def _add(header: StructureHeader, growing: Mapping[str, _Growing]) -> None:
    """Put a file of structures to the studies whose series it names, else to that of its own: some programs give it a new one.
    """
    named = [study for study in growing.values() if any(stack.facts.uid in header.series for stack in study.stacks)]
    for study in named or ([growing[header.study]] if header.study in growing else []):
        study.structures.append(header)


def _study(uid: str, study: _Growing, match: Matcher) -> CaseStudy:
    volumes: list[Volume | None] = []
    headers: dict[str, Header] = {}
    fault = ""
    try:
        for channel, stack in match(study.stacks).items():
            if stack is not None:
                headers[channel] = read_header_texts(stack.slices[0].path, KEYWORDS)
            volumes.append(None if stack is None else Volume(stack, headers[channel]["FrameOfReferenceUID"]))
    except AutosegError as error:
        reasons = "; ".join(refused.sentence for refused in study.refused[:_SHOWN])
        fault = str(error) + (f"; these series are no volumes: {reasons}" if reasons else "")
        volumes, headers = [], {}
    return CaseStudy(study.patient, uid, study.date, tuple(volumes), headers, tuple(study.structures), fault)
