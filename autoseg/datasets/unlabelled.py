"""Images without labels: for pre-training, which reads no label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError, listed, raise_faults
from autoseg.datasets.case import Case, CaseFiles
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.declared_inputs import Groups
from autoseg.datasets.raw import load_case, scan_cases
from autoseg.formats.files import is_folder
from autoseg.grids.crop import nonzero_mask
from autoseg.grids.transform import Transform
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec

# What an image without a label is measured by: all that is not empty counts as foreground.
BODY = LabelSpec(names={"background": (0,), "body": (1,)})


@dataclass(frozen=True)
class Images:
    """Cases without labels, of one dataset or folder. `left_out` are cases that were not to be used."""

    source: str
    cases: tuple[CaseFiles, ...]
    left_out: tuple[str, ...] = ()

    def named(self) -> tuple[CaseFiles, ...]:
        """The cases by names that no case of another source has."""
        return tuple(replace(case, name=qualified(self.source, case.name)) for case in self.cases)


def qualified(source: str, case: str) -> str:
    """The name of a case among those of several datasets and folders."""
    return f"{source}__{case}"


def is_unlabelled(dataset: Dataset) -> bool:
    """Whether a raw dataset has images alone."""
    return dataset.manifest.cases is None and not is_folder(dataset.folder / "labelsTr")


def without_labels(dataset: Dataset) -> Dataset:
    """A dataset of images alone, as one that can be measured and planned: its label is what is not empty."""
    manifest = dataset.manifest.model_copy(update={"labels": BODY, "groups": Groups(), "labels_present": None,
                                                   "labels_present_column": "", "case_weight_column": ""})
    return replace(dataset, manifest=manifest, images_alone=True)


def dataset_images(dataset: Dataset, channels: Sequence[ChannelSpec], leave_out: Sequence[str] = (), *,
                   with_test_images: bool = False) -> Images:
    """The images of a dataset's training cases but those to leave out, and on request its test images, as the `channels` of
    a plan. Raises UserError or ManyFaults where a file is left out, or where no channel is the same.
    """
    manifest, folder = dataset.manifest, dataset.folder
    cases = list(dataset.cases if not is_unlabelled(dataset) else without_labels(dataset).cases)
    if with_test_images and is_folder(folder / "imagesTs"):
        scanned = scan_cases(folder / "imagesTs", manifest.channels, manifest.file_ending)
        raise_faults(folder / "imagesTs", scanned.faults)
        cases += dataset.with_modalities(scanned.cases)
    slots = _slots(manifest.channels, channels, folder)
    used = [replace(case, images=tuple(None if slot is None else case.images[slot] for slot in slots), label=None,
                    modalities=tuple("" if slot is None else case.modalities[slot] for slot in slots if case.modalities))
            for case in cases if case.name not in leave_out]
    left_out = tuple(case.name for case in cases if case.name in leave_out)
    return Images(folder.name, tuple(case for case in used if any(case.images)), left_out)


def folder_images(folder: Path, channels: Sequence[ChannelSpec], file_ending: str) -> Images:
    """The images of a folder, named as for a prediction. Raises UserError or ManyFaults where a file is left out."""
    scanned = scan_cases(folder, channels, file_ending)
    raise_faults(folder, scanned.faults)
    return Images(folder.absolute().name, tuple(scanned.cases))


def load_body(files: CaseFiles, channels: Sequence[ChannelSpec], labels: LabelSpec | None = None,
              transforms: Mapping[int, Transform] | None = None) -> Case:
    """`load_case` of images alone: the label is 1 where any channel is not 0."""
    case = load_case(files, channels, None, transforms)
    return replace(case, label_DHW=nonzero_mask(case.image_CDHW, case.present_C, case.absent_CDHW).astype(np.int16))


def _slots(own: Sequence[ChannelSpec], wanted: Sequence[ChannelSpec], where: Path) -> list[int | None]:
    """For each channel of a plan the number of the dataset's own channel of this name; None where it has none.

    The only channel of either side is taken for that of the other.
    """
    names = [channel.name for channel in own]
    if len(own) == len(wanted) == 1:
        return [0]
    slots = [names.index(channel.name) if channel.name in names else None for channel in wanted]
    if all(slot is None for slot in slots):
        raise UserError("no channel of this dataset is one of the plan's", where=where, found=listed(names),
                        expected=listed(channel.name for channel in wanted),
                        do="call the channel in dataset.json as in the first dataset, or leave this one out")
    return slots
