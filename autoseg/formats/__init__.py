"""Files of images and labels: one reader a format, chosen by the ending of the file's name.

Arrays are in array order (z, y, x) with channels first; a 2D image has one slice.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.files import file_state
from autoseg.grids.geometry import Geometry
from planners.registry import NoTraits, Registry

_HEADERS_KEPT = 4096  # of some hundred bytes each


@dataclass(frozen=True)
class Header:
    """What a file says of itself before its voxels are read."""

    geometry: Geometry
    n_channels: int


@dataclass(frozen=True)
class Reader:
    """How one format is read and written; `read` and `header` raise UserError where the file is not what it should be.

    `read` returns the file's own number type, so that a label's fractions are seen; `lossless` says that a label
    written is the label read. `beside` names the file beside an image that says more of it, where a format has one.
    """

    header: Callable[[Path], Header]
    read: Callable[[Path], tuple[np.ndarray, Geometry]]  # CDHW
    write: Callable[[Path, np.ndarray, Geometry], None]  # CDHW
    lossless: bool = True
    beside: Callable[[Path], Path] | None = None


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


def read_header(path: Path) -> Header:
    """Grid and number of channels, without the voxels where the format allows it."""
    header = header_of(_there(path))
    spacing = np.array(header.geometry.spacing_mm)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise UserError("the voxel spacing is not positive", where=path,
                        found=f"{header.geometry.spacing_mm} mm (z, y, x)", do="correct the file's header")
    return header


def header_of(path: Path) -> Header:
    """The header of a file that is there, as it is. Read once: ITK takes two milliseconds, and a stage asks four times."""
    return _header_of(path, tuple(map(file_state, files_of(path))))


@functools.lru_cache(maxsize=_HEADERS_KEPT)
def _header_of(path: Path, states: tuple[tuple[int, int, int], ...]) -> Header:
    return _reader(path).header(path)


def files_of(path: Path) -> list[Path]:
    """The files that an image or label is made of: its own, and one beside it that says more, if there is one."""
    beside = _reader(path).beside
    return [path, *([beside(path)] if beside is not None and beside(path).is_file() else [])]


def read_image(path: Path) -> tuple[np.ndarray, Geometry]:
    """Image (C, z, y, x) as float32 and its grid."""
    image_CDHW, geometry = _reader(path).read(_there(path))
    if image_CDHW.dtype.kind not in "biuf":
        raise UserError("the voxels are not numbers", where=path, found=image_CDHW.dtype, expected="integers or floats")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported as such
        return np.ascontiguousarray(image_CDHW, dtype=np.float32), geometry


def read_label(path: Path) -> tuple[np.ndarray, Geometry]:
    """Label (z, y, x) as int16 and its grid. Floats are accepted where every value is whole; else a UserError."""
    label_CDHW, geometry = _reader(path).read(_there(path))
    if label_CDHW.shape[0] != 1:
        raise UserError("a label file has several channels", where=path, found=f"{label_CDHW.shape[0]} channels",
                        expected="one", do="save the labels as one greyscale image")
    label_DHW = label_CDHW[0]
    if label_DHW.dtype.kind == "f":
        _refuse_fractions(path, label_DHW)
    if label_DHW.size and label_DHW.dtype.itemsize > 1:
        low, high = label_DHW.min(), label_DHW.max()
        limits = np.iinfo(np.int16)
        if low < limits.min or high > limits.max:
            raise UserError("label values do not fit", where=path, found=f"{low} to {high}",
                            expected=f"0 to {limits.max}")
    return label_DHW.astype(np.int16), geometry


def write_label(path: Path, label_DHW: np.ndarray, geometry: Geometry) -> None:
    """Write a label (z, y, x) on the given grid, as uint8 where that holds it, else uint16; atomically."""
    if not _reader(path).lossless:
        raise UserError("the format would change label values", where=path, do="choose .png or another lossless format")
    if label_DHW.size and label_DHW.min() < 0:
        raise ValueError(f"labels must not be negative, got {label_DHW.min()} for {path}")
    small = not label_DHW.size or label_DHW.max() <= np.iinfo(np.uint8).max
    write_array(path, label_DHW.astype(np.uint8 if small else np.uint16)[None], geometry)


def write_array(path: Path, array_CDHW: np.ndarray, geometry: Geometry) -> None:
    """Write channels (C, z, y, x) on the given grid in their own number type (float16 as float32); atomically."""
    if array_CDHW.ndim != 4 or array_CDHW.shape[1:] != geometry.shape:
        raise ValueError(f"an array (C, {', '.join(map(str, geometry.shape))}) was expected, got {array_CDHW.shape}")
    if array_CDHW.dtype == np.float16:  # no medical format holds it
        array_CDHW = array_CDHW.astype(np.float32)
    _reader(path).write(path, array_CDHW, geometry)


def _reader(path: Path) -> Reader:
    return READERS.get(ending_of(path))


def _there(path: Path) -> Path:
    """The path, if a file with content lies there."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise UserError("the file is missing", where=path) from None
    except OSError as error:
        raise UserError("the file cannot be opened", where=path, found=error.strerror) from None
    if not path.is_file():
        raise UserError("a file was expected", where=path, found="a folder")
    if size == 0:
        raise UserError("the file is empty", where=path, found="0 bytes", do="copy it again from its source")
    return path


def _refuse_fractions(path: Path, label_DHW: np.ndarray) -> None:
    whole_DHW = label_DHW == np.rint(label_DHW)  # False for NaN
    whole_DHW &= np.isfinite(label_DHW)
    if not whole_DHW.all():
        where = tuple(int(i) for i in np.argwhere(~whole_DHW)[0])
        raise UserError("label values are not whole numbers", where=path,
                        found=f"{label_DHW[where]:.4g} at voxel (z, y, x) {where}, "
                              f"{whole_DHW.size - np.count_nonzero(whole_DHW)} such voxels",
                        expected="an integer a voxel", do="threshold or round the mask and save it as integers")


from autoseg.formats import natural as natural  # noqa: E402  (the readers register themselves)
from autoseg.formats import nifti as nifti  # noqa: E402
from autoseg.formats import sitk as sitk  # noqa: E402
from autoseg.formats import tiff as tiff  # noqa: E402
