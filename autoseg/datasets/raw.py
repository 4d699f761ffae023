"""Cases as files: which there are, and how they are read with every check.

An image is CASE_0000, CASE_0001, ... (four digits, the channel); its label is CASE. One file may hold several channels
(RGB); the files of a case are then laid one after the other.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError, raise_faults
from autoseg.datasets.case import Case, CaseFiles
from autoseg.datasets.case_files import (
    SortedFolder,
    broken_files,
    channel_of,
    examples,
    no_suffix,
    sort_images,
    sort_labels,
    stem_of,
    twins,
)
from autoseg.datasets.headers import Place, attempt, check_headers, grid_of, places
from autoseg.datasets.manifest import ListedCase, Manifest
from autoseg.formats import ImageSource, ending_of, open_source, read_image, read_label
from autoseg.formats.door import refuse_more_than_memory, within_memory
from autoseg.formats.files import is_file, is_folder, list_entries
from autoseg.grids.regrid import regrid
from autoseg.grids.transform import Transform
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec

_FEW_VALUES = 8  # of which each is looked for by itself


@dataclass
class ScannedCases:
    """Cases in the order of their names, what is wrong with the set of files, and which files are not used."""

    cases: list[CaseFiles] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, name: str, images: tuple[Path | None, ...], label: Path | None = None) -> None:
        """A case, or the fault of its name, so that the other cases are found."""
        try:
            self.cases.append(CaseFiles(name, images, label))
        except UserError as error:
            self.faults.append(str(error))


def scan_training_cases(folder: Path, manifest: Manifest) -> ScannedCases:
    """The training cases; voxels are not read.

    Faults: no case, a case without a label, a label without a case, a name without a channel, a link to nothing, two files
    for one channel, a file that is not used though its case lacks what it holds. Warnings: all others that are not used, and
    what is lost of optional channels, which then are absent.
    """
    images, labels = folder / "imagesTr", folder / "labelsTr"
    if manifest.cases is not None:
        scanned = _listed_cases(folder, manifest.cases, len(manifest.channels))
        scanned.warnings += _unlisted(scanned.cases, (images, labels))
        return scanned
    scanned = ScannedCases(faults=[str(UserError("the folder is missing", where=part)) for part in (images, labels)
                                   if not is_folder(part)])
    found = sort_images(images, manifest.file_ending)
    masks = sort_labels(labels, manifest.file_ending, found.slots)
    scanned.faults += [no_suffix(path) for path in found.unnamed]
    optional = {k for k, channel in enumerate(manifest.channels) if not (channel.required or channel.reference)}
    if found.slots or found.unnamed:
        scanned.faults += [lost.sentence for lost in masks.lost]
        for lost in found.lost:
            is_absent = lost.channel in optional and lost.case in found.slots
            (scanned.warnings if is_absent else scanned.faults).append(lost.sentence)
    elif is_folder(images):
        scanned.faults.append(str(_nothing(images, f"CASE_0000{manifest.file_ending}")))
    for name, channels in sorted(found.slots.items()):
        absent = {k: path for k, path in channels.items() if k in optional and not is_file(path)}
        scanned.warnings += broken_files(absent.values())
        present = {k: path for k, path in channels.items() if k not in absent} or channels
        slots, label = _slots(present, len(manifest.channels)), masks.slots.get(name, {}).get(0)
        scanned.add(name, slots, label)
        scanned.faults += broken_files((*slots, label))
    scanned.faults += _unpaired(found, masks, labels, images, manifest.file_ending)
    scanned.warnings += [*found.warnings, *masks.warnings, *twins(found.slots)]
    return scanned


def find_training_cases(folder: Path, manifest: Manifest, scanned: ScannedCases | None = None) -> list[CaseFiles]:
    """The training cases in the order of their names; `scanned` is what `scan_training_cases` said, where it did already.

    Raises UserError or ManyFaults with every fault of the set of files.
    """
    scanned = scanned or scan_training_cases(folder, manifest)
    raise_faults(folder, scanned.faults)
    return scanned.cases


def scan_test_files(folder: Path, manifest: Manifest) -> list[str]:
    """What a prediction of the dataset's own test images, `imagesTs`, would leave out; nothing where there are none."""
    images = folder / "imagesTs"
    if not is_folder(images):
        return []
    scanned = _cases_of_folder(images, len(manifest.channels), manifest.file_ending)
    broken = [fault for files in scanned.cases for fault in broken_files(files.images)]
    return [*scanned.faults, *broken, *scanned.warnings]


def find_cases(path: Path, channels: Sequence[ChannelSpec], file_ending: str) -> tuple[CaseFiles, ...]:
    """The cases of `scan_cases`. Raises UserError or ManyFaults where a file is left out."""
    scanned = scan_cases(path, channels, file_ending)
    raise_faults(path, scanned.faults)
    return tuple(scanned.cases)


def scan_cases(path: Path, channels: Sequence[ChannelSpec], file_ending: str, numbers: Sequence[int] = (),
               grid_number: int | None = None) -> ScannedCases:
    """The cases to predict: of a folder, or of one file with those of its case's other channels beside it.

    With `numbers` the `channels` are those of the dataset that have these numbers in the names of their files; files of
    others are not looked at, but for the grid of the one with the `grid_number`, where there is such a file.

    Formats are taken as in training; where a folder has none of these, any that can be read. In a dataset of one channel the
    suffix `_0000` may be left out. Each fault names a file that is left out, or a channel of two files; the other cases
    can be predicted. Raises UserError where there is no image at all.
    """
    n_channels = max(*numbers, grid_number or 0, 1) + 1 if numbers else len(channels)
    if not is_folder(path):
        return _of_channels(_case_of(path, n_channels, file_ending), numbers, grid_number)
    scanned = _cases_of_folder(path, n_channels, file_ending)
    if not scanned.cases and not scanned.faults:
        raise _nothing(path, f"CASE_{min(numbers, default=0):04d}{file_ending}")
    return _of_channels(scanned, numbers, grid_number)


def _of_channels(scanned: ScannedCases, numbers: Sequence[int], grid_number: int | None) -> ScannedCases:
    """The cases with the files of these channels alone; unchanged without `numbers`."""
    if not numbers:
        return scanned
    return replace(scanned, cases=[files.of_channels(numbers, grid_number) for files in scanned.cases])


def load_case(files: CaseFiles, channels: Sequence[ChannelSpec], labels: LabelSpec | None = None,
              transforms: Mapping[int, Transform] | None = None) -> Case:
    """Read a case and check it; the label is read where `labels` is given.

    The grid is that of the reference channel, or of the first present one where none is declared. Channels with a
    registration are brought there, by the transform of their number in `transforms` if it has one, and are absent
    outside their field of view. A missing optional channel is zeros with `present_C = False`. Raises UserError or
    ManyFaults: a channel missing or too many, grids that differ or do not overlap, a 4D volume, a damaged file, NaN or
    infinity, label values that are fractions or not declared.
    """
    with within_memory(f"case {files.name}"):
        return _loaded(files, channels, labels, transforms)


def _loaded(files: CaseFiles, channels: Sequence[ChannelSpec], labels: LabelSpec | None,
            transforms: Mapping[int, Transform] | None) -> Case:
    headers, faults = check_headers(files, channels, labels)
    raise_faults(f"case {files.name}", faults)
    placed = places(files, headers, channels)
    reference = grid_of(files, headers, channels)
    assert reference is not None  # a fault of the headers otherwise
    n_voxels = len(channels) * math.prod(reference.geometry.shape)
    is_brought = any(place.is_brought for place in placed)
    refuse_more_than_memory(f"case {files.name}", n_voxels * (np.dtype(np.float32).itemsize + is_brought))
    image_CDHW = np.zeros((len(channels), *reference.geometry.shape), dtype=np.float32)
    absent_CDHW = np.zeros(image_CDHW.shape, dtype=bool) if is_brought else None
    present_C = np.zeros(len(channels), dtype=bool)
    for place in placed:
        align = functools.partial(_aligned, reference=reference, transform=(transforms or {}).get(place.start))
        aligned = attempt(align, place, faults)
        if aligned is not None:
            own = slice(place.start, place.start + place.n_channels)
            own_CDHW, absent_DHW = aligned
            if own_CDHW.shape == image_CDHW.shape:
                image_CDHW = own_CDHW
            else:
                image_CDHW[own] = own_CDHW
            present_C[own] = True
            if absent_DHW is not None and absent_CDHW is not None:
                absent_CDHW[own] = absent_DHW
    label_DHW = None
    if labels is not None and files.label is not None:
        label_DHW = attempt(functools.partial(checked_label, labels=labels), files.label, faults)
    raise_faults(f"case {files.name}", faults)
    nowhere = absent_CDHW is None or not absent_CDHW.any()
    return Case(files.name, image_CDHW, present_C, reference.geometry, label_DHW, None if nowhere else absent_CDHW,
                modalities=files.modalities, source=reference.source)


def _aligned(place: Place, reference: Place, transform: Transform | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The file's channels (C, z, y, x) on the reference's grid, and where they are absent (None: nowhere)."""
    image_CDHW = checked_image(place.source)
    is_on_grid = transform is None and place.geometry.is_at(reference.geometry)
    if place is reference or not place.is_brought or is_on_grid:
        return image_CDHW, None
    names = place.with_path, reference.with_path
    return regrid(image_CDHW, place.geometry, reference.geometry, transform, names)


def checked_image(image: Path | ImageSource) -> np.ndarray:
    """Channels (C, z, y, x) of an image; a UserError where a voxel is NaN or infinite."""
    image_CDHW, _ = read_image(image)
    finite_CDHW = np.isfinite(image_CDHW)
    if not finite_CDHW.all():
        where = tuple(int(i) for i in np.argwhere(~finite_CDHW)[0])
        count = finite_CDHW.size - np.count_nonzero(finite_CDHW)
        raise UserError("the image holds NaN or infinity", where=open_source(image).path,
                        found=f"{image_CDHW[where]} at voxel (z, y, x) {where[1:]}, {count} such voxels",
                        expected="finite numbers", do="replace these voxels by a value that means something")
    return image_CDHW


def checked_label(path: Path, labels: LabelSpec) -> np.ndarray:
    """A label (z, y, x) of a file; a UserError where a value is not declared."""
    label_DHW, _ = read_label(path)
    values = distinct(label_DHW)
    unknown = sorted(set(values) - set(labels.values))
    if unknown:
        raise UserError("label values are not declared", where=path, found=", ".join(map(str, unknown[:10])),
                        expected=", ".join(map(str, labels.values)),
                        do="declare them under labels in dataset.json, or correct the mask")
    return label_DHW


def distinct(label_DHW: np.ndarray) -> list[int]:
    """The values that an int16 label holds, sorted. Sorting voxels is a hundred times slower than looking for a few values,
    or than one pass with a table; that goes slice by slice, because an index takes eight bytes per voxel.
    """
    if not label_DHW.size:
        return []
    low, high = int(label_DHW.min()), int(label_DHW.max())
    if high - low < _FEW_VALUES:
        return [value for value in range(low, high + 1) if (label_DHW == value).any()]
    seen = np.zeros(1 << 16, dtype=bool)
    for label_HW in label_DHW:
        seen[label_HW.view(np.uint16)] = True
    return sorted(np.flatnonzero(seen).astype(np.uint16).view(np.int16).tolist())


def _listed_cases(folder: Path, listed: Sequence[ListedCase], n_channels: int) -> ScannedCases:
    """The cases whose files dataset.json names one by one."""
    scanned = ScannedCases()
    for case in listed:
        images = tuple(None if image is None else folder / image for image in case.images)
        label = folder / case.label
        absent = [path for path in (*images, label) if path is not None and not is_file(path)]
        scanned.faults += [str(UserError("the file is missing", where=path,
                                         do=f"correct the case {case.name!r} of dataset.json")) for path in absent]
        if not absent:
            padded = images + (None,) * (n_channels - len(images))
            scanned.cases.append(CaseFiles(case.name, padded, label))
    return scanned


def _unlisted(cases: Sequence[CaseFiles], folders: Sequence[Path]) -> list[str]:
    """Files of the usual folders that dataset.json does not name among its cases."""
    named = {path.absolute() for case in cases for path in (*case.images, case.label) if path is not None}
    idle = {folder: [path for path in list_entries(folder).files if path.absolute() not in named] for folder in folders}
    return [f"{folder}: dataset.json lists its cases, and {len(paths)} files here are not among them ({examples(paths)})"
            for folder, paths in idle.items() if paths]


def _unpaired(found: SortedFolder, masks: SortedFolder, labels: Path, images: Path, file_ending: str) -> list[str]:
    """Cases without a label, and labels without a case; what a lost file explains is left to its own fault."""
    lost = {fault.case for fault in (*found.lost, *masks.lost)}
    faults = [str(UserError("the case has no label", where=f"case {name}", expected=labels / f"{name}{file_ending}",
                            do="add the label or take the images out of imagesTr"))
              for name in sorted(found.slots.keys() - masks.slots.keys() - lost)]
    for name in sorted(masks.slots.keys() - found.slots.keys() - lost):
        slot, do = channel_of(name), "add the image or take the label out of labelsTr"
        if slot is not None and slot[1] in found.slots.get(slot[0], {}):
            do = f"the last four digits of an image's name are its channel: rename the image {name} to {name}_0000"
        faults.append(str(UserError("the label has no image", where=masks.slots[name][0],
                                    expected=images / f"{name}_0000{file_ending}", do=do)))
    return faults


def _cases_of_folder(folder: Path, n_channels: int, file_ending: str) -> ScannedCases:
    found = sort_images(folder, file_ending, any_format=True, suffix_optional=n_channels == 1)
    scanned = ScannedCases(faults=[*map(no_suffix, found.unnamed), *(lost.sentence for lost in found.lost)],
                           warnings=[*found.warnings, *twins(found.slots)])
    for name, files in sorted(found.slots.items()):
        scanned.add(name, _slots(files, n_channels))
    return scanned


def _case_of(path: Path, n_channels: int, file_ending: str) -> ScannedCases:
    if not is_file(path):
        raise UserError("the input is missing", where=path, expected="a folder of images, or an image")
    ending_of(path)  # says so where no reader takes it
    stem = stem_of(path)
    slot = channel_of(stem)
    if n_channels == 1 or slot is None:
        return ScannedCases([CaseFiles(stem.removesuffix("_0000"), _slots({0: path}, n_channels))])
    beside = sort_images(path.parent, file_ending, any_format=True)
    faults = [lost.sentence for lost in beside.lost if lost.case == slot[0]]
    files = {**beside.slots.get(slot[0], {}), slot[1]: path}
    return ScannedCases([] if faults else [CaseFiles(slot[0], _slots(files, n_channels))], faults)


def _slots(files: dict[int, Path], n_channels: int) -> tuple[Path | None, ...]:
    return tuple(files.get(k) for k in range(max(n_channels, max(files) + 1)))


def _nothing(folder: Path, expected: str) -> UserError:
    entries = list_entries(folder)
    names = examples([*entries.files, *entries.broken, *entries.folders])
    return UserError("no image was found in the folder", where=folder, found=names or "no file",
                     expected=f"names like {expected}")
