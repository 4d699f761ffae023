"""Studies that arrive over the network in several connections, until nothing more comes and each becomes a job.

    SPOOL/incoming/ID/study.json     who sent it, and which study of which patient it is
    SPOOL/incoming/ID/0, 1, ...      its instances

ID is the id of the job that it will be: a process that dies between accepting the job and removing the folder does not
make the job twice.
"""

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.workspace.files import DamagedFile, read_model, remove_folder, write_json, writing
from autoseg.workspace.partial import remove_leftovers
from planners.schema.base import Frozen, versioned

_RECORD = "study.json"


class ArrivingStudy(Frozen):
    """A study of one patient from one sender. `description`: its StudyDescription, by which rules choose."""

    schema_version: int = versioned(1)
    sender: str
    study: str
    patient: str
    description: str = ""

    def is_same(self, other: "ArrivingStudy") -> bool:
        """Whether both are the same study: series may describe it differently."""
        return (self.sender, self.study, self.patient) == (other.sender, other.study, other.patient)


@dataclass(frozen=True)
class Arrived:
    """A study that has arrived as far as one knows: the id of its job, and its files by number."""

    job_id: str
    study: ArrivingStudy
    files: tuple[Path, ...]
    sizes: tuple[int, ...]  # bytes


class Incoming:
    """The folder of arriving studies. One thread at a time may use it: the caller holds a lock."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._folder, self._now = folder, now
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_leftovers(folder)
        self._last: dict[str, float] = {path.name: now() for path in self._studies()}

    def add(self, study: ArrivingStudy, files: Iterable[Path]) -> None:
        """Move files into the folder of their study, on the disk when this returns."""
        folder = next((path for path in self._studies() if (known := _record(path)) and known.is_same(study)), None)
        if folder is None:
            folder = self._folder / secrets.token_hex(16)
            write_json(folder / _RECORD, study)
        with writing(folder):
            number = len(_instances(folder))
            for file in files:
                with open(file, "rb") as content:
                    os.fsync(content.fileno())
                while (target := folder / str(number)).exists():
                    number += 1
                os.replace(file, target)
        self._last[folder.name] = self._now()

    def quiet(self, seconds: float) -> list[Arrived]:
        """The studies of which nothing came for so long; the oldest first."""
        ready = sorted((last, name) for name, last in self._last.items() if self._now() - last >= seconds)
        return [Arrived(name, record, tuple(files), tuple(file.stat().st_size for file in files)) for _, name in ready
                if (record := _record(self._folder / name)) and (files := _instances(self._folder / name))]

    def link(self, arrived: Arrived, folder: Path) -> None:
        """The files of a study in another folder too, numbered, as inputs of a job; without a copy where the disk can."""
        linked = [folder / f"{number}.dcm" for number in range(len(arrived.files))]
        with writing(folder):
            for source, target in zip(arrived.files, linked, strict=True):
                try:
                    os.link(source, target)
                except OSError:
                    shutil.copyfile(source, target)

    def remove(self, job_id: str) -> None:
        """Forget a study that has become a job."""
        self._last.pop(job_id, None)
        with suppress(UserError):  # what cannot be removed now is removed when the service starts again
            remove_folder(self._folder / job_id)

    def _studies(self) -> list[Path]:
        return sorted(path for path in self._folder.iterdir() if (path / _RECORD).is_file())


def _instances(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))


def _record(folder: Path) -> ArrivingStudy | None:
    try:
        return read_model(folder / _RECORD, ArrivingStudy)
    except DamagedFile:
        return None
