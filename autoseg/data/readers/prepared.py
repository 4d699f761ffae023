"""Prepared cases on the disk: compressed arrays that can be read a patch at a time, and one JSON that vouches for them.

    CASE.json              geometry, crop, spacing, provenance and the checksum of every other file; written last
    CASE.image.b2nd        float32 (C, D, H, W), or int16 multiples of STEP
    CASE.label.b2nd        int8 or int16 (D, H, W)
    CASE.foreground.b2nd   int32 (N, 5): class, z, y, x, component
    CASE.previous.b2nd     int8 or int16 (D, H, W), the earlier prediction of a cascade
    CASE.absent.b2nd       bool (C, D, H, W), True outside a channel's field of view; not there where nothing is absent

A case without its JSON is not there. A case whose files do not have the checksums that its JSON names is damaged.
"""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from autoseg.base.errors import UserError
from autoseg.base.workspace import read_model, write_atomically, write_json
from autoseg.data.case import PreparedCase
from autoseg.data.geometry import Geometry
from planners.base import Frozen

# A block is what is decompressed at least: it should fit a core's second-level cache.
_BLOCK_BYTES = 128 * 1024
# Float images shrink by about 1.6 at every level, but level 8 takes ten times as long as level 1.
_COMPRESSION = {"codec": blosc2.Codec.ZSTD, "clevel": 1, "filters": [blosc2.Filter.SHUFFLE]}
# Voxels that were never resampled have few distinct values, which bytes that are not shuffled show.
_COMPRESSION_OF_FEW = {"codec": blosc2.Codec.ZSTD, "clevel": 3, "filters": [blosc2.Filter.NOFILTER]}
# Normalised images are rounded to multiples of this (docs/decisions/0015); up to 16 they fit 16 bits.
STEP = 2.0**-11
_READ_BYTES = 2**20
# Smaller arrays are compressed by one thread: starting others takes longer than they save.
_BYTES_WORTH_THREADS = 2**24


class PreparedRecord(Frozen):
    """What the JSON of a prepared case says. `files` maps each array to its checksum, `checksum` is of the record."""

    schema_version: int = 1
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
    files: dict[str, int]
    image_step: float | None = None  # what the image's whole numbers are multiples of; None: it holds its values
    checksum: int = 0

    def signed(self) -> "PreparedRecord":
        return self.model_copy(update={"checksum": self.digest()})

    def digest(self) -> int:
        absent = {"image_step"} if self.image_step is None else set()  # as in records from before there were steps
        return zlib.crc32(self.model_dump_json(exclude={"checksum"} | absent).encode())


@dataclass(frozen=True)
class Steps:
    """An image that is stored as multiples of a step; what is sliced of it is float32."""

    stored: blosc2.NDArray
    step: float

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape

    @property
    def ndim(self) -> int:
        return self.stored.ndim

    def __getitem__(self, key: Any) -> np.ndarray:
        values = self.stored[key].astype(np.float32)
        values *= np.float32(self.step)
        return values


def write_prepared(folder: Path, prepared: PreparedCase, patch: tuple[int, ...] = (64, 64, 64)) -> None:
    """Write all files of a case, each atomically; it is complete once its JSON is there.

    Arrays are cut into chunks of about a `patch` (two axes: of single slices), because that is how training reads them.
    The arrays may be those of an opened case, but not of the one that is overwritten.
    """
    remove_prepared(folder, prepared.name)
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
    files = {key: _write_array(_path(folder, prepared.name, key), array, patch) for key, array in arrays.items()}
    record = PreparedRecord(
        name=prepared.name, present=tuple(map(bool, prepared.present_C)), geometry=prepared.geometry,
        transpose=prepared.transpose, box=prepared.box, cropped_shape=prepared.cropped_shape,
        shape=tuple(prepared.image_CDHW.shape[1:]), spacing_mm=prepared.spacing_mm, classes=tuple(prepared.foreground),
        provenance=prepared.provenance, files=files, image_step=None if steps is None else STEP)
    write_json(_json(folder, prepared.name), record.signed())


def open_prepared(folder: Path, name: str) -> PreparedCase:
    """The case, its checksums verified; images and labels are blosc2 arrays that are read where they are sliced.

    Raises UserError where the case is missing or damaged.
    """
    record = _read_record(folder, name)
    arrays = {key: _open_checked(_path(folder, name, key), checksum) for key, checksum in record.files.items()}
    rows = arrays["foreground"][:] if "foreground" in arrays else np.zeros((0, 5), dtype=np.int32)
    ends = np.searchsorted(rows[:, 0], np.arange(len(record.classes) + 1))
    parts = {c: rows[ends[i]:ends[i + 1]] for i, c in enumerate(record.classes)}
    image_CDHW = arrays["image"] if record.image_step is None else Steps(arrays["image"], record.image_step)
    return PreparedCase(
        name=record.name, image_CDHW=image_CDHW, present_C=np.array(record.present), geometry=record.geometry,
        transpose=record.transpose, box=record.box, cropped_shape=record.cropped_shape, spacing_mm=record.spacing_mm,
        label_DHW=arrays.get("label"), previous_DHW=arrays.get("previous"), absent_CDHW=arrays.get("absent"),
        foreground={c: part[:, 1:4].copy() for c, part in parts.items()},
        lesions={c: part[:, 4].copy() for c, part in parts.items()}, provenance=record.provenance)


def prepared_names(folder: Path) -> list[str]:
    """Names of the cases that are complete, sorted; their checksums are looked at when they are opened."""
    return sorted(path.name.removesuffix(".json") for path in folder.glob("*.json"))


def is_current(folder: Path, name: str, provenance: dict[str, str]) -> bool:
    """Whether the case is there, undamaged, and made from what `provenance` says."""
    try:
        record = _read_record(folder, name)
        return record.provenance == provenance and all(
            _checksum(_path(folder, name, key)) == checksum for key, checksum in record.files.items())
    except (UserError, OSError):
        return False


def provenance_of(folder: Path, name: str) -> dict[str, str]:
    """What a case was made from; its arrays are not looked at. Raises UserError where its JSON is missing or damaged."""
    return _read_record(folder, name).provenance


def remove_prepared(folder: Path, name: str) -> None:
    """Remove a case, its JSON first, so that what is left of an interrupted removal is not taken for a case."""
    _json(folder, name).unlink(missing_ok=True)
    for key in ("image", "label", "foreground", "previous", "absent"):
        _path(folder, name, key).unlink(missing_ok=True)


def chunks_and_blocks(shape: tuple[int, ...], patch: tuple[int, ...], itemsize: int) -> tuple[tuple, tuple]:
    """Chunk and block shape of an array whose last axes are cut into patches; other axes are cut into single items."""
    chunk = [min(n, p) for n, p in zip(shape[-len(patch):], patch, strict=True)]
    block = list(chunk)
    while np.prod(block) * itemsize > _BLOCK_BYTES:
        longest = block.index(max(block))
        block[longest] = (block[longest] + 1) // 2
    lead = (1,) * (len(shape) - len(patch))
    return (*lead, *chunk), (*lead, *block)


def _json(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _path(folder: Path, name: str, key: str) -> Path:
    return folder / f"{name}.{key}.b2nd"


def _narrow(label_DHW: np.ndarray) -> np.ndarray:
    """The label map as int8 where its values fit."""
    fits = label_DHW.size == 0 or (label_DHW.min() >= -128 and label_DHW.max() <= 127)
    return np.ascontiguousarray(label_DHW, dtype=np.int8 if fits else np.int16)


def _as_steps(image_CDHW: np.ndarray) -> np.ndarray | None:
    """The image as int16 multiples of STEP; None where it is not made of such."""
    steps = np.empty(image_CDHW.shape, np.int16)
    for number, image_DHW in enumerate(image_CDHW):
        for z, image_HW in enumerate(image_DHW):  # what is computed of a slice stays in the cache
            of_HW = image_HW / np.float32(STEP)
            if not (np.abs(of_HW) <= np.iinfo(np.int16).max).all():
                return None
            steps[number, z] = of_HW
            if not np.array_equal(steps[number, z], of_HW):
                return None
    return steps


def _index_rows(prepared: PreparedCase) -> np.ndarray:
    rows = [np.column_stack((np.full(len(voxels), i), voxels, prepared.lesions[name]))
            for i, (name, voxels) in enumerate(prepared.foreground.items())]
    return np.concatenate(rows).astype(np.int32)


def _write_array(path: Path, array: np.ndarray, patch: tuple[int, ...]) -> int:
    """Write one array and return the checksum of its file."""
    chunks, blocks = chunks_and_blocks(array.shape, patch, array.itemsize) if array.ndim > 2 else (None, None)
    written = []

    def write(temporary: Path) -> None:
        threads = blosc2.nthreads if array.nbytes > _BYTES_WORTH_THREADS else 1
        blosc2.asarray(array, urlpath=str(temporary), mode="w", chunks=chunks, blocks=blocks,
                       cparams=_compression(array) | {"nthreads": threads})
        written.append(_checksum(temporary))

    write_atomically(path, write)
    return written[0]


def _compression(array: np.ndarray) -> dict[str, Any]:
    """How an array is compressed: of two ways that which suits its middle slices."""
    if array.dtype != np.int16 or array.ndim != 4:
        return _COMPRESSION
    depth = array.shape[1]
    sample = np.ascontiguousarray(array[:, depth // 2:depth // 2 + 4])
    return min((_COMPRESSION, _COMPRESSION_OF_FEW),
               key=lambda way: len(blosc2.compress2(sample, typesize=sample.itemsize, nthreads=1, **way)))


def _read_record(folder: Path, name: str) -> PreparedRecord:
    path = _json(folder, name)
    record = read_model(path, PreparedRecord)
    if record.checksum != record.digest() or record.name != name:
        raise _damaged(path)
    return record


def _open_checked(path: Path, checksum: int) -> blosc2.NDArray:
    if not path.is_file() or _checksum(path) != checksum:
        raise _damaged(path)
    # A mapped file cannot be replaced on Windows.
    return blosc2.open(str(path), mode="r", mmap_mode=None if os.name == "nt" else "r")


def _damaged(path: Path) -> UserError:
    return UserError("the prepared case is damaged", where=path, found="a file that does not match its checksum",
                     do="run autoseg_plan_and_preprocess again: it makes this case anew")


def _checksum(path: Path) -> int:
    value = 0
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            value = zlib.crc32(block, value)
    return value
