"""One study becomes one case: images by channel, and the label on the grid of the reference channel."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError, case_fault, listed
from autoseg.formats import write_array, write_label
from autoseg.formats.dicom import Stack
from autoseg.formats.files import is_file
from autoseg.formats.segments import masks_on, read_segmentation, read_structures
from autoseg.formats.segments.structure_header import StructureHeader
from autoseg.grids.geometry import Geometry
from autoseg.interop.dicom_dataset.labels import CaseLabel, painted
from autoseg.interop.dicom_dataset.structures import StructureTable
from autoseg.workspace.files import remove_file

FILE_ENDING = ".nii.gz"
_SHOWN = 20  # names of structures in a message
_BYTES_PER_VOXEL = 16  # float32: the voxels, the same read back from the file, the bytes of the file, a label and a mask


@dataclass(frozen=True)
class CaseTask:
    """A case to write. `volumes` are the series by channel, None where the case lacks one; `reference` is the number of the
    channel that labels lie on; without a `table` there are no labels. `source` is a digest of all that it is made of.
    """

    name: str
    folder: Path
    volumes: tuple[Stack | None, ...]
    structures: tuple[StructureHeader, ...]
    reference: int
    table: StructureTable | None
    newest: bool
    source: str

    def image(self, channel: int) -> Path:
        return self.folder / "imagesTr" / f"{self.name}_{channel:04d}{FILE_ENDING}"

    @property
    def estimated_bytes(self) -> int:
        """Memory that converting takes: one series, its file read back, and the masks of its structures."""
        return _BYTES_PER_VOXEL * max((math.prod(stack.shape) for stack in self.volumes if stack is not None), default=0)

    @property
    def label(self) -> Path:
        return self.folder / "labelsTr" / f"{self.name}{FILE_ENDING}"

    def files(self) -> list[Path]:
        """Every file of the case when it is whole."""
        images = [self.image(channel) for channel, stack in enumerate(self.volumes) if stack is not None]
        return images if self.table is None else [*images, self.label]


@dataclass(frozen=True)
class CaseResult:
    """What became of a case: the labels that it was annotated with, warnings, and its fault (empty: it is whole)."""

    present: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    fault: str = ""


def convert_case(task: CaseTask) -> CaseResult:
    """Write the images and the label of a case, one series in memory at a time. Of a case at fault nothing stays."""
    try:
        remove_case(task)  # an earlier run may have had a channel or a label that this one has not
        label = _write_reference(task)
        for channel, stack in enumerate(task.volumes):
            if stack is not None and channel != task.reference:
                write_array(task.image(channel), *stack.read())
    except Exception as error:
        remove_case(task)
        return CaseResult(fault=case_fault(error, task.name))
    if label is None:
        return CaseResult()
    return CaseResult(label.present, tuple(f"case {task.name}: {warning}" for warning in label.warnings))


def remove_case(task: CaseTask) -> None:
    """Remove what was written of a case."""
    for path in (task.label, *map(task.image, range(len(task.volumes)))):
        remove_file(path)


def is_whole(task: CaseTask) -> bool:
    """Whether all files of a case are there; each was written whole or not at all."""
    return all(map(is_file, task.files()))


def _write_reference(task: CaseTask) -> CaseLabel | None:
    """The image that the label lies on, and the label."""
    stack = task.volumes[task.reference]
    assert stack is not None  # the channel is required
    array_CDHW, geometry = stack.read()
    write_array(task.image(task.reference), array_CDHW, geometry)
    del array_CDHW  # masks take memory, too
    if task.table is None:
        return None
    label = painted(_masks(task, stack, geometry), task.table, geometry.shape)
    write_label(task.label, label.label_DHW, geometry)
    return label


def _masks(task: CaseTask, stack: Stack, geometry: Geometry) -> Callable[[str], np.ndarray | None]:
    """The mask of each label on the grid of a volume: its structures joined; None where the case has none of them."""
    table = task.table
    assert table is not None
    owners = owner_of_each(task.structures, stack.facts.uid, table, newest=task.newest)
    opened = {owner.uid: _opened(owner, stack) for owner in owners.values()}

    def mask_of(label: str) -> np.ndarray | None:
        if label not in owners:
            return None
        names = [name for name in owners[label].names if table.label_of(name) == label]
        masks = iter(opened[owners[label].uid](geometry, names).values())
        joined = next(masks)
        for mask_DHW in masks:
            joined |= mask_DHW
        return joined

    return mask_of


def _opened(header: StructureHeader, stack: Stack) -> Callable[[Geometry, Collection[str]], dict[str, np.ndarray]]:
    """What draws some structures of a file on a grid. Raises UserError where they were drawn on other images."""
    if header.kind == "rtstruct":
        contours = read_structures(header.path)
        contours.refuse_other_series(stack)
        return contours.masks_on
    segmentation = read_segmentation(header.path)
    segmentation.refuse_other_series(stack)
    return partial(masks_on, segmentation)


def owner_of_each(headers: Sequence[StructureHeader], series: str, table: StructureTable, *, newest: bool
                  ) -> dict[str, StructureHeader]:
    """The file that each label of a case is read from: one that was drawn on the reference series, where such a file holds a
    chosen structure, else one that was drawn on another series of the study.

    Raises UserError where no file holds a chosen structure, and where two files hold the same label: nobody said which one
    counts, unless the `newest` is to be taken.
    """
    holding = [header for header in headers if table.chosen(header.names)]
    if not holding:
        names = dict.fromkeys(name for header in headers for name in header.names)
        raise UserError("the study holds none of the chosen structures",
                        found=listed(names, _SHOWN) or "no RTSTRUCT, no SEG",
                        expected=listed((name for names in table.labels.values() for name in names), _SHOWN),
                        do="add its spelling to the table of structures, or leave the study out")
    drawn_on_it = [header for header in holding if series in header.series] or holding
    owners: dict[str, StructureHeader] = {}
    for label in table.labels:
        holders = [header for header in drawn_on_it if label in table.chosen(header.names).values()]
        if len(holders) > 1 and not newest:
            raise UserError(f"several files hold the label {label!r}", found=listed(header.path for header in holders),
                            do="say --newest-structures to take the one that was made last, name structures that tell them "
                               "apart, or take the other files away")
        if holders:
            owners[label] = max(holders, key=lambda header: header.created)
    return owners
