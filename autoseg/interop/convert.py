"""One case of a recipe becomes files of a raw dataset: links where a file can be used as it is, else new files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError, case_fault, listed
from autoseg.formats import ending_of, read_header, read_image, read_label, write_array, write_label
from autoseg.formats.dicom import Stack, find_stacks, series_of_file
from autoseg.formats.nifti import read_volumes
from autoseg.formats.segments import Segmentation, label_on, read_segmentation
from autoseg.grids.geometry import Geometry
from autoseg.interop.find import FoundCase
from autoseg.interop.recipe import Recipe
from autoseg.workspace.files import remove_file
from autoseg.workspace.links import place


@dataclass(frozen=True)
class Task:
    """A case to import into the folder of a dataset."""

    recipe: Recipe
    case: FoundCase
    folder: Path
    copy: bool

    @property
    def name(self) -> str:
        return self.case.name

    def image(self, channel: int) -> Path:
        part = "imagesTs" if self.case.held_out else "imagesTr"
        return self.folder / part / f"{self.name}_{channel:04d}{self.recipe.file_ending}"

    @property
    def label(self) -> Path:
        return self.folder / ("labelsTs" if self.case.held_out else "labelsTr") / f"{self.name}{self.recipe.file_ending}"


def import_case(task: Task) -> str:
    """Write or link the images and the label of a case; what is wrong with it, empty where nothing is. Of a case at fault
    nothing stays.
    """
    try:
        if task.recipe.format == "dicom":
            _import_series(task)
        else:
            for channel, files in enumerate(task.case.images):
                if files:
                    _import_image(task, channel, files[0])
            if task.case.labels:
                _import_label(task)
            for path in _written(task):  # a link is put to whatever there is
                read_header(path)
    except Exception as error:
        for path in _written(task):
            remove_file(path)
        return case_fault(error, task.name)
    return ""


def _written(task: Task) -> list[Path]:
    """The files of a case in the new dataset."""
    images = [task.image(number) for number, files in enumerate(task.case.images) if files]
    return [*images, *([task.label] if task.case.labels else [])]


def _import_image(task: Task, channel: int, source: Path) -> None:
    frame = task.recipe.channels[channel].frame
    if frame is not None:
        volumes_CDHW, geometry = read_volumes(source)
        expected = 1 + max(other.frame or 0 for other in task.recipe.channels)
        if len(volumes_CDHW) != expected:
            raise UserError("the image has another number of volumes", where=source, found=len(volumes_CDHW),
                            expected=expected)
        write_array(task.image(channel), volumes_CDHW[frame][None], geometry)
    elif ending_of(source) == task.recipe.file_ending:
        place(source, task.image(channel), copy=task.copy)
    else:
        write_array(task.image(channel), *read_image(source))


def _import_label(task: Task) -> None:
    labels, files = task.recipe.labels, task.case.labels
    if labels.kind == "organs":
        label_DHW, geometry = _merged(files, labels.values)
        write_label(task.label, label_DHW, geometry)
    elif labels.values or ending_of(files[0][1]) != task.recipe.file_ending:
        label_DHW, geometry = read_label(files[0][1])
        write_label(task.label, mapped(label_DHW, labels.values, files[0][1]) if labels.values else label_DHW, geometry)
    else:
        place(files[0][1], task.label, copy=task.copy)


def _import_series(task: Task) -> None:
    """The channels of a case as volumes; the label on the grid of the first."""
    kind, files = task.recipe.labels.kind, [path for _, path in task.case.labels]
    segmentation = read_segmentation(files[0]) if kind == "segments" and files else None
    for channel, paths in enumerate(task.case.images):
        if not paths:
            continue
        stack = _stack(task, paths, segmentation if channel == 0 else None)
        array_CDHW, geometry = stack.read()
        if channel == 0 and segmentation is not None:
            write_label(task.label, label_on(segmentation, geometry, task.recipe.labels.values), geometry)
        elif channel == 0 and kind == "slices" and files:
            label_DHW = _from_pictures(stack, files, geometry, task.recipe.labels.values)
            write_label(task.label, label_DHW, geometry)
        elif channel == 0 and files:
            place(files[0], task.label, copy=task.copy)
        write_array(task.image(channel), array_CDHW, geometry)


def _stack(task: Task, paths: Sequence[Path], segmentation: Segmentation | None) -> Stack:
    """The volume of a channel: the one that a segmentation was drawn on, else the only one."""
    if segmentation is not None:
        return segmentation.choose(find_stacks(_of_series(paths, segmentation.series)))
    stacks = find_stacks(paths)
    if len(stacks) > 1:
        raise UserError("the folder holds several volumes", where=paths[0].parent,
                        found=listed(stack.name for stack in stacks), expected="one",
                        do="put the slices of each volume into a folder of their own")
    return stacks[0]


def _of_series(paths: Sequence[Path], series: Sequence[str]) -> list[Path]:
    """The files of some series. Files of one folder are of one series, so that one of each is opened."""
    first = {path.parent: path for path in reversed(paths)}
    folders = {folder for folder, path in first.items() if not series or series_of_file(path) in series}
    return [path for path in paths if path.parent in folders]


def _merged(files: Sequence[tuple[str, Path]], values: Mapping[str, int]) -> tuple[np.ndarray, Geometry]:
    """One label map of a binary file per organ; of two that overlap, the later one of `values` is kept."""
    organs = dict(files)
    if unknown := sorted(organs.keys() - values.keys()):
        raise UserError("these organs are not in the recipe", where=organs[unknown[0]].parent, found=listed(unknown),
                        expected=listed(values))
    label_DHW, grid = np.zeros((0, 0, 0), np.int16), None
    for organ in (name for name in values if name in organs):
        mask_DHW, geometry = read_label(organs[organ])
        if grid is None:
            grid, label_DHW = geometry, np.zeros_like(mask_DHW)
        elif difference := grid.difference(geometry):
            raise UserError("the masks of this case lie on different grids", where=organs[organ], found=difference)
        label_DHW[mask_DHW != 0] = values[organ]
    assert grid is not None  # a case without masks is left out before
    return label_DHW, grid


def _from_pictures(stack: Stack, pictures: Sequence[Path], geometry: Geometry, values: Mapping[str, int]) -> np.ndarray:
    """The label map of a picture per slice: that of the slice's own name, where all have one, else in the order of names."""
    slices = {part.path.stem: number for number, part in enumerate(stack.slices)}
    if len(pictures) != len(slices):
        raise UserError("there is not one mask for each slice", where=pictures[0].parent, found=f"{len(pictures)} masks",
                        expected=f"{len(slices)}, as in {stack.slices[0].path.parent}")
    by_name = {picture.stem for picture in pictures} == slices.keys()
    order = [picture.stem for picture in sorted(pictures)] if by_name else sorted(slices)
    label_DHW = np.zeros(geometry.shape, np.int16)
    for picture, name in zip(sorted(pictures), order, strict=True):
        mask_DHW, _ = read_label(picture)
        if mask_DHW.shape[1:] != geometry.shape[1:]:
            raise UserError("the mask of a slice has another size", where=picture, found=mask_DHW.shape[1:],
                            expected=geometry.shape[1:])
        label_DHW[slices[name]] = mapped(mask_DHW, values, picture)[0] if values else mask_DHW[0]
    return label_DHW


def mapped(label_DHW: np.ndarray, values: Mapping[str, int], where: Path) -> np.ndarray:
    """A label map with other values: keys are a value or a range such as `55-70`; 0 stays 0. Raises UserError for a value
    that no key names.
    """
    result, known = np.zeros_like(label_DHW), label_DHW == 0
    for key, value in values.items():
        low, _, high = key.partition("-")
        inside = (label_DHW >= int(low)) & (label_DHW <= int(high or low))
        result[inside] = value
        known |= inside
    if not known.all():
        raise UserError("the label holds values that the recipe does not know", where=where,
                        found=listed(np.unique(label_DHW[~known]).tolist()), expected=listed(values, len(values)))
    return result
