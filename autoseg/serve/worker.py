"""A worker of the service: a process that keeps a model in memory and does one job after the other.

    python -m autoseg.serve.worker < WorkerSettings as one line of JSON

Its standard input stays open as long as the service lives: when it ends, however the service ended, the worker ends at once.
What it worked on is queued again.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from autoseg.base.errors import AutosegError, as_fault
from autoseg.base.processes import load_plugin
from autoseg.base.runtime import is_out_of_memory
from autoseg.base.stopping import kill_with_parent
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.watch import Cancelled
from autoseg.serve.catalogue import Catalogue
from autoseg.serve.problems import problem_of, without_paths
from autoseg.serve.run_job import Notes, run_job
from autoseg.serve.settings import WorkerSettings
from autoseg.workspace.files import remove_folder
from autoseg.workspace.jobs.spool import Spool
from autoseg.workspace.jobs.store import JobStore
from autoseg.workspace.jobs.types import Job, Progress, Question

logger = logging.getLogger("autoseg.serve.worker")  # also where it is run as __main__

_IDLE_SECONDS = 0.1  # between two looks at the queue


@dataclass
class Resident:
    """The model in memory, and the state of its files when it was opened."""

    catalogue: Catalogue
    device: str
    name: str = ""
    state: object = None
    predictor: Predictor | None = None

    def of(self, name: str, loading: Callable[[], None]) -> Predictor:
        """The model of a name. Another one leaves the memory first. One that was trained again is opened again."""
        state = self.catalogue.state(name)
        if self.predictor is None or (self.name, self.state) != (name, state):
            loading()
            self.predictor = None
            self.predictor = self.catalogue.predictor(name, self.device)
            self.name, self.state = name, state
        return self.predictor


class Worker:
    """Does one job after the other until its process ends."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._spool = Spool(settings.spool)
        self._jobs = JobStore(self._spool.database, result_seconds=settings.result_seconds, attempts=settings.attempts)
        self._resident = Resident(Catalogue(settings.home, settings.model_files), settings.device)

    def work(self) -> None:
        """Do what is queued, for ever."""
        while True:
            job = self._jobs.claim(self._settings.name)
            if job is None:
                time.sleep(_IDLE_SECONDS)
            else:
                self.do(job)

    def do(self, job: Job) -> None:
        """One job, whatever comes of it. Nothing that a job holds may end the worker."""
        notes = Notes(lambda progress: self._jobs.progress(job.id, progress), lambda: self._jobs.is_cancelled(job.id),
                      self._settings.job_seconds)
        folder = self._spool.job(job.id)
        logger.info("job %s begins: %s", job.id, job.request.model)
        try:
            self._remove_written(job)  # by an attempt that broke off
            predictor = self._resident.of(job.request.model, lambda: notes.report(Progress(stage="loading")))
            outcome = run_job(job, folder, predictor, notes)
        except Cancelled:
            self._end_early(job, notes)
        except Exception as error:
            self._fail(job, error)
        else:
            if isinstance(outcome, Question):
                self._jobs.ask(job.id, outcome)
            else:
                self._jobs.finish(job.id, outcome)
            logger.info("job %s ended after %.1f s", job.id, time.monotonic() - notes.started)
        if self._jobs.get(job.id) is None:  # it was removed meanwhile, and what was written since lies there again
            self._spool.remove(job.id)

    def _end_early(self, job: Job, notes: Notes) -> None:
        if notes.timed_out:
            self._jobs.fail(job.id, problem_of("the job takes too long", expected=f"at most {notes.most_seconds:.0f} s",
                                               do="send a smaller image, or ask for a longer time limit"))
        else:
            self._jobs.cancelled(job.id)
        self._remove_written(job)
        logger.info("job %s ended early", job.id)

    def _remove_written(self, job: Job) -> None:
        folder = self._spool.job(job.id)
        remove_folder(folder.result)
        remove_folder(folder.images)

    def _fail(self, job: Job, error: Exception) -> None:
        roots = (str(self._settings.spool), str(self._settings.home))
        if isinstance(error, AutosegError):
            problem = problem_of(without_paths(str(error), roots))
        elif isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_out_of_memory(error)):
            problem = problem_of("the case needs more memory than there is", do="send a smaller image")
        else:
            logger.error("job %s: a fault of the program", job.id, exc_info=error)
            problem = problem_of("the case could not be predicted", found=without_paths(str(as_fault(error)), roots),
                                 do="if the files are sound, report it; the log of the service has the details")
        self._jobs.fail(job.id, problem)
        logger.info("job %s failed", job.id)


def log_as(name: str) -> None:
    """Logs what the worker says. Libraries of DICOM are silent: their lines hold UIDs, which identify patients."""
    logging.basicConfig(level=logging.WARNING, format=f"%(levelname)s {name}: %(message)s")
    logging.getLogger("autoseg").setLevel(logging.INFO)
    for library in ("highdicom", "pydicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def main() -> None:
    """Read the settings, then work."""
    settings = WorkerSettings.model_validate_json(sys.stdin.readline())
    log_as(settings.name)
    kill_with_parent()  # also while it computes for long outside of Python
    threading.Thread(target=_end_with_the_service, daemon=True).start()
    for plugin in settings.plugins:
        load_plugin(plugin)
    Worker(settings).work()


def _end_with_the_service() -> None:
    sys.stdin.read()  # until the service closes it, or is gone
    os._exit(0)


if __name__ == "__main__":
    main()
