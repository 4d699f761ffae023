"""The folders of the service's jobs. Their names are made by the service; nothing from outside names a file.

    SPOOL/jobs.sqlite            the jobs (`store.py`)
    SPOOL/jobs/ID/input/         what the client sent: 0, 1, ... each with the ending that its content has
    SPOOL/jobs/ID/images/        the channels of a study as volumes: 0.nii.gz, 1.nii.gz, ...
    SPOOL/jobs/ID/result/        what came of it
    SPOOL/jobs/.partial_...      what is received or written now
"""

import os
import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.workspace.files import remove_folder, writing
from autoseg.workspace.locks import locked, remove_lock
from autoseg.workspace.partial import partial_folder, remove_leftovers

DATABASE = "jobs.sqlite"
_JOB_ID = re.compile(r"[0-9a-f]{32}")


def is_job_id(text: str) -> bool:
    """Whether a text can be the id of a job."""
    return _JOB_ID.fullmatch(text) is not None


@dataclass(frozen=True)
class JobFolder:
    """The files of one job."""

    path: Path

    @property
    def input(self) -> Path:
        return self.path / "input"

    @property
    def images(self) -> Path:
        return self.path / "images"

    @property
    def result(self) -> Path:
        return self.path / "result"

    def input_file(self, number: int, ending: str) -> Path:
        return self.input / f"{number}{ending}"

    def image(self, channel_number: int) -> Path:
        return self.images / f"{channel_number}.nii.gz"


@dataclass(frozen=True)
class Spool:
    """The folder in which the service keeps its jobs."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / DATABASE

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    def job(self, job_id: str) -> JobFolder:
        """The folder of a job. Raises UserError where the text is no id: nothing from outside becomes a path."""
        if not is_job_id(job_id):
            raise UserError("this is no id of a job", found=job_id[:40], expected="32 hexadecimal digits")
        return JobFolder(self.jobs / job_id)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the spool alone, as a service does. Raises UserError where another one runs on it."""
        with writing(self.jobs):
            self.jobs.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.root):
            yield
        remove_lock(self.root)

    @contextmanager
    def receiving(self) -> Iterator[Path]:
        """A folder for what a client sends, which is gone at the end unless `keep` gave it a place."""
        with writing(self.jobs), partial_folder(self.jobs) as folder:
            yield folder

    def keep(self, received: Path) -> str:
        """Make what was received the input of a new job, whole on the disk; the id of the job."""
        job_id = secrets.token_hex(16)
        folder = self.job(job_id)
        with writing(folder.path):
            folder.path.mkdir(parents=True, mode=0o700)
            for file in received.iterdir():
                descriptor = os.open(file, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)
            os.replace(received, folder.input)
        return job_id

    def share_inputs(self, other: str, received: Path) -> None:
        """Give a folder that is being received the inputs of another job, without a copy where the disk can."""
        with writing(received):
            for file in sorted(self.job(other).input.iterdir()):
                os.link(file, received / file.name)

    def remove(self, job_id: str) -> None:
        """Remove the files of a job."""
        remove_folder(self.job(job_id).path)

    def remove_inputs(self, job_id: str) -> None:
        """Remove what the client of a job sent; the result stays."""
        folder = self.job(job_id)
        remove_folder(folder.input)
        remove_folder(folder.images)

    def remove_all_but(self, known: Collection[str]) -> None:
        """Remove what killed services left, and the folders of jobs that nobody knows."""
        remove_leftovers(self.jobs)
        for path in sorted(self.jobs.iterdir()):
            if is_job_id(path.name):
                remove_leftovers(path)
                if path.name not in known:
                    remove_folder(path)
