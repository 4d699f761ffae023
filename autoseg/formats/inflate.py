"""Voxels that a file holds as a stream of gzip or zlib: unpacked to the size that the header states, checksums compared."""

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from autoseg.formats.door import damaged, refuse_impossible_size
from autoseg.formats.files import file_bytes

MOST_UNPACKED = 1032  # bytes of one (zlib's manual)
GZIP = b"\x1f\x8b"
_EITHER = 47  # the window of zlib, and that the header says whether it is gzip or zlib
_READ_BYTES = 2**18
_UNPACKED_BYTES = 2**20
# What follows the voxels is unpacked and thrown away, up to this: the checksum stands at its end.
_MOST_SURPLUS = 2**26


def is_gzip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(GZIP)) == GZIP


def first_bytes(path: Path, n_bytes: int) -> bytes:
    """The first bytes of a file, unpacked where it is a gzip; fewer where it has no more."""
    content = b""
    with open(path, "rb") as file:
        if not is_gzip(path):
            return file.read(n_bytes)
        try:
            for block in _blocks(path, file, n_bytes, n_bytes):
                content += block
                if len(content) >= n_bytes:
                    break
        except zlib.error as error:
            raise damaged(path, _reason(error), "a whole gzip file") from None
    return content[:n_bytes]


def unpacked_bytes(path: Path) -> int:
    """The size of a file's content, unpacked where it is a gzip file; 0 where that is damaged."""
    if not is_gzip(path):
        return file_bytes(path)
    try:
        with gzip.open(path, "rb") as file:
            return sum(map(len, iter(lambda: file.read(_UNPACKED_BYTES), b"")))
    except (OSError, EOFError, zlib.error):
        return 0


def unpack(path: Path, file: BinaryIO, n_bytes: int) -> tuple[np.ndarray, int]:
    """The first `n_bytes` (uint8) of what is compressed from the file's position on, and how many bytes follow them.

    All members of a gzip are read. The checksum of each is compared, so the stream is followed to its end. Raises UserError
    where a checksum differs, the stream is cut short, or it goes on long after what was asked for.
    """
    refuse_impossible_size(path, os.fstat(file.fileno()).st_size, n_bytes, MOST_UNPACKED)
    content, filled = np.empty(n_bytes, np.uint8), 0
    try:
        for block in _blocks(path, file, n_bytes + _MOST_SURPLUS):
            kept = min(len(block), n_bytes - filled) if filled < n_bytes else 0
            content[filled:filled + kept] = np.frombuffer(block, np.uint8, kept)
            filled += len(block)
    except zlib.error as error:
        raise damaged(path, _reason(error), "checksums that agree with the content") from None
    if filled < n_bytes:
        raise damaged(path, f"{filled} unpacked bytes", f"{n_bytes} bytes")
    return content, filled - n_bytes


def _blocks(path: Path, file: BinaryIO, most: int, block_bytes: int = _UNPACKED_BYTES) -> Iterator[bytes]:
    """What is unpacked, block by block, to the end of the last stream."""
    stream, packed, unpacked = zlib.decompressobj(_EITHER), file.read(_READ_BYTES), 0
    is_gzip = packed.startswith(GZIP)
    while True:
        block = stream.decompress(packed, block_bytes)
        unpacked += len(block)
        yield block
        if unpacked > most:
            raise damaged(path, f"more than {unpacked} unpacked bytes", "voxels as the header states them, then the end")
        if stream.eof:
            packed = _after(file, stream.unused_data)
            if not packed or not is_gzip:
                return
            stream = zlib.decompressobj(_EITHER)
            continue
        is_waiting = bool(stream.unconsumed_tail) or len(block) == block_bytes
        packed = stream.unconsumed_tail if is_waiting else file.read(_READ_BYTES)
        if not packed and not is_waiting:
            raise damaged(path, f"a stream that ends after {unpacked} unpacked bytes", "a whole one")


def _after(file: BinaryIO, unused: bytes) -> bytes:
    """What follows a stream, without the zeros that pad it."""
    while not (rest := unused.lstrip(b"\0")) and (unused := file.read(_READ_BYTES)):
        pass
    return rest


def _reason(error: zlib.error) -> str:
    return str(error).split(": ")[-1]
