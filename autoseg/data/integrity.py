"""Every fault of a raw dataset at once, so that a user corrects them in one go."""

import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autoseg.base.errors import AutosegError, ManyFaults, UserError
from autoseg.data.case import CaseFiles
from autoseg.data.manifest import FILE_NAME, Manifest, read_manifest
from autoseg.data.parallel import each_case
from autoseg.data.raw import check_headers, checked_image, checked_label, distinct, scan_training_cases
from autoseg.data.readers.files import digest
from planners.fingerprint import LabelSpec


@dataclass(frozen=True)
class Report:
    """What is wrong with a dataset (`faults`: it cannot be used), and what is only odd (`warnings`)."""

    faults: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    n_cases: int = 0


@dataclass
class CaseReport:
    """What checking one case found: faults, oddities, the label's values, and its images by their content."""

    name: str
    faults: list[str]
    present: tuple[bool, ...]  # a channel
    warnings: list[str] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    images: list[tuple[str, Path]] = field(default_factory=list)  # digest, file


def verify(folder: Path, workers: int = 1, progress: Callable[[], object] | None = None) -> Report:
    """Check `dataset.json`, the set of files and every voxel; nothing is raised for what a user did wrong.

    `progress()` is called after each case.
    """
    try:
        manifest = read_manifest(folder)
    except ManyFaults as error:
        return Report(error.faults)
    except UserError as error:
        return Report((str(error),))
    found = scan_training_cases(folder, manifest)
    faults = [*found.faults, *_wrong_count(folder, manifest, len(found.cases))]
    reports = list(each_case(functools.partial(check_case, manifest=manifest), found.cases, workers, progress))
    for report in reports:
        faults += report.faults
    warnings = [warning for report in reports for warning in report.warnings]
    faults += _channels_of_no_case(folder, manifest, reports)
    warnings += [*_labels_of_no_case(folder, manifest.labels, reports), *_identical(reports)]
    return Report(tuple(faults), tuple(warnings), len(found.cases))


def check_case(files: CaseFiles, manifest: Manifest) -> CaseReport:
    """All faults of one case: first from the headers, then from the voxels of every file that can be opened."""
    labels = None if files.label is None else manifest.labels  # a missing label is known from the files' names
    headers, faults = check_headers(files, manifest.channels, labels)
    report = CaseReport(files.name, faults, tuple(path is not None for path in files.images))
    for path in headers:
        try:
            if path == files.label:
                report.values = distinct(checked_label(path, manifest.labels))
            else:
                _check_image(path, report)
        except AutosegError as error:
            report.faults.append(str(error))
    return report


def _check_image(path: Path, report: CaseReport) -> None:
    image_CDHW = checked_image(path)
    report.images.append((digest(path), path))
    if image_CDHW.min() == image_CDHW.max():
        report.warnings.append(f"{path}: every voxel is {image_CDHW.flat[0]:g}")


def _wrong_count(folder: Path, manifest: Manifest, n_cases: int) -> list[str]:
    if manifest.n_training in (None, n_cases):
        return []
    return [str(UserError("'numTraining' is not the number of cases", where=folder / FILE_NAME,
                          found=manifest.n_training, expected=n_cases,
                          do="correct the number, or add the missing cases"))]


def _channels_of_no_case(folder: Path, manifest: Manifest, reports: Sequence[CaseReport]) -> list[str]:
    """Optional channels without a file; a required one is missed case by case. Files of several channels are let be."""
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


def _identical(reports: Sequence[CaseReport]) -> list[str]:
    """Images with the same content: one patient twice puts what is validated into what is trained."""
    paths: dict[str, list[Path]] = defaultdict(list)
    for report in reports:
        for content, path in report.images:
            paths[content].append(path)
    return [f"{', '.join(path.name for path in same)}: the files have the same content" for same in paths.values()
            if len(same) > 1]
