"""One case of a raw dataset becomes files that nnU-Net reads: links where it can, else new files on one grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError, case_fault
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.digests import transforms_of
from autoseg.datasets.raw import load_case
from autoseg.formats import files_of, known_ending, read_header, read_label, write_array, write_label
from autoseg.formats.registry import Header
from autoseg.workspace.files import remove_file
from autoseg.workspace.links import place
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec

_CLOSE = 1e-5  # relative, of spacings and directions: nnU-Net compares spacings with numpy's allclose
_PERPENDICULAR = 1e-3  # of the products of axes; ITK refuses what is further from it


@dataclass(frozen=True)
class ExportTask:
    """A case for nnU-Net. `values` maps label values that change; `transforms` is the folder of what registration found."""

    files: CaseFiles
    channels: tuple[ChannelSpec, ...]
    labels: LabelSpec
    values: Mapping[int, int]
    folder: Path
    part: str  # Tr or Ts
    ending: str
    copy: bool
    transforms: Path | None

    @property
    def name(self) -> str:
        return self.files.name

    def image(self, channel: int) -> Path:
        return self.folder / f"images{self.part}" / f"{self.name}_{channel:04d}{self.ending}"

    @property
    def label(self) -> Path:
        return self.folder / f"labels{self.part}" / f"{self.name}{self.ending}"


@dataclass(frozen=True)
class Exported:
    """What became of a case: whether it was written anew (`is_new`), whether voxels outside a channel's field of view became
    0 (`outside`), or why it is left out.
    """

    name: str
    is_new: bool = False
    outside: bool = False
    fault: str = ""


def export_case(task: ExportTask) -> Exported:
    """Link or write the images and the label of a case. Of a case at fault nothing stays."""
    try:
        if not any(task.files.images):
            raise UserError("it has no image")
        headers = {path: read_header(path) for path in (*task.files.images, task.files.label) if path is not None}
        lacking = _lacking(task, headers)
        if lacking:
            raise UserError(f"the channel {lacking[0]!r} is missing, and nnU-Net needs all channels of every case")
        if any(_is_sheared(header.geometry.direction) for header in headers.values()):
            raise UserError("the axes of its grid are not perpendicular, and ITK, which nnU-Net reads by, refuses that")
        if _is_as_it_should_be(task, headers):
            return _linked(task)
        return _written(task)
    except Exception as error:
        for path in (*map(task.image, range(len(task.channels))), task.label):
            remove_file(path)
        return Exported(task.name, fault=case_fault(error, task.name))


def _lacking(task: ExportTask, headers: Mapping[Path, Header]) -> list[str]:
    """The channels that no file has."""
    present = [path for path in task.files.images if path is not None]
    if sum(headers[path].n_channels for path in present) > len(present):
        return []  # a file of several channels; reading the case says what is wrong
    return [channel.name for channel, path in zip(task.channels, task.files.images, strict=True) if path is None]


def _is_sheared(direction: Sequence[float]) -> bool:
    axes = np.array(direction).reshape(3, 3)
    return not np.allclose(axes.T @ axes, np.eye(3), atol=_PERPENDICULAR)


def _is_as_it_should_be(task: ExportTask, headers: Mapping[Path, Header]) -> bool:
    """Whether nnU-Net can read the files as they are: one format, one grid, and label values that stay."""
    first, *others = (header.geometry for header in headers.values())
    is_one_grid = all(
        other.shape == first.shape and other.dimensions == first.dimensions and all(
            np.allclose(getattr(first, what), getattr(other, what), rtol=_CLOSE, atol=_CLOSE)
            for what in ("spacing_mm", "origin_mm", "direction")) for other in others)
    has_values = all(old == new for old, new in task.values.items()) or task.files.label is None
    has_transform = any(channel.is_registered for channel in task.channels)
    return is_one_grid and has_values and not has_transform and all(
        known_ending(path.name) == task.ending and path.name.endswith(task.ending) for path in headers)


def _linked(task: ExportTask) -> Exported:
    """Links to the files, and to what lies beside them (the spacing of a TIFF, by the name that nnU-Net looks for)."""
    targets = [(path, task.image(number)) for number, path in enumerate(task.files.images) if path is not None]
    targets += [] if task.files.label is None else [(task.files.label, task.label)]
    for path, target in targets:
        place(path, target, copy=task.copy)
        for beside in files_of(path)[1:]:
            place(beside, target.with_name(f"{task.name}{beside.suffix}"), copy=task.copy)
    return Exported(task.name)


def _written(task: ExportTask) -> Exported:
    """The channels on the grid of the case, one file each, and the label on exactly this grid."""
    labels = None if task.files.label is None else task.labels
    case = load_case(task.files, task.channels, labels, transforms_of(task.transforms, task.files))
    for number, image_DHW in enumerate(case.image_CDHW):
        write_array(task.image(number), image_DHW[None], case.geometry)
    if task.files.label is not None:
        label_DHW, _ = read_label(task.files.label)
        renamed_DHW = np.zeros_like(label_DHW)
        for old, new in task.values.items():
            renamed_DHW[label_DHW == old] = new
        write_label(task.label, renamed_DHW, case.geometry)
    return Exported(task.name, is_new=True, outside=case.absent_CDHW is not None and bool(case.absent_CDHW.any()))
