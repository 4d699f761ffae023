"""The folders of the service's jobs. Their names are made by the service; nothing from outside names a file.

    SPOOL/jobs.sqlite            the jobs (`store.py`)
    SPOOL/jobs/ID/input/         what the client sent: 0, 1, ... each with the ending that its content has
    SPOOL/jobs/ID/images/        the channels as volumes to look at: 0.nii.gz, 1.nii.gz, ...
    SPOOL/jobs/ID/result/        what came of it
    SPOOL/jobs/.partial_...      what is received or written now
"""

import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.workspace.files import read_model, remove_folder, writing
from autoseg.workspace.jobs.types import JobResult
from autoseg.workspace.locks import locked
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

    @property
    def record(self) -> Path:
        """What the result is, as JSON: it is written last."""
        return self.result / "result.json"

    def input_file(self, number: int, ending: str) -> Path:
        return self.input / f"{number}{ending}"

    def image(self, channel_number: int) -> Path:
        return self.images / f"{channel_number}.nii.gz"

    def show_input(self, number: int, channel_number: int) -> None:
        """Show an input that is a compressed NIfTI file as the image of a channel, without a copy where the disk can."""
        target = self.image(channel_number)
        with writing(target):
            self.images.mkdir(exist_ok=True)
            target.unlink(missing_ok=True)
            _link(self.input_file(number, ".nii.gz"), target)


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
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.jobs.mkdir(exist_ok=True, mode=0o700)
        with locked(self.jobs):  # its file lies in the root, which is the service's own
            yield

    @contextmanager
    def receiving(self) -> Iterator[Path]:
        """A folder for what a client sends, which is gone at the end unless `keep` gave it a place."""
        with ExitStack() as stack:
            with writing(self.jobs):
                folder = stack.enter_context(partial_folder(self.jobs))
            yield folder

    def keep(self, received: Path, job_id: str = "") -> str:
        """Make what was received the input of a new job, whole on the disk; the id of the job, new if none is given."""
        job_id = job_id or secrets.token_hex(16)
        folder = self.job(job_id)
        with writing(folder.path):
            folder.path.mkdir(parents=True, mode=0o700)
            for file in received.iterdir():
                _flush(file)
            os.replace(received, folder.input)
            for changed in (folder.input, folder.path, self.jobs):
                _flush(changed)
        return job_id

    def share_inputs(self, other: str, received: Path) -> None:
        """Give a folder that is being received the inputs of another job, without a copy where the disk can. Raises
        UserError where they are removed.
        """
        with writing(received):
            for file in sorted(self.job(other).input.iterdir()):
                _link(file, received / file.name)

    def result_of(self, job_id: str) -> JobResult | None:
        """What a job's worker wrote of its result after all other files of it; None where it did not come so far."""
        path = self.job(job_id).record
        try:
            return read_model(path, JobResult) if path.is_file() else None
        except UserError:  # a damaged one is made again
            return None

    def remove(self, job_id: str) -> None:
        """Remove the files of a job. They vanish at once: who reads or writes there meanwhile finds nothing."""
        self._remove(self.job(job_id).path)

    def remove_inputs(self, job_id: str) -> None:
        """Remove what the client of a job sent, and the images to look at; the result stays."""
        folder = self.job(job_id)
        self._remove(folder.input)
        self._remove(folder.images)

    def _remove(self, path: Path) -> None:
        if not path.is_dir():
            return
        with writing(path), partial_folder(self.jobs) as folder, suppress(FileNotFoundError):  # somebody else was faster
            os.replace(path, folder / "removed")

    def without_files(self, job_ids: Collection[str]) -> list[str]:
        """Those of these jobs whose inputs are not here."""
        return [job_id for job_id in job_ids if not self.job(job_id).input.is_dir()]

    def remove_all_but(self, known: Collection[str]) -> None:
        """Remove what killed services left, and the folders of jobs that nobody knows. Only who holds the spool may do so:
        a job's folder is there before the job is known.
        """
        remove_leftovers(self.jobs)
        for path in sorted(self.jobs.iterdir()):
            if is_job_id(path.name):
                remove_leftovers(path)
                if path.name not in known:
                    remove_folder(path)


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(file: Path, target: Path) -> None:
    """A second name of a file; a copy where the disk has no links."""
    try:
        os.link(file, target)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError:
        shutil.copyfile(file, target)
