"""Small files of every kind that is read, and which of their bytes a checksum inside the file covers."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.formats import write_array
from autoseg.grids.geometry import Geometry

Ranges = list[tuple[int, int]]
SOLID = Geometry((5, 12, 14), (3.0, 0.75, 0.5), (-10.5, 20.25, 30.0))
FLAT = Geometry((1, 24, 28), (999.0, 1.0, 1.0), dimensions=2)


@dataclass(frozen=True)
class Sample:
    """`write(folder)` makes the files and names the one that is read; `damaged` is the one that is damaged.

    `covered(content)` are the bytes of which a checksum is stored.
    """

    write: Callable[[Path], Path]
    covered: Callable[[bytes], Ranges]
    damaged: str = ""


def voxels(geometry: Geometry, n_channels: int = 1, dtype: type = np.uint8) -> np.ndarray:
    """Labels 0 to 3 in blocks, with some noise: (C, z, y, x)."""
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 4, (n_channels, *(-(-n // 4) for n in geometry.shape))), np.ones((1, 4, 4, 4)))
    array = blocks[:, :geometry.shape[0], :geometry.shape[1], :geometry.shape[2]].astype(dtype)
    return array + (rng.random(array.shape) < 0.05).astype(dtype)


def _array(name: str, geometry: Geometry, n_channels: int = 1, dtype: type = np.uint8) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        write_array(folder / name, voxels(geometry, n_channels, dtype), geometry)
        return folder / name
    return write


def _itk_raw(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        import SimpleITK as sitk

        sitk.WriteImage(sitk.GetImageFromArray(voxels(SOLID, dtype=np.int16)[0]), str(folder / name), useCompression=False)
        return folder / name
    return write


def _pillow(name: str, mode: str, **options: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        import PIL.Image

        image = PIL.Image.fromarray(voxels(FLAT)[0, 0] * 60)
        image.convert(mode).save(folder / name, **options)
        return folder / name
    return write


def _deep_colours(folder: Path) -> Path:
    import SimpleITK as sitk

    pixels = np.moveaxis(voxels(FLAT, 3, np.uint16)[:, 0], 0, -1) * 9999
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(folder / "a.png"))
    return folder / "a.png"


def _numbers(folder: Path) -> Path:
    np.save(folder / "a.npy", np.random.default_rng(0).random(64, dtype=np.float32))
    return folder / "a.npy"


def nothing(content: bytes) -> Ranges:
    return []


def everything(content: bytes) -> Ranges:
    return [(0, len(content))]


def after_header(marker: bytes) -> Callable[[bytes], Ranges]:
    return lambda content: [(content.index(marker) + len(marker), len(content))]


def strips(content: bytes) -> Ranges:
    """The strips of a little-endian TIFF: what its tags 273 and 279 say."""
    directory, = struct.unpack_from("<I", content, 4)
    n_tags, = struct.unpack_from("<H", content, directory)
    found = {}
    for start in range(directory + 2, directory + 2 + 12 * n_tags, 12):
        tag, kind, count = struct.unpack_from("<HHI", content, start)
        if tag in (273, 279):
            code = {3: "H", 4: "I"}[kind]
            inside = struct.calcsize(code) * count <= 4
            place = start + 8 if inside else struct.unpack_from("<I", content, start + 8)[0]
            found[tag] = struct.unpack_from(f"<{count}{code}", content, place)
    return [(offset, offset + size) for offset, size in zip(found[273], found[279], strict=True)]


META, NRRD = b"ElementDataFile = LOCAL\n", b"\n\n"
SAMPLES = {
    "nii": Sample(_array("a.nii", SOLID, dtype=np.int16), nothing),
    "nii.gz": Sample(_array("a.nii.gz", SOLID), everything),
    "nrrd": Sample(_array("a.nrrd", SOLID), after_header(NRRD)),
    "nrrd, raw": Sample(_itk_raw("a.nrrd"), nothing),
    "nrrd, 3 channels": Sample(_array("a.nrrd", SOLID, 3), after_header(NRRD)),
    "mha": Sample(_array("a.mha", SOLID), after_header(META)),
    "mha, raw": Sample(_itk_raw("a.mha"), nothing),
    "mhd": Sample(_array("a.mhd", SOLID), everything, "a.zraw"),
    "mhd, header": Sample(_array("a.mhd", SOLID), nothing),
    "png": Sample(_array("a.png", FLAT), everything),
    "png, 1 bit": Sample(_pillow("a.png", "1"), everything),
    "png, palette": Sample(_pillow("a.png", "P"), everything),
    "png, RGB": Sample(_pillow("a.png", "RGB"), everything),
    "png, RGB of 16 bits": Sample(_deep_colours, everything),
    "bmp": Sample(_pillow("a.bmp", "L"), nothing),
    "jpg": Sample(_pillow("a.jpg", "RGB", quality=90), nothing),
    "tif, deflate": Sample(_array("a.tif", FLAT, 3), strips),
    "tif, stack": Sample(_array("a.tif", SOLID), strips),
    "tif, plain": Sample(_pillow("a.tif", "L"), nothing),
    "tif, LZW": Sample(_pillow("a.tif", "RGB", compression="tiff_lzw"), nothing),
    "tif, fax": Sample(_pillow("a.tif", "1", compression="group4"), nothing),
    "tif, palette": Sample(_pillow("a.tif", "P", compression="packbits"), nothing),
    "npy": Sample(_numbers, nothing),
}
