"""What all routes of the service share."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from autoseg.serve.catalogue import Catalogue
from autoseg.serve.settings import ServeSettings
from autoseg.workspace.jobs.types import InputFile, Job, JobRequest, JobResult, Problem, Progress, Question, State


class Jobs(Protocol):
    """The database of jobs, safe in threads and processes (`autoseg/workspace/jobs/store.py`)."""

    def accept(self, request: JobRequest, job_id: str) -> Job: ...
    def get(self, job_id: str) -> Job | None: ...
    def of_client(self, client: str) -> list[Job]: ...
    def counts(self) -> Mapping[State, int]: ...
    def claim(self, worker: str) -> Job | None: ...
    def progress(self, job_id: str, progress: Progress) -> None: ...
    def finish(self, job_id: str, result: JobResult) -> None: ...
    def fail(self, job_id: str, problem: Problem) -> None: ...
    def ask(self, job_id: str, question: Question) -> None: ...
    def answer(self, job_id: str, series: Mapping[str, str]) -> Job: ...
    def cancel(self, job_id: str) -> Job: ...
    def is_cancelled(self, job_id: str) -> bool: ...
    def remove(self, job_id: str) -> None: ...


class Spool(Protocol):
    """The folder of what jobs are given and give (`autoseg/workspace/jobs/spool.py`)."""

    def receiving(self) -> AbstractContextManager[Path]:
        """A folder for what comes in, on the disk of the spool; at the end it is gone with all that was not kept."""

    def keep(self, job_id: str, received: Sequence[tuple[Path, InputFile]]) -> None:
        """Move what came in into the folder of a job."""

    def share(self, job_id: str, other_id: str, files: Sequence[InputFile]) -> None:
        """Give a job the input files of another one. Raises UserError where they are gone."""

    def image(self, job_id: str, channel: str) -> Path:
        """A channel of a job as NIfTI; it need not be there."""

    def result(self, job_id: str, form: str, label: str) -> Path:
        """A result of a job (`label`: of one label alone, empty: of all); it need not be there."""

    def remove(self, job_id: str) -> None:
        """Remove all files of a job, also where there are none."""


@dataclass(frozen=True)
class Service:
    """The parts of a running service. Routers are made by functions that take it."""

    settings: ServeSettings
    jobs: Jobs
    spool: Spool
    catalogue: Catalogue
    extras: dict[str, Any] = field(default_factory=dict)
