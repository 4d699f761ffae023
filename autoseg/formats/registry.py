"""The formats of single image files: one reader per format, chosen by the ending of the file's name."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.files import file_state
from autoseg.formats.inflate import MOST_UNPACKED
from autoseg.grids.geometry import Geometry
from planners.registry import NoTraits, Registry

_CACHED_HEADERS = 4096  # of some hundred bytes each
MOST_VOXELS_PER_BYTE = 8 * MOST_UNPACKED  # of one bit each


@dataclass(frozen=True)
class Header:
    """What is known of an image before its voxels are read. `warnings` are sentences about what its header contradicts."""

    geometry: Geometry
    n_channels: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reader:
    """How one format is read and written; `read` and `header` raise UserError where the file is not what it should be.

    `read` returns the file's own number type, so that fractions in a label are noticed. `lossless` says that a label is
    read as it was written. `beside` names the file beside an image that says more about it, where a format has one.
    `voxels_per_byte` is what one byte of a file can hold at most: a header that claims more is not believed. `flat`
    formats hold 2D images only; `reads_channels` says that several channels are read as they were written. `spare` raises
    UserError where writing an image would replace a foreign file beside it.
    """

    header: Callable[[Path], Header]
    read: Callable[[Path], tuple[np.ndarray, Geometry]]  # CDHW
    write: Callable[[Path, np.ndarray, Geometry], None]  # CDHW
    lossless: bool = True
    beside: Callable[[Path], Path | None] | None = None
    voxels_per_byte: int = MOST_VOXELS_PER_BYTE
    flat: bool = False
    reads_channels: bool = True
    spare: Callable[[Path, Geometry], None] | None = None


READERS: Registry[Reader, NoTraits] = Registry("file ending", NoTraits)


def ending_of(path: Path) -> str:
    """The registered ending of a file's name, `.nii.gz` before `.gz`; upper case is read alike.

    Raises UserError where no reader knows the ending.
    """
    ending = known_ending(path.name)
    if ending is None:
        raise UserError("the format is not known", where=path,
                        expected="a name that ends in " + ", ".join(READERS.names()))
    return ending


def known_ending(name: str) -> str | None:
    """The longest registered ending of a file's name, None where there is none."""
    fits = [ending for ending in READERS.names() if name.lower().endswith(ending)]
    return max(fits, key=len, default=None)


def reader_of(path: Path) -> Reader:
    """The reader of a file, by its ending; a UserError where there is none."""
    return READERS.get(ending_of(path))


def parts_of(path: Path) -> list[Path]:
    """An image's file, and the file beside it that says more about it, if there is one."""
    name = reader_of(path).beside
    beside = None if name is None else name(path)
    return [path, *([beside] if beside is not None and beside.is_file() else [])]


def header_of(path: Path) -> Header:
    """The header of a file that is there, unchecked. Cached: ITK takes two milliseconds, and a stage asks four times."""
    return _header_of(path, tuple(map(file_state, parts_of(path))))


@functools.lru_cache(maxsize=_CACHED_HEADERS)
def _header_of(path: Path, states: tuple[tuple[int, int, int], ...]) -> Header:
    return reader_of(path).header(path)
