"""Folders of masks, and of probabilities, that some program predicted: what lies there, and what its labels mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError, listed
from autoseg.datasets.case_files import stem_of
from autoseg.datasets.dataset import Dataset
from autoseg.evaluation.folders import find_masks
from autoseg.formats import known_ending, read_image
from autoseg.formats.files import Entries, is_file, is_folder, list_entries
from autoseg.formats.nifti import read_volumes
from autoseg.formats.npz import read_npz
from autoseg.formats.probabilities import LEVELS, read_probabilities
from autoseg.prediction.outputs import ARRAYS
from autoseg.prediction.sidecar import SIDECAR
from autoseg.workspace.files import read_json
from autoseg.workspace.names import DATASET_JSON
from planners.schema.labels import LabelSpec

_SUFFIXES = tuple(f"_{kind}" for kind in ARRAYS)
_OF_THEIRS, _OF_OURS = ".npz", ".b2nd"  # endings of probabilities that are no image
_PLANS = "plans.json"  # nnU-Net's, beside its predictions
_NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True)
class MaskFolder:
    """The masks and the probabilities of each case. `labels` are those that lie in the folder; None: it does not say.

    Of a `labels.json` each value stands for itself: it does not say which labels are regions.
    """

    path: Path
    masks: Mapping[str, Path]
    probabilities: Mapping[str, Path]
    labels: LabelSpec | None

    @property
    def cases(self) -> set[str]:
        return {*self.masks, *self.probabilities}


def open_masks(folder: Path) -> MaskFolder:
    """What lies in a folder. Raises UserError where there is no folder, nothing that is read, or two masks of one case."""
    if not is_folder(folder):
        raise UserError("the folder is missing", where=folder)
    entries = list_entries(folder)
    arrays = [path for path in entries.files if stem_of(path).endswith(_SUFFIXES) and known_ending(path.name)]
    rest = Entries(tuple(path for path in entries.files if path not in arrays), entries.broken, ())
    endings = [ending for path in rest.files if (ending := known_ending(path.name)) is not None]
    masks = find_masks(folder, rest, max(sorted(set(endings)), key=endings.count, default=".nii.gz"))
    probabilities = {stem_of(path).removesuffix(_SUFFIXES[0]): path for path in arrays
                     if stem_of(path).endswith(_SUFFIXES[0])}
    probabilities |= {path.stem: path for path in entries.files if path.suffix in (_OF_THEIRS, _OF_OURS)}
    if not masks and not probabilities:
        raise UserError("the folder holds no mask and no probabilities", where=folder,
                        found=listed(path.name for path in entries.files) or "no file",
                        expected="CASE.nii.gz, CASE_probabilities.nii.gz or CASE.npz")
    return MaskFolder(folder, masks, probabilities, _labels(folder))


def refuse_turned_axes(folder: MaskFolder) -> None:
    """Raises UserError where nnU-Net turned the axes of the images: its probabilities stay turned, its masks do not."""
    plans = read_json(folder.path / _PLANS) if is_file(folder.path / _PLANS) else None
    reader = plans.get("image_reader_writer") if isinstance(plans, dict) else None
    turned = [path.name for path in folder.probabilities.values() if path.suffix == _OF_THEIRS]
    if turned and str(reader).endswith("WithReorient"):
        raise UserError("these probabilities have other axes than the images", where=folder.path,
                        found=f"{listed(turned)}, read by {reader}", expected="those of SimpleITKIO",
                        do="average the masks: move the .npz files to another folder")


def read_scores(path: Path) -> np.ndarray:
    """The probability of each head (K, z, y, x; float32) of a file of ours or of nnU-Net's. Raises UserError."""
    if path.suffix == _OF_THEIRS:
        return read_npz(path)
    if path.suffix == _OF_OURS:
        saved = read_probabilities(path)
        depth, height, width = saved.shape
        return saved.within((slice(0, depth), slice(0, height), slice(0, width))).astype(np.float32) / LEVELS
    if known_ending(path.name) in _NIFTI:  # several volumes, which are no image elsewhere
        return read_volumes(path)[0].astype(np.float32)
    return read_image(path)[0]


def written_values(labels: LabelSpec) -> dict[str, int]:
    """What each value of a mask means; regions are painted in their order, so that a later one covers an earlier."""
    if labels.region_order is not None:
        return {"background": 0, **dict(zip(labels.foreground, labels.region_order, strict=True))}
    return {name: values[0] for name, values in labels.names.items()}


def common_labels(folders: Sequence[MaskFolder], declared: LabelSpec | None) -> LabelSpec | None:
    """The labels that are declared, else those that the folders say; None where nobody says them.

    Raises UserError where two say different ones.
    """
    known = [(folder.path, folder.labels) for folder in folders if folder.labels is not None]
    known = [(Path("the declared labels"), declared), *known] if declared is not None else known
    for path, labels in known[1:]:
        first_path, first = known[0]
        if written_values(labels) != written_values(first):
            raise UserError("the folders do not have the same labels", found=f"{_said(labels)} in {path}",
                            expected=f"{_said(first)}, as in {first_path}", do="leave one of them out")
    # Of several, one that says what regions are made of.
    return next((labels for _, labels in known if labels.has_regions), known[0][1] if known else None)


def _labels(folder: Path) -> LabelSpec | None:
    """What nnU-Net's dataset.json, or our labels.json, says beside the masks."""
    if is_file(folder / DATASET_JSON):
        return Dataset.open(folder).manifest.labels
    content = read_json(folder / SIDECAR) if is_file(folder / SIDECAR) else None
    values = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(values, dict) or not all(isinstance(value, int) for value in values.values()):
        return None
    return LabelSpec(names={name: (value,) for name, value in values.items()})


def _said(labels: LabelSpec) -> str:
    return ", ".join(f"{name} {value}" for name, value in written_values(labels).items())
