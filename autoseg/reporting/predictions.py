"""A contact sheet of masks that are read from files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.manifest import Manifest
from autoseg.datasets.raw import load_case
from autoseg.evaluation.score import score_case
from autoseg.evaluation.types import Summary
from autoseg.formats import read_label
from autoseg.formats.transforms import read_transforms
from autoseg.reporting.contact_sheet import Row, Shown, contact_sheet, only_shown
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.paths import below

SHOWN_CASES = 5  # of a fold, on its contact sheet


def draw_validation(raw: Dataset, folder: FoldFolder, scores: Summary, transforms: Path | None) -> None:
    """The contact sheet of a fold: the worst and the best validation case and some evenly between them, by mean Dice."""
    ranked = sorted(scores.cases, key=lambda case: case.mean_dice if case.mean_dice is not None else -1.0)
    shown = {ranked[round(i)].name for i in np.linspace(0, len(ranked) - 1, min(SHOWN_CASES, len(ranked)))}
    files = [case for case in raw.cases if case.name in shown]
    sheet_of_masks(folder.sheet, files, {"prediction": folder.validation}, raw.manifest, transforms)


def sheet_of_masks(path: Path, files: Sequence[CaseFiles], masks: Mapping[str, Path], manifest: Manifest,
                   transforms: Path | None = None) -> None:
    """Write a contact sheet of cases with labels and of their predictions; `masks` are folders by title.

    `transforms` is the folder with the results of registration, if channels were registered.
    """
    rows = []
    for case_files in files:
        case_transforms = {} if transforms is None else read_transforms(transforms, case_files.name)
        case = load_case(case_files, manifest.channels, manifest.labels, transforms=case_transforms)
        if case.label_DHW is None:
            raise UserError("the case has no label", where=case.name)
        shown = []
        for title, folder in masks.items():
            predicted, _ = read_label(below(folder, f"{case_files.name}{manifest.file_ending}"))
            score = score_case(case.label_DHW, predicted, manifest.labels, case.geometry.spacing_mm, case.name)
            shown.append(Shown(title, predicted, score))
        rows.append(only_shown(Row(case, case.label_DHW, tuple(shown)), manifest.labels))
    contact_sheet(path, rows, manifest)
