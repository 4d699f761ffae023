"""One study becomes one case: images by channel, and the label on the grid of the reference channel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError, as_fault, listed
from autoseg.formats import write_array, write_label
from autoseg.formats.dicom_structures import StructureHeader
from autoseg.formats.files import is_file
from autoseg.formats.segments import masks_on, read_segmentation, read_structures
from autoseg.grids.geometry import Geometry
from autoseg.interop.dicom_dataset.labels import CaseLabel, painted
from autoseg.interop.dicom_dataset.structures import StructureTable
from autoseg.interop.dicom_dataset.studies import Volume
from autoseg.workspace.files import remove_file

FILE_ENDING = ".nii.gz"


@dataclass(frozen=True)
class CaseTask:
    """A case to write. `volumes` are the series by channel, None where the case lacks one; `reference` is the number of the
    channel that labels lie on; without a `table` there are no labels. `source` is a digest of all that it is made of.
    """

    name: str
    folder: Path
    volumes: tuple[Volume | None, ...]
    structure_sets: tuple[StructureHeader, ...]
    reference: int
    table: StructureTable | None
    newest: bool
    source: str

    def image(self, channel: int) -> Path:
        return self.folder / "imagesTr" / f"{self.name}_{channel:04d}{FILE_ENDING}"

    @property
    def estimated_bytes(self) -> int:
        """Memory that converting takes: one series, its file read back, and the masks of its structures."""
        return max((volume.n_bytes for volume in self.volumes if volume is not None), default=0)

    @property
    def label(self) -> Path:
        return self.folder / "labelsTr" / f"{self.name}{FILE_ENDING}"

    def files(self) -> list[Path]:
        """Every file of the case when it is whole."""
        images = [self.image(channel) for channel, volume in enumerate(self.volumes) if volume is not None]
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
        label = _write_reference(task)
        for channel, volume in enumerate(task.volumes):
            if volume is not None and channel != task.reference:
                write_array(task.image(channel), *volume.read())
    except Exception as error:
        remove_case(task)
        fault = str(as_fault(error, f"case {task.name}"))
        return CaseResult(fault=fault if f"case {task.name}" in fault else f"case {task.name}: {fault}")
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
    volume = task.volumes[task.reference]
    assert volume is not None  # the channel is required
    array_CDHW, geometry = volume.read()
    write_array(task.image(task.reference), array_CDHW, geometry)
    del array_CDHW  # masks take memory, too
    if task.table is None:
        return None
    label = painted(_masks(task, volume, geometry), task.table, geometry.shape)
    write_label(task.label, label.label_DHW, geometry)
    return label


def _masks(task: CaseTask, volume: Volume, geometry: Geometry) -> Callable[[str], np.ndarray | None]:
    """The mask of each label on the grid of a volume: its structures joined; None where the case has none of them."""
    table = task.table
    assert table is not None
    files = [_opened(structures, volume) for structures in
             chosen_sets(task.structure_sets, volume.series, table, newest=task.newest)]

    def mask_of(label: str) -> np.ndarray | None:
        joined: np.ndarray | None = None
        for names, masks_on in files:
            own = [name for name in names if table.label_of(name) == label]
            for mask_DHW in masks_on(geometry, own).values() if own else ():
                joined = mask_DHW if joined is None else joined | mask_DHW
        return joined

    return mask_of


def _opened(structures: StructureHeader, volume: Volume) -> tuple[tuple[str, ...], Callable[..., dict[str, np.ndarray]]]:
    """The names of a file's structures, and what draws some of them on a grid. Raises UserError where it was drawn on other
    images.
    """
    if structures.kind == "rtstruct":
        contours = read_structures(structures.path)
        contours.refuse_other_series(volume.series, volume.frame_of_reference)
        return structures.names, contours.masks_on
    segmentation = read_segmentation(structures.path)
    segmentation.refuse_other_series(volume.stack, volume.frame_of_reference)
    return structures.names, partial(masks_on, segmentation)


def chosen_sets(sets: Sequence[StructureHeader], series: str, table: StructureTable, *, newest: bool) -> list[StructureHeader]:
    """The files that the labels of a case are read from: those drawn on the reference series, where they hold a chosen
    structure; else those drawn on another series of the study.

    Raises UserError where no file holds a chosen structure, and where two files hold the same label: nobody said which one
    counts, unless the `newest` is to be taken.
    """
    holding = [structures for structures in sets if table.chosen(structures.names)]
    if not holding:
        names = dict.fromkeys(name for structures in sets for name in structures.names)
        raise UserError("the study holds none of the chosen structures", found=listed(names, 20) or "no RTSTRUCT and no SEG",
                        expected=listed((name for names in table.labels.values() for name in names), 20),
                        do="add its spelling to the table of structures, or leave the study out")
    here = [structures for structures in holding if series in structures.series] or holding
    chosen: list[StructureHeader] = []
    for label in table.labels:
        owners = [structures for structures in here if label in table.chosen(structures.names).values()]
        if len(owners) > 1 and not newest:
            raise UserError(f"several files hold the label {label!r}", found=listed(owner.path for owner in owners),
                            do="say --newest-structures to take the one that was made last, name structures that tell them "
                               "apart, or take the other files away")
        chosen += sorted(owners, key=lambda owner: owner.created)[-1:]
    return list({structures.uid: structures for structures in chosen}.values())
