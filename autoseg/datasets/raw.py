"""Cases as files: which there are, and how they are read with every check.

An image is CASE_0000, CASE_0001, ... (four digits, the channel); its label is CASE. One file may hold several channels
(RGB); the files of a case are then laid one after the other.
"""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError, raise_faults
from autoseg.datasets.case import Case, CaseFiles
from autoseg.datasets.headers import Place, attempt, check_headers, places, reference_of
from autoseg.datasets.manifest import ListedCase, Manifest
from autoseg.formats import ending_of, known_ending, open_source, read_image, read_label
from autoseg.formats.files import is_file, is_folder, list_files
from autoseg.grids.regrid import regrid
from autoseg.grids.transform import Transform
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec

_FEW_VALUES = 8  # of which each is looked for by itself
_CHANNEL_SUFFIX = re.compile(r"(.+)_(\d{4})")


@dataclass
class ScannedCases:
    """The cases of a raw dataset, in the order of their names, and what is wrong with the set of files."""

    cases: list[CaseFiles] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def find_training_cases(folder: Path, manifest: Manifest) -> tuple[CaseFiles, ...]:
    """The training cases in the order of their names.

    Raises UserError or ManyFaults: no case, a case without a label, a label without a case, a stray file.
    """
    scanned = scan_training_cases(folder, manifest)
    raise_faults(folder, scanned.faults)
    return tuple(scanned.cases)


def scan_training_cases(folder: Path, manifest: Manifest) -> ScannedCases:
    """The training cases; voxels are not read.

    Faults: no case, a case without a label, a label without a case, a stray file.
    """
    if manifest.cases is not None:
        return _listed_cases(folder, manifest.cases, len(manifest.channels))
    scanned = ScannedCases()
    images, labels = folder / "imagesTr", folder / "labelsTr"
    for part in (images, labels):
        if not is_folder(part):
            scanned.faults.append(str(UserError("the folder is missing", where=part)))
    paths = [path for path in list_files(images) if path.name.endswith(manifest.file_ending)]
    grouped, stray = _by_case(paths, manifest.file_ending)
    scanned.faults += [_no_suffix(path, manifest.file_ending) for path in stray]
    masks = {path.name[:-len(manifest.file_ending)]: path for path in list_files(labels)
             if path.name.endswith(manifest.file_ending)}
    for name, channels in sorted(grouped.items()):
        scanned.cases.append(CaseFiles(name, _slots(channels, len(manifest.channels)), masks.get(name)))
        if name not in masks:
            scanned.faults.append(str(UserError("the case has no label", where=f"case {name}",
                                              expected=labels / f"{name}{manifest.file_ending}",
                                              do="add the label or take the images out of imagesTr")))
    scanned.faults += [str(UserError("the label has no image", where=masks[name],
                                   expected=images / f"{name}_0000{manifest.file_ending}",
                                   do="add the image or take the label out of labelsTr"))
                     for name in sorted(masks.keys() - grouped.keys())]
    if not paths and is_folder(images):
        scanned.faults.append(str(_nothing(images, f"CASE_0000{manifest.file_ending}")))
    return scanned


def find_cases(path: Path, channels: Sequence[ChannelSpec], file_ending: str) -> tuple[CaseFiles, ...]:
    """The cases to predict: of a folder, or of one file with those of its case's other channels beside it.

    The dataset's ending is taken where the folder has such files, else any one format that can be read. With a single
    channel the suffix `_0000` may be left out. Raises UserError or ManyFaults.
    """
    if not is_folder(path):
        return (_case_of(path, channels),)
    paths = list_files(path)
    matching = [file for file in paths if file.name.endswith(file_ending)]
    if not matching:
        endings = {ending for file in paths if (ending := known_ending(file.name)) is not None}
        if len(endings) != 1:
            raise _nothing(path, f"CASE_0000{file_ending}")
        file_ending = endings.pop()
        matching = [file for file in paths if known_ending(file.name) == file_ending]
    grouped, stray = _by_case(matching, file_ending)
    if len(channels) == 1 and not grouped:
        grouped, stray = {_stem(file, file_ending): {0: file} for file in stray}, []
    raise_faults(path, [_no_suffix(file, file_ending) for file in stray])
    return tuple(CaseFiles(name, _slots(files, len(channels))) for name, files in sorted(grouped.items()))


def load_case(files: CaseFiles, channels: Sequence[ChannelSpec], labels: LabelSpec | None = None,
              transforms: Mapping[int, Transform] | None = None) -> Case:
    """Read a case and check it; the label is read where `labels` is given.

    The grid is that of the reference channel, or of the first present one where none is declared. Channels with a
    registration are brought there, by the transform of their number in `transforms` if it has one, and are absent
    outside their field of view. A missing optional channel is zeros with `present_C = False`. Raises UserError or
    ManyFaults: a channel missing or too many, grids that differ or do not overlap, a 4D volume, a damaged file, NaN or
    infinity, label values that are fractions or not declared.
    """
    headers, faults = check_headers(files, channels, labels)
    raise_faults(f"case {files.name}", faults)
    placed = places(files, headers, channels)
    reference = reference_of(placed, channels)
    assert reference is not None  # a fault of the headers otherwise
    image_CDHW = np.zeros((len(channels), *reference.geometry.shape), dtype=np.float32)
    absent_CDHW = np.zeros(image_CDHW.shape, dtype=bool) if any(place.is_brought for place in placed) else None
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
                source=open_source(reference.path))


def _aligned(place: Place, reference: Place, transform: Transform | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The file's channels (C, z, y, x) on the reference's grid, and where they are absent (None: nowhere)."""
    image_CDHW = checked_image(place.path)
    is_on_grid = transform is None and place.geometry.is_at(reference.geometry)
    if place is reference or not place.is_brought or is_on_grid:
        return image_CDHW, None
    names = place.with_path, reference.with_path
    return regrid(image_CDHW, place.geometry, reference.geometry, transform, names)


def checked_image(path: Path) -> np.ndarray:
    """Channels (C, z, y, x) of a file; a UserError where a voxel is NaN or infinite."""
    image_CDHW, _ = read_image(path)
    finite_CDHW = np.isfinite(image_CDHW)
    if not finite_CDHW.all():
        where = tuple(int(i) for i in np.argwhere(~finite_CDHW)[0])
        count = finite_CDHW.size - np.count_nonzero(finite_CDHW)
        raise UserError("the image holds NaN or infinity", where=path,
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


def _case_of(path: Path, channels: Sequence[ChannelSpec]) -> CaseFiles:
    if not is_file(path):
        raise UserError("the input is missing", where=path, expected="a folder of images, or an image")
    ending = ending_of(path)
    parts = _CHANNEL_SUFFIX.fullmatch(_stem(path, ending))
    if len(channels) == 1 or parts is None:
        name = _stem(path, ending)
        return CaseFiles(name.removesuffix("_0000"), _slots({0: path}, len(channels)))
    beside = [file for file in list_files(path.parent) if known_ending(file.name) == ending]
    return CaseFiles(parts[1], _slots(_by_case(beside, ending)[0][parts[1]], len(channels)))


def _by_case(paths: Iterable[Path], ending: str) -> tuple[dict[str, dict[int, Path]], list[Path]]:
    """Files by case and channel, and those without a channel suffix."""
    grouped: dict[str, dict[int, Path]] = {}
    stray = []
    for path in paths:
        parts = _CHANNEL_SUFFIX.fullmatch(_stem(path, ending))
        if parts is None:
            stray.append(path)
        else:
            grouped.setdefault(parts[1], {})[int(parts[2])] = path
    return grouped, stray


def _slots(files: dict[int, Path], n_channels: int) -> tuple[Path | None, ...]:
    return tuple(files.get(k) for k in range(max(n_channels, max(files) + 1)))


def _stem(path: Path, ending: str) -> str:
    return path.name[:-len(ending)]


def _no_suffix(path: Path, ending: str) -> str:
    return str(UserError("the name has no channel suffix", where=path, expected=f"{_stem(path, ending)}_0000{ending}",
                         do="rename the file"))


def _nothing(folder: Path, expected: str) -> UserError:
    paths = list_files(folder)
    names = ", ".join(path.name for path in paths[:3]) + (", ..." if len(paths) > 3 else "")
    return UserError("no image was found in the folder", where=folder, found=names or "no file",
                     expected=f"names like {expected}")
