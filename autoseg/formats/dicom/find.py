"""Which volumes some files of DICOM hold, and what else there is."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from autoseg.base.errors import AutosegError, UserError
from autoseg.formats.dicom.header import read_slices
from autoseg.formats.dicom.slices import OtherFile, Series, Slice, pydicom_for
from autoseg.formats.dicom.split import NoVolume, parts_of_series
from autoseg.formats.dicom.stack import Stack
from autoseg.formats.files import list_tree

_MAGIC_AT, _MAGIC = 128, b"DICM"


@dataclass(frozen=True)
class Refused:
    """A series, or a file, that should be a volume and is none: a sentence."""

    sentence: str
    series: Series | None = None


@dataclass(frozen=True)
class FolderContent:
    """All that some files hold: volumes, what should be one and is none, and files that are something else."""

    stacks: tuple[Stack, ...] = ()
    refused: tuple[Refused, ...] = ()
    others: tuple[OtherFile, ...] = ()


@dataclass
class _Sorted:
    """Files by what they are: the slices of each series; what should be slices, by its series (empty: not known); others."""

    slices: dict[str, list[Slice]] = field(default_factory=dict)
    faulty: dict[str, list[Refused]] = field(default_factory=dict)
    others: list[OtherFile] = field(default_factory=list)


def find_all(paths: Iterable[Path]) -> FolderContent:
    """The volumes in some files, one per phase of each series; what cannot be one is listed beside them. A series with a
    file at fault is none: without it a volume could be too short.

    Raises UserError where pydicom is not installed.
    """
    files = _sorted(paths)
    refused = files.faulty.pop("", [])
    refused += [Refused(_with_count(faults), faults[0].series) for faults in files.faulty.values()]
    stacks: list[Stack] = []
    for slices in (slices for uid, slices in files.slices.items() if uid not in files.faulty):
        try:
            stacks += stacks_of_series(slices)
        except NoVolume:
            files.others += [OtherFile(part.path, "a localiser: its slices are not parallel", part.facts) for part in slices]
        except AutosegError as error:
            refused.append(Refused(str(error), slices[0].facts))
    return FolderContent(tuple(stacks), tuple(refused), tuple(files.others))


def _sorted(paths: Iterable[Path]) -> _Sorted:
    files, known = _Sorted(), dict[str, Series]()
    for path in paths:
        pydicom_for(path)
        try:
            read = read_slices(path, known)
        except AutosegError as error:
            files.faulty.setdefault("", []).append(Refused(str(error)))
            continue
        if not isinstance(read, OtherFile):
            files.slices.setdefault(read[0].series, []).extend(read)
        elif read.fault:
            uid = "" if read.series is None else read.series.uid
            files.faulty.setdefault(uid, []).append(Refused(read.fault, read.series))
        else:
            files.others.append(read)
    return files


def _with_count(faults: list[Refused]) -> str:
    return f"{faults[0].sentence}; so in {len(faults)} files" if len(faults) > 1 else faults[0].sentence


def find_stacks(paths: Iterable[Path]) -> list[Stack]:
    """The volumes that some files hold: one per series, or several where phases are stacked in one (see `split`).

    Raises UserError where a file is no slice, where slices of one acquisition lie at the same place, and where those of a
    series are not parallel, as in a localiser.
    """
    series: dict[str, list[Slice]] = {}
    known: dict[str, Series] = {}
    for path in paths:
        for part in _slices(path, known):
            series.setdefault(part.series, []).append(part)
    return [stack for slices in series.values() for stack in stacks_of_series(slices)]


def stacks_of_series(slices: list[Slice]) -> list[Stack]:
    """The volumes of one series. Raises UserError as `parts_of_series`."""
    parts = parts_of_series(slices)
    return [Stack(part.slices, part.phase, number, part.remarks) for number, part in enumerate(parts, start=1)]


def series_of_file(path: Path) -> str:
    """The series (SeriesInstanceUID) that a file belongs to; a UserError where it is no slice."""
    return _slices(path, {})[0].series


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, or one below a folder is."""
    if path.is_file():
        return _has_magic(path)
    return path.is_dir() and any(map(_has_magic, list_tree(path)))


def _slices(path: Path, known: dict[str, Series]) -> tuple[Slice, ...]:
    read = read_slices(path, known)
    if isinstance(read, OtherFile) and read.fault:
        raise UserError(read.fault)
    if isinstance(read, OtherFile):
        raise UserError("the file is no slice with a position in the patient", where=path, found=read.kind)
    return read


def _has_magic(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC
    except OSError:
        return False
