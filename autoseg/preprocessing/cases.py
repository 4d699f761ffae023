"""The same work on every case of a dataset, in parallel. A case that fails is reported at the end and stops no other."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from autoseg.base.errors import ManyFaults, as_fault
from autoseg.base.parallel import Effort, Named, each_case
from autoseg.base.processes import WorkerPool

logger = logging.getLogger(__name__)
J = TypeVar("J", bound=Named)


@dataclass(frozen=True)
class ProcessedCases:
    """Names of the cases that were done now and of those that were current; a sentence for each that failed."""

    folder: Path
    done: tuple[str, ...]
    current: tuple[str, ...]
    faults: tuple[str, ...]

    def raise_faults(self) -> None:
        """ManyFaults with all of them, if any."""
        if self.faults:
            raise ManyFaults(self.folder, list(self.faults))


def process_cases(attempt: Callable[[J], str], jobs: Sequence[J], folder: Path, *, current: Sequence[str], effort: Effort,
                  participle: str, workers: int = 1, progress: Callable[[], object] | None = None,
                  worker_pool: WorkerPool | None = None) -> ProcessedCases:
    """`attempt(job)` of every job: an empty text, or what went wrong. The cases named in `current` are only counted.

    `progress` is called once per case. `participle` says in messages what is done with a case, such as "prepared".
    """
    if current:
        logger.info("%d of %d cases are already %s", len(current), len(current) + len(jobs), participle)
    report = progress or (lambda: None)
    for _ in current:
        report()
    done: list[str] = []
    faults: list[str] = []
    outcomes = each_case(attempt, jobs, workers, effort=effort, died=lambda _, why: why, worker_pool=worker_pool)
    for job, fault in zip(jobs, outcomes, strict=True):
        if fault:
            logger.warning("%s was not %s: %s", job.name, participle, fault)
            faults.append(f"{job.name}: {fault}")
        else:
            done.append(job.name)
        report()
    return ProcessedCases(folder, tuple(sorted(done)), tuple(current), tuple(sorted(faults)))


def fault_of(work: Callable[[], object]) -> str:
    """What went wrong in `work()` for a case, in words without its name, or nothing."""
    try:
        work()
    except Exception as error:
        return str(as_fault(error))
    return ""
