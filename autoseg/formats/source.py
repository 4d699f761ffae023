"""Where an image comes from, and how results are written on its grid.

Every image that a dataset or a user names is opened here: a single file. A volume of a DICOM series is a source of its own
(`formats/dicom/source.py`), and what reads cases does not notice.
"""

import errno
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.door import reading, refuse_impossible_size
from autoseg.formats.files import file_bytes, no_file
from autoseg.formats.inflate import unpacked_bytes
from autoseg.formats.registry import Header, header_of, parts_of, reader_of
from autoseg.formats.results import DicomResults
from autoseg.grids.geometry import Geometry
from autoseg.workspace.files import staged


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

    @property
    def is_dicom(self) -> bool:
        """Whether results can be objects of DICOM, which refer to the series of this image."""
        ...

    def writer(self, geometry: Geometry, dicom: DicomResults | None = None) -> ResultWriter:
        """How results are written for this image, on the grid that it was read on: as files, or as objects of DICOM.

        Raises UserError where they cannot be objects of DICOM.
        """
        ...


@dataclass(frozen=True)
class FileWriter:
    """Writes results as files of their own, which carry nothing but the grid."""

    geometry: Geometry

    def write_label(self, path: Path, label_DHW: np.ndarray) -> None:
        """A label (z, y, x) of whole numbers, as uint8 where that holds it, else uint16; atomically.

        Raises UserError where the array is no such label, or the file is not read back as it was written.
        """
        refuse_lossy(path)
        shape = self.geometry.shape
        if label_DHW.shape != shape or label_DHW.dtype.kind not in "biu":
            raise UserError("this array is no label of the image", where=path,
                            found=f"shape {label_DHW.shape}, {label_DHW.dtype}",
                            expected=f"shape {shape} (z, y, x), integers")
        low, high = (label_DHW.min(), label_DHW.max()) if label_DHW.size else (0, 0)
        if low < 0 or high > np.iinfo(np.uint16).max:
            raise UserError("labels must not be negative or too large", where=path, found=f"{low} to {high}",
                            expected=f"0 to {np.iinfo(np.uint16).max}")
        self.write_array(path, label_DHW.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16)[None])

    def write_array(self, path: Path, array_CDHW: np.ndarray) -> None:
        """Channels (C, z, y, x) in their own number type (float16 as float32); atomically.

        Raises UserError where the array has another shape, or the file is not read back as it was written.
        """
        shape = self.geometry.shape
        if array_CDHW.ndim != 4 or array_CDHW.shape[1:] != shape:
            raise UserError("this array is not on the grid of the image", where=path, found=f"shape {array_CDHW.shape}",
                            expected=f"shape (C, {', '.join(map(str, shape))}) (channels, z, y, x)")
        if array_CDHW.dtype == np.float16:  # no medical format holds it
            array_CDHW = array_CDHW.astype(np.float32)
        reader = reader_of(path)
        if reader.spare is not None:
            reader.spare(path, self.geometry)
        with staged(path) as temporary:
            reader.write(temporary, array_CDHW, self.geometry)
            _refuse_damage(path, temporary, array_CDHW)


def refuse_lossy(path: Path) -> None:
    """A UserError where the format of a path cannot hold labels as they are."""
    if not reader_of(path).lossless:
        raise UserError("the format would change label values", where=path, do="choose .png or another lossless format")


def _refuse_damage(path: Path, temporary: Path, array_CDHW: np.ndarray) -> None:
    """A UserError where a file does not hold what was written: ITK says nothing of a full disk."""
    reader = reader_of(path)
    try:
        if len(array_CDHW) == 1 or reader.reads_channels:
            is_whole = _is_same(reader.read(temporary)[0], array_CDHW, exactly=reader.lossless)
        else:
            is_whole = unpacked_bytes(temporary) > array_CDHW.nbytes
    except UserError:
        is_whole = False
    if not is_whole:
        raise UserError("the file was not written whole", where=path, found="other voxels when it is read back",
                        do="see whether the disk is full")


def _is_same(written_CDHW: np.ndarray, array_CDHW: np.ndarray, *, exactly: bool) -> bool:
    if written_CDHW.shape != array_CDHW.shape:
        return False
    return not exactly or all(np.array_equal(written_DHW, array_DHW, equal_nan=array_DHW.dtype.kind == "f")
                              for written_DHW, array_DHW in zip(written_CDHW, array_CDHW, strict=True))


@dataclass(frozen=True)
class FileSource:
    """An image that is one file, perhaps with a second file beside it that says more (a TIFF and its spacing)."""

    path: Path

    def files(self) -> list[Path]:
        with reading(self.path):
            return parts_of(self.path)

    def header(self) -> Header:
        with reading(self.path):
            header = header_of(_checked(self.path))
            spacing = np.array(header.geometry.spacing_mm)
            if not (np.isfinite(spacing).all() and (spacing > 0).all()):
                raise UserError("the voxel spacing is not positive", where=self.path,
                                found=f"{header.geometry.spacing_mm} mm (z, y, x)", do="correct the file's header")
            held = sum(map(file_bytes, parts_of(self.path)))
            refuse_impossible_size(self.path, held, math.prod(header.geometry.shape) * header.n_channels,
                                   reader_of(self.path).voxels_per_byte)
        return header

    def read(self) -> tuple[np.ndarray, Geometry]:
        reader = reader_of(self.path)
        self.header()
        with reading(self.path):
            return reader.read(self.path)

    @property
    def is_dicom(self) -> bool:
        return False

    def writer(self, geometry: Geometry, dicom: DicomResults | None = None) -> ResultWriter:
        if dicom is not None:
            raise no_series(self.path, dicom.kind)
        return FileWriter(geometry)


def no_series(where: object, output_format: str) -> UserError:
    """What is wrong where results in DICOM are asked for of an image that is none."""
    return UserError("results in DICOM refer to a series of DICOM, and this image is none", where=where, found="a file",
                     expected=f"a folder of DICOM, for --output-format {output_format}",
                     do="give the DICOM series as the input, or choose --output-format nifti, nrrd or mha")


def open_source(image: Path | ImageSource) -> ImageSource:
    """The image that a path names, or that is open already. Nothing is read yet."""
    return FileSource(image) if isinstance(image, Path) else image


def _checked(path: Path) -> Path:
    """The path, if a file with content lies there."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise no_file(path) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise no_file(path) from None
        raise UserError("the file cannot be opened", where=path, found=error.strerror) from None
    if not path.is_file():
        raise no_file(path)
    if size == 0:
        raise UserError("the file is empty", where=path, found="0 bytes", do="copy it again from its source")
    return path
