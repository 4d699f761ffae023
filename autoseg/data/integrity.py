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


@dataclass(frozen=True)
class CaseReport:
    """What checking one case found: faults, oddities, label values, files whose content another file may have too."""

    name: str
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    values: tuple[int, ...] = ()
    channels: tuple[bool, ...] = ()  # which there are
    digests: dict[str, Path] = field(default_factory=dict)


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
    """All faults of one case, first from the headers, then from the voxels of every file that can be opened."""
    labelled = None if files.label is None else manifest.labels  # the missing label is known from the file names
    headers, faults = check_headers(files, manifest.channels, labelled)
    report = CaseReport(files.name, faults, channels=tuple(path is not None for path in files.images))
    for path in headers:
        try:
            if path == files.label:
                report = _with_values(report, path, manifest.labels)
            else:
                image_CDHW = checked_image(path)
                report.digests[digest(path)] = path
                if image_CDHW.min() == image_CDHW.max():
                    report.warnings.append(f"{path}: every voxel is {image_CDHW.flat[0]:g}")
        except AutosegError as error:
            report.faults.append(str(error))
    return report
