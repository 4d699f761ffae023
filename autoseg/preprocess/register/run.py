"""All cases of a dataset, in parallel and resumable. A case that fails is reported at the end and ends nothing."""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import AutosegError, ManyFaults
from autoseg.data.case import CaseFiles
from autoseg.data.manifest import Manifest
from autoseg.data.parallel import each_case
from autoseg.data.raw import find_training_cases
from autoseg.data.readers.files import combined_digest, digest
from autoseg.data.readers.transforms import read_record, write_transforms
from autoseg.preprocess.register.case import register_case

log = logging.getLogger(__name__)

# Raised when what was found by an earlier version is no longer what this one would find.
_VERSION = "1"


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
    outcomes = list(each_case(work, cases, min(workers, len(cases)), progress))
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


def _attempt(files: CaseFiles, manifest: Manifest, target: Path) -> _Outcome:
    try:
        wanted = [channel.model_dump_json() for channel in manifest.channels]
        made_of = combined_digest([_VERSION, *wanted, *("" if path is None else digest(path) for path in files.images)])
        known = read_record(target, files.name)
        if known is not None and known.made_of == made_of:
            return _Outcome(done=False)
        names = {number: channel.name for number, channel in enumerate(manifest.channels)}
        write_transforms(target, files.name, register_case(files, manifest.channels), names, made_of)
    except (AutosegError, OSError, RuntimeError) as error:  # SimpleITK raises RuntimeError for whatever it refuses
        return _Outcome(done=False, fault=str(error))
    return _Outcome(done=True)


def _log(target: Path, case: str) -> None:
    for channel in read_record(target, case).channels.values():
        if channel.reason:
            log.warning("%s: %s is not registered, only regridded: %s", case, channel.channel, channel.reason)
