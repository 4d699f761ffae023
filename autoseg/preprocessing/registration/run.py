"""All cases of a dataset, in parallel and resumable. A case that fails is reported at the end and ends nothing."""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import AutosegError, ManyFaults
from autoseg.base.parallel import DIED, Effort, each_case
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.manifest import Manifest
from autoseg.datasets.raw import find_training_cases
from autoseg.formats.files import combined_digest, digest
from autoseg.formats.memory_estimate import most_voxels
from autoseg.formats.transforms import forget, is_current, read_record, write_transforms, written
from autoseg.preprocessing.registration.case import register_case

log = logging.getLogger(__name__)

# Raised when what was found by an earlier version is no longer what this one would find.
_VERSION = "2"
# Both images in float32 as read, in the optimiser's own copies and as they are compared.
_BYTES_A_VOXEL = 2 * 4 * 4


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
    before = [written(target, case.name) for case in cases]
    effort = Effort("registering", most_voxels(path for files in cases for path in files.images) * _BYTES_A_VOXEL)
    faults = list(each_case(work, cases, workers, progress, effort=effort, died=lambda _: DIED))
    done = tuple(case.name for case, fault, earlier in zip(cases, faults, before, strict=True)
                 if not fault and written(target, case.name) != earlier)
    for name in done:
        _log(target, name)
    return RegisteredDataset(target, done, tuple(f"{case.name}: {fault}" for case, fault in zip(cases, faults, strict=True)
                                                 if fault))


def _attempt(files: CaseFiles, manifest: Manifest, target: Path) -> str:
    """Register one case, unless it is current; what went wrong, in words, or nothing."""
    try:
        wanted = [channel.model_dump_json() for channel in manifest.channels]
        made_of = combined_digest([_VERSION, *wanted, *("" if path is None else digest(path) for path in files.images)])
        if is_current(target, files.name, made_of):
            return ""
        forget(target, files.name)
        names = {number: channel.name for number, channel in enumerate(manifest.channels)}
        write_transforms(target, files.name, register_case(files, manifest.channels), names, made_of)
    except AutosegError as error:
        return str(error)
    except MemoryError:
        return "not enough memory"
    except Exception as error:
        log.debug("%s", files.name, exc_info=True)
        return f"{type(error).__name__}: {error}"
    return ""


def _log(target: Path, case: str) -> None:
    for channel in read_record(target, case).channels.values():
        if channel.reason:
            log.warning("%s: %s is not registered, only regridded: %s", case, channel.channel, channel.reason)
