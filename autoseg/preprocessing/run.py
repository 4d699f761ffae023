"""Prepare all cases of a dataset, in parallel and resumable."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np

from autoseg.base.errors import AutosegError, TooLarge
from autoseg.base.parallel import Effort
from autoseg.base.parts import check_part
from autoseg.base.processes import WorkerPool
from autoseg.datasets.case import Case, CaseFiles, RawFile
from autoseg.datasets.case_cache import load_cached
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.digests import case_digest, map_files, raw_files, transforms_of
from autoseg.datasets.headers import check_headers, grid_of, places
from autoseg.datasets.preprocessors import PREPROCESSORS, check_preprocessor
from autoseg.datasets.raw import load_case
from autoseg.grids.resize import target_shape, target_spacing
from autoseg.preprocessing.cases import ProcessedCases, fault_of, process_cases
from autoseg.preprocessing.foreground import VOXELS_PER_CLASS, VOXELS_PER_COMPONENT
from autoseg.preprocessing.normalize import NORMALIZERS, round_to_step, traits_of
from autoseg.preprocessing.prepare import axes_of, prepare
from autoseg.preprocessing.store import is_current, remove_prepared, renew_raw_files, write_prepared
from planners.schema.base import Part
from planners.schema.plan import Configuration, Plan

# Increase this number when prepared cases of an earlier version are no longer what this one would make.
_RECIPE_VERSION = 1
_TRIED = 2  # cases that are prepared first, to measure the time per case
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
    raw_files: tuple[RawFile, ...] = ()
    images_alone: bool = False  # the label is not read

    @property
    def name(self) -> str:
        return self.files.name


def preprocess_dataset(dataset: Dataset, plan: Plan, configuration: str, folder: Path, *, workers: int = 1,
                       progress: Callable[[], object] | None = None, transforms: Path | None = None,
                       only: Collection[str] | None = None, worker_pool: WorkerPool | None = None) -> ProcessedCases:
    """Prepare every training case, or `only` those named, into `folder`; cases that are already there, undamaged and up to
    date, are kept.

    `workers` processes (1: this one) are used, or as many as the memory allows. `progress` is called once per case.
    `transforms` is the folder of what registration found. A `worker_pool` may remember what it measured. Faults of single
    cases are in the result, not raised.
    """
    planned = plan.configurations[configuration]
    jobs = [Job(files, plan, planned, folder, transforms) for files in dataset.cases if only is None or files.name in only]
    return _prepared(jobs, f"{plan.dataset} {configuration}", folder, workers, progress, worker_pool)


def prepare_images(cases: Sequence[CaseFiles], plan: Plan, configuration: str, folder: Path, *, workers: int = 1,
                   progress: Callable[[], object] | None = None) -> ProcessedCases:
    """`preprocess_dataset` of images without labels: the label of each prepared case is background."""
    planned = plan.configurations[configuration]
    jobs = [Job(files, plan, planned, folder, images_alone=True) for files in cases]
    return _prepared(jobs, f"{plan.dataset} {configuration}", folder, workers, progress, None)


def _prepared(jobs: Sequence[Job], title: str, folder: Path, workers: int, progress: Callable[[], object] | None,
              worker_pool: WorkerPool | None) -> ProcessedCases:
    for part in jobs[0].configuration.normalizers if jobs else ():
        check_part(NORMALIZERS, part, title)
    if jobs:
        check_preprocessor(jobs[0].configuration.preprocess, jobs[0].plan.channels, title)
    images = jobs[0].files.images if jobs else ()
    checked = map_files(_with_provenance, jobs, images)
    waiting = [job for job, current in checked if not current]
    effort = Effort("preparing", map_files(case_bytes, waiting, images), _TRIED, _SECONDS_WORTH_PROCESSES)
    attempt = partial(_attempt, load=load_case if worker_pool is None else load_cached)
    return process_cases(attempt, waiting, folder, current=[job.name for job, current in checked if current], effort=effort,
                         participle="prepared", workers=workers, progress=progress, worker_pool=worker_pool)


def recipe_digest(plan: Plan, configuration: Configuration) -> str:
    """What of a plan decides how a prepared case looks; a change of anything else leaves prepared cases valid."""
    parts = (_RECIPE_VERSION, VOXELS_PER_CLASS, VOXELS_PER_COMPONENT, plan.transpose, configuration.spacing_mm,
             *((plan.orientation,) if plan.turned else ()),
             *((configuration.preprocess.model_dump_json(),) if configuration.preprocess != Part(name="none") else ()),
             plan.labels.model_dump_json(), configuration.resampling.model_dump_json(),
             *(part.model_dump_json() for part in (*configuration.normalizers, *plan.intensities, *plan.channels)))
    return blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def case_bytes(job: Job) -> int:
    """Memory that preparing one case takes at most, beside the libraries: the channels as read and as normalised, the
    resampled ones, and the products of one channel. As if nothing could be cropped; 0 where a header cannot be
    read.

    A channel on a grid of its own is read there (up to three copies at a time: as the file has it, as float32, and as
    brought half-way) and is marked where it is absent, in the case, in the crop and on the prepared grid. A preprocessor
    holds all channels three times more: what it reads, what it writes and the case that it makes.
    """
    channels = job.plan.channels
    try:
        headers = check_headers(job.files, channels, None)[0]
    except (OSError, TooLarge):
        headers = {}
    placed, reference = places(job.files, headers, channels), grid_of(job.files, headers, channels)
    if reference is None:
        return 0  # loading the case will say what is wrong with it
    axes = axes_of(reference.geometry, job.plan)
    shape, from_mm = axes.of_each(reference.geometry.shape), axes.of_each(reference.geometry.spacing_mm)
    before = math.prod(shape)
    after = math.prod(target_shape(shape, from_mm, target_spacing(job.configuration, from_mm)))
    wide = any(not traits_of(part).near_one for part in job.configuration.normalizers)
    products = 6 if wide else 3  # of a wide range: float64
    values = len(channels) * (3 * before + after) + products * max(before, after)
    changed = 3 * len(channels) * before if PREPROCESSORS.traits(job.configuration.preprocess.name).changes else 0
    brought = [place for place in placed if place.is_brought]
    own = max((3 * place.n_channels * max(before, math.prod(place.geometry.shape)) for place in brought), default=0)
    marks = len(channels) * (2 * before + 2 * after) if brought else 0
    return 4 * (values + own + changed) + marks


def _with_provenance(job: Job) -> tuple[Job, bool]:
    """The job with the digests of what it depends on, and whether the prepared case is current."""
    try:
        recorded = raw_files(job.files)
        raw = case_digest(job.files, transforms_of(job.transforms, job.files))
    except (OSError, AutosegError):
        return job, False  # preparing the case will say what is wrong with its files
    provenance = {"raw": raw, "recipe": recipe_digest(job.plan, job.configuration)}
    if job.files.modalities:
        provenance["modalities"] = " ".join(job.files.modalities)
    job = replace(job, provenance=provenance, raw_files=recorded)
    current = is_current(job.folder, job.name, job.provenance)
    if current:
        renew_raw_files(job.folder, job.name, recorded)
    return job, current


def _attempt(job: Job, load: Callable[..., Case] = load_case) -> str:
    """Prepare one case; what went wrong, in words, or nothing."""
    return fault_of(partial(_prepare, job, load))


def _prepare(job: Job, load: Callable[..., Case]) -> None:
    remove_prepared(job.folder, job.name)  # what is out of date must not outlive a failure
    labels = None if job.images_alone else job.plan.labels
    case = load(job.files, job.plan.channels, labels, transforms_of(job.transforms, job.files))
    prepared = prepare(case, job.plan, job.configuration)
    if job.images_alone:
        prepared = replace(prepared, label_DHW=np.zeros(prepared.shape, np.int16))
    del case  # as large as what was made of it, and of no more use
    round_to_step(prepared.image_CDHW[:], job.configuration.normalizers)
    made = replace(prepared, provenance=job.provenance, raw_files=job.raw_files)
    write_prepared(job.folder, made, job.configuration.patch)
