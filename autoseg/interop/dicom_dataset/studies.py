"""Studies below a folder as cases: the series of each channel, the files of structures, and what the headers say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import AutosegError, UserError
from autoseg.datasets.dicom_attributes import KEYWORDS, Header
from autoseg.datasets.dicom_cases import Study, match, read_study, studies_of
from autoseg.formats.dicom import FolderContent, Stack
from autoseg.formats.dicom.texts import read_header_texts
from autoseg.formats.segments.structure_header import KINDS, StructureHeader, read_structure_header
from autoseg.interop.dicom_dataset.channels import Channels


@dataclass(frozen=True)
class CaseStudy:
    """A study as a case. `patient` says who it is; `volumes` are by channel, `headers` by the channels that it has; `fault`
    says why it cannot be a case (empty: it can).
    """

    patient: str
    uid: str
    date: str
    volumes: tuple[Stack | None, ...]
    headers: Mapping[str, Header]
    structures: tuple[StructureHeader, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class FoundStudies:
    """All studies below a folder; `warnings` are of files that cannot be read and belong to none."""

    studies: tuple[CaseStudy, ...]
    warnings: tuple[str, ...]


def find_studies(source: Path, channels: Channels, *, join_patients: bool = False) -> FoundStudies:
    """The studies below a folder, each with the series of the channels; on request all studies of a patient as one.

    Raises UserError where pydicom is not installed, and where no series is there. What is wrong with a study is its fault.
    """
    content = read_study(source)
    studies = _joined(studies_of(content)) if join_patients else studies_of(content)
    warnings = [refused.sentence for refused in content.refused if refused.series is None]
    if not studies:
        raise UserError("no series of images is here", where=source, found=warnings[0] if warnings else "no DICOM image",
                        expected="DICOM slices with positions")
    structures = _structures(content, warnings)
    return FoundStudies(tuple(_case(study, channels, _drawn_on(study, studies, structures)) for study in studies),
                        tuple(warnings))


def _joined(studies: Sequence[Study]) -> list[Study]:
    """All series of a patient as one study; a patient without a number has one for each study."""
    patients: dict[str, list[Study]] = {}
    for study in studies:
        patients.setdefault(study.patient or study.uid, []).append(study)
    return [Study(key, group[0].patient, tuple(candidate for study in group for candidate in study.candidates))
            for key, group in patients.items()]


def _structures(content: FolderContent, warnings: list[str]) -> list[StructureHeader]:
    """The files of structures; what cannot be read becomes a warning."""
    headers = []
    for other in content.others:
        if other.series is not None and other.series.modality in KINDS:
            try:
                headers.append(read_structure_header(other.path))
            except AutosegError as error:
                warnings.append(str(error))
    return headers


def _drawn_on(study: Study, studies: Sequence[Study], headers: Sequence[StructureHeader]) -> tuple[StructureHeader, ...]:
    """The files of a study: those that name one of its series, since some programs give structures a study of their own;
    else those of the same study that name no series that is here.
    """
    own, known = _series(study), {series for other in studies for series in _series(other)}
    uids = {candidate.facts.study for candidate in study.candidates}
    return tuple(header for header in headers
                 if own & set(header.series) or (header.study in uids and not known & set(header.series)))


def _series(study: Study) -> set[str]:
    return {candidate.facts.uid for candidate in study.candidates}


def _case(study: Study, channels: Channels, structures: tuple[StructureHeader, ...]) -> CaseStudy:
    patient, date = study.patient or study.uid, study.candidates[0].facts.study_date
    try:
        stacks = [candidate.stack for candidate in study.candidates if candidate.stack is not None]
        if stacks:
            patient = identity(read_header_texts(stacks[0].slices[0].path, KEYWORDS))
        chosen = match(study, channels.specs, channels.rules, channels.choices)
        volumes: list[Stack | None] = []
        headers: dict[str, Header] = {}
        for name in channels.names:
            if name not in chosen:
                volumes.append(None)
                continue
            stack = chosen[name].stack
            if stack is None:
                raise UserError(f"the series of the channel {name!r} cannot be read", found=chosen[name].fault)
            headers[name] = read_header_texts(stack.slices[0].path, KEYWORDS)
            volumes.append(stack)
    except AutosegError as error:
        return CaseStudy(patient, study.uid, date, (), {}, structures, str(error))
    return CaseStudy(patient, study.uid, date, tuple(volumes), headers, structures)


def identity(header: Header) -> str:
    """Who a patient is: the number, else name and day of birth, else the study alone."""
    if number := header.get("PatientID", "").strip():
        issuer = header.get("IssuerOfPatientID", "").strip()
        return f"{number} {issuer}".strip()
    name, born = (header.get(key, "").strip() for key in ("PatientName", "PatientBirthDate"))
    return f"{name} {born}" if name and born else header.get("StudyInstanceUID", "")
