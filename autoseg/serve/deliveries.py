"""Studies that arrive from elsewhere become jobs, and the results of these go where they belong.

Where a result goes is noted before the job is accepted, and an attempt to store it before it is made. A service that dies
at any moment goes on afterwards: the result of each job is stored, and not twice, because before a second attempt the
destination is asked whether it has the instance.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from autoseg.base.errors import AutosegError, UserError
from autoseg.serve.problems import without_paths
from autoseg.serve.service import Jobs
from autoseg.workspace.jobs.deliveries import Delivery, DeliveryStore, Form
from autoseg.workspace.jobs.spool import Spool
from autoseg.workspace.jobs.store import QueueLimits
from autoseg.workspace.jobs.types import InputFile, Job, JobRequest

logger = logging.getLogger(__name__)

DICOMWEB = "dicomweb"  # the destination that is the server of DICOMweb
_FORGOTTEN_SECONDS = 600.0  # a delivery is planned a moment before its job is accepted


class Destination(Protocol):
    """Where results can be stored."""

    def store(self, path: Path) -> None:
        """Store an instance of DICOM. Raises UserError where that fails now."""

    def has(self, path: Path) -> bool:
        """Whether it was stored before. Raises UserError where that cannot be said."""


class Deliveries:
    """The results of a service on their way. `destinations` by their names in the table of deliveries."""

    def __init__(self, store: DeliveryStore, jobs: Jobs, spool: Spool, now: Callable[[], float]) -> None:
        self._store, self._jobs, self._spool, self._now = store, jobs, spool, now
        self.destinations: dict[str, Destination] = {}

    def accept(self, request: JobRequest, job_id: str, received: Path, goes_to: tuple[str, Form] | None,
               limits: QueueLimits | None = None) -> Job:
        """Make a job of a folder of files, and note where its result goes. It is safe on the disk when this returns; where
        something is raised, nothing is left. Raises QueueFull where it would pass the limits.
        """
        if goes_to is not None:
            self._store.plan(job_id, *goes_to)
        try:
            self._spool.keep(received, job_id)
            return self._jobs.accept(request, job_id, limits)
        except BaseException:
            self._spool.remove(job_id)
            self._store.remove(job_id)
            raise

    def of_job(self, job_id: str) -> Delivery | None:
        """Where the result of a job goes and how far that is; None where it goes nowhere."""
        return self._store.get(job_id)

    def deliver_due(self) -> None:
        """One round: what is done and not stored is tried."""
        for delivery in self._store.due():
            job = self._jobs.get(delivery.job_id)
            if job is None:  # removed by its client; or not accepted yet
                if self._now() - delivery.created > _FORGOTTEN_SECONDS:
                    self._store.remove(delivery.job_id)
            elif job.state == "done":
                self._deliver(delivery)
            elif job.state in ("failed", "cancelled", "expired"):
                self._store.failed(delivery.job_id, f"the job is {job.state}: there is nothing to store")

    def _deliver(self, delivery: Delivery) -> None:
        destination = self.destinations.get(delivery.destination)
        path = self._spool.job(delivery.job_id).result_file(delivery.form)
        try:
            if destination is None:
                raise UserError("the destination is not among those that the service is started with")
            if not path.is_file():
                self._store.failed(delivery.job_id, f"the job has no result of the form {delivery.form}")
                return
            self._store.attempt(delivery.job_id)
            if delivery.attempts == 0 or not destination.has(path):
                destination.store(path)
        except AutosegError as error:
            self._store.postpone(delivery.job_id, without_paths(str(error)))
            logger.warning("job %s: its result is not stored yet; it is tried again", delivery.job_id)
            return
        self._store.stored(delivery.job_id)
        logger.info("job %s: its result is stored", delivery.job_id)


def input_files_of(sizes: Iterable[int]) -> tuple[InputFile, ...]:
    """The files of a study, given their bytes in the order of their numbers, as a request names them."""
    return tuple(InputFile(number=number, shown=f"{number}.dcm", n_bytes=n_bytes, ending=".dcm")
                 for number, n_bytes in enumerate(sizes))
