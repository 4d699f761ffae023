"""Raw dataset -> Fingerprint. Cases are streamed; what is kept of one is bounded, and so is what is kept of all.

Intensities follow nnU-Net's fingerprint: foreground voxels of the image cropped to non-zero, every case with the same
weight however large its foreground. nnU-Net draws voxels with replacement (10e7 over the dataset); their expected mean
and standard deviation are computed here exactly, from moments, and percentiles from evenly spaced ranks of each case,
so that nothing is random and no order of cases or workers matters. A voxel outside a channel's field of view is none of
that channel's.
"""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
import scipy

from autoseg.base.errors import ManyFaults, UserError, raise_faults
from autoseg.base.parallel import Effort, each_case
from autoseg.base.processes import WorkerPool
from autoseg.clinical.condition_stats import condition_stats, with_widths
from autoseg.clinical.conditions import read_conditions
from autoseg.datasets.case import Case, CaseFiles
from autoseg.datasets.case_cache import load_cached
from autoseg.datasets.manifest import Manifest
from autoseg.datasets.raw import find_training_cases, load_case
from autoseg.formats import files_of
from autoseg.formats.arrays import ENDING
from autoseg.formats.files import combined_digest, digest, is_file
from autoseg.formats.memory_estimate import most_voxels
from autoseg.formats.transforms import read_transforms
from autoseg.grids.components import component_voxels
from autoseg.grids.crop import anything, bounding_box
from autoseg.grids.transform import Transform
from planners.schema.conditions import ConditionTable
from planners.schema.fingerprint import CaseMeasure, Fingerprint, IntensityStats
from planners.schema.labels import LabelSpec, LabelStats

logger = logging.getLogger(__name__)

# Ranks kept of a case and channel; 50 of them lie beyond each of the percentiles 0.5 and 99.5.
_RANKS_PER_CASE = 10_000
_RANKS_IN_ALL = 10_000_000
_SIZES_PER_CASE = 1_000
_PERCENTILES_OF_SIZE = (5, 25, 50, 75, 95)
# Bytes a voxel that measuring holds at most, beside 4 a channel (twice, where channels are brought to another grid): the
# file's own bytes, masks, components. Measured: 17 with one channel.
_BYTES_A_VOXEL = 20
# Cases that tell, in this process, whether starting others pays.
_TRIED = 3


@dataclass(frozen=True)
class ChannelMeasure:
    """One channel's foreground voxels in one case."""

    mean: float
    variance: float
    low: float
    high: float
    ranks: np.ndarray  # float32, sorted, as many for each case


@dataclass(frozen=True)
class LabelMeasure:
    """One label in one case; `sizes_ml` are of components, or as many evenly spaced of them as are kept."""

    voxels: int
    volume_ml: float
    components: int
    sizes_ml: np.ndarray


@dataclass(frozen=True)
class Measured:
    """What is kept of one case; a channel is None where it is missing or sees no foreground.

    `coverage` is the share of the grid that a channel covers, 0 of a missing one.
    """

    name: str
    digest: str = ""
    shape: CaseMeasure | None = None
    present: tuple[bool, ...] = ()
    coverage: tuple[float, ...] = ()
    channels: tuple[ChannelMeasure | None, ...] = ()
    labels: dict[str, LabelMeasure] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


def measure(folder: Path, manifest: Manifest, dataset: str, workers: int = 1,
            progress: Callable[[], object] | None = None, *, transforms: Path | None = None,
            worker_pool: WorkerPool | None = None) -> Fingerprint:
    """The fingerprint of a raw dataset; `progress()` is called after each case.

    `transforms` is the folder of what registration found. A `worker_pool` keeps small cases for preparing. Raises UserError or
    ManyFaults with the faults of all cases, where there are any.
    """
    cases = find_training_cases(folder, manifest)
    known = read_conditions(folder, manifest.conditions, [files.name for files in cases])
    for warning in known.warnings:
        logger.warning("%s", warning)
    n_ranks = max(1, min(_RANKS_PER_CASE, _RANKS_IN_ALL // len(cases)))
    work = functools.partial(measure_case, manifest=manifest, n_ranks=n_ranks, transforms=transforms,
                             load=load_case if worker_pool is None else load_cached)
    effort = Effort("measuring", case_bytes(cases, manifest), _TRIED)
    measured = list(each_case(work, cases, workers, progress, effort=effort, worker_pool=worker_pool))
    raise_faults(folder, [fault for case in measured for fault in case.faults])
    names = [channel.name for channel in manifest.channels]
    return Fingerprint(
        dataset=dataset, channels=manifest.channels, labels=manifest.labels,
        cases=tuple(case.shape for case in measured),
        intensities=tuple(_intensity(folder, name, [case.channels[c] for case in measured])
                          for c, name in enumerate(names)),
        presence=tuple(float(np.mean([case.present[c] for case in measured])) for c in range(len(names))),
        coverage=tuple(_coverage(measured, c) for c in range(len(names))),
        conditions=with_widths(manifest.conditions, list(known.cases.values())),
        condition_stats=condition_stats(manifest.conditions, list(known.cases.values())),
        label_stats=tuple(_label_stats(name, [case.labels[name] for case in measured if name in case.labels])
                          for name in manifest.labels.foreground),
        digest=_dataset_digest(folder, manifest, {case.name: case.digest for case in measured}))


def case_bytes(cases: Sequence[CaseFiles], manifest: Manifest) -> int:
    """What reading and measuring the largest of some cases takes."""
    brought = any(channel.registration != "none" for channel in manifest.channels)
    images = most_voxels(path for files in cases for path in (*files.images, files.label))
    return images * (4 * len(manifest.channels) * (2 if brought else 1) + _BYTES_A_VOXEL)


def measure_case(files: CaseFiles, manifest: Manifest, n_ranks: int, transforms: Path | None = None,
                 load: Callable[..., Case] = load_case) -> Measured:
    """Read one case once and measure it; a fault of the case is part of the result."""
    try:
        found = transforms_of(transforms, files.name)
        case = load(files, manifest.channels, manifest.labels, found)
    except ManyFaults as error:
        return Measured(files.name, faults=error.faults)
    except UserError as error:
        return Measured(files.name, faults=(str(error),))
    box = bounding_box(anything(case.image_CDHW, case.present_C, case.absent_CDHW))
    inside = tuple(slice(*side) for side in box)
    shape = tuple(stop - start for start, stop in box)
    return Measured(name=case.name, digest=case_digest(files, found), present=tuple(map(bool, case.present_C)),
                    coverage=_coverages(case),
                    shape=CaseMeasure(case=case.name, shape=shape, spacing_mm=case.geometry.spacing_mm,
                                      relative_size=float(np.prod(shape) / np.prod(case.geometry.shape)),
                                      left_right_axis=case.geometry.left_right_axis()),
                    channels=_channels(case, inside, foreground(case.label_DHW[inside], manifest.labels), n_ranks),
                    labels=_labels(case, manifest.labels))


def raw_digest(folder: Path, manifest: Manifest, transforms: Path | None = None) -> str:
    """The digest that `measure` would write now: of the content of all training files and tables, channels and labels."""
    digests = {files.name: case_digest(files, transforms_of(transforms, files.name))
               for files in find_training_cases(folder, manifest)}
    return _dataset_digest(folder, manifest, digests)


def case_digest(files: CaseFiles, transforms: Mapping[int, Transform] | None = None) -> str:
    """Digest of the content of a case's files, in the order of its channels, and of how channels were registered."""
    content = [part for path in (*files.images, files.label)
               for part in ([""] if path is None else map(digest, files_of(path)))]
    return combined_digest([*content, *(f"{c} {_transform_digest(by)}" for c, by in sorted((transforms or {}).items()))])


def transforms_of(folder: Path | None, case: str) -> Mapping[int, Transform]:
    """What registration found for the channels of a case; nothing where it was not asked."""
    return {} if folder is None else read_transforms(folder, case)


def _transform_digest(transform: Transform) -> str:
    state = blake2b(transform.matrix.astype(np.float64).tobytes(), digest_size=16)
    if transform.displacement_mm is not None:
        state.update(repr(transform.lattice).encode())
        state.update(np.ascontiguousarray(transform.displacement_mm))
    return state.hexdigest()


def _dataset_digest(folder: Path, manifest: Manifest, cases: dict[str, str]) -> str:
    declared = [manifest.labels.model_dump_json(), *(channel.model_dump_json() for channel in manifest.channels)]
    beside = _conditions_digests(folder, manifest.conditions, sorted(cases))
    return combined_digest([*declared, *(f"{name} {cases[name]}" for name in sorted(cases)), *beside])


def _conditions_digests(folder: Path, table: ConditionTable, cases: Sequence[str]) -> list[str]:
    """Digests of the table and of the cases' vectors and tokens, as far as they are there; none where none is declared."""
    if not table.specs:
        return []
    paths = [table.table] if table.table else []
    paths += [f"{spec.folder}/{case}{ENDING}" for spec in table.specs if spec.folder for case in cases]
    return [table.model_dump_json(), *(f"{path} {digest(folder / path)}" for path in paths if is_file(folder / path))]


def foreground(label_DHW: np.ndarray, labels: LabelSpec) -> np.ndarray:
    """Voxels with a label; the ignore label is none (nnU-Net counts it, and with it whatever was not annotated)."""
    foreground_DHW = label_DHW > 0
    if labels.ignore is not None:
        foreground_DHW &= label_DHW != labels.ignore
    return foreground_DHW


def _coverages(case: Case) -> tuple[float, ...]:
    absent_C = np.zeros(len(case.present_C)) if case.absent_CDHW is None else case.absent_CDHW.mean(axis=(1, 2, 3))
    return tuple(float(share) for share in np.where(case.present_C, 1 - absent_C, 0))


def _coverage(cases: Sequence[Measured], c: int) -> float:
    """The mean of the cases that have the channel; 0 where none has."""
    shares = [case.coverage[c] for case in cases if case.present[c]]
    return float(np.mean(shares)) if shares else 0.0


def _channels(case: Case, inside: tuple[slice, ...], foreground_DHW: np.ndarray, n_ranks: int
              ) -> tuple[ChannelMeasure | None, ...]:
    measures: list[ChannelMeasure | None] = []
    for c, present in enumerate(case.present_C):
        seen_DHW = foreground_DHW & present
        if case.absent_CDHW is not None:
            seen_DHW &= ~case.absent_CDHW[c][inside]
        values = np.sort(case.image_CDHW[c][inside][seen_DHW])
        measures.append(_channel(values, n_ranks) if len(values) else None)
    return tuple(measures)


def _channel(values: np.ndarray, n_ranks: int) -> ChannelMeasure:
    """Of sorted values."""
    return ChannelMeasure(mean=float(values.mean(dtype=np.float64)), low=float(values[0]),
                          variance=float(values.var(dtype=np.float64)), high=float(values[-1]),
                          ranks=evenly(values, n_ranks))


def evenly(ordered: np.ndarray, n: int) -> np.ndarray:
    """`n` of the sorted values at evenly spaced ranks; values repeat where there are fewer than `n`.

    >>> evenly(np.array([1, 2, 3, 4, 5, 6]), 3), evenly(np.array([1, 2]), 4)
    (array([2, 4, 6]), array([1, 1, 2, 2]))
    """
    return ordered[((np.arange(n) + 0.5) * len(ordered) / n).astype(np.int64)]


def _labels(case: Case, labels: LabelSpec) -> dict[str, LabelMeasure]:
    """Every label or region that the case holds."""
    boxes = scipy.ndimage.find_objects(case.label_DHW)
    measures = {}
    for name in labels.foreground:
        values = labels.names[name]
        sides = [boxes[value - 1] for value in values if 0 < value <= len(boxes) and boxes[value - 1] is not None]
        if not sides:
            continue
        box = tuple(slice(min(side[axis].start for side in sides), max(side[axis].stop for side in sides))
                    for axis in range(3))
        voxels = np.sort(component_voxels(np.isin(case.label_DHW[box], values)))
        sizes_ml = voxels * case.geometry.voxel_ml()
        kept = sizes_ml if len(sizes_ml) <= _SIZES_PER_CASE else evenly(sizes_ml, _SIZES_PER_CASE)
        measures[name] = LabelMeasure(voxels=int(voxels.sum()), volume_ml=float(sizes_ml.sum()), components=len(voxels),
                                      sizes_ml=kept.astype(np.float32))
    return measures


def _intensity(folder: Path, name: str, cases: Sequence[ChannelMeasure | None]) -> IntensityStats:
    """Pool the cases with equal weights."""
    known = [case for case in cases if case is not None]
    if not known:
        raise UserError(f"channel {name!r} has no foreground voxel in any case", where=folder,
                        do="check the labels and the channel's files, or take the channel out of dataset.json")
    means = np.array([case.mean for case in known])
    variance = np.mean([case.variance for case in known]) + means.var()
    ranks = np.concatenate([case.ranks for case in known]).astype(np.float64)
    low, median, high = np.percentile(ranks, (0.5, 50, 99.5))
    return IntensityStats(mean=float(means.mean()), std=float(np.sqrt(variance)), min=min(case.low for case in known),
                          max=max(case.high for case in known), median=float(median), percentile_00_5=float(low),
                          percentile_99_5=float(high))


def _label_stats(name: str, cases: Sequence[LabelMeasure]) -> LabelStats:
    sizes_ml = np.concatenate([case.sizes_ml for case in cases]) if cases else np.zeros(0)
    # A case of which not every size is kept counts as many components as it has.
    weights = np.concatenate([np.full(len(case.sizes_ml), case.components / len(case.sizes_ml)) for case in cases]
                             ) if cases else np.zeros(0)
    percentiles = tuple(weighted_percentile(sizes_ml, weights, q) for q in _PERCENTILES_OF_SIZE)
    return LabelStats(name=name, cases=len(cases), voxels=sum(case.voxels for case in cases),
                      volume_ml=float(sum(case.volume_ml for case in cases)),
                      components=sum(case.components for case in cases), component_ml_percentiles=percentiles)


def weighted_percentile(values: np.ndarray, weights: np.ndarray, q: float) -> float:
    """The smallest value that at least `q` percent of the weight does not exceed; 0 where there are no values."""
    if not len(values):
        return 0.0
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    # The factor forgives a sum of weights its last digit.
    return float(values[order][np.searchsorted(reached, q / 100 * reached[-1] * (1 - 1e-12))])
