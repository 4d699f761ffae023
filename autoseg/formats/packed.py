"""Several arrays in one file, one after the other; large ones can be read a patch at a time.

blosc2 is imported on first use: it takes a tenth of a second, and who only asks whether a case is current needs none of it.
"""

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from autoseg.formats.compression import open_array
from autoseg.workspace.files import write_unflushed
from planners.schema.base import Frozen

# A block is what is decompressed at least: it should fit a core's second-level cache.
_BLOCK_BYTES = 128 * 1024
_READ_BYTES = 2**20
# Up to this an array is decompressed as a whole: a frame of blosc2 starts threads, which wait where all cores are busy.
_WHOLE_BYTES = 2**18
# Smaller arrays are compressed by one thread: starting others takes longer than they save.
_BYTES_WORTH_THREADS = 2**24


class PackedArray(Frozen):
    """Where an array lies in the file, in bytes. A `frame` is an array of blosc2; a `whole` one is decompressed at once."""

    kind: Literal["frame", "whole"]
    offset: int
    size: int
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Whole:
    """A small array that is kept as it was compressed."""

    content: bytes
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        import blosc2

        values = np.empty(self.shape, self.dtype)
        if values.size:
            blosc2.decompress2(self.content, dst=values)
        return values[key]


def write_packed(path: Path, arrays: Mapping[str, np.ndarray], patch: tuple[int, ...]) -> tuple[dict[str, PackedArray], int]:
    """Write the arrays to a file, and say where they lie and what its checksum is.

    Large ones are cut into chunks of about a `patch` (two axes: of single slices), because that is how training reads
    them. All is compressed in memory: chunk after chunk, the file would be written in small parts.
    """
    content, places, offset = [], {}, 0
    for key, array in arrays.items():
        is_whole = array.nbytes <= _WHOLE_BYTES or array.ndim < len(patch)
        packed = _whole(np.ascontiguousarray(array)) if is_whole else _frame(array, patch)
        places[key] = PackedArray(kind="whole" if is_whole else "frame", offset=offset, size=len(packed),
                                  dtype=array.dtype.str, shape=array.shape)
        content.append(packed)
        offset += len(packed)
    joined = b"".join(content)
    write_unflushed(path, joined)
    return places, zlib.crc32(joined)


def open_packed(path: Path, place: PackedArray) -> Any:
    """An array of the file, of which what is sliced is decompressed."""
    if place.kind == "whole":
        with open(path, "rb") as file:
            file.seek(place.offset)
            return Whole(file.read(place.size), np.dtype(place.dtype), place.shape)
    # A mapped file cannot be replaced on Windows.
    return open_array(path, offset=place.offset, mmap_mode=None if os.name == "nt" else "r")


def checksum(path: Path) -> int:
    """CRC-32 of a file's content."""
    value = 0
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            value = zlib.crc32(block, value)
    return value


def chunks_and_blocks(shape: tuple[int, ...], patch: tuple[int, ...], itemsize: int) -> tuple[tuple, tuple]:
    """Chunk and block shape of an array whose last axes are cut into patches; other axes are cut into single items."""
    chunk = [min(n, p) for n, p in zip(shape[-len(patch):], patch, strict=True)]
    block = list(chunk)
    while np.prod(block) * itemsize > _BLOCK_BYTES:
        longest = block.index(max(block))
        block[longest] = (block[longest] + 1) // 2
    lead = (1,) * (len(shape) - len(patch))
    return (*lead, *chunk), (*lead, *block)


def _frame(array: np.ndarray, patch: tuple[int, ...]) -> bytes:
    import blosc2

    chunks, blocks = chunks_and_blocks(array.shape, patch, array.itemsize)
    threads = blosc2.nthreads if array.nbytes > _BYTES_WORTH_THREADS else 1
    return blosc2.asarray(array, chunks=chunks, blocks=blocks,
                          cparams=_compression(array) | {"nthreads": threads}).to_cframe()


def _whole(array: np.ndarray) -> bytes:
    import blosc2

    return blosc2.compress2(array, typesize=array.itemsize, nthreads=1, **_compression(array)) if array.size else b""


def _compression(array: np.ndarray) -> dict[str, Any]:
    """The settings of blosc2 for an array. For an image of whole numbers, the better of two on its middle slices is taken.

    Float images shrink by about 1.6 at every level, but level 8 takes ten times as long as level 1. Voxels that were never
    resampled have few distinct values, which bytes that are not shuffled show.
    """
    import blosc2

    for_many_values = {"codec": blosc2.Codec.ZSTD, "clevel": 1, "filters": [blosc2.Filter.SHUFFLE]}
    for_few_values = {"codec": blosc2.Codec.ZSTD, "clevel": 3, "filters": [blosc2.Filter.NOFILTER]}
    if array.dtype != np.int16 or array.ndim != 4:
        return for_many_values
    depth = array.shape[1]
    sample = np.ascontiguousarray(array[:, depth // 2:depth // 2 + 4])
    return min((for_many_values, for_few_values),
               key=lambda settings: len(blosc2.compress2(sample, typesize=sample.itemsize, nthreads=1, **settings)))
