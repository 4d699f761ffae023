"""What a folder of DICOM holds, as a list for people and programs."""

from pathlib import Path

from autoseg.datasets.dicom_cases import CaseNames, case_names, read_study, studies_of, warnings_of
from autoseg.datasets.dicom_rules import Candidate, DicomRules
from planners.schema.base import Frozen, versioned


class ListedVolume(Frozen):
    """One volume. `case` is a pseudonym and `patient` a number in this list, unless identifiers were asked for; `odd` says
    what is unusual, why it cannot be read, and why it is no channel unless it is named.
    """

    case: str
    patient: str
    study: str
    series: str
    number: str
    modality: str
    description: str
    phase: str
    slices: int
    shape: tuple[int, int, int] | None  # z, y, x
    spacing_mm: tuple[float, float, float] | None  # z, y, x
    odd: tuple[str, ...] = ()


class Listing(Frozen):
    """All volumes of a folder, and a sentence for all else that it holds."""

    schema_version: int = versioned(1)
    volumes: tuple[ListedVolume, ...]
    others: tuple[str, ...] = ()


def list_study(path: Path, rules: DicomRules, names: CaseNames = "pseudonym") -> Listing:
    """The volumes below a folder, by patient, study and series; voxels are not read. Raises UserError where there is no such
    folder, or pydicom is missing.
    """
    content = read_study(path)
    studies = studies_of(content)
    patients = {patient: f"patient_{number}" if names == "pseudonym" else patient
                for number, patient in enumerate(dict.fromkeys(study.patient for study in studies), start=1)}
    volumes = [_listed(candidate, case, patients[study.patient], rules)
               for study, case in zip(studies, case_names(studies, names), strict=True) for candidate in study.candidates]
    others = [*warnings_of(path, content), *(refused.sentence for refused in content.refused if refused.series is None)]
    return Listing(volumes=tuple(volumes), others=tuple(others))


def _listed(candidate: Candidate, case: str, patient: str, rules: DicomRules) -> ListedVolume:
    facts, stack = candidate.facts, candidate.stack
    ignored = rules.ignored.reason(candidate)
    odd = [] if stack is None else [*stack.remarks, *stack.doubts]
    odd += filter(None, (candidate.fault, "" if stack is None else stack.fault))
    odd += ["its slices are shifted, as by a tilted gantry: it is regridded"] * (stack is not None and stack.is_tilted)
    odd += [f"no channel unless it is named: {ignored}"] * bool(ignored)
    return ListedVolume(
        case=case, patient=patient, study=facts.study, series=facts.uid, number=facts.number, modality=facts.modality,
        description=facts.description, phase=candidate.phase, slices=0 if stack is None else len(stack.slices),
        shape=None if stack is None else stack.shape, spacing_mm=None if stack is None else stack.spacing_mm, odd=tuple(odd))
