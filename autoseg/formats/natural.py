"""PNG, BMP and JPEG: 2D images of one slice, grey, RGB or RGBA; colours are channels, as in nnU-Net."""

from pathlib import Path
from typing import Any

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.registry import READERS, Header, Reader
from autoseg.formats.sitk import FLAT_SPACING, read_itk, unreadable
from autoseg.grids.geometry import Geometry
from autoseg.workspace.files import write_atomically

_CHANNELS = {"1": 1, "L": 1, "I": 1, "I;16": 1, "I;16B": 1, "F": 1, "RGB": 3, "RGBA": 4}


def flat_geometry(height: int, width: int) -> Geometry:
    """The grid of pixels that have no size in mm: 1 mm each."""
    return Geometry(shape=(1, height, width), spacing_mm=(FLAT_SPACING, 1.0, 1.0), dimensions=2)


def natural_header(path: Path) -> Header:
    with _opened(path) as image:
        return _header(path, image)


def read_natural(path: Path) -> tuple[np.ndarray, Geometry]:
    """Pixels (C, 1, y, x) and the grid. A palette of greys is grey, another one RGB."""
    with _opened(path) as image:
        header = _header(path, image)
        if "16" in str(image.tile) and header.n_channels > 1:  # Pillow keeps 8 bits of each colour
            channels_CHW = read_itk(path)[0][:, 0]
        else:
            try:
                pixels = np.asarray(image.convert(_mode(image)) if image.mode != _mode(image) else image)
            except (OSError, SyntaxError, ValueError) as error:
                raise unreadable(path, error) from None
            channels_CHW = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels[None]
    return channels_CHW[:, None], header.geometry


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


def _opened(path: Path) -> Any:
    import PIL.Image

    try:
        return PIL.Image.open(path)
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise unreadable(path, error) from None


def _header(path: Path, image: Any) -> Header:
    mode = _mode(image)
    if mode not in _CHANNELS:
        raise UserError("the pixel format is not supported", where=path, found=mode, expected="grey, RGB or RGBA")
    return Header(flat_geometry(image.height, image.width), _CHANNELS[mode])


def _mode(image: Any) -> str:
    """The pixel format that the image is read as."""
    if image.mode in ("CMYK", "YCbCr"):
        return "RGB"
    if image.mode != "P":
        return image.mode
    palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
    return "L" if (palette == palette[:, :1]).all() else "RGB"


for _ending in (".png", ".bmp"):
    READERS.register(_ending)(Reader(natural_header, read_natural, write_natural, flat=True))
for _ending in (".jpg", ".jpeg"):
    READERS.register(_ending)(Reader(natural_header, read_natural, write_natural, lossless=False, flat=True))
