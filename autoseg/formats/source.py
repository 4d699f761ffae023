"""Where an image comes from, and how results are written on its grid.

Every image that a dataset or a user names is opened here. Today it is a single file; a folder of DICOM files will be a
source of its own, and what reads cases will not notice.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.files import no_file
from autoseg.formats.registry import Header, header_of, parts_of, reader_of
from autoseg.grids.geometry import Geometry


class ResultWriter(Protocol):
    """Writes what was computed for an image, on its grid. The name of the file decides the format."""

    def write_label(self, path: Path, label_DHW: np.ndarray) -> None: ...

    def write_array(self, path: Path, array_CDHW: np.ndarray) -> None: ...


class ImageSource(Protocol):
    """One image: a file, or a series of files. Whatever cannot be read is a UserError."""

    @property
    def path(self) -> Path:
        """What messages name."""
        ...

    def files(self) -> list[Path]:
        """All files that it consists of: its digest is theirs."""
        ...

    def header(self) -> Header:
        """Its grid and its number of channels; voxels are not read where the format allows it."""
        ...

    def read(self) -> tuple[np.ndarray, Geometry]:
        """Its voxels (C, z, y, x) in their own number type, and its grid."""
        ...

    def writer(self, geometry: Geometry) -> ResultWriter:
        """How results are written for this image, on the grid that it was read on."""
        ...


@dataclass(frozen=True)
class FileWriter:
    """Writes results as files of their own, which carry nothing but the grid."""

    geometry: Geometry

    def write_label(self, path: Path, label_DHW: np.ndarray) -> None:
        """A label (z, y, x), as uint8 where that holds it, else uint16; atomically."""
        if not reader_of(path).lossless:
            raise UserError("the format would change label values", where=path,
                            do="choose .png or another lossless format")
        if label_DHW.size and label_DHW.min() < 0:
            raise ValueError(f"labels must not be negative, got {label_DHW.min()} for {path}")
        small = not label_DHW.size or label_DHW.max() <= np.iinfo(np.uint8).max
        self.write_array(path, label_DHW.astype(np.uint8 if small else np.uint16)[None])

    def write_array(self, path: Path, array_CDHW: np.ndarray) -> None:
        """Channels (C, z, y, x) in their own number type (float16 as float32); atomically."""
        shape = self.geometry.shape
        if array_CDHW.ndim != 4 or array_CDHW.shape[1:] != shape:
            raise ValueError(f"an array (C, {', '.join(map(str, shape))}) was expected, got {array_CDHW.shape}")
        if array_CDHW.dtype == np.float16:  # no medical format holds it
            array_CDHW = array_CDHW.astype(np.float32)
        reader_of(path).write(path, array_CDHW, self.geometry)


@dataclass(frozen=True)
class FileSource:
    """An image that is one file, perhaps with a second file beside it that says more (a TIFF and its spacing)."""

    path: Path

    def files(self) -> list[Path]:
        return parts_of(self.path)

    def header(self) -> Header:
        header = header_of(_checked(self.path))
        spacing = np.array(header.geometry.spacing_mm)
        if not (np.isfinite(spacing).all() and (spacing > 0).all()):
            raise UserError("the voxel spacing is not positive", where=self.path,
                            found=f"{header.geometry.spacing_mm} mm (z, y, x)", do="correct the file's header")
        return header

    def read(self) -> tuple[np.ndarray, Geometry]:
        return reader_of(self.path).read(_checked(self.path))

    def writer(self, geometry: Geometry) -> ResultWriter:
        return FileWriter(geometry)


def open_source(path: Path) -> ImageSource:
    """The image that a path names. Nothing is read yet."""
    return FileSource(path)


def _checked(path: Path) -> Path:
    """The path, if a file with content lies there."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise no_file(path) from None
    except OSError as error:
        raise UserError("the file cannot be opened", where=path, found=error.strerror) from None
    if not path.is_file():
        raise no_file(path)
    if size == 0:
        raise UserError("the file is empty", where=path, found="0 bytes", do="copy it again from its source")
    return path
