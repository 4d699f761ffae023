"""A contact sheet of masks that lie on the disk."""

from collections.abc import Sequence
from pathlib import Path

from autoseg.data.case import CaseFiles
from autoseg.data.manifest import Manifest
from autoseg.data.raw import load_case
from autoseg.data.readers import read_label
from autoseg.evaluate.score import score_case
from autoseg.report.contact_sheet import Row, contact_sheet


def sheet_of_masks(path: Path, files: Sequence[CaseFiles], masks: Path, manifest: Manifest) -> None:
    """Write a contact sheet of cases with labels and of their predictions in the folder `masks`."""
    rows = []
    for case_files in files:
        case = load_case(case_files, manifest.channels, manifest.labels)
        predicted, _ = read_label(masks / f"{case_files.name}{manifest.file_ending}")
        score = score_case(case.label_DHW, predicted, manifest.labels, case.geometry.spacing_mm, case.name)
        rows.append(Row(case, case.label_DHW, predicted, score))
    contact_sheet(path, rows, manifest)
