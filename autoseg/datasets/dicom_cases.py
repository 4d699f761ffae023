"""The cases of a folder of DICOM: each study is one, its series are matched to the channels of a model.

What fits several ways is a question to the user, never a guess.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from autoseg.base.errors import UserError, listed
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.dicom_rules import SHIPPED, Candidate, DicomRules, read_rules
from autoseg.datasets.raw import ScannedCases
from autoseg.formats import READERS, known_ending
from autoseg.formats.dicom import DicomSource, FolderContent, OtherFile, find_all, is_dicom, share_a_frame
from autoseg.formats.files import is_file, list_entries, list_tree
from planners.schema.channels import ChannelSpec
from planners.schema.names import fault_of_name

CaseNames = Literal["pseudonym", "PatientID"]
_CHOICE = re.compile(r"(?P<channel>[^=]+)=(?P<series>[^:]+)(?::(?P<phase>[0-9]+))?")
_SHOWN = 12  # series in a message


@dataclass(frozen=True)
class DicomInput:
    """A folder of DICOM, or a file, and how it is understood: a file of `rules`, the `series` that the user chose
    (`CHANNEL=SERIES`, `CHANNEL=SERIES:PHASE`), and whether names of cases may be those of patients.
    """

    path: Path
    rules: Path | None = None
    series: tuple[str, ...] = ()
    case_names: CaseNames = "pseudonym"

    def __fspath__(self) -> str:
        return str(self.path)

    def absolute(self) -> "DicomInput":
        return replace(self, path=self.path.absolute(), rules=self.rules and self.rules.absolute())


@dataclass(frozen=True)
class Choice:
    """A series that the user chose for a channel: its number or its UID, and of several phases the number of one."""

    channel: str
    series: str
    phase: int | None

    @classmethod
    def parse(cls, text: str, channels: Sequence[ChannelSpec]) -> "Choice":
        """Of a text such as `CT=4` or `CT_venous=5:2`; a UserError for anything else."""
        parts = _CHOICE.fullmatch(text)
        if parts is None:
            raise UserError("this chooses no series", where="--series", found=text,
                            expected="CHANNEL=NUMBER, CHANNEL=UID or CHANNEL=NUMBER:PHASE, such as CT=4")
        names = [channel.name for channel in channels]
        if parts["channel"] not in names:
            raise UserError("the model has no such channel", where="--series", found=parts["channel"],
                            expected=listed(names, len(names)))
        return cls(parts["channel"], parts["series"], int(parts["phase"]) if parts["phase"] else None)

    def takes(self, candidate: Candidate) -> bool:
        return (self.series in (candidate.facts.uid, candidate.facts.number)
                and self.phase in (None, candidate.number))


@dataclass(frozen=True)
class Study:
    """The candidates of one study of one patient, and why some are ignored."""

    uid: str
    patient: str
    candidates: tuple[Candidate, ...]

    def pseudonym(self, *, is_unique: bool) -> str:
        """A name that is the same for the same study on every machine, without a secret: it is made of UIDs alone, since the
        number of a patient could be found by trying all numbers. Where several patients have one study UID, the first series
        UID counts, too.
        """
        known = self.uid if is_unique else f"{self.uid}\0{min(candidate.facts.uid for candidate in self.candidates)}"
        return f"study_{hashlib.sha256(known.encode()).hexdigest()[:12]}"


def holds_dicom(path: Path) -> bool:
    """Whether a path is to be read as DICOM: a file of it, or a folder with such files and without volumes of its own."""
    if is_file(path):
        return known_ending(path.name) is None and is_dicom(path)
    endings = [ending for file in list_entries(path).files if (ending := known_ending(file.name)) is not None]
    return all(READERS.get(ending).flat for ending in endings) and is_dicom(path)


def scan_studies(source: DicomInput, channels: Sequence[ChannelSpec], numbers: Sequence[int] = ()) -> ScannedCases:
    """The cases to predict: one per study, its images in the order of the channels. Nothing but headers is read.

    `numbers` are those of the channels in the dataset, where it has others. A fault for each study whose series do not fit
    the channels, or fit them in several ways, and for what cannot be read; a warning names what is no image. Raises
    UserError where there is no DICOM, where pydicom is missing, and for wrong rules or choices.
    """
    rules = read_rules(source.rules)
    choices = [Choice.parse(text, channels) for text in source.series]
    content = read_study(source.path)
    scanned = ScannedCases(warnings=warnings_of(source.path, content))
    scanned.faults += [refused.sentence for refused in content.refused if refused.series is None]
    studies = studies_of(content)
    names = case_names(studies, source.case_names)
    for study, name in zip(studies, names, strict=True):
        try:
            chosen = match(study, channels, rules, choices)
        except UserError as error:
            scanned.faults.append(f"case {name}: {error}")
            continue
        ignored = [(candidate, rules.ignored.reason(candidate)) for candidate in study.candidates
                   if candidate not in chosen.values()]
        scanned.warnings += [f"case {name}: {candidate.facts.called} is not used: {reason}"
                             for candidate, reason in ignored if reason]
        scanned.faults += [f"case {name}: {candidate.fault}" for candidate in chosen.values() if candidate.stack is None]
        scanned.warnings += _other_frames(name, channels, chosen)
        if all(candidate.stack is not None for candidate in chosen.values()):
            scanned.cases.append(_files(name, channels, chosen, numbers))
    if not studies and not scanned.faults:
        raise UserError("no series of images was found", where=source.path,
                        found=listed(_counted(content.others)) or "no file", expected="DICOM slices with positions")
    return scanned


def read_study(path: Path) -> FolderContent:
    """All that a folder of DICOM holds, at any depth; or a file, or the disc whose DICOMDIR is named."""
    if path.name.upper() == "DICOMDIR":
        path = path.parent
    return find_all([path] if is_file(path) else list_tree(path))


def studies_of(content: FolderContent) -> list[Study]:
    """The studies, in the order of patients and of their series."""
    n_volumes = Counter(stack.facts.uid for stack in content.stacks)
    candidates = [Candidate(stack.facts, stack, n_volumes[stack.facts.uid]) for stack in content.stacks]
    candidates += [Candidate(refused.series, fault=refused.sentence) for refused in content.refused
                   if refused.series is not None]
    grouped: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in candidates:
        grouped.setdefault((candidate.facts.patient, candidate.facts.study), []).append(candidate)
    return [Study(uid, patient, tuple(sorted(group, key=lambda c: (c.facts.number.zfill(9), c.facts.uid, c.number))))
            for (patient, uid), group in sorted(grouped.items())]


def fitting_series(study: Study, channels: Sequence[ChannelSpec], rules: DicomRules, choices: Sequence[Choice] = ()
                   ) -> dict[str, list[Candidate]]:
    """The candidates of each channel by its name. A series that the user chose for one channel, or that alone fits one, is
    no candidate of the others.
    """
    fitting = {channel.name: _fitting(study, channel.name, channels, rules, choices) for channel in channels}
    while True:
        taken = {id(fits[0]): name for name, fits in fitting.items() if len(fits) == 1}
        fewer = {name: [fit for fit in fits if len(fits) == 1 or id(fit) not in taken] for name, fits in fitting.items()}
        if fewer == fitting:
            return fitting
        fitting = fewer


def match(study: Study, channels: Sequence[ChannelSpec], rules: DicomRules, choices: Sequence[Choice] = ()
          ) -> dict[str, Candidate]:
    """The candidate of each channel by its name; an optional channel that none fits has none.

    Raises UserError where no series fits a channel, or several do, and where what was chosen for a channel of CT is no CT in
    HU.
    """
    fitting = fitting_series(study, channels, rules, choices)
    required = {channel.name for channel in channels if channel.required or channel.reference}
    for name, fits in fitting.items():
        if not fits and name in required:
            raise UserError(f"no series fits the channel {name!r}", found=_described(study.candidates),
                            do=f"choose one with --series {name}=NUMBER, or edit a copy of {SHIPPED} and name it with "
                               "--dicom-rules")
        if len(fits) > 1:
            raise UserError(f"several series fit the channel {name!r}", found=_described(fits),
                            do=f"choose one with --series {name}={_choosing(fits[0], fits)}")
    chosen = {name: fits[0] for name, fits in fitting.items() if fits}
    _refuse_maps(channels, chosen)
    twice = [name for name, n in Counter(map(id, chosen.values())).items() if n > 1]
    if twice:
        names = [name for name, candidate in chosen.items() if id(candidate) == twice[0]]
        raise UserError(f"one series fits the channels {listed(map(repr, names))}", found=chosen[names[0]].called,
                        do=f"say which series they are: {' '.join(f'--series {name}=NUMBER' for name in names)}")
    return chosen


def _refuse_maps(channels: Sequence[ChannelSpec], chosen: Mapping[str, Candidate]) -> None:
    """A UserError where a map of another quantity, as of dual energy, would be read as a CT in HU (PS3.3 C.8.2.1)."""
    for channel in channels:
        candidate = chosen.get(channel.name)
        if channel.modality == "ct" and candidate is not None and candidate.other_quantity:
            raise UserError(f"the series that was chosen for the channel {channel.name!r} is no CT in HU",
                            found=candidate.called, expected="RescaleType HU",
                            do=f"choose another one with --series {channel.name}=NUMBER")


def _fitting(study: Study, name: str, channels: Sequence[ChannelSpec], rules: DicomRules, choices: Sequence[Choice]
             ) -> list[Candidate]:
    """The candidates of a channel: those that the user chose, else those that its rule takes."""
    own = [choice for choice in choices if choice.channel == name]
    chosen = [candidate for candidate in study.candidates if any(choice.takes(candidate) for choice in own)]
    if chosen or any("." not in choice.series for choice in own):  # a UID may be of another study
        if not chosen:
            raise UserError(f"the series that was chosen for the channel {name!r} is not here",
                            found=_described(study.candidates), expected=listed(choice.series for choice in own))
        return chosen
    rule, from_zero = rules.rule_of(name), rules.counts_from_zero([channel.name for channel in channels])
    others = [choice for choice in choices if choice.channel != name]
    return [candidate for candidate in study.candidates
            if not rules.ignored.reason(candidate) and rule.fits(name, candidate, from_zero=from_zero)
            and not any(choice.takes(candidate) for choice in others)]


def _other_frames(case: str, channels: Sequence[ChannelSpec], chosen: Mapping[str, Candidate]) -> list[str]:
    """A sentence where channels that are not registered have positions that cannot be compared (PS3.3 C.7.4.1)."""
    fixed = {channel.name: chosen[channel.name].facts for channel in channels
             if channel.name in chosen and not channel.is_registered}
    if share_a_frame(fixed.values()):
        return []
    return [f"case {case}: the channels {listed(fixed, len(fixed))} have different frames of reference: their positions "
            "need not agree; see whether the images lie on each other"]


def _files(name: str, channels: Sequence[ChannelSpec], chosen: Mapping[str, Candidate], numbers: Sequence[int]) -> CaseFiles:
    sources = {channel: DicomSource(candidate.stack) for channel, candidate in chosen.items() if candidate.stack is not None}
    images = tuple(sources[channel.name].path if channel.name in sources else None for channel in channels)
    return CaseFiles(name, images, numbers=tuple(numbers), sources=tuple(sources.values()))


def case_names(studies: Sequence[Study], kind: CaseNames) -> list[str]:
    """A name for each study: its pseudonym, or the patient's identifier, with the pseudonym where a patient has several."""
    n_uids = Counter(study.uid for study in studies)
    pseudonyms = [study.pseudonym(is_unique=n_uids[study.uid] == 1) for study in studies]
    if kind == "pseudonym":
        return pseudonyms
    n_studies = Counter(study.patient for study in studies)
    names = []
    for study, pseudonym in zip(studies, pseudonyms, strict=True):
        name = re.sub(r"[^A-Za-z0-9_.+-]", "_", study.patient)
        if n_studies[study.patient] > 1 or fault_of_name(name):
            name = f"{name.lstrip('.-')}_{pseudonym}".lstrip("_")
        names.append(name)
    written = Counter(map(str.casefold, names))  # characters that no name may have are replaced, and names may meet
    return [f"{name}_{pseudonym}" if written[name.casefold()] > 1 else name
            for name, pseudonym in zip(names, pseudonyms, strict=True)]


def warnings_of(path: Path, content: FolderContent) -> list[str]:
    """What is no volume, by its kind."""
    return [f"{path}: not used: {kind}" for kind in _counted(content.others)]


def _counted(others: Iterable[OtherFile]) -> list[str]:
    kinds: dict[str, list[Path]] = {}
    for other in others:
        kinds.setdefault(other.kind, []).append(other.path)
    return [f"{len(paths)} file{'s' * (len(paths) > 1)}, {kind} ({listed([path.name for path in paths], 3)})"
            for kind, paths in kinds.items()]


def _described(candidates: Sequence[Candidate]) -> str:
    uids: dict[str, set[str]] = {}
    for candidate in candidates:
        uids.setdefault(candidate.facts.number, set()).add(candidate.facts.uid)
    return listed([f"{candidate.called}{f', UID {candidate.facts.uid}' * (len(uids[candidate.facts.number]) > 1)}"
                   for candidate in candidates], _SHOWN) or "none"


def _choosing(candidate: Candidate, others: Sequence[Candidate]) -> str:
    """What `--series` takes for a candidate, such that it is no other one."""
    same_number = [other for other in others if other.facts.number == candidate.facts.number]
    is_clear = bool(candidate.facts.number) and len({other.facts.uid for other in same_number}) == 1
    series = candidate.facts.number if is_clear else candidate.facts.uid
    return f"{series}:{candidate.number}" if candidate.n_volumes > 1 else series
