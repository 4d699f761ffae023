"""Register the channels of all cases of a dataset, in parallel and resumable."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from autoseg.base.errors import AutosegError
from autoseg.base.parallel import Effort
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.digests import file_digest, map_files
from autoseg.formats.files import combined_digest
from autoseg.formats.memory_estimate import most_voxels
from autoseg.formats.transforms import forget, is_current, read_record, write_transforms
from autoseg.preprocessing.cases import ProcessedCases, fault_of, process_cases
from autoseg.preprocessing.registration.case import register_case
from planners.schema.channels import ChannelSpec

logger = logging.getLogger(__name__)

# Increase this number when results of an earlier version are no longer what this one would find.
_VERSION = "2"
# Both images in float32 as read, in the optimiser's own copies and as they are compared.
_BYTES_PER_VOXEL = 2 * 4 * 4


@dataclass(frozen=True)
class Job:
    """All that a worker needs to register one case. `made_of` is the digest of what the result depends on."""

    files: CaseFiles
    channels: tuple[ChannelSpec, ...]
    folder: Path
    made_of: str = ""

    @property
    def name(self) -> str:
        return self.files.name


def register_dataset(dataset: Dataset, folder: Path, *, workers: int = 1, progress: Callable[[], object] | None = None
                     ) -> ProcessedCases:
    """Register the channels of every training case that ask for it, and write what was found into `folder`.

    A case is kept where its files and what is asked for are the same as in its record. A result that was rejected is
    logged: the channel is then only regridded.
    """
    jobs = [Job(files, dataset.manifest.channels, folder) for files in dataset.cases]
    checked = map_files(_with_digest, jobs, jobs[0].files.images if jobs else ())
    waiting = [job for job, current in checked if not current]
    voxels = most_voxels(path for job in waiting for path in job.files.images)
    result = process_cases(_attempt, waiting, folder, current=[job.name for job, current in checked if current],
                           effort=Effort("registering", voxels * _BYTES_PER_VOXEL), participle="registered", workers=workers,
                           progress=progress)
    for name in result.done:
        _log_rejected(folder, name)
    return result


def _with_digest(job: Job) -> tuple[Job, bool]:
    """The job with the digest of what it depends on, and whether the case is registered already."""
    try:
        digests = ["" if path is None else file_digest(path) for path in job.files.images]
    except (OSError, AutosegError):
        return job, False  # registering the case will say what is wrong with its files
    job = replace(job, made_of=combined_digest([_VERSION, *(spec.model_dump_json() for spec in job.channels), *digests]))
    return job, is_current(job.folder, job.name, job.made_of)


def _attempt(job: Job) -> str:
    """Register one case; what went wrong, in words, or nothing."""
    return fault_of(partial(_register, job))


def _register(job: Job) -> None:
    forget(job.folder, job.name)  # what is out of date must not outlive a failure
    names = {number: channel.name for number, channel in enumerate(job.channels)}
    write_transforms(job.folder, job.name, register_case(job.files, job.channels), names, job.made_of)


def _log_rejected(folder: Path, case: str) -> None:
    record = read_record(folder, case)
    for channel in record.channels.values() if record is not None else ():
        if channel.reason:
            logger.warning("%s: %s is not registered, only regridded: %s", case, channel.channel, channel.reason)
