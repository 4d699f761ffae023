"""Prepared cases on the disk: arrays that can be read patch by patch, and a JSON file that describes them.

    CASE.json     geometry, crop, spacing, provenance, where each array lies, and the checksum of their file; written last
    CASE.arrays   image       float32 (C, D, H, W), or int16 multiples of STEP
                  label       int8 or int16 (D, H, W)
                  previous    int8 or int16 (D, H, W), the earlier prediction of a cascade
                  absent      bool (C, D, H, W), True outside a channel's field of view; not there where nothing is absent
                  foreground  int32 (N, 5): class, z, y, x, component

A case without its JSON is not there. A case whose arrays do not match the checksum in its JSON is damaged.
"""

import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.base.errors import UserError
from autoseg.datasets.case import PreparedCase, RawFile, SlicedArray
from autoseg.formats.files import is_file, list_files
from autoseg.formats.packed import PackedArray, checksum, open_packed, write_packed
from autoseg.grids.geometry import Geometry
from autoseg.workspace.files import read_model, remove_file, write_unflushed
from autoseg.workspace.paths import below
from planners.schema.base import Frozen, versioned

# Normalised images are rounded to multiples of this (docs/decisions/0015); up to 16 they fit 16 bits.
STEP = 2.0**-11
_VOXELS_IN_CACHE = 2**16


class PreparedRecord(Frozen):
    """What the JSON of a prepared case says. `content` is the checksum of the arrays' file, `checksum` is of the record."""

    schema_version: int = versioned(2)
    name: str
    present: tuple[bool, ...]
    geometry: Geometry
    transpose: tuple[int, int, int]
    box: tuple[tuple[int, int], ...]
    cropped_shape: tuple[int, int, int]
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    classes: tuple[str, ...] = ()  # the foreground index numbers them in this order
    provenance: dict[str, str]
    arrays: dict[str, PackedArray]
    content: int
    image_step: float | None = None  # what the image's whole numbers are multiples of; None: it holds its values
    raw_files: tuple[RawFile, ...] = ()  # empty: an earlier version did not say
    flipped: tuple[bool, bool, bool] = (False, False, False)
    checksum: int = 0

    def signed(self) -> "PreparedRecord":
        return self.model_copy(update={"checksum": self.digest()})

    def digest(self) -> int:
        """Of what it says; fields that earlier versions did not know count only where they say something."""
        later = {"checksum", *(["flipped"] if not any(self.flipped) else []), *(["raw_files"] if not self.raw_files else [])}
        silent = {name for name, says in (("is_oriented", not self.geometry.is_oriented),
                                           ("nifti", self.geometry.nifti is not None)) if not says}
        exclude: dict[str, Any] = dict.fromkeys(later, True)
        return zlib.crc32(self.model_dump_json(exclude={**exclude, **({"geometry": silent} if silent else {})}).encode())


@dataclass(frozen=True)
class Origin:
    """What a prepared case was made from: digests by what they are of, and the raw files (empty: not known)."""

    provenance: dict[str, str]
    raw_files: tuple[RawFile, ...] = ()


@dataclass(frozen=True)
class Steps:
    """An image that is stored as multiples of a step; what is sliced of it is float32."""

    stored: SlicedArray
    step: float

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape

    @property
    def ndim(self) -> int:
        return self.stored.ndim

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    def __getitem__(self, key: Any) -> np.ndarray:
        values: np.ndarray = self.stored[key].astype(np.float32)
        values *= np.float32(self.step)
        return values


def write_prepared(folder: Path, prepared: PreparedCase, patch: tuple[int, ...] = (64, 64, 64)) -> None:
    """Write both files of a case; it is complete once its JSON is there.

    Nothing waits for the disk: what a machine loses when it fails does not match the checksum in the JSON. Training
    reads about a `patch` at a time. The arrays may be those of an opened case, but not of the one that is overwritten.
    """
    remove_file(_json(folder, prepared.name))
    image_CDHW = np.ascontiguousarray(prepared.image_CDHW[:], dtype=np.float32)
    steps = _as_steps(image_CDHW)
    arrays = {"image": image_CDHW if steps is None else steps}
    for key, label_DHW in (("label", prepared.label_DHW), ("previous", prepared.previous_DHW)):
        if label_DHW is not None:
            arrays[key] = _narrow(label_DHW[:])
    if prepared.absent_CDHW is not None:
        arrays["absent"] = np.ascontiguousarray(prepared.absent_CDHW[:], dtype=bool)
    if prepared.foreground:
        arrays["foreground"] = _index_rows(prepared)
    places, content = write_packed(_arrays(folder, prepared.name), arrays, patch)
    record = PreparedRecord(
        name=prepared.name, present=tuple(map(bool, prepared.present_C)), geometry=prepared.geometry,
        transpose=prepared.transpose, box=prepared.box, cropped_shape=prepared.cropped_shape,
        shape=prepared.shape, spacing_mm=prepared.spacing_mm, classes=tuple(prepared.foreground),
        provenance=prepared.provenance, flipped=prepared.flipped, arrays=places, content=content,
        image_step=None if steps is None else STEP, raw_files=prepared.raw_files)
    _write_record(folder, record)


def open_prepared(folder: Path, name: str) -> PreparedCase:
    """The case, its checksums verified; images and labels are arrays that are read where they are sliced.

    Raises UserError where the case is missing or damaged.
    """
    record = _read_record(folder, name)
    path = _arrays(folder, name)
    if not _is_whole(path, record):
        raise _damaged(path)
    arrays = {key: open_packed(path, place) for key, place in record.arrays.items()}
    rows = arrays["foreground"][:] if "foreground" in arrays else np.zeros((0, 5), dtype=np.int32)
    ends = np.searchsorted(rows[:, 0], np.arange(len(record.classes) + 1))
    parts = {c: rows[ends[i]:ends[i + 1]] for i, c in enumerate(record.classes)}
    image_CDHW: SlicedArray = arrays["image"] if record.image_step is None else Steps(arrays["image"], record.image_step)
    return PreparedCase(
        name=record.name, image_CDHW=image_CDHW, present_C=np.array(record.present), geometry=record.geometry,
        transpose=record.transpose, box=record.box, cropped_shape=record.cropped_shape, spacing_mm=record.spacing_mm,
        label_DHW=arrays.get("label"), previous_DHW=arrays.get("previous"), absent_CDHW=arrays.get("absent"),
        foreground={c: part[:, 1:4].copy() for c, part in parts.items()},
        lesions={c: part[:, 4].copy() for c, part in parts.items()}, provenance=record.provenance,
        raw_files=record.raw_files, flipped=record.flipped)


def open_cases(folder: Path, names: Iterable[str]) -> Iterator[PreparedCase]:
    """The cases one after another, as `open_prepared`; an error of the disk is a UserError that names the case."""
    for name in names:
        try:
            yield open_prepared(folder, name)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise UserError("the prepared case cannot be opened", where=f"{folder}/{name}", found=error,
                            do="prepare the dataset again") from error


def prepared_names(folder: Path) -> list[str]:
    """Names of the cases that are complete, sorted; their checksums are looked at when they are opened."""
    return sorted(path.name.removesuffix(".json") for path in list_files(folder) if path.suffix == ".json")


def is_current(folder: Path, name: str, provenance: dict[str, str]) -> bool:
    """Whether the case is there, undamaged, and made from what `provenance` says."""
    try:
        record = _read_record(folder, name)
        return record.provenance == provenance and _is_whole(_arrays(folder, name), record)
    except (UserError, OSError):
        return False


def origin_of(folder: Path, name: str) -> Origin:
    """What a case was made from; its arrays are not looked at. Raises UserError where its JSON is missing or damaged."""
    record = _read_record(folder, name)
    return Origin(record.provenance, record.raw_files)


def renew_raw_files(folder: Path, name: str, raw_files: tuple[RawFile, ...]) -> None:
    """Note the present state of raw files that were copied or touched, so that they need not be read again.

    The case is current (`is_current`). What an earlier version wrote stays as it is.
    """
    record = _read_record(folder, name)
    if record.raw_files not in ((), raw_files):
        _write_record(folder, record.model_copy(update={"raw_files": raw_files}))


def remove_prepared(folder: Path, name: str) -> None:
    """Remove a case, its JSON first, so that what is left of an interrupted removal is not taken for a case."""
    remove_file(_json(folder, name))
    remove_file(_arrays(folder, name))


def _json(folder: Path, name: str) -> Path:
    return below(folder, f"{name}.json")


def _arrays(folder: Path, name: str) -> Path:
    return below(folder, f"{name}.arrays")


def _narrow(label_DHW: np.ndarray) -> np.ndarray:
    """The label map as int8 where its values fit."""
    fits = label_DHW.size == 0 or (label_DHW.min() >= -128 and label_DHW.max() <= 127)
    return np.ascontiguousarray(label_DHW, dtype=np.int8 if fits else np.int16)


def _as_steps(image_CDHW: np.ndarray) -> np.ndarray | None:
    """The image as int16 multiples of STEP; None where it is not made of such."""
    steps = np.empty(image_CDHW.shape, np.int16)
    for stored_dHW, image_dHW in zip(in_cache(steps), in_cache(image_CDHW), strict=True):
        scaled_dHW = image_dHW / np.float32(STEP)
        if not (np.abs(scaled_dHW) <= np.iinfo(np.int16).max).all():
            return None
        stored_dHW[:] = scaled_dHW
        if not np.array_equal(stored_dHW, scaled_dHW):
            return None
    return steps


def in_cache(image_CDHW: np.ndarray) -> Iterator[np.ndarray]:
    """A few slices of a channel at a time, as views: what is computed of them stays in the cache."""
    rows = max(1, _VOXELS_IN_CACHE // max(1, math.prod(image_CDHW.shape[2:])))
    for image_DHW in image_CDHW:
        for first in range(0, len(image_DHW), rows):
            yield image_DHW[first:first + rows]


def _index_rows(prepared: PreparedCase) -> np.ndarray:
    rows = [np.column_stack((np.full(len(voxels), i), voxels, prepared.lesions[name]))
            for i, (name, voxels) in enumerate(prepared.foreground.items())]
    return np.concatenate(rows).astype(np.int32)


def _write_record(folder: Path, record: PreparedRecord) -> None:
    write_unflushed(_json(folder, record.name), f"{record.signed().model_dump_json(indent=2)}\n".encode())


def _read_record(folder: Path, name: str) -> PreparedRecord:
    path = _json(folder, name)
    try:
        record = read_model(path, PreparedRecord)
    except UserError as error:
        if not is_file(path):
            raise
        raise UserError("the prepared case is damaged, or another version made it", where=path,
                        do="run autoseg_plan_and_preprocess again: it makes this case anew") from error
    if record.checksum != record.digest() or record.name != name:
        raise _damaged(path)
    return record


def _is_whole(path: Path, record: PreparedRecord) -> bool:
    return is_file(path) and checksum(path) == record.content


def _damaged(path: Path) -> UserError:
    return UserError("the prepared case is damaged", where=path, found="a file that does not match its checksum",
                     do="run autoseg_plan_and_preprocess again: it makes this case anew")
