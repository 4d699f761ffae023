"""PNG, BMP and JPEG: 2D images of one slice, grey, RGB or RGBA; colours are channels, as in nnU-Net.

Pillow decodes them, but compares no checksum of a PNG's pixels and keeps 8 bits of each colour: both are done here.
"""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.door import damaged, unreadable
from autoseg.formats.registry import READERS, Header, Reader
from autoseg.formats.sitk import FLAT_SPACING, itk_header, through_itk
from autoseg.grids.geometry import Geometry
from autoseg.workspace.files import write_atomically

_CHANNELS = {"1": 1, "L": 1, "I": 1, "I;16": 1, "I;16B": 1, "F": 1, "LA": 2, "RGB": 3, "RGBA": 4}
_FORMATS = ("PNG", "BMP", "JPEG", "MPO")  # MPO: a JPEG of a camera, with a preview behind it
_DEEP_COLOURS = ("LA;16B", "RGB;16B", "RGBA;16B")  # Pillow's names of a PNG's colours of 16 bits
_PNG_START = 8  # bytes of the signature


def flat_geometry(height: int, width: int) -> Geometry:
    """The grid of pixels that have no size in mm: 1 mm each."""
    return Geometry(shape=(1, height, width), spacing_mm=(FLAT_SPACING, 1.0, 1.0), dimensions=2)


def natural_header(path: Path) -> Header:
    with _opened(path) as image:
        return _header(path, image)


def read_natural(path: Path) -> tuple[np.ndarray, Geometry]:
    """Pixels (C, 1, y, x) and the grid. A palette of greys is grey, another one RGB; a transparent colour is a colour."""
    with _opened(path) as image:
        header = _header(path, image)
        if image.format == "PNG":
            _check_png(path, path.read_bytes())
        if _raw_mode(image) in _DEEP_COLOURS:
            return through_itk(path, itk_header(path))[:header.n_channels], header.geometry
        return shown_pixels(image)[:, None], header.geometry


def write_natural(path: Path, array_CDHW: np.ndarray, geometry: Geometry) -> None:
    """Write whole numbers of 8 bits, or 16 if grey; anything else is a UserError."""
    import PIL.Image

    if geometry.shape[0] != 1:
        raise UserError("the format holds 2D images only", where=path, found=f"{geometry.shape[0]} slices",
                        do="choose .nii.gz or .tif")
    grey = len(array_CDHW) == 1
    if array_CDHW.dtype not in ((np.uint8, np.uint16) if grey else (np.uint8,)) or len(array_CDHW) not in (1, 3, 4):
        raise UserError("the format cannot hold these pixels", where=path,
                        found=f"{len(array_CDHW)} channels of {array_CDHW.dtype}", do="choose .tif")
    pixels = array_CDHW[0, 0] if grey else np.moveaxis(array_CDHW[:, 0], 0, -1)
    image = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    write_atomically(path, lambda temporary: image.save(temporary))


def shown_channels(path: Path, image: Any) -> int:
    """The channels that a picture of Pillow is read as; a UserError where its pixels are of no kind that is read."""
    mode = _mode(image)
    if mode not in _CHANNELS:
        raise UserError("the pixel format is not supported", where=path, found=mode,
                        expected="grey or RGB, with or without alpha")
    return _CHANNELS[mode]


def shown_pixels(image: Any) -> np.ndarray:
    """Pixels (C, y, x) of a picture of Pillow, as it shows them."""
    mode = _mode(image)
    pixels = np.asarray(image.convert(mode) if image.mode != mode else image)
    return np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels[None]


def _opened(path: Path) -> Any:
    import PIL.Image

    try:
        return PIL.Image.open(path, formats=_FORMATS)
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise unreadable(path, error) from None


def _header(path: Path, image: Any) -> Header:
    if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise UserError("the file holds several pictures", where=path, found=image.n_frames, expected="one",
                        do="save each as a file of its own, or all as a .tif stack")
    return Header(flat_geometry(image.height, image.width), shown_channels(path, image))


def _mode(image: Any) -> str:
    """The pixel format that the image is read as."""
    if image.mode in ("CMYK", "YCbCr"):
        return "RGB"
    if image.mode != "P":
        return image.mode
    palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
    return "L" if (palette == palette[:, :1]).all() else "RGB"


def _raw_mode(image: Any) -> str:
    arguments = image.tile[0][3] if image.tile else ""
    return arguments if isinstance(arguments, str) else str(arguments[0])


def _check_png(path: Path, content: bytes) -> None:
    """Compare the CRC-32 of every chunk and the Adler-32 of the pixels (PNG specification, 5.3 and 10.1)."""
    pixels, start, name = zlib.decompressobj(), _PNG_START, b""
    while name != b"IEND":
        size, name = struct.unpack_from(">I4s", content, start)
        end = start + 8 + size
        if zlib.crc32(memoryview(content)[start + 4:end]) != struct.unpack_from(">I", content, end)[0]:
            raise damaged(path, f"another checksum in the chunk {name.decode('latin-1')}", "that which the file states")
        if name == b"IDAT":
            pixels.decompress(memoryview(content)[start + 8:end])
        start = end + 4
    if not pixels.eof:
        raise damaged(path, "pixels that end too early", "a whole PNG")


for _ending in (".png", ".bmp"):
    READERS.register(_ending)(Reader(natural_header, read_natural, write_natural, flat=True))
for _ending in (".jpg", ".jpeg"):
    READERS.register(_ending)(Reader(natural_header, read_natural, write_natural, lossless=False, flat=True))
