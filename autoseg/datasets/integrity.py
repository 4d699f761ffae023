"""Every fault of a raw dataset at once, so that a user corrects them in one go."""

import functools
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autoseg.base.errors import ManyFaults, TooLarge, UserError, as_fault
from autoseg.base.parallel import Effort, each_case
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.ceiling import LabelledCase, measure_ceilings
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.digests import file_digest
from autoseg.datasets.headers import attempt, check_headers, header_warnings, places, reference_of
from autoseg.datasets.manifest import Manifest
from autoseg.datasets.measure import case_bytes, outside_warning
from autoseg.datasets.orientation import common_orientation
from autoseg.datasets.raw import checked_image, checked_label, distinct, scan_test_files
from autoseg.datasets.spikes import describe_spikes
from autoseg.formats import Header
from autoseg.grids.boxes import Box, extent, joint_box
from autoseg.grids.crop import foreground
from autoseg.grids.geometry import Geometry
from autoseg.grids.regrid import no_overlap, outside
from autoseg.workspace.names import DATASET_JSON
from planners.rules.ceiling import LOW, full_spacing
from planners.schema.fingerprint import CaseMeasure, Fingerprint
from planners.schema.labels import LabelSpec

# A channel that covers a smaller share of the reference's grid than this is probably misplaced.
_LEAST_COVERAGE = 0.05
# Voxels of one dataset differ less in volume than by this factor; other units differ by a thousand along each axis.
_FARTHEST_VOLUME = 1000.0
_CASES_THAT_AGREE = 3


@dataclass(frozen=True)
class Report:
    """What is wrong with a dataset (`faults`: it cannot be used), and what is only odd (`warnings`)."""

    faults: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    n_cases: int = 0
    cases: tuple[str, ...] = ()
    patients: Mapping[str, str] | None = None  # of each case; None where none are declared, or they are at fault


@dataclass
class CaseReport:
    """The result of checking one case: faults, oddities, the label's values, and its images by their content."""

    name: str
    faults: list[str]
    present: tuple[bool, ...]  # one per channel
    warnings: list[str] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    images: list[tuple[str, Path]] = field(default_factory=list)  # digest, file
    geometry: Geometry | None = None  # of the reference
    boxes: list[Box] = field(default_factory=list)  # of what each image holds that is not 0


def verify(folder: Path, workers: int = 1, progress: Callable[[], object] | None = None, *, allow_outcomes: bool = False
           ) -> Report:
    """Check `dataset.json`, the set of files and every voxel; what a user did wrong is in the report, not raised.

    `progress()` is called after each case. Conditions that look like outcomes are faults, unless they are allowed.
    """
    try:
        dataset = Dataset.open(folder)
        if not allow_outcomes:
            dataset.refuse_outcomes()
    except ManyFaults as error:
        return Report(error.faults)
    except UserError as error:
        return Report((str(error),))
    manifest, cases = dataset.manifest, dataset.scanned.cases
    faults = [*dataset.region_faults, *dataset.scanned.faults, *_wrong_count(folder, manifest, len(cases))]
    reports = list(each_case(functools.partial(check_case, manifest=manifest), cases, workers, progress,
                             effort=Effort("checking", case_bytes(cases, manifest))))
    for report in reports:
        faults += report.faults
    warnings = [*dataset.scanned.warnings, *scan_test_files(folder, manifest),
                *(warning for report in reports for warning in report.warnings)]
    faults += _channels_of_no_case(folder, manifest, reports)
    common = common_orientation({report.name: report.geometry for report in reports if report.geometry is not None})
    warnings += common.warnings
    names = tuple(case.name for case in cases)
    odd, patients = _beside_the_images(dataset, names, faults)
    warnings += [*odd, *_outcomes(dataset, names, faults, allow_leaks=allow_outcomes)]
    warnings += [*_labels_of_no_case(folder, manifest.labels, reports), *_identical(reports), *_other_sizes(reports)]
    if not faults:
        warnings += _low_ceilings(dataset, reports, common.axes, workers)
    distinct_faults = tuple(dict.fromkeys(faults))  # a link to nothing is met twice
    return Report(distinct_faults, tuple(warnings), len(cases), names, patients)


def check_case(files: CaseFiles, manifest: Manifest) -> CaseReport:
    """All faults of one case: first from the headers, then from the voxels of every file that can be opened."""
    labels = None if files.label is None else manifest.labels  # a missing label is known from the files' names
    present = tuple(path is not None for path in files.images)
    try:
        headers, faults = check_headers(files, manifest.channels, labels)
    except TooLarge as error:
        return CaseReport(files.name, [str(error)], present)
    report = CaseReport(files.name, faults, present, header_warnings(files, headers, manifest.channels))
    label_DHW = None
    for path in headers:
        try:
            if path == files.label:
                label_DHW = checked_label(path, manifest.labels)
                report.values = distinct(label_DHW)
            else:
                _check_image(path, report)
        except Exception as error:
            report.faults.append(str(as_fault(error, path)))
    _check_fields_of_view(files, headers, manifest, label_DHW, report)
    if label_DHW is not None and report.boxes and not any(channel.is_moved for channel in manifest.channels):
        z, y, x = joint_box(report.boxes)
        box = (z.start, z.stop), (y.start, y.stop), (x.start, x.stop)
        report.warnings += outside_warning(files.name, box, label_DHW, manifest.labels)
    return report


def _check_fields_of_view(files: CaseFiles, headers: dict[Path, Header], manifest: Manifest,
                          label_DHW: np.ndarray | None, report: CaseReport) -> None:
    """What the channels on grids of their own see of the reference's grid; before any registration."""
    placed = places(files, headers, manifest.channels)
    reference = reference_of(placed, manifest.channels)
    if reference is None:
        return
    report.geometry = reference.geometry
    for place in placed:
        same_kind = place.geometry.dimensions == reference.geometry.dimensions
        if place is reference or place.spec is None or not (place.is_brought and same_kind):
            continue
        absent_DHW = outside(place.geometry, reference.geometry)
        share = 1 - absent_DHW.mean()
        if share == 0 and place.spec.is_regridded:
            report.faults.append(str(no_overlap(place.geometry, reference.geometry, (place.with_path, reference.with_path))))
        elif share < _LEAST_COVERAGE:
            report.warnings.append(f"{place.with_path} covers {share:.1%} of the grid of {reference.called}")
        elif label_DHW is not None and label_DHW.shape == absent_DHW.shape:
            seen_DHW = foreground(label_DHW, manifest.labels)
            if seen_DHW.any() and absent_DHW[seen_DHW].all():
                report.warnings.append(f"{place.with_path} covers nothing of what is labelled")


def _check_image(path: Path, report: CaseReport) -> None:
    image_CDHW = checked_image(path)
    report.images.append((file_digest(path), path))
    if image_CDHW.min() == image_CDHW.max():
        report.warnings.append(f"{path}: every voxel is {image_CDHW.flat[0]:g}")
    report.warnings += [f"{path}: {spikes}" for image_DHW in image_CDHW if (spikes := describe_spikes(image_DHW))]
    held = extent((image_CDHW != 0).any(axis=0))
    if held is not None:
        report.boxes.append(held)


def _beside_the_images(dataset: Dataset, cases: Sequence[str], faults: list[str]
                       ) -> tuple[tuple[str, ...], Mapping[str, str] | None]:
    """Notes what is wrong with the table, vectors and tokens, each fault once; what is odd about them, and the patients."""
    wrong: list[str] = []
    conditions = attempt(dataset.conditions, cases, wrong)
    groups = attempt(dataset.groups, cases, wrong)
    attempt(dataset.annotated, cases, wrong)
    attempt(dataset.weights, cases, wrong)
    attempt(dataset.with_modalities, dataset.scanned.cases, wrong)
    odd = attempt(dataset.table_warnings, cases, wrong) if groups is not None else ()  # its fault says the same
    faults += dict.fromkeys(wrong)
    warnings = dict.fromkeys((*(() if conditions is None else conditions.warnings), *(odd or ())))
    return tuple(warnings), None if groups is None else groups[0]


def _outcomes(dataset: Dataset, cases: Sequence[str], faults: list[str], *, allow_leaks: bool) -> tuple[str, ...]:
    """Notes what is wrong with the outcomes, and, unless it is allowed, conditions that say them; what is odd about them."""
    read = attempt(dataset.outcomes_of, cases, faults)
    if read is None:
        return ()
    if read.outcomes and not allow_leaks:
        faults += attempt(dataset.outcome_leaks, read, []) or ()  # what is wrong with the conditions is known already
    return read.warnings


def _wrong_count(folder: Path, manifest: Manifest, n_cases: int) -> list[str]:
    if manifest.n_training in (None, n_cases):
        return []
    return [str(UserError("'numTraining' is not the number of cases", where=folder / DATASET_JSON,
                          found=manifest.n_training, expected=n_cases,
                          do="correct the number, or add the missing cases"))]


def _channels_of_no_case(folder: Path, manifest: Manifest, reports: Sequence[CaseReport]) -> list[str]:
    """Optional channels without a file; a required one is reported per case. Files of several channels are skipped."""
    return [str(UserError(f"the optional channel {channel.name!r} is in no case", where=folder,
                          do="add its files or take it out of dataset.json"))
            for k, channel in enumerate(manifest.channels)
            if reports and not channel.required and not any(report.present[k:k + 1] == (True,) for report in reports)]


def _labels_of_no_case(folder: Path, labels: LabelSpec, reports: Sequence[CaseReport]) -> list[str]:
    if not all(report.values for report in reports):  # a label that cannot be read may hold what seems to be missing
        return []
    seen = {value for report in reports for value in report.values}
    return [f"{folder}: the label {name!r} ({', '.join(map(str, labels.names[name]))}) is in no case"
            for name in labels.foreground if not seen & set(labels.names[name])]


def _low_ceilings(dataset: Dataset, reports: Sequence[CaseReport], orientation: str, workers: int) -> list[str]:
    """Labels of which even the grid of full resolution leaves little, because cases differ much in their spacing.

    Measured as if nothing were cropped.
    """
    manifest = dataset.manifest
    known = [(files, report, report.geometry, report.geometry.axes_to(orientation))
             for files, report in zip(dataset.cases, reports, strict=True) if report.geometry is not None]
    if not known:
        return []
    measures = tuple(CaseMeasure(case=files.name, shape=axes.of_each(geometry.shape),
                                 spacing_mm=axes.of_each(geometry.spacing_mm)) for files, _, geometry, axes in known)
    shapes = Fingerprint(dataset=dataset.folder.name, channels=manifest.channels, labels=manifest.labels, cases=measures)
    cases = [LabelledCase(files, tuple((0, n) for n in geometry.shape), axes.of_each(geometry.spacing_mm),
                          tuple(name for name in manifest.labels.foreground
                                if set(report.values) & set(manifest.labels.names[name])), axes)
             for files, report, geometry, axes in known]
    full_mm = full_spacing(shapes)
    (full,) = measure_ceilings(cases, manifest.labels, full_mm, [(1.0, 1.0, 1.0)], workers)
    grid = "x".join(f"{mm:.3g}" for mm in full_mm)
    advice = ("it is small for the spacing of the cases; merge it with another label, give a plan of your own a finer "
              "spacing_mm, or annotate finer images")
    return [f"{dataset.folder}: the grid of full resolution ({grid} mm along z, y, x) leaves at best Dice {label.dice:.3f} "
            f"of {label.name!r} ({label.kept:.0%} of {label.components} components): {advice}"
            for label in full.labels if label.dice < LOW]


def _other_sizes(reports: Sequence[CaseReport]) -> list[str]:
    """Cases whose voxels are far larger or smaller than those of the others: their unit is probably another one."""
    volumes = {report.name: math.prod(report.geometry.spacing_mm) for report in reports if report.geometry is not None}
    if len(volumes) < _CASES_THAT_AGREE:
        return []
    usual = statistics.median(volumes.values())
    return [f"case {name}: its voxels have {volume / usual:.2g} times the volume of those of the other cases "
            f"({volume:.2g} and {usual:.2g} mm3); look at the spacing, and its unit, in the header"
            for name, volume in volumes.items() if not 1 / _FARTHEST_VOLUME < volume / usual < _FARTHEST_VOLUME]


def _identical(reports: Sequence[CaseReport]) -> list[str]:
    """Images with the same content: one patient twice puts what is validated into what is trained."""
    paths: dict[str, list[Path]] = defaultdict(list)
    for report in reports:
        for content, path in report.images:
            paths[content].append(path)
    return [f"{', '.join(path.name for path in same)}: the files have the same content" for same in paths.values()
            if len(same) > 1]
