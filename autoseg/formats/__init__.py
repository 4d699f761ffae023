"""Images and labels on the disk, in any format that is registered.

Arrays are in array order (z, y, x) with channels first; a 2D image has one slice. A path names an image source
(`formats/source.py`), a single file; a source of another kind, such as a volume of DICOM, is given as it is.
"""

from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats import natural, nifti, sitk, tiff  # noqa: F401  (their readers register themselves)
from autoseg.formats.door import within_memory
from autoseg.formats.registry import READERS, Header, Reader, ending_of, known_ending
from autoseg.formats.source import FileWriter, ImageSource, open_source
from autoseg.grids.geometry import Geometry

__all__ = ["READERS", "Header", "ImageSource", "Reader", "ending_of", "files_of", "known_ending", "open_source",
           "read_header", "read_image", "read_label", "write_array", "write_label"]


def read_header(image: Path | ImageSource) -> Header:
    """Grid and number of channels, without the voxels where the format allows it."""
    return open_source(image).header()


def files_of(path: Path) -> list[Path]:
    """The files that an image or label consists of."""
    return open_source(path).files()


def read_image(image: Path | ImageSource) -> tuple[np.ndarray, Geometry]:
    """Image (C, z, y, x) as float32 and its grid."""
    source = open_source(image)
    (image_CDHW, geometry), path = source.read(), source.path
    if image_CDHW.dtype.kind not in "biuf":
        raise UserError("the voxels are not numbers", where=path, found=image_CDHW.dtype, expected="integers or floats")
    with within_memory(path), np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported so
        return np.ascontiguousarray(image_CDHW, dtype=np.float32), geometry


def read_label(path: Path) -> tuple[np.ndarray, Geometry]:
    """Label (z, y, x) as int16 and its grid. Floats are accepted where every value is whole; else a UserError."""
    label_CDHW, geometry = open_source(path).read()
    if label_CDHW.shape[0] != 1:
        raise UserError("a label file has several channels", where=path, found=f"{label_CDHW.shape[0]} channels",
                        expected="one", do="save the labels as one greyscale image")
    with within_memory(path):
        return _as_label(path, label_CDHW[0]), geometry


def write_label(path: Path, label_DHW: np.ndarray, geometry: Geometry) -> None:
    """Write a label (z, y, x) on the given grid, as uint8 where that holds it, else uint16; atomically."""
    FileWriter(geometry).write_label(path, label_DHW)


def write_array(path: Path, array_CDHW: np.ndarray, geometry: Geometry) -> None:
    """Write channels (C, z, y, x) on the given grid in their own number type (float16 as float32); atomically."""
    FileWriter(geometry).write_array(path, array_CDHW)


def _as_label(path: Path, label_DHW: np.ndarray) -> np.ndarray:
    if label_DHW.dtype.kind not in "biuf":
        raise UserError("label values are not numbers", where=path, found=label_DHW.dtype, expected="integers")
    if label_DHW.dtype.kind == "f":
        _refuse_fractions(path, label_DHW)
    if label_DHW.size and label_DHW.dtype.itemsize > 1:
        low, high = label_DHW.min(), label_DHW.max()
        limits = np.iinfo(np.int16)
        if low < limits.min or high > limits.max:
            raise UserError("label values do not fit", where=path, found=f"{low} to {high}",
                            expected=f"0 to {limits.max}")
    return label_DHW.astype(np.int16)


def _refuse_fractions(path: Path, label_DHW: np.ndarray) -> None:
    whole_DHW = label_DHW == np.rint(label_DHW)  # False for NaN
    whole_DHW &= np.isfinite(label_DHW)
    if not whole_DHW.all():
        first = tuple(int(i) for i in np.argwhere(~whole_DHW)[0])
        raise UserError("label values are not whole numbers", where=path,
                        found=f"{label_DHW[first]:.4g} at voxel (z, y, x) {first}, "
                              f"{whole_DHW.size - np.count_nonzero(whole_DHW)} such voxels",
                        expected="one integer per voxel", do="threshold or round the mask and save it as integers")
