"""All cases of a dataset, in parallel and resumable. A case that fails is reported at the end and ends nothing."""

import functools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

from autoseg.base.errors import AutosegError, ManyFaults, UserError
from autoseg.base.workers import worker_pool
from autoseg.data.case import CaseFiles
from autoseg.data.manifest import Manifest
from autoseg.data.parallel import each_case
from autoseg.data.raw import find_training_cases
from autoseg.data.readers.files import combined_digest, digest
from autoseg.data.readers.transforms import forget, is_current, read_record, write_transforms
from autoseg.preprocess.register.case import register_case

log = logging.getLogger(__name__)

# Raised when what was found by an earlier version is no longer what this one would find.
_VERSION = "2"


@dataclass(frozen=True)
class RegisteredDataset:
    """Names of the cases that were registered now, and a sentence for each that failed."""

    folder: Path
    registered: tuple[str, ...]
    faults: tuple[str, ...]

    def raise_faults(self) -> None:
        """ManyFaults with all of them, if any."""
        if self.faults:
            raise ManyFaults(self.folder, list(self.faults))


def register_dataset(raw_folder: Path, manifest: Manifest, target: Path, *, workers: int = 1,
                     progress: Callable[[], object] | None = None) -> RegisteredDataset:
    """Register the channels of every training case that ask for it, and write what was found into `target`.

    Cases whose files and wishes are those that their record was made of are kept. A result that was rejected is logged:
    the channel is then only regridded.
    """
    cases = find_training_cases(raw_folder, manifest)
    work = functools.partial(_attempt, manifest=manifest, target=target)
    outcomes = _outcomes(work, cases, workers, progress or (lambda: None))
    for case, outcome in zip(cases, outcomes, strict=True):
        if outcome.done:
            _log(target, case.name)
    return RegisteredDataset(target, tuple(case.name for case, outcome in zip(cases, outcomes, strict=True) if outcome.done),
                             tuple(f"{case.name}: {outcome.fault}" for case, outcome in zip(cases, outcomes, strict=True)
                                   if outcome.fault))


@dataclass(frozen=True)
class _Outcome:
    done: bool
    fault: str = ""


def _outcomes(work: Callable[[CaseFiles], _Outcome], cases: Sequence[CaseFiles], workers: int,
              progress: Callable[[], object]) -> list[_Outcome]:
    """In the order of the cases. When a worker dies, each case that is left is tried alone in a process of its own."""
    outcomes: list[_Outcome] = []
    try:
        for outcome in each_case(work, cases, workers, progress):
            outcomes.append(outcome)
    except UserError as error:  # faults of cases are in their outcomes
        log.warning("%s; trying the other cases one by one", error)
    for case in cases[len(outcomes):]:
        with worker_pool(1) as pool:
            try:
                outcome = pool.submit(work, case).result()
                # What is current now may have been made by the pool that broke, after its last word.
                outcomes.append(replace(outcome, done=not outcome.fault))
            except BrokenProcessPool:
                outcomes.append(_Outcome(done=False, fault="its worker process died, working alone (the memory may be too "
                                                           "small)"))
        progress()
    return outcomes


def _attempt(files: CaseFiles, manifest: Manifest, target: Path) -> _Outcome:
    try:
        wanted = [channel.model_dump_json() for channel in manifest.channels]
        made_of = combined_digest([_VERSION, *wanted, *("" if path is None else digest(path) for path in files.images)])
        if is_current(target, files.name, made_of):
            return _Outcome(done=False)
        forget(target, files.name)
        names = {number: channel.name for number, channel in enumerate(manifest.channels)}
        write_transforms(target, files.name, register_case(files, manifest.channels), names, made_of)
    except AutosegError as error:
        return _Outcome(done=False, fault=str(error))
    except MemoryError:
        return _Outcome(done=False, fault="not enough memory")
    except Exception as error:
        log.debug("%s", files.name, exc_info=True)
        return _Outcome(done=False, fault=f"{type(error).__name__}: {error}")
    return _Outcome(done=True)


def _log(target: Path, case: str) -> None:
    for channel in read_record(target, case).channels.values():
        if channel.reason:
            log.warning("%s: %s is not registered, only regridded: %s", case, channel.channel, channel.reason)
