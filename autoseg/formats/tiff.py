"""TIFF: a 2D image (grey or colour), or a stack of slices whose spacing a file beside it gives, as in nnU-Net.

That file is CASE.json, `{"spacing": [z, y, x]}` in mm, for CASE_0000.tif and CASE.tif alike; without it, 1 mm.
"""

import functools
import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.natural import flat_geometry
from autoseg.formats.registry import READERS, Header, Reader
from autoseg.formats.sitk import read_itk, unreadable
from autoseg.grids.geometry import Geometry, triple
from autoseg.workspace.files import read_json, write_atomically, write_json

logger = logging.getLogger(__name__)

_CHANNEL_SUFFIX = re.compile(r"_\d{4}$")
_COLOUR_AXES = "SC"  # samples of a pixel, channels of a microscope


def tiff_header(path: Path) -> Header:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            shape, axes = file.series[0].shape, file.series[0].axes
    except (tifffile.TiffFileError, OSError, ValueError, IndexError) as error:
        raise unreadable(path, error) from None
    colour = _colour_axes(path, axes)
    space = [n for i, n in enumerate(shape) if i not in colour[:1]]
    if len(colour) > 1 or len(space) not in (2, 3):
        raise UserError(f"the file holds a {len(shape)}D volume", where=path, found=f"axes {axes}, {shape}",
                        expected="one 3D stack or 2D image per file",
                        do="split it into one file per channel: CASE_0000, CASE_0001, ...")
    return Header(_geometry(path, space), shape[colour[0]] if colour else 1)


def read_tiff(path: Path) -> tuple[np.ndarray, Geometry]:
    """Pixels (C, z, y, x) and the grid."""
    import tifffile

    header = tiff_header(path)
    try:
        with tifffile.TiffFile(path) as file:
            axes, array = file.series[0].axes, file.series[0].asarray()
    except (tifffile.TiffFileError, OSError, ValueError, RuntimeError) as error:
        if "imagecodecs" not in str(error):
            raise unreadable(path, error) from None
        return _through_itk(path, header), header.geometry  # LZW and the like, which tifffile reads with a package more
    colour = _colour_axes(path, axes)
    if colour:
        array = np.moveaxis(array, colour[0], 0)
    return array.reshape(header.n_channels, *header.geometry.shape), header.geometry


def write_tiff(path: Path, array_CDHW: np.ndarray, geometry: Geometry) -> None:
    """Write a stack and the file of its spacing, or a flat image; several channels come first and are named so."""
    import tifffile

    array, axes = array_CDHW, "CZYX"
    if geometry.dimensions == 2:
        array, axes = array[:, 0], "CYX"
    if len(array_CDHW) == 1:
        array, axes = array[0], axes[1:]
    if geometry.dimensions == 3:
        _refuse_foreign(path.with_name(path.stem + ".json"))
    write_atomically(path, lambda temporary: tifffile.imwrite(
        temporary, np.ascontiguousarray(array), photometric="minisblack", compression="zlib", metadata={"axes": axes}))
    if geometry.dimensions == 3:
        write_json(path.with_name(path.stem + ".json"), {"spacing": list(geometry.spacing_mm)})


def _refuse_foreign(beside: Path) -> None:
    """A UserError where the place of a spacing file is taken by a file of another kind, such as that of all labels."""
    if beside.is_file():
        content = read_json(beside)
        if not isinstance(content, dict) or "spacing" not in content:
            raise UserError("the spacing of a TIFF stack would replace another file", where=beside,
                            do="move that file, or write to another folder")


def _colour_axes(path: Path, axes: str) -> list[int]:
    """Axes that are channels. With a spacing file, three axes are a stack: few slices are easily written as colours."""
    if len(axes) == 2 or (len(axes) == 3 and _spacing_file(path).is_file()):
        return []
    return [i for i, axis in enumerate(axes) if axis in _COLOUR_AXES]


def _geometry(path: Path, space: list[int]) -> Geometry:
    beside = _spacing_file(path)
    if not beside.is_file():
        if len(space) == 2:
            return flat_geometry(*space)
        _warn_of_missing_spacing(path.parent, beside.name)
        return Geometry(shape=triple(space), spacing_mm=(1.0, 1.0, 1.0))
    content = read_json(beside)
    spacing = content.get("spacing") if isinstance(content, dict) else None
    if (not isinstance(spacing, list) or len(spacing) != 3
            or not all(isinstance(s, int | float) and s > 0 for s in spacing)):
        raise UserError("the spacing is not three positive numbers", where=beside, found=json.dumps(spacing),
                        expected='{"spacing": [z, y, x]} in mm')
    return Geometry(shape=triple((*(1,) * (3 - len(space)), *space)), spacing_mm=triple(float(s) for s in spacing))


def _spacing_file(path: Path) -> Path:
    """The file's own spacing file if there is one, as for labels; else the one that the channels of a case share."""
    own = path.with_name(path.stem + ".json")
    return own if own.is_file() else path.with_name(_CHANNEL_SUFFIX.sub("", path.stem) + ".json")


@functools.lru_cache(maxsize=1024)  # one warning per folder, not one per file
def _warn_of_missing_spacing(folder: Path, name: str) -> None:
    logger.warning("%s: TIFF stacks without a spacing file such as %s are taken as 1 x 1 x 1 mm", folder, name)


def _through_itk(path: Path, header: Header) -> np.ndarray:
    array: Any = read_itk(path)[0]
    return array.reshape(header.n_channels, *header.geometry.shape)


for _ending in (".tif", ".tiff"):
    READERS.register(_ending)(Reader(tiff_header, read_tiff, write_tiff, beside=_spacing_file))
