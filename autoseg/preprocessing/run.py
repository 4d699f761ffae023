"""All cases of a dataset, in parallel and resumable. A case that fails is reported at the end and ends nothing."""

import logging
import math
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from autoseg.base.errors import AutosegError, ManyFaults
from autoseg.base.parallel import DIED, Effort, each_case
from autoseg.base.parts import check_part
from autoseg.base.processes import WorkerPool, cores
from autoseg.datasets.case import Case, CaseFiles
from autoseg.datasets.case_cache import load_cached
from autoseg.datasets.headers import check_headers, places, reference_of
from autoseg.datasets.manifest import Manifest
from autoseg.datasets.measure import case_digest, transforms_of
from autoseg.datasets.raw import find_training_cases, load_case
from autoseg.formats.files import file_bytes
from autoseg.grids.resize import target_shape, target_spacing
from autoseg.preprocessing.foreground import VOXELS_PER_CLASS, VOXELS_PER_COMPONENT
from autoseg.preprocessing.normalize import NORMALIZERS, round_to_step
from autoseg.preprocessing.prepare import prepare
from autoseg.preprocessing.store import is_current, remove_prepared, write_prepared
from planners.schema.plan import Configuration, Plan

log = logging.getLogger(__name__)
T = TypeVar("T")

# Raised when prepared cases of an earlier version are no longer what this one would make.
_RECIPE_VERSION = 1
_LARGE_FILE = 2**22
_TRIED = 2  # cases that tell the time per case
_SECONDS_WORTH_PROCESSES = 20.0


@dataclass(frozen=True)
class Job:
    """All that a worker needs to prepare one case."""

    files: CaseFiles
    plan: Plan
    configuration: Configuration
    folder: Path
    transforms: Path | None = None  # the folder of what registration found
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.files.name


@dataclass(frozen=True)
class Preprocessed:
    """Names of the cases that were prepared now and of those that were current; a sentence for each that failed."""

    folder: Path
    prepared: tuple[str, ...]
    current: tuple[str, ...]
    faults: tuple[str, ...]

    def raise_faults(self) -> None:
        """ManyFaults with all of them, if any."""
        if self.faults:
            raise ManyFaults(self.folder, list(self.faults))


def preprocess_dataset(raw_folder: Path, manifest: Manifest, plan: Plan, configuration: str, folder: Path, *,
                       workers: int = 1, progress: Callable[[], object] | None = None, transforms: Path | None = None,
                       only: Collection[str] | None = None, worker_pool: WorkerPool | None = None) -> Preprocessed:
    """Prepare every training case, or `only` those named, into `folder`; cases that are already there, undamaged and up to
    date, are kept.

    `workers` processes (1: this one) are used, or as many as the memory allows. `progress` is called once a case.
    `transforms` is the folder of what registration found. A `worker_pool` may remember what it measured. Faults of single cases
    are in the result, not raised.
    """
    chosen = plan.configurations[configuration]
    for part in chosen.normalizers:
        check_part(NORMALIZERS, part, f"{plan.dataset} {configuration}")
    jobs = [Job(files, plan, chosen, folder, transforms) for files in find_training_cases(raw_folder, manifest)
            if only is None or files.name in only]
    checked = _looked_at(_with_provenance, jobs)
    waiting = [job for job, current in checked if not current]
    sizes = _looked_at(case_bytes, waiting)
    current = tuple(job.files.name for job, current in checked if current)
    if current:
        log.info("%d of %d cases are already prepared", len(current), len(jobs))
    report = progress or (lambda: None)
    for _ in current:
        report()
    done, faults = [], []
    effort = Effort("preparing", sizes, _TRIED, _SECONDS_WORTH_PROCESSES)
    attempt = partial(_attempt, load=load_case if worker_pool is None else load_cached)
    outcomes = each_case(attempt, waiting, workers, effort=effort, died=lambda _: DIED, worker_pool=worker_pool)
    for job, fault in zip(waiting, outcomes, strict=True):
        if fault:
            log.warning("%s was not prepared: %s", job.files.name, fault)
        (faults if fault else done).append(f"{job.files.name}: {fault}" if fault else job.files.name)
        report()
    return Preprocessed(folder, tuple(sorted(done)), current, tuple(sorted(faults)))


def recipe_digest(plan: Plan, configuration: Configuration) -> str:
    """What of a plan decides how a prepared case looks; a change of anything else leaves prepared cases valid."""
    parts = (_RECIPE_VERSION, VOXELS_PER_CLASS, VOXELS_PER_COMPONENT, plan.transpose, configuration.spacing_mm,
             plan.labels.model_dump_json(), configuration.resampling.model_dump_json(),
             *(part.model_dump_json() for part in (*configuration.normalizers, *plan.intensities, *plan.channels)))
    return blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def case_bytes(job: Job) -> int:
    """Memory that preparing one case takes at most, beside the libraries: the channels as read and as normalised, the
    resampled ones, and the products of one channel. As if nothing could be cropped; 0 where a header cannot be
    read.

    A channel on a grid of its own is read there (up to three copies at a time: as the file has it, as float32, and as
    brought half-way) and is marked where it is absent, in the case, in the crop and on the prepared grid.
    """
    channels = job.plan.channels
    try:
        found = places(job.files, check_headers(job.files, channels, None)[0], channels)
    except OSError:
        found = []
    reference = reference_of(found, channels)
    if reference is None:
        return 0  # loading the case will say what is wrong with it
    geometry = reference.geometry
    shape = tuple(geometry.shape[axis] for axis in job.plan.transpose)
    from_mm = tuple(geometry.spacing_mm[axis] for axis in job.plan.transpose)
    before = math.prod(shape)
    after = math.prod(target_shape(shape, from_mm, target_spacing(job.configuration, from_mm)))
    wide = any(not NORMALIZERS.traits(part.name).near_one for part in job.configuration.normalizers)
    products = 6 if wide else 3  # of a wide range: float64
    values = len(channels) * (3 * before + after) + products * max(before, after)
    brought = [place for place in found if place.is_brought]
    own = max((3 * place.n_channels * max(before, math.prod(place.geometry.shape)) for place in brought), default=0)
    marks = len(channels) * (2 * before + 2 * after) if brought else 0
    return 4 * (values + own) + marks


def _looked_at(look: Callable[[Job], T], jobs: list[Job]) -> list[T]:
    """`look(job)` of each: by threads where files are large, because reading and checksums then release the interpreter's
    lock for so long that it pays.
    """
    if max((file_bytes(path) for job in jobs[:1] for path in job.files.images if path is not None), default=0) < _LARGE_FILE:
        return list(map(look, jobs))
    with ThreadPoolExecutor(min(8, cores())) as threads:
        return list(threads.map(look, jobs))


def _with_provenance(job: Job) -> tuple[Job, bool]:
    """The job with the digests of what it depends on, and whether the prepared case is current."""
    try:
        raw = case_digest(job.files, transforms_of(job.transforms, job.files.name))
    except (OSError, AutosegError):
        return job, False  # preparing the case will say what is wrong with its files
    job = replace(job, provenance={"raw": raw, "recipe": recipe_digest(job.plan, job.configuration)})
    return job, is_current(job.folder, job.files.name, job.provenance)


def _attempt(job: Job, load: Callable[..., Case] = load_case) -> str:
    """Prepare one case; what went wrong, in words, or nothing."""
    try:
        remove_prepared(job.folder, job.files.name)  # what is out of date must not outlive a failure
        found = transforms_of(job.transforms, job.files.name)
        case = load(job.files, job.plan.channels, job.plan.labels, found)
        prepared = prepare(case, job.plan, job.configuration)
        del case  # as large as what was made of it, and of no more use
        round_to_step(prepared.image_CDHW, job.configuration.normalizers)
        write_prepared(job.folder, replace(prepared, provenance=job.provenance), job.configuration.patch)
    except AutosegError as error:
        return str(error)
    except MemoryError:
        return "not enough memory"
    except Exception as error:
        log.debug("%s", job.files.name, exc_info=True)
        return f"{type(error).__name__}: {error}"
    return ""
