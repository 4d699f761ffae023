"""Raw dataset -> Fingerprint. Cases are streamed: what is kept per case is bounded, and so is the total.

Intensities follow nnU-Net's fingerprint: foreground voxels of the image cropped to non-zero, every case with the same
weight however large its foreground. nnU-Net draws voxels with replacement (10e7 over the dataset); their expected mean
and standard deviation are computed here exactly, from moments, and percentiles from evenly spaced ranks of each case,
so that nothing is random and no order of cases or workers matters. Voxels outside a channel's field of view do
not count for that channel.
"""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from autoseg.base.errors import ManyFaults, UserError, as_fault, raise_faults
from autoseg.base.parallel import Effort, each_case
from autoseg.base.processes import WorkerPool
from autoseg.clinical.condition_stats import condition_stats, with_widths
from autoseg.datasets.case import Case, CaseFiles
from autoseg.datasets.case_cache import load_cached
from autoseg.datasets.ceiling import LabelledCase, measure_ceilings
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.digests import HashedFile, case_digest, dataset_digest, hashed_files, remember, transforms_of
from autoseg.datasets.headers import case_warnings
from autoseg.datasets.manifest import Manifest
from autoseg.datasets.orientation import common_orientation
from autoseg.datasets.raw import load_case
from autoseg.datasets.spikes import describe_spikes
from autoseg.datasets.unlabelled import load_body
from autoseg.formats.memory_estimate import most_voxels
from autoseg.grids.boxes import box_of_values, boxes_of_values, extent
from autoseg.grids.components import components
from autoseg.grids.crop import Box, anything, around_labels, bounding_box, foreground, labelled_outside
from autoseg.grids.geometry import Axes, Geometry, triple
from planners.rules.ceiling import full_spacing, grids_to_measure
from planners.schema.fingerprint import CaseMeasure, Fingerprint, IntensityStats
from planners.schema.labels import LabelSpec, LabelStats

logger = logging.getLogger(__name__)

# Ranks kept of a case and channel; 50 of them lie beyond each of the percentiles 0.5 and 99.5.
_RANKS_PER_CASE = 10_000
_RANKS_IN_ALL = 10_000_000
_SIZES_PER_CASE = 1_000
_PERCENTILES_OF_SIZE = (5, 25, 50, 75, 95)
# Bytes per voxel that measuring holds at most, beside 4 per channel (8 where channels are brought to another grid): the
# file's own bytes, masks, components. Measured: 17 with one channel.
_BYTES_PER_VOXEL = 20
# Cases that this process measures first; their time says whether starting others pays.
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
    extent_mm: tuple[float, float, float]  # of the largest component's box


@dataclass(frozen=True)
class Job:
    """A case to measure, and which of its files are hashed already."""

    files: CaseFiles
    hashed: Mapping[Path, HashedFile] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.files.name


@dataclass(frozen=True)
class Measured:
    """What is kept of one case; a channel is None where it is missing or sees no foreground.

    `coverage` is the share of the grid that a channel covers, 0 of a missing one. `hashed` is for `remember`. Axes are those
    of the file, but for what is `turned`.
    """

    name: str
    digest: str = ""
    hashed: Mapping[Path, HashedFile] = field(default_factory=dict)
    shape: CaseMeasure | None = None
    box: tuple[tuple[int, int], ...] = ()  # that preparing crops to
    present: tuple[bool, ...] = ()
    coverage: tuple[float, ...] = ()
    channels: tuple[ChannelMeasure | None, ...] = ()
    labels: dict[str, LabelMeasure] = field(default_factory=dict)
    spikes: tuple[str, ...] = ()  # one text per channel that has them
    geometry: Geometry | None = None
    axes: Axes = field(default_factory=Axes)  # by which shape and labels are turned
    warnings: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    def turned(self, orientation: str) -> "Measured":
        """With shape and labels in this orientation."""
        if self.geometry is None or self.shape is None:
            return self
        axes = self.geometry.axes_to(orientation)
        shape = self.shape.model_copy(update={
            "shape": axes.of_each(self.shape.shape), "spacing_mm": axes.of_each(self.shape.spacing_mm),
            "left_right_axis": axes.order.index(self.shape.left_right_axis)})
        labels = {name: replace(label, extent_mm=axes.of_each(label.extent_mm)) for name, label in self.labels.items()}
        return replace(self, shape=shape, labels=labels, axes=axes)


def measure(dataset: Dataset, name: str, workers: int = 1, progress: Callable[[], object] | None = None, *,
            transforms: Path | None = None, worker_pool: WorkerPool | None = None) -> Fingerprint:
    """The fingerprint of a raw dataset with this name; `progress()` is called after each case.

    `transforms` is the folder of what registration found. A `worker_pool` keeps small cases for preparing. Raises
    UserError or ManyFaults with the faults of all cases, where there are any.
    """
    cases, manifest = dataset.cases, dataset.manifest
    conditions = dataset.conditions([files.name for files in cases])
    for warning in dict.fromkeys((*conditions.warnings, *dataset.table_warnings())):
        logger.warning("%s", warning)
    n_ranks = max(1, min(_RANKS_PER_CASE, _RANKS_IN_ALL // len(cases)))
    work = functools.partial(measure_case, manifest=manifest, n_ranks=n_ranks, transforms=transforms,
                             load=_loader(dataset, worker_pool))
    effort = Effort("measuring", case_bytes(cases, manifest), _TRIED)
    jobs = [Job(files, hashed_files(files)) for files in cases]
    measured = list(each_case(work, jobs, workers, progress, effort=effort, worker_pool=worker_pool))
    raise_faults(dataset.folder, [fault for case in measured for fault in case.faults])
    for case in measured:
        remember(case.hashed)
    _warn_of_spikes(name, measured)
    common = common_orientation({case.name: case.geometry for case in measured if case.geometry is not None})
    for warning in (*common.warnings, *(warning for case in measured for warning in case.warnings)):
        logger.warning("%s", warning)
    measured = [case.turned(common.axes) for case in measured]
    known = list(conditions.cases.values())
    channels = manifest.channels
    fingerprint = Fingerprint(
        dataset=name, channels=channels, labels=manifest.labels,
        cases=tuple(case.shape for case in measured if case.shape is not None),
        intensities=tuple(_intensity(dataset.folder, channel.name, [case.channels[c] for case in measured])
                          for c, channel in enumerate(channels)),
        intensities_of_modalities=_by_modality(dataset, measured) if manifest.modality_columns else (),
        modality_columns=manifest.modality_columns,
        presence=tuple(float(np.mean([case.present[c] for case in measured])) for c in range(len(channels))),
        coverage=tuple(_coverage(measured, c) for c in range(len(channels))),
        conditions=with_widths(manifest.conditions, known), condition_stats=condition_stats(manifest.conditions, known),
        preprocess=manifest.preprocess,
        label_stats=tuple(_label_stats(label, [case.labels[label] for case in measured if label in case.labels])
                          for label in manifest.labels.foreground),
        orientation=common.axes, turned=len(common.turned),
        digest=dataset_digest(dataset.folder, manifest, {case.name: case.digest for case in measured}))
    if dataset.images_alone:
        return fingerprint
    labelled = [LabelledCase(job.files, case.box, case.shape.spacing_mm, tuple(case.labels), case.axes)
                for job, case in zip(jobs, measured, strict=True) if case.shape is not None]
    ceilings = measure_ceilings(labelled, manifest.labels, full_spacing(fingerprint), grids_to_measure(fingerprint), workers,
                                worker_pool)
    return fingerprint.model_copy(update={"ceilings": ceilings})


def _loader(dataset: Dataset, worker_pool: WorkerPool | None) -> Callable[..., Case]:
    if dataset.images_alone:
        return load_body
    return load_case if worker_pool is None else load_cached


def case_bytes(cases: Sequence[CaseFiles], manifest: Manifest) -> int:
    """What reading and measuring the largest of some cases takes."""
    brought = any(channel.is_moved for channel in manifest.channels)
    images = most_voxels(path for files in cases for path in (*files.images, files.label))
    return images * (4 * len(manifest.channels) * (2 if brought else 1) + _BYTES_PER_VOXEL)


def measure_case(job: Job, manifest: Manifest, n_ranks: int, transforms: Path | None = None,
                 load: Callable[..., Case] = load_case) -> Measured:
    """Read one case once and measure it; a fault of the case is part of the result."""
    files = job.files
    try:
        registered = transforms_of(transforms, files)
        case = load(files, manifest.channels, manifest.labels, registered)
    except ManyFaults as error:
        return Measured(files.name, faults=error.faults)
    except Exception as error:
        return Measured(files.name, faults=(str(as_fault(error, f"case {files.name}")),))
    assert case.label_DHW is not None  # a fault otherwise
    box = bounding_box(anything(case.image_CDHW, case.present_C, case.absent_CDHW))
    depth, height, width = around_labels(box, case.label_DHW, manifest.labels)
    inside = tuple(slice(*side) for side in box)
    shape = (depth[1] - depth[0], height[1] - height[0], width[1] - width[0])
    remember(job.hashed)
    return Measured(name=case.name, digest=case_digest(files, registered), hashed=hashed_files(files),
                    present=tuple(map(bool, case.present_C)), coverage=_coverages(case),
                    shape=CaseMeasure(case=case.name, shape=shape, spacing_mm=case.geometry.spacing_mm,
                                      relative_size=float(np.prod(shape) / np.prod(case.geometry.shape)),
                                      left_right_axis=case.geometry.left_right_axis()),
                    box=(depth, height, width),
                    channels=_channels(case, inside, foreground(case.label_DHW[inside], manifest.labels), n_ranks),
                    labels=_labels(case.label_DHW, case.geometry, manifest.labels), spikes=_spikes(case, manifest),
                    geometry=case.geometry,
                    warnings=(*case_warnings(files, manifest.channels),
                              *outside_warning(files.name, box, case.label_DHW, manifest.labels)))


def _spikes(case: Case, manifest: Manifest) -> tuple[str, ...]:
    texts = ((channel.name, describe_spikes(case.image_CDHW[c])) for c, channel in enumerate(manifest.channels)
             if case.present_C[c])
    return tuple(f"{name}: {text}" for name, text in texts if text)


def _warn_of_spikes(dataset: str, cases: Sequence[Measured]) -> None:
    spiked = [case for case in cases if case.spikes]
    if spiked:
        logger.warning("%s: %d of %d cases hold intensity spikes; the first is %s, channel %s", dataset, len(spiked),
                       len(cases), spiked[0].name, spiked[0].spikes[0])


def outside_warning(name: str, box: Box, label_DHW: np.ndarray, labels: LabelSpec) -> tuple[str, ...]:
    """A sentence where voxels are labelled outside the box of what the images of a case hold."""
    n_voxels = labelled_outside(box, label_DHW, labels)
    return (f"case {name}: {n_voxels} labelled voxels lie where all channels are 0, outside what a case is cropped to; its "
            "crop is widened, so that they are trained",) if n_voxels else ()


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


def _labels(label_DHW: np.ndarray, geometry: Geometry, labels: LabelSpec) -> dict[str, LabelMeasure]:
    """Every label or region that a case holds."""
    voxel_ml = geometry.voxel_ml()
    boxes = boxes_of_values(label_DHW)
    measures = {}
    for name in labels.foreground:
        values = labels.names[name]
        box = box_of_values(boxes, values)
        if box is None:
            continue
        component_DHW, n = components(np.isin(label_DHW[box], values))
        voxels = np.bincount(component_DHW.ravel(), minlength=n + 1)[1:]
        largest = box if n == 1 else extent(component_DHW == 1 + voxels.argmax())
        assert largest is not None  # a component has a voxel
        voxels = np.sort(voxels)
        sizes_ml = voxels * voxel_ml
        measured_ml = sizes_ml if len(sizes_ml) <= _SIZES_PER_CASE else evenly(sizes_ml, _SIZES_PER_CASE)
        measures[name] = LabelMeasure(voxels=int(voxels.sum()), volume_ml=float(sizes_ml.sum()), components=len(voxels),
                                      sizes_ml=measured_ml.astype(np.float32),
                                      extent_mm=triple((side.stop - side.start) * mm for side, mm in
                                                       zip(largest, geometry.spacing_mm, strict=True)))
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


def _by_modality(dataset: Dataset, cases: Sequence[Measured]) -> tuple[dict[str, IntensityStats], ...]:
    """The statistics of each modality over the cases that have it; none of a channel that has one modality."""
    result = []
    for number, channel in enumerate(dataset.manifest.channels):
        members: dict[str, list[ChannelMeasure | None]] = {}
        for case in cases if channel.name in dataset.manifest.modality_columns else ():
            if case.present[number]:
                members.setdefault(dataset.case(case.name).modalities[number], []).append(case.channels[number])
        result.append({modality: _intensity(dataset.folder, f"{channel.name} ({modality.upper()})", members[modality])
                       for modality in sorted(members)})
    return tuple(result)


def _label_stats(name: str, cases: Sequence[LabelMeasure]) -> LabelStats:
    sizes_ml = np.concatenate([case.sizes_ml for case in cases]) if cases else np.zeros(0)
    # A case of which not every size is kept counts as many components as it has.
    weights = np.concatenate([np.full(len(case.sizes_ml), case.components / len(case.sizes_ml)) for case in cases]
                             ) if cases else np.zeros(0)
    percentiles = tuple(weighted_percentile(sizes_ml, weights, q) for q in _PERCENTILES_OF_SIZE)
    return LabelStats(name=name, cases=len(cases), voxels=sum(case.voxels for case in cases),
                      volume_ml=float(sum(case.volume_ml for case in cases)),
                      components=sum(case.components for case in cases), component_ml_percentiles=percentiles,
                      extent_mm=triple(np.median([case.extent_mm for case in cases], axis=0).tolist()) if cases else None)


def weighted_percentile(values: np.ndarray, weights: np.ndarray, q: float) -> float:
    """The smallest value that at least `q` percent of the weight does not exceed; 0 where there are no values."""
    if not len(values):
        return 0.0
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    # The factor forgives a sum of weights its last digit.
    return float(values[order][np.searchsorted(reached, q / 100 * reached[-1] * (1 - 1e-12))])
