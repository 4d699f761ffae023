"""TIFF: a 2D image (grey or colour), or a stack of slices whose spacing a file beside it gives, as in nnU-Net.

That file is CASE.json, `{"spacing": [z, y, x]}` in mm, for CASE_0000.tif and CASE.tif alike; without it, 1 mm.
"""

import json
import math
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.door import refuse_more_than_memory
from autoseg.formats.natural import flat_geometry, shown_channels, shown_pixels
from autoseg.formats.registry import READERS, Header, Reader
from autoseg.formats.sitk import itk_header, through_itk
from autoseg.grids.geometry import Geometry, triple
from autoseg.workspace.files import read_json, write_atomically, write_json

_CHANNEL_SUFFIX = re.compile(r"_\d{4}$")
_COLOUR_AXES = "SC"  # samples of a pixel, channels of a microscope
_VOXELS_PER_BYTE = 2**19  # fax writes a blank row of 65,535 pixels as one bit


def tiff_header(path: Path) -> Header:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = _only_series(path, file)
        return _header(path, series, _shown_by_pillow(path, file, series))


def read_tiff(path: Path) -> tuple[np.ndarray, Geometry]:
    """Pixels (C, z, y, x) and the grid: samples as tifffile reads them where they are plain, else colours as Pillow's."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = _only_series(path, file)
        is_shown = _shown_by_pillow(path, file, series)
        header = _header(path, series, is_shown)
        _check_parts(path, series)
        refuse_more_than_memory(path, math.prod((*header.geometry.shape, header.n_channels, series.dtype.itemsize)))
        array = None if is_shown else _plain(series)
        if array is None:
            unpacked = _shown_pages if is_shown or _is_safe_in_pillow(series.keyframe) else _unpacked_by_itk
            return unpacked(path, series, header).reshape(header.n_channels, *header.geometry.shape), header.geometry
        colour = _colour_axes(path, series.axes)
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
    write_atomically(path, lambda temporary: tifffile.imwrite(
        temporary, np.ascontiguousarray(array), photometric="minisblack", compression="zlib", metadata={"axes": axes}))
    if geometry.dimensions == 3:
        write_json(path.with_name(path.stem + ".json"), {"spacing": list(geometry.spacing_mm)})


def _spare_foreign(path: Path, geometry: Geometry) -> None:
    """A UserError where the place of a spacing file is taken by a file of another kind, such as that of all labels."""
    beside = _spacing_file(path)
    if geometry.dimensions == 3 and beside.is_file():
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
        return Geometry(shape=triple(space), spacing_mm=(1.0, 1.0, 1.0), is_oriented=False)
    content = read_json(beside)
    spacing = content.get("spacing") if isinstance(content, dict) else None
    if (not isinstance(spacing, list) or len(spacing) != 3
            or not all(isinstance(s, int | float) and s > 0 for s in spacing)):
        raise UserError("the spacing is not three positive numbers", where=beside, found=json.dumps(spacing),
                        expected='{"spacing": [z, y, x]} in mm')
    return Geometry(shape=triple((*(1,) * (3 - len(space)), *space)), spacing_mm=triple(float(s) for s in spacing),
                    is_oriented=False)


def _spacing_file(path: Path) -> Path:
    """The file's own spacing file if there is one, as for labels; else the one that the channels of a case share."""
    own = path.with_name(path.stem + ".json")
    return own if own.is_file() else path.with_name(_CHANNEL_SUFFIX.sub("", path.stem) + ".json")


def _lacks_spacing(path: Path, geometry: Geometry) -> tuple[str, ...]:
    beside = _spacing_file(path)
    if geometry.dimensions == 2 or beside.is_file():
        return ()
    return (f"{path}: a TIFF stack without a spacing file ({beside.name}) is taken as 1 x 1 x 1 mm; "
            'write {"spacing": [z, y, x]} in mm into that file if the voxels have another size',)


def _header(path: Path, series: Any, is_shown: bool) -> Header:
    shape, axes = series.shape, series.axes
    colour = [i for i, axis in enumerate(axes) if axis == "S"] if is_shown else _colour_axes(path, axes)
    space = [n for i, n in enumerate(shape) if i not in colour[:1]]
    if len(colour) > 1 or len(space) not in (2, 3):
        raise UserError(f"the file holds a {len(shape)}D volume", where=path, found=f"axes {axes}, {shape}",
                        expected="one 3D stack or 2D image per file",
                        do="split it into one file per channel: CASE_0000, CASE_0001, ...")
    geometry = _geometry(path, space)
    warnings = _lacks_spacing(path, geometry)
    if is_shown:
        with _opened(path) as image:
            image.seek(series.keyframe.index)
            return Header(geometry, shown_channels(path, image), warnings)
    return Header(geometry, shape[colour[0]] if colour else 1, warnings)


def _only_series(path: Path, file: Any) -> Any:
    """The pages of one size and kind that are the image. Previews (reduced pages) are left out; other pages are refused."""
    _check_chain(path, file)
    series = file.series[0]
    others = [other for other in file.series[1:] if not other.keyframe.is_reduced]
    if others:
        raise UserError("the pages of the file differ", where=path, expected="pages of one size and kind",
                        found=f"{len(file.pages)} pages, of {series.shape} and {others[0].shape} pixels",
                        do="save one stack or one picture per file")
    if series.is_multifile or any(page is None for page in series.pages):
        raise UserError("parts of the image lie in other files", where=path, do="save the image as one TIFF")
    return series


def _check_chain(path: Path, file: Any) -> None:
    """A UserError where the directories of the pages follow each other in a circle, which tifffile walks for ever."""
    place, count, entry_bytes, offset = (8, "Q", 20, "Q") if file.is_bigtiff else (4, "H", 12, "I")
    seen: set[int] = set()
    with open(path, "rb") as content:
        while True:
            content.seek(place)
            pointer = content.read(struct.calcsize(offset))
            start = struct.unpack(file.byteorder + offset, pointer)[0] if len(pointer) == struct.calcsize(offset) else 0
            content.seek(start)
            entries = content.read(struct.calcsize(count))
            if not start or len(entries) < struct.calcsize(count):
                return
            if start in seen:
                raise UserError("the file cannot be read", where=path, found="pages that follow each other in a circle",
                                do="it is damaged; copy it again from its source")
            seen.add(start)
            place = start + len(entries) + struct.unpack(file.byteorder + count, entries)[0] * entry_bytes


def _shown_by_pillow(path: Path, file: Any, series: Any) -> bool:
    """Whether what is stored is not what is meant: palettes, white as zero, 2 or 4 bits of grey, colours other than RGB.

    Raises UserError where viewers differ in what they show. ImageJ's palettes only colour its screen.
    """
    page = series.keyframe
    colours, bits = page.photometric.name, page.bitspersample
    orientation = page.tags.valueof("Orientation", 1)
    if orientation != 1:
        raise UserError("the picture is stored turned or mirrored, which programs treat differently", where=path,
                        found=f"orientation {orientation}", expected="1", do="save it again with its first pixel top left")
    if colours in ("MINISBLACK", "RGB"):
        return page.samplesperpixel == 1 and bits in (2, 4)
    if colours == "PALETTE" and file.is_imagej:
        return False
    if colours not in ("PALETTE", "MINISWHITE", "SEPARATED", "YCBCR") or bits > 8:
        raise UserError("the colours are of a kind that programs show differently", where=path,
                        found=f"{colours} of {bits} bits", expected="grey (black is zero) or RGB",
                        do="save it again as grey or RGB")
    return True


def _check_parts(path: Path, series: Any) -> None:
    """A UserError where strips or tiles are missing, which tifffile fills with zeros, or lie beyond the end of the file."""
    held = path.stat().st_size
    for page in series.pages:
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        is_whole = places and len(places) == math.prod(page.chunked)
        if not is_whole or any(offset == 0 or count == 0 or offset + count > held for offset, count in places):
            raise UserError("the file cannot be read", where=path, expected="all strips or tiles",
                            found=f"some that are not within its {held} bytes", do="copy it again from its source")


def _plain(series: Any) -> np.ndarray | None:
    """The samples as they are stored; None where tifffile wants a package more to unpack them (LZW, fax, JPEG)."""
    try:
        return np.asarray(series.asarray())
    except (ValueError, ImportError) as error:
        if isinstance(error, ValueError) and "imagecodecs" not in str(error):
            raise
        return None


def _is_safe_in_pillow(page: Any) -> bool:
    """Whether Pillow leaves plain samples as they are. It swaps bytes that libtiff has swapped already (Pillow 13: 16 and
    32 bits, big-endian), keeps 8 bits of each colour, and applies an alpha channel or leaves it out.
    """
    if page.samplesperpixel == 1:
        return page.bitspersample <= 8 or page.parent.byteorder == "<"
    return page.samplesperpixel == 3 and page.bitspersample == 8 and page.photometric.name == "RGB"


def _unpacked_by_itk(path: Path, series: Any, header: Header) -> np.ndarray:
    """Plain samples (C, pages, y, x). ITK turns tiles, and planes of colours, into colours of 8 bits: they are refused."""
    page = series.keyframe
    found = itk_header(path).n_channels
    array = None if page.is_tiled or found != header.n_channels else through_itk(path, header)
    if array is None or array.dtype != series.dtype.newbyteorder("="):
        raise UserError("the picture is compressed in a way that is not read", where=path,
                        found=f"{page.compression.name}, {page.samplesperpixel} samples of {page.dtype}",
                        do="save it without compression or with deflate, or install the package imagecodecs")
    return array


def _shown_pages(path: Path, series: Any, header: Header) -> np.ndarray:
    """Pages (C, pages, y, x) as Pillow shows them."""
    page = series.keyframe
    with _opened(path) as image:
        pages = []
        for number in (page.index for page in series.pages):
            image.seek(number)
            if shown_channels(path, image) != header.n_channels:
                raise UserError("the pages of the file differ in their colours", where=path,
                                found=f"{shown_channels(path, image)} channels on page {number + 1}",
                                expected=f"{header.n_channels}, as on the first", do="save them all as grey or as RGB")
            pages.append(shown_pixels(image))
    pixels = np.stack(pages, axis=1)
    is_stored = page.photometric.name == "MINISBLACK" and pixels.dtype.itemsize == series.dtype.itemsize
    return pixels.astype(series.dtype) if is_stored and pixels.dtype.kind in "iu" else pixels  # Pillow knows fewer types


def _opened(path: Path) -> Any:
    import PIL.Image

    return PIL.Image.open(path, formats=("TIFF",))


for _ending in (".tif", ".tiff"):
    READERS.register(_ending)(Reader(tiff_header, read_tiff, write_tiff, beside=_spacing_file, spare=_spare_foreign,
                                      voxels_per_byte=_VOXELS_PER_BYTE))
